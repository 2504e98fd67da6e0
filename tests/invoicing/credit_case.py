"""Grants, invoices and a credit account in memory: the pure functions as the ledger calls them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from ingest.document import validate_document
from invoicing.credit import CreditEntry, CreditGrant, StoredGrant, credit_rules
from invoicing.credit_account import CreditAccount
from invoicing.credit_balance import CreditBalance, balance_on
from invoicing.credit_draw import Draw, draw_credit, drawn_entries, taking
from invoicing.credit_expiry import lapse_of
from invoicing.credit_sale import sold_by
from invoicing.draft import DraftContext, draft_invoices
from invoicing.invoice import Invoice, InvoiceLine, parse_invoice
from invoicing.invoice_tax import InvoiceLineTax, InvoiceTax
from invoicing.tax_again import with_tax_again
from rating.agreement import agreed_versions
from rating.agreement_dates import agreed_segments
from tests.invoicing.contract_case import Billed, bill
from tests.invoicing.support import contract_row
from tests.rating.plans import versions

NEW_YEAR = date(2026, 1, 1)
TEN = Decimal(10)


def grant(grant_id: str = "g", amount: str = "100", **changes: Any) -> CreditGrant:
    document = {
        "grant_id": grant_id,
        "customer_id": "acme",
        "name": f"Credit {grant_id}",
        "kind": "paid",
        "currency": "EUR",
        "amount": amount,
        "cost_basis": amount,
        "effective_from": "2026-01-01",
        **changes,
    }
    return CreditGrant.model_validate(document)


def stored(entry: CreditGrant, remaining_minor: int | None = None) -> StoredGrant:
    amount, cost = (int(number.scaleb(2)) for number in (entry.amount, entry.cost_basis))
    left = amount if remaining_minor is None else remaining_minor
    return StoredGrant(entry, amount, cost, left, "given", None, "")


def line(amount_minor: int, charge_id: str = "calls", **changes: Any) -> InvoiceLine:
    """A line for January, in arrears."""
    values: dict[str, Any] = {
        "line_id": f"{charge_id}-{amount_minor}",
        "charge_id": charge_id,
        "charge_kind": "usage",
        "description": charge_id,
        "price_model": "per_unit",
        "price_text": "",
        "plan_id": "gold",
        "plan_version": 1,
        "meter_id": charge_id,
        "unit": "unit",
        "period_start": NEW_YEAR,
        "period_end": date(2026, 2, 1),
        "days": 31,
        "full_days": 31,
        "dimensions": {},
        "quantity": Decimal(1),
        "rated_quantity": Decimal(1),
        "event_count": 1,
        "amount": Decimal(amount_minor).scaleb(-2),
        "amount_minor": amount_minor,
        "tiers": (),
        **changes,
    }
    return InvoiceLine(**values)


def invoice(*lines: InvoiceLine, invoice_id: str = "i1", **changes: Any) -> Invoice:
    values: dict[str, Any] = {
        "invoice_id": invoice_id,
        "billing_date": date(2026, 2, 1),
        "contract": {"contract_id": "c1", "time_zone": "UTC"},
        "customer": {"customer_id": "acme", "name": "Acme"},
        "customer_version": 1,
        "seller": None,
        "terms": {"payment_days": 30},
        "currency": "EUR",
        "minor_digits": 2,
        "period_start": NEW_YEAR,
        "period_end": date(2026, 2, 1),
        "lines": lines,
        "total_minor": sum(entry.amount_minor for entry in lines),
        "number": None,
        "issue_date": None,
        "due_date": None,
        **changes,
    }
    return Invoice(**values)


def taxed(amount: int, rate: Decimal = TEN, *, inclusive: bool = False, name: str = "calls") -> InvoiceLine:
    """A line of one rate."""
    tax = InvoiceLineTax("S", rate, "standard", amount if inclusive else None)
    return line(amount, name, tax=tax)


def cart(*lines: InvoiceLine, **changes: Any) -> Invoice:
    """An invoice of these lines with the tax groups they are in."""
    rates = sorted({each.tax.rate_percent for each in lines if each.tax is not None})
    groups = tuple(InvoiceTax("S", rate, 0, 0) for rate in rates)
    return with_tax_again(invoice(*lines, tax=groups, **changes))


def given_for_nothing(grant_id: str, amount: str, **more: Any) -> StoredGrant:
    """Promotional credit."""
    return stored(grant(grant_id, amount, kind="promotional", cost_basis="0", **more))


def settled(billed: Invoice, *grants: StoredGrant) -> Invoice:
    """The invoice with the credit it takes."""
    return CreditAccount(list(grants)).draw(billed, past=None, entry_date=date(2026, 2, 1))


@dataclass(slots=True)
class Account:
    """A customer's credit in memory: entries are added, what is left is what they leave."""

    grants: dict[str, StoredGrant] = field(default_factory=dict)
    entries: list[CreditEntry] = field(default_factory=list)

    def give(self, entry: CreditGrant, *, kind: Any = "granted") -> None:
        known = stored(entry)
        self.grants[entry.grant_id] = known
        self.entries.append(
            CreditEntry(entry.grant_id, kind, entry.effective_from, known.amount_minor, known.cost_minor)
        )

    def remaining(self) -> dict[str, int]:
        left = dict.fromkeys(self.grants, 0)
        for entry in self.entries:
            left[entry.grant_id] += entry.amount_minor
        return left

    def bill(self, billed: Invoice, *, issued_on: date) -> list[Draw]:
        left = self.remaining()
        draws = draw_credit(billed, list(self.grants.values()), remaining=left)
        self.entries += drawn_entries(
            draws, remaining=left, invoice_id=billed.invoice_id, entry_date=issued_on
        )
        return draws

    def void(self, grant_id: str, *, on: date) -> None:
        left = self.remaining()[grant_id]
        known = self.grants[grant_id]
        if left:
            amount, cost = taking(known, left, remaining_minor=left)
            dated = max(on, known.grant.effective_from)
            self.entries.append(CreditEntry(grant_id, "voided", dated, amount, cost, reason="test"))

    def expire(self, *, as_of: date) -> None:
        for grant_id, known in list(self.grants.items()):
            expires_on = known.grant.expires_on
            if expires_on is None or expires_on > as_of:
                continue
            lapse = lapse_of(replace(known, remaining_minor=self.remaining()[grant_id]))
            self.entries += lapse.entries
            if lapse.rolled_over is not None:
                self.give(lapse.rolled_over.grant, kind="rolled_in")

    def balance(self, day: date) -> CreditBalance:
        return balance_on(self.entries, day)

    def days(self) -> list[date]:
        """Every day on which something changes, the day before and the day after."""
        dated = {entry.entry_date for entry in self.entries}
        around = {day + timedelta(days=step) for day in dated for step in (-1, 0, 1)}
        return sorted(around)


def invoices_of(billed: Billed) -> Iterator[Invoice]:
    """One a billing date, as a run drafts them."""
    contract = billed.contract
    row = contract_row(
        contract.contract_id,
        plan_id=contract.plan_id,
        start_date=contract.start_date,
        end_date=contract.end_date,
        cadence=contract.billing.cadence,
        anchor_date=contract.billing.anchor_date,
    )
    context = DraftContext(
        contracts={contract.contract_id: row},
        customers={"acme": (1, '{"customer_id":"acme","name":"Acme"}')},
        terms={contract.contract_id: '{"payment_days":30}'},
        seller="null",
        plan_versions=agreed_versions(
            versions(*billed.plans.values()), agreed_segments(contract), billed.agreements
        ),
        agreements=billed.agreements,
    )
    for draft in draft_invoices(lines=billed.rated.lines, context=context):
        yield parse_invoice(draft.text(number=None, issue_date=None))


def credit_story(case: Mapping[str, Any]) -> list[str]:
    """A contract's invoices and what becomes of its customer's credit, a line each.

    credits: documents of grants, ids and words filled in. An invoice is issued on its billing date; then
    what has expired by that day lapses.
    """
    account = Account()
    for document in case.get("credits", ()):
        given = {"customer_id": "acme", "name": document["grant_id"], "currency": "EUR", **document}
        account.give(validate_document(CreditGrant, given, what="credit", rules=credit_rules))
    told = []
    contract_billed = bill(case)
    plans = {(plan.plan_id, number): plan for number, plan in contract_billed.plans.items()}
    for billed in invoices_of(contract_billed):
        for sold in sold_by(billed, contract_billed.contract, plans, customer_id="acme"):
            account.give(sold.grant)
        draws = account.bill(billed, issued_on=billed.billing_date)
        drawn = "".join(f", {draw.grant.grant.grant_id} {_cents(draw.amount_minor)}" for draw in draws)
        due = billed.total_minor - sum(draw.amount_minor for draw in draws)
        told.append(f"{billed.billing_date} total {_cents(billed.total_minor)}{drawn}, due {_cents(due)}")
        before = len(account.entries)
        account.expire(as_of=billed.billing_date)
        told += [
            f"{entry.entry_date} {entry.kind} {entry.grant_id} {_cents(abs(entry.amount_minor))}"
            for entry in account.entries[before:]
        ]
    return told


def _cents(amount_minor: int) -> str:
    return f"{Decimal(amount_minor).scaleb(-2):.2f}"
