"""Sells and draws credit for invoices: in the transaction that issues them, on paper for drafts and previews.

An invoice is settled in three steps: what it sells becomes a grant, what it may draw it draws, and what has
expired by its billing date and no other bill can reach lapses, so that what rolls over is there for the
next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import orjson
from sqlalchemy import Connection, select

from invoicing.bulk import select_by_ids
from invoicing.credit import CreditEntry, CreditGrant, StoredGrant
from invoicing.credit_draw import draw_credit, drawn_entries
from invoicing.credit_expiry import enter_lapse, lapse_of
from invoicing.credit_sale import sold_credit
from invoicing.credit_store import lock_grants, open_grants, write_entries, write_grant
from invoicing.draft import Draft
from invoicing.invoice import Invoice, InvoiceCredit, credit_document, parse_invoice
from invoicing.tables import INVOICES
from rating.retainer import sells_credit
from rating.tables import CONTRACTS


@dataclass(slots=True)
class CreditAccounts:
    """The open grants of some customers, and what is left of each as invoices draw on them in turn."""

    grants: dict[str, list[StoredGrant]]
    remaining: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for stored in (stored for grants in self.grants.values() for stored in grants):
            self.remaining[stored.grant.grant_id] = stored.remaining_minor

    def add(self, stored: StoredGrant) -> None:
        """One more grant to draw on."""
        self.grants.setdefault(stored.grant.customer_id, []).append(stored)
        self.remaining[stored.grant.grant_id] = stored.remaining_minor

    def draw(
        self, invoice: Invoice, *, customer_id: str, entry_date: date
    ) -> tuple[Invoice, list[CreditEntry]]:
        """The invoice with what it draws, and the entries for it; both stay on paper here."""
        invoice = replace(invoice, drawn_credit=())
        grants = self.grants.get(customer_id, ())
        draws = draw_credit(invoice, grants, remaining=self.remaining)
        if not draws:
            return invoice, []
        entries = drawn_entries(
            draws, remaining=self.remaining, invoice_id=invoice.invoice_id, entry_date=entry_date
        )
        credit = []
        for draw in draws:
            grant = draw.grant.grant
            self.remaining[grant.grant_id] -= draw.amount_minor
            left = self.remaining[grant.grant_id]
            credit.append(InvoiceCredit(grant.grant_id, grant.name, grant.kind, draw.amount_minor, left))
        return replace(invoice, drawn_credit=tuple(credit)), entries

    def expired(self, customer_id: str, *, on: date) -> list[StoredGrant]:
        """The customer's grants that have expired by that day, with what is left of each."""
        return [
            replace(stored, remaining_minor=self.remaining[stored.grant.grant_id])
            for stored in self.grants.get(customer_id, ())
            if stored.grant.expires_on is not None
            and stored.grant.expires_on <= on
            and self.remaining[stored.grant.grant_id]
        ]


def load_accounts(connection: Connection, customer_ids: Sequence[str]) -> CreditAccounts:
    """The customers' credit as it is now, to show what would be drawn."""
    return CreditAccounts(open_grants(connection, customer_ids))


def lock_accounts(connection: Connection, customer_ids: Sequence[str]) -> CreditAccounts:
    """The customers' credit, theirs alone to this transaction until it ends."""
    return CreditAccounts(lock_grants(connection, customer_ids))


def draw_on_paper(connection: Connection, parts: Sequence[Invoice], *, customer_id: str) -> list[Invoice]:
    """What invoices of one contract, one after the other, would draw if they were issued."""
    accounts = load_accounts(connection, [customer_id])
    reach = _reach(connection, [customer_id])
    shown = []
    for part in parts:
        for stored in sold_credit(connection, part, customer_id=customer_id):
            accounts.add(stored)
        drawn, _ = accounts.draw(part, customer_id=customer_id, entry_date=part.billing_date)
        for stored in _out_of_reach(accounts, part, customer_id, reach):
            lapse = lapse_of(stored)
            accounts.remaining[stored.grant.grant_id] = 0
            if lapse.rolled_over is not None:
                accounts.add(_rolled_in(lapse.rolled_over, stored, lapse.entries[0]))
        shown.append(drawn)
    return shown


def settle_credit(
    connection: Connection,
    accounts: CreditAccounts,
    invoice: Invoice,
    *,
    customer_id: str,
    reach: Mapping[str, frozenset[str]],
    issue_date: date,
    now: datetime,
) -> tuple[Invoice, list[str]]:
    """The invoice with the credit it draws as it is issued, all entered in the caller's transaction; and the
    ids of grants that lapsed with it. reach: as ``_reach`` gives it."""
    for sold in sold_credit(connection, invoice, customer_id=customer_id):
        accounts.add(
            write_grant(connection, sold.grant, origin="retainer", origin_id=sold.origin_id, now=now)
        )
    drawn, entries = accounts.draw(invoice, customer_id=customer_id, entry_date=issue_date)
    write_entries(connection, entries, now=now)
    lapsed = []
    for stored in _out_of_reach(accounts, invoice, customer_id, reach):
        if _waits_as_draft(connection, invoice, stored):
            continue
        lapsed.append(stored.grant.grant_id)
        accounts.remaining[stored.grant.grant_id] = 0
        for rolled in enter_lapse(connection, stored, now=now):
            accounts.add(rolled)
    return drawn, lapsed


def draw_for_drafts(
    connection: Connection, drafts: Sequence[Draft], *, issue_date: date | None, now: datetime
) -> tuple[list[Draft], list[str]]:
    """The drafts with the credit they draw, one after the other, and the ids of grants that lapsed with them.
    Issued ones enter it in the caller's transaction; without an issue date each shows what it would draw if
    it were issued next."""
    ids = [draft.customer_id for draft in drafts]
    if issue_date is None:
        held = load_accounts(connection, ids).grants
        return [_shown(draft, CreditAccounts({**held})) for draft in drafts], []
    accounts = lock_accounts(connection, ids)
    buyers = {draft.customer_id for draft in drafts if any(map(sells_credit, draft.charge_ids))}
    touched = buyers | set(accounts.grants)
    if not touched:
        return list(drafts), []
    reach = _reach(connection, sorted(touched))
    settled, lapsed = [], list[str]()
    for draft in drafts:
        if draft.customer_id not in touched:
            settled.append(draft)
            continue
        invoice, gone = settle_credit(
            connection,
            accounts,
            _parsed(draft),
            customer_id=draft.customer_id,
            reach=reach,
            issue_date=issue_date,
            now=now,
        )
        settled.append(_with_credit(draft, invoice))
        lapsed += gone
    return settled, lapsed


def reach_of(connection: Connection, customer_id: str) -> Mapping[str, frozenset[str]]:
    """The contracts of the customer, as ``settle_credit`` needs them."""
    return _reach(connection, [customer_id])


def _reach(connection: Connection, customer_ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """The contracts of each customer: whose bills could draw on its credit."""
    found: dict[str, set[str]] = {}
    columns = (CONTRACTS.c.customer_id, CONTRACTS.c.contract_id)
    for row in select_by_ids(connection, select(*columns), CONTRACTS.c.customer_id, customer_ids):
        found.setdefault(row[0], set()).add(row[1])
    return {customer_id: frozenset(contracts) for customer_id, contracts in found.items()}


def _out_of_reach(
    accounts: CreditAccounts, invoice: Invoice, customer_id: str, reach: Mapping[str, frozenset[str]]
) -> Iterable[StoredGrant]:
    """Grants that expired by the billing date and that only this contract could draw on. It is billed in
    order, so all that comes is for later days."""
    contract_id = str(invoice.contract["contract_id"])
    for stored in accounts.expired(customer_id, on=invoice.billing_date):
        contracts = reach.get(customer_id, frozenset())
        if stored.grant.contract_ids:
            contracts &= frozenset(stored.grant.contract_ids)
        if contracts <= {contract_id}:
            yield stored


def _waits_as_draft(connection: Connection, invoice: Invoice, stored: StoredGrant) -> bool:
    """Whether another draft of the contract could still draw on the grant."""
    expires_on = stored.grant.expires_on
    waiting = select(INVOICES.c.invoice_id).where(
        INVOICES.c.contract_id == str(invoice.contract["contract_id"]),
        INVOICES.c.state == "draft",
        INVOICES.c.invoice_id != invoice.invoice_id,
        INVOICES.c.billing_date <= (expires_on or invoice.billing_date).isoformat(),
    )
    return connection.execute(waiting.limit(1)).first() is not None


def _rolled_in(grant: CreditGrant, before: StoredGrant, moved: CreditEntry) -> StoredGrant:
    """The grant that takes what rolls over, on paper. moved: the entry that takes it away."""
    return replace(
        before,
        grant=grant,
        amount_minor=-moved.amount_minor,
        cost_minor=-moved.cost_minor,
        remaining_minor=-moved.amount_minor,
        origin="rollover",
        origin_id=before.grant.grant_id,
    )


def _parsed(draft: Draft) -> Invoice:
    return parse_invoice(draft.text(number=None, issue_date=None))


def _shown(draft: Draft, accounts: CreditAccounts) -> Draft:
    """A draft with what it would draw."""
    if draft.customer_id not in accounts.grants:
        return draft
    invoice, _ = accounts.draw(_parsed(draft), customer_id=draft.customer_id, entry_date=draft.billing_date)
    return _with_credit(draft, invoice)


def _with_credit(draft: Draft, invoice: Invoice) -> Draft:
    if not invoice.drawn_credit:
        return draft
    text = orjson.dumps(credit_document(invoice), option=orjson.OPT_SORT_KEYS).decode()
    return replace(draft, credit=text, credit_minor=invoice.credit_minor)
