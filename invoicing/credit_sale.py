"""The credit an invoice sells: each retainer line on it buys a grant for the days it pays for.

What a retainer is worth stands in the version of the contract that the invoice names, so a draft that is
issued later sells what it was drafted with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, select

from ingest.errors import BrokenState
from invoicing.billed_time import load_contract_versions
from invoicing.credit import CreditGrant, Rollover, StoredGrant
from invoicing.credit_store import amount_of
from invoicing.invoice import Invoice, InvoiceLine
from rating.contract import Contract
from rating.price_plan import PricePlan
from rating.retainer import DatedRetainer, sells_credit
from rating.tables import PRICE_PLAN_VERSIONS

_ID_LENGTH_MAX: Final = 128


def sold_credit(connection: Connection, invoice: Invoice, *, customer_id: str) -> list[StoredGrant]:
    """The grants the invoice's retainer lines buy, not entered yet. Read only.

    A retainer that comes to nothing because of a trial or a discount buys nothing.
    """
    lines = [line for line in invoice.lines if sells_credit(line.charge_id)]
    if not lines:
        return []
    contract_id, version = str(invoice.contract["contract_id"]), int(invoice.contract["version"])
    contract = load_contract_versions(connection, {contract_id: version})[contract_id]
    plans = _plans(connection, lines)
    return sold_by(invoice, contract, plans, customer_id=customer_id)


def sold_by(
    invoice: Invoice, contract: Contract, plans: Mapping[tuple[str, int], PricePlan], *, customer_id: str
) -> list[StoredGrant]:
    """The same from what was read. Pure. contract: the version the invoice names. plans: those its retainer
    lines name, by id and version."""
    found = []
    for line in invoice.lines:
        if not sells_credit(line.charge_id):
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
        amount=amount_of(minor, invoice.currency),
        cost_basis=amount_of(cost, invoice.currency),
        priority=retainer.priority,
        effective_from=line.period_start,
        expires_on=line.period_end,
        contract_ids=(contract_id,),
        charge_ids=retainer.charge_ids,
        rollover=rollover,
    )


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


def _plans(connection: Connection, lines: Sequence[InvoiceLine]) -> dict[tuple[str, int], PricePlan]:
    table = PRICE_PLAN_VERSIONS
    found = {}
    for plan_id, version in sorted({(line.plan_id, line.plan_version) for line in lines}):
        text = connection.execute(
            select(table.c.document).where(table.c.plan_id == plan_id, table.c.version == version)
        ).scalar_one()
        found[plan_id, version] = PricePlan.model_validate_json(text)
    return found
