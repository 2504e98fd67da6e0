"""How a retainer was used: by period and by group key, what is left, what was carried, what went beyond.

It reads issued invoices and entries of credit only, and everything ties: what is used is what the invoice
lines come to, and used + tax = drawn + overage: a retainer pays what a line comes to with its tax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, select

from ingest.document import decimal_text
from invoicing.credit import CreditEntry, StoredGrant
from invoicing.credit_draw import service_day
from invoicing.credit_store import entries_of, grants_of_customer
from invoicing.invoice import Invoice, InvoiceLine, parse_invoice
from invoicing.tables import INVOICES
from invoicing.tax_amounts import gross_of_lines
from rating.contract import Contract
from rating.contract_store import get_contract
from rating.retainer import RETAINER_PREFIX, DatedRetainer, sells_credit


@dataclass(frozen=True, slots=True)
class RetainerUse:
    """What was used under one value of the group key. amount_minor: net of tax; tax_minor: the tax on it.
    drawn_minor: paid by the retainer, this period's or carried over. overage_minor: the rest of both, which
    other credit may have paid."""

    key: str
    quantity: Decimal
    unit: str
    amount_minor: int
    tax_minor: int
    drawn_minor: int
    overage_minor: int


@dataclass(frozen=True, slots=True)
class RetainerPeriod:
    """One period of one retainer, minor units; dates are local, half-open.

    remaining_minor: of this period's own credit, before what is left is carried over (carried_over_minor)
    or lapses (lapsed_minor). carried_in_minor: what earlier periods left to this one. billed: whether the
    usage of the period is billed yet; if not, nothing is drawn so far.
    """

    contract_id: str
    retainer_id: str
    period_start: date
    period_end: date
    currency: str
    granted_minor: int
    carried_in_minor: int
    used: tuple[RetainerUse, ...]
    used_minor: int
    tax_minor: int
    drawn_minor: int
    overage_minor: int
    remaining_minor: int
    carried_over_minor: int
    lapsed_minor: int
    billed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; quantities as text."""
        plain = asdict(self)
        plain["used"] = [{**row, "quantity": decimal_text(row["quantity"])} for row in plain["used"]]
        return plain


def retainer_statement(ledger: Engine, contract_id: str) -> list[RetainerPeriod]:
    """Every period that a retainer of the contract was paid for, by time. Raises NotFound for an unknown
    contract."""
    contract = get_contract(ledger, contract_id)
    table = INVOICES
    statement = select(table.c.document).where(table.c.contract_id == contract_id, table.c.state == "issued")
    with ledger.connect() as connection:
        texts = connection.execute(statement.order_by(table.c.billing_date)).scalars().all()
    invoices = [parse_invoice(text) for text in texts]
    grants = [
        stored
        for stored in grants_of_customer(ledger, contract.customer_id)
        if stored.grant.kind == "retainer" and stored.grant.contract_ids == (contract_id,)
    ]
    entries = entries_of(ledger, [stored.grant.grant_id for stored in grants])
    return statement_of(contract, invoices, grants, entries)


def statement_of(
    contract: Contract,
    invoices: Sequence[Invoice],
    grants: Sequence[StoredGrant],
    entries: Sequence[CreditEntry],
) -> list[RetainerPeriod]:
    """The same from what was read. Pure. grants, entries: of the contract's retainers, rollovers too."""
    sold = {
        line.line_id: line for invoice in invoices for line in invoice.lines if sells_credit(line.charge_id)
    }
    periods = []
    for stored in grants:
        line = sold.get(stored.origin_id or "") if stored.origin == "retainer" else None
        if line is not None:
            retainer = _retainer_of(line, contract)
            periods.append(_period(stored, line, retainer, contract, invoices, grants, entries))
    return sorted(periods, key=lambda period: (period.period_start, period.retainer_id))


def _period(
    stored: StoredGrant,
    line: InvoiceLine,
    retainer: DatedRetainer | None,
    contract: Contract,
    invoices: Sequence[Invoice],
    grants: Sequence[StoredGrant],
    entries: Sequence[CreditEntry],
) -> RetainerPeriod:
    retainer_id = line.charge_id.removeprefix(RETAINER_PREFIX)
    family = _family(stored, grants, retainer_id, contract.contract_id)
    drawn = _drawn_by_line(entries, family)
    lines = _used_lines(stored, line, invoices)
    by = retainer.statement_by if retainer is not None else ""
    used = _uses(lines, drawn, by)
    own = [entry for entry in entries if entry.grant_id == stored.grant.grant_id]
    sums = {kind: -sum(entry.amount_minor for entry in own if entry.kind == kind) for kind in _GONE}
    return RetainerPeriod(
        contract_id=contract.contract_id,
        retainer_id=retainer_id,
        period_start=line.period_start,
        period_end=line.period_end,
        currency=stored.grant.currency,
        granted_minor=stored.amount_minor,
        carried_in_minor=_carried_in(family, entries, invoices, line.period_start),
        used=used,
        used_minor=sum(row.amount_minor for row in used),
        tax_minor=sum(row.tax_minor for row in used),
        drawn_minor=sum(row.drawn_minor for row in used),
        overage_minor=sum(row.overage_minor for row in used),
        remaining_minor=stored.amount_minor - sums["drawn"] - sums["returned"] - sums["voided"],
        carried_over_minor=sums["rolled_over"],
        lapsed_minor=sums["expired"],
        billed=any(invoice.billing_date >= line.period_end for invoice in invoices),
    )


_GONE = ("drawn", "returned", "voided", "rolled_over", "expired")


def _family(
    stored: StoredGrant, grants: Sequence[StoredGrant], retainer_id: str, contract_id: str
) -> dict[str, StoredGrant]:
    """The period's grant and the rollovers of the same retainer's other periods, by id."""
    prefix = f"{contract_id}:{retainer_id}:"
    rollovers = (
        each for each in grants if each.origin == "rollover" and (each.origin_id or "").startswith(prefix)
    )
    return {each.grant.grant_id: each for each in (stored, *rollovers)}


def _drawn_by_line(entries: Sequence[CreditEntry], family: Mapping[str, StoredGrant]) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in entries:
        if entry.kind in ("drawn", "returned") and entry.grant_id in family:
            for line_id, amount in entry.lines:
                found[line_id] = found.get(line_id, 0) + amount
    return found


def _used_lines(
    stored: StoredGrant, sold: InvoiceLine, invoices: Sequence[Invoice]
) -> list[tuple[InvoiceLine, int]]:
    """The lines of the period that the retainer may pay for, each with what it comes to with its tax."""
    return [
        (line, gross_minor)
        for invoice in invoices
        for line, gross_minor in zip(invoice.lines, gross_of_lines(invoice), strict=True)
        if not sells_credit(line.charge_id)
        and (not stored.grant.charge_ids or line.charge_id in stored.grant.charge_ids)
        and sold.period_start <= service_day(line, invoice) < sold.period_end
    ]


def _uses(
    lines: Sequence[tuple[InvoiceLine, int]], drawn: Mapping[str, int], by: str
) -> tuple[RetainerUse, ...]:
    groups: dict[tuple[str, str], list[tuple[InvoiceLine, int]]] = {}
    for line, gross_minor in lines:
        key = line.dimensions.get(by, "") if by else line.charge_id
        groups.setdefault((key, line.unit), []).append((line, gross_minor))
    uses = []
    for (key, unit), members in sorted(groups.items()):
        amount = sum(line.amount_minor for line, _ in members)
        gross = sum(gross_minor for _, gross_minor in members)
        paid = sum(drawn.get(line.line_id, 0) for line, _ in members)
        quantity = sum((_quantity_added(line) for line, _ in members), Decimal(0))
        uses.append(RetainerUse(key, quantity, unit, amount, gross - amount, paid, gross - paid))
    return tuple(uses)


def _carried_in(
    family: Mapping[str, StoredGrant],
    entries: Sequence[CreditEntry],
    invoices: Sequence[Invoice],
    start: date,
) -> int:
    """What rollovers hold when the period begins: rolled in by then, less what went by then and what usage of
    earlier days took, whenever it was billed."""
    rollovers = {key for key, each in family.items() if each.origin == "rollover"}
    earlier = {
        line.line_id for invoice in invoices for line in invoice.lines if service_day(line, invoice) < start
    }
    held = 0
    for entry in entries:
        if entry.grant_id not in rollovers:
            continue
        if entry.kind == "drawn":
            held -= sum(amount for line_id, amount in entry.lines if line_id in earlier)
        elif entry.entry_date <= start:
            held += entry.amount_minor
    return held


def _retainer_of(line: InvoiceLine, contract: Contract) -> DatedRetainer | None:
    for entry in contract.retainers:
        if entry.charge_id == line.charge_id and entry.holds_on(line.period_start):
            return entry
    return None


def _quantity_added(line: InvoiceLine) -> Decimal:
    """The quantity of a line; of an adjustment, which has that of now, what it adds to what was billed."""
    return line.quantity if line.adjusts is None else line.quantity - line.adjusts.billed_quantity
