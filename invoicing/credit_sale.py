"""The credit an invoice sells: each retainer line on it buys a grant for the days it pays for.

What a retainer is worth stands in the version of the contract that the invoice names, so a draft that is
issued later sells what it was drafted with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection, select

from ingest.document import plain
from ingest.errors import BrokenState
from invoicing.billed_time import load_versions_of
from invoicing.bulk import select_by_ids
from invoicing.credit import CreditGrant, Rollover, StoredGrant
from invoicing.invoice import Invoice, InvoiceLine
from rating.contract import Contract
from rating.price_plan import PricePlan
from rating.retainer import DatedRetainer, sells_credit
from rating.tables import CONTRACT_VERSIONS

_ID_LENGTH_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class SaleTerms:
    """What invoices may sell credit by. contracts: by id and version; plans: by id and version."""

    contracts: Mapping[tuple[str, int], Contract]
    plans: Mapping[tuple[str, int], PricePlan]

    def sold_by(self, invoice: Invoice, *, customer_id: str) -> list[StoredGrant]:
        """The grants the invoice's retainer lines buy, not entered yet."""
        if not any(sells_credit(line.charge_id) for line in invoice.lines):
            return []
        contract = self.contracts[_contract_key(invoice)]
        return sold_by(invoice, contract, self.plans, customer_id=customer_id)


def load_sale_terms(connection: Connection, invoices: Sequence[Invoice]) -> SaleTerms:
    """Read what the invoices name, of those that sell credit."""
    selling = [invoice for invoice in invoices if any(sells_credit(line.charge_id) for line in invoice.lines)]
    if not selling:
        return SaleTerms({}, {})
    keys = {_contract_key(invoice) for invoice in selling}
    statement = select(
        CONTRACT_VERSIONS.c.contract_id, CONTRACT_VERSIONS.c.version, CONTRACT_VERSIONS.c.document
    )
    ids = sorted({contract_id for contract_id, _ in keys})
    contracts = {
        (row[0], row[1]): Contract.model_validate_json(row[2])
        for row in select_by_ids(connection, statement, CONTRACT_VERSIONS.c.contract_id, ids)
        if (row[0], row[1]) in keys
    }
    named = {
        (line.plan_id, line.plan_version)
        for invoice in selling
        for line in invoice.lines
        if sells_credit(line.charge_id)
    }
    plans = {
        (entry.plan.plan_id, entry.version): entry.plan
        for entry in load_versions_of(connection, sorted({plan_id for plan_id, _ in named}))
    }
    return SaleTerms(contracts, plans)


def _contract_key(invoice: Invoice) -> tuple[str, int]:
    return str(invoice.contract["contract_id"]), int(invoice.contract["version"])


def sold_by(
    invoice: Invoice, contract: Contract, plans: Mapping[tuple[str, int], PricePlan], *, customer_id: str
) -> list[StoredGrant]:
    """The grants the invoice's retainer lines buy. Pure. contract: the version the invoice names. plans:
    those its retainer lines name. What comes to nothing because of a trial or a discount buys nothing, and
    an adjustment of such a line only puts its price right: its credit was sold when it was billed."""
    found = []
    for line in invoice.lines:
        if not sells_credit(line.charge_id) or line.adjusts is not None:
            continue
        retainer = _retainer_of(line, contract)
        plan = plans[line.plan_id, line.plan_version]
        minor = retainer.credit_minor(
            plan, days=line.days, full_days=line.full_days, digits=invoice.minor_digits
        )
        if not minor or (line.amount_minor <= 0 and retainer.amount > 0):
            continue
        cost = min(max(line.amount_minor, 0), minor)
        found.append(
            StoredGrant(
                grant=_grant(line, retainer, invoice, customer_id=customer_id, minor=minor, cost=cost),
                amount_minor=minor,
                cost_minor=cost,
                remaining_minor=minor,
                origin="retainer",
                origin_id=line.line_id,
                created_at="",
            )
        )
    return found


def _grant(
    line: InvoiceLine,
    retainer: DatedRetainer,
    invoice: Invoice,
    *,
    customer_id: str,
    minor: int,
    cost: int,
) -> CreditGrant:
    contract_id, carry = str(invoice.contract["contract_id"]), retainer.carry_over
    rollover = None
    if carry is not None:
        ends = None if carry.days is None else line.period_end + timedelta(days=carry.days)
        rollover = Rollover(maximum=carry.maximum, expires_on=ends)
    return CreditGrant(
        grant_id=retainer_grant_id(contract_id, retainer.retainer_id, line.period_start.isoformat()),
        customer_id=customer_id,
        name=retainer.name,
        kind="retainer",
        currency=invoice.currency,
        amount=_amount(minor, invoice),
        cost_basis=_amount(cost, invoice),
        priority=retainer.priority,
        effective_from=line.period_start,
        expires_on=line.period_end,
        contract_ids=(contract_id,),
        charge_ids=retainer.charge_ids,
        rollover=rollover,
    )


def _amount(minor: int, invoice: Invoice) -> Decimal:
    return plain(Decimal(minor).scaleb(-invoice.minor_digits))


def retainer_grant_id(contract_id: str, retainer_id: str, period_start: str) -> str:
    """``acme-2026:support:2026-01-01``; a hash when that is too long for an id."""
    named = f"{contract_id}:{retainer_id}:{period_start}"
    return (
        named
        if len(named) <= _ID_LENGTH_MAX - len(":rollover")
        else hashlib.sha256(named.encode()).hexdigest()
    )


def _retainer_of(line: InvoiceLine, contract: Contract) -> DatedRetainer:
    for entry in contract.retainers:
        if entry.charge_id == line.charge_id and entry.holds_on(line.period_start):
            return entry
    raise BrokenState(
        f"line {line.line_id} is the price of {line.charge_id!r}, and contract {contract.contract_id!r} has "
        f"no such retainer on {line.period_start}. Restore the ledger the invoice was drafted with."
    )
