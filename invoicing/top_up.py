"""Tops up credit: when a contract's live balance falls below a threshold, more is sold, once.

The live balance is what its grants have left less what is used and not billed yet. A top-up is an invoice of
its own, issued with the grant it sells in one transaction, at most one a contract and day: an interrupted
or repeated look finds it there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from pydantic import Field
from sqlalchemy import Connection, Engine, delete, insert, select

from ingest.clickhouse import EventStore
from ingest.document import Document, ExactDecimal, canonical_json, decimal_text, validate_document
from ingest.errors import Conflict, InvalidDocument, Issue, NotFound
from ingest.ledger import ledger_transaction
from ingest.meter import Key
from invoicing.audit_trail import SYSTEM_ACTOR
from invoicing.bulk import insert_rows
from invoicing.credit import AMOUNT_MINOR_MAX, CreditGrant
from invoicing.credit_store import new_grant, open_grants, write_grant
from invoicing.credit_tables import CREDIT_TOP_UPS
from invoicing.invoice import Invoice, InvoiceLine, entity_id_of, invoice_hash, invoice_text
from invoicing.invoice_id import invoice_id_of
from invoicing.issue import registered_invoice
from invoicing.issue_documents import issue_documents
from invoicing.number import draw_for
from invoicing.numbering import load_prefixes
from invoicing.posting import TOP_UP_CHARGE_ID
from invoicing.preview import preview_contract
from invoicing.register import Issuer
from invoicing.settings import CREDIT_NOTE_SERIES, BillingSettings, Seller
from invoicing.tables import INVOICE_LINES, INVOICES, TOP_UP_SUFFIX
from invoicing.tax_amounts import gross_of_lines
from invoicing.tax_desk import load_tax_desk, with_credit_tax
from rating.catalogue import load_plan_versions
from rating.contract import Contract
from rating.contract_store import get_contract
from rating.money import format_minor, minor_digits
from rating.plan_version import version_in_force
from rollup.period import find_time_zone

TOP_UP_KIND: Final = "credit_top_up"
_A_DAY: Final = timedelta(days=1)
_METERED_KINDS: Final = ("usage", "licence")
_ID_LENGTH_MAX: Final = 128 - len(":rollover")


class TopUp(Document):
    """When the live balance of a contract is below ``threshold``, ``amount`` of credit is sold for ``price``.
    All are in the currency of its plan.

    charge_ids: what the credit pays for and whose usage counts against the balance; none named: all.
    expires_after_days: left out, it never expires. enabled: False keeps the terms and does nothing.
    """

    contract_id: Key
    name: str = Field(default="Credit top-up", min_length=1, max_length=256)
    threshold: ExactDecimal
    amount: ExactDecimal
    price: ExactDecimal
    charge_ids: tuple[Key, ...] = ()
    expires_after_days: int | None = Field(default=None, ge=1, le=3660)
    priority: int = Field(default=100, ge=0, le=1000)
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class LiveBalance:
    """Minor units: what the contract's grants have left today, and what is used and not billed yet, with its
    tax, because credit pays after tax."""

    currency: str
    credit_minor: int
    unbilled_minor: int

    @property
    def balance_minor(self) -> int:
        """Below zero when more is used than there is credit for."""
        return self.credit_minor - self.unbilled_minor


@dataclass(frozen=True, slots=True)
class ToppedUp:
    """What came of one contract: ``invoice_id`` of the top-up, or why its balance cannot be known now."""

    contract_id: str
    invoice_id: str | None
    held: str | None


def save_top_up(ledger: Engine, document: Any, *, now: datetime) -> TopUp:
    """Check and keep when a contract is topped up, in the place of what was wanted before. Raises
    InvalidDocument, NotFound for an unknown contract."""
    top_up = validate_document(TopUp, document, what="the top-up", rules=_rules)
    contract = get_contract(ledger, top_up.contract_id)
    issues = list(_amount_rules(top_up, _currency(ledger, contract, contract.start_date)))
    if issues:
        raise InvalidDocument("the top-up", issues)
    with ledger_transaction(ledger) as connection:
        connection.execute(delete(CREDIT_TOP_UPS).where(CREDIT_TOP_UPS.c.contract_id == top_up.contract_id))
        row = {"contract_id": top_up.contract_id, "document": canonical_json(top_up)}
        connection.execute(insert(CREDIT_TOP_UPS).values(**row, updated_at=now.isoformat()))
    return top_up


def get_top_up(ledger: Engine, contract_id: str) -> TopUp:
    """When the contract is topped up. Raises NotFound."""
    with ledger.connect() as connection:
        text = connection.execute(
            select(CREDIT_TOP_UPS.c.document).where(CREDIT_TOP_UPS.c.contract_id == contract_id)
        ).scalar_one_or_none()
    if text is None:
        raise NotFound(
            f"nothing says when contract {contract_id!r} is topped up. `ratemill credits top-up` or "
            f"PUT /v1/contracts/{contract_id}/top-up does."
        )
    return TopUp.model_validate_json(text)


def live_balance(
    *, top_up: TopUp, at: datetime, event_store: EventStore, ledger: Engine, seller: Seller | None = None
) -> LiveBalance:
    """The contract's balance at that instant. Raises Conflict when its usage cannot be billed as it is."""
    return _look(top_up, at, event_store, ledger, seller)[0]


def top_up_credit(
    *,
    event_store: EventStore,
    ledger: Engine,
    settings: BillingSettings,
    now: datetime,
    issue_date: date,
) -> list[ToppedUp]:
    """Look at every contract that wants it and top up those below their threshold. Again: nothing more today.

    issue_date: of the invoices; not before the last issued one.
    """
    with ledger.connect() as connection:
        texts = connection.execute(
            select(CREDIT_TOP_UPS.c.document).order_by(CREDIT_TOP_UPS.c.contract_id)
        ).scalars()
        wanted = [TopUp.model_validate_json(text) for text in texts]
        desk = load_tax_desk(connection, provider=settings.tax_provider)
    found = []
    for top_up in wanted:
        contract = get_contract(ledger, top_up.contract_id)
        today = now.astimezone(find_time_zone(contract.time_zone)).date()
        over = contract.end_date is not None and contract.end_date <= today
        if not top_up.enabled or over or today < contract.start_date or _is_done(ledger, top_up, today):
            continue
        try:
            balance, preview = _look(top_up, now, event_store, ledger, settings.seller)
            digits = minor_digits(balance.currency)
            if balance.balance_minor >= top_up.threshold.scaleb(digits):
                continue
            invoice = with_credit_tax(desk, _invoice(ledger, top_up, contract, preview, today))
        except Conflict as held:
            found.append(ToppedUp(top_up.contract_id, None, str(held)))
        else:
            _issue(ledger, top_up, contract, invoice, settings.series, issue_date, now)
            found.append(ToppedUp(top_up.contract_id, invoice.invoice_id, None))
    return found


def _look(
    top_up: TopUp, at: datetime, event_store: EventStore, ledger: Engine, seller: Seller | None
) -> tuple[LiveBalance, Invoice]:
    preview = preview_contract(
        contract_id=top_up.contract_id, at=at, event_store=event_store, ledger=ledger, seller=seller
    )
    contract = get_contract(ledger, top_up.contract_id)
    today = at.astimezone(find_time_zone(contract.time_zone)).date()
    with ledger.connect() as connection:
        held = open_grants(connection, [contract.customer_id]).get(contract.customer_id, [])
    credit = sum(
        stored.remaining_minor
        for stored in held
        if stored.grant.currency == preview.currency and _is_usable(stored.grant, top_up, today)
    )
    unbilled = sum(
        amount
        for line, amount in zip(preview.lines, gross_of_lines(preview), strict=True)
        if line.charge_kind in _METERED_KINDS
        and line.period_start < preview.billing_date  # a licence in advance is not had yet
        and (not top_up.charge_ids or line.charge_id in top_up.charge_ids)
    )
    return LiveBalance(preview.currency, credit, unbilled), preview


def _is_usable(grant: CreditGrant, top_up: TopUp, today: date) -> bool:
    """Whether the grant pays for what the top-up is about, today."""
    begun = grant.effective_from <= today and (grant.expires_on is None or today < grant.expires_on)
    of_contract = not grant.contract_ids or top_up.contract_id in grant.contract_ids
    shared = not grant.charge_ids or not top_up.charge_ids or bool({*grant.charge_ids} & {*top_up.charge_ids})
    return begun and of_contract and shared


def _is_done(ledger: Engine, top_up: TopUp, today: date) -> bool:
    with ledger.connect() as connection:
        return _known(connection, top_up, today)


def _known(connection: Connection, top_up: TopUp, today: date) -> bool:
    """Whether credit was topped up on this day already."""
    of_day = INVOICES.c.contract_id == _owner(top_up), INVOICES.c.billing_date == today.isoformat()
    return connection.execute(select(INVOICES.c.invoice_id).where(*of_day)).first() is not None


def _owner(top_up: TopUp) -> str:
    return f"{top_up.contract_id}{TOP_UP_SUFFIX}"


def _invoice(ledger: Engine, top_up: TopUp, contract: Contract, preview: Invoice, today: date) -> Invoice:
    """The invoice that sells the credit; parties, terms and currency are those of the preview."""
    digits = preview.minor_digits
    price_minor = int(top_up.price.scaleb(digits))
    in_force = version_in_force(load_plan_versions(ledger), plan_id=contract.plan_id, on=today)
    expires_on = _expires_on(top_up, today)
    invoice_id = invoice_id_of(contract_id=_owner(top_up), billing_date=today)
    line = InvoiceLine(
        line_id=hashlib.sha256(f"ratemill top-up line\n{invoice_id}".encode()).hexdigest()[:32],
        charge_id=TOP_UP_CHARGE_ID,
        charge_kind=TOP_UP_KIND,
        description=top_up.name,
        price_model="flat",
        price_text=f"for {format_minor(int(top_up.amount.scaleb(digits)), preview.currency)} of credit",
        plan_id=contract.plan_id,
        plan_version=0 if in_force is None else in_force.version,
        meter_id="",
        unit=preview.currency,
        period_start=today,
        period_end=expires_on or today + _A_DAY,
        days=1,
        full_days=1,
        dimensions={},
        quantity=Decimal(1),
        rated_quantity=Decimal(1),
        event_count=0,
        amount=Decimal(decimal_text(top_up.price)),
        amount_minor=price_minor,
        tiers=(),
        price_source="contract",
    )
    return replace(
        preview,
        invoice_id=invoice_id,
        billing_date=today,
        period_start=line.period_start,
        period_end=line.period_end,
        lines=(line,),
        total_minor=price_minor,
        drawn_credit=(),
        tax=(),
    )


def _issue(
    ledger: Engine,
    top_up: TopUp,
    contract: Contract,
    invoice: Invoice,
    prefix: str,
    issue_date: date,
    now: datetime,
) -> None:
    """Number, invoice, line and grant in one transaction; nothing when another look was faster."""
    with ledger_transaction(ledger) as connection:
        if _known(connection, top_up, invoice.billing_date):
            return
        prefixes = load_prefixes(connection, invoice=prefix, credit_note=CREDIT_NOTE_SERIES)
        own = prefixes.of("invoice", entity_id_of(invoice))
        drawn = draw_for(connection, prefix=own, issue_date=issue_date, count=1)
        issued = invoice.issued(number=drawn.text(0), issue_date=issue_date)
        text = invoice_text(issued)
        line = issued.lines[0]
        row = (
            issued.invoice_id,
            _owner(top_up),
            contract.customer_id,
            issued.billing_date.isoformat(),
            "issued",
            drawn.series,
            drawn.first,
            issue_date.isoformat(),
            None if issued.due_date is None else issued.due_date.isoformat(),
            issued.currency,
            issued.total_minor,
            text,
            invoice_hash(text),
            f"top-up-{issued.billing_date.isoformat()}",
            0,
            issued.tax_minor,
            entity_id_of(issued),
        )
        insert_rows(connection, INVOICES, [row])
        document = registered_invoice(issued, text, number=drawn.first, customer_id=contract.customer_id)
        issuer = Issuer(SYSTEM_ACTOR, f"top-up of contract {top_up.contract_id}", now, was_draft=False)
        insert_rows(
            connection,
            INVOICE_LINES,
            [(issued.invoice_id, 1, line.line_id, line.charge_id, line.amount_minor, None)],
        )
        grant = new_grant(_grant(top_up, contract, issued), origin="top_up", origin_id=line.line_id)
        write_grant(connection, grant, now=now)
        issue_documents(connection, drawn, [document], issuer)


def _grant(top_up: TopUp, contract: Contract, issued: Invoice) -> CreditGrant:
    today = issued.billing_date
    named = f"{top_up.contract_id}:top-up:{today.isoformat()}"
    return CreditGrant(
        grant_id=named if len(named) <= _ID_LENGTH_MAX else hashlib.sha256(named.encode()).hexdigest(),
        customer_id=contract.customer_id,
        name=top_up.name,
        kind="paid",
        currency=issued.currency,
        amount=top_up.amount,
        cost_basis=top_up.price,
        priority=top_up.priority,
        effective_from=today,
        expires_on=_expires_on(top_up, today),
        contract_ids=(top_up.contract_id,),
        charge_ids=top_up.charge_ids,
    )


def _expires_on(top_up: TopUp, today: date) -> date | None:
    days = top_up.expires_after_days
    return None if days is None else today + timedelta(days=days)


def _currency(ledger: Engine, contract: Contract, on: date) -> str:
    found = version_in_force(load_plan_versions(ledger), plan_id=contract.plan_id, on=on)
    if found is None:
        raise NotFound(f"price plan {contract.plan_id!r} has no version in force on {on}.")
    return found.plan.currency


def _rules(top_up: TopUp) -> Iterator[Issue]:
    if not 0 < top_up.price <= top_up.amount:
        yield Issue(
            "credit_cost_basis",
            "price",
            f"{decimal_text(top_up.price)} are asked for {decimal_text(top_up.amount)} of credit.",
            "a price above 0 and at most the amount.",
        )
    if top_up.threshold < 0:
        yield Issue(
            "credit_amount",
            "threshold",
            f"The threshold is {decimal_text(top_up.threshold)}.",
            "0 or more: a balance below it is topped up.",
        )


def _amount_rules(top_up: TopUp, currency: str) -> Iterator[Issue]:
    digits = minor_digits(currency)
    for name in ("threshold", "amount", "price"):
        minor = getattr(top_up, name).scaleb(digits)
        if minor != minor.to_integral_value() or minor > AMOUNT_MINOR_MAX:
            yield Issue(
                "credit_amount",
                name,
                f"{decimal_text(getattr(top_up, name))} {currency} cannot be credited.",
                f"an amount in whole minor units ({digits} digits).",
            )
