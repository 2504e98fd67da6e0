"""Changes how a customer is billed, from its next period on, as an answer to how it pays.

``advance``: a retainer, so that what is billed in arrears is paid before each period. ``deposit``: the same
once, which later bills draw down. ``shorter_terms``: fewer days to pay. ``regular``: no payment in advance
any more. All contracts of the customer in one transaction, with the reason in the audit trail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

from pydantic import Field
from sqlalchemy import Connection, Engine, select

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.errors import Conflict, InvalidDocument, InvalidInput, Issue
from ingest.ledger import ledger_transaction
from ingest.meter import Key
from invoicing.audit_saved import entered_by
from invoicing.audit_trail import Change, record_changes
from invoicing.customer_store import get_customer
from invoicing.invoice import parse_invoice
from invoicing.payer_rules import contract_issues
from invoicing.tables import INVOICES
from rating.agreement_dates import plan_on
from rating.catalogue import get_plan_in_force
from rating.contract import Contract
from rating.contract_store import save_contracts_in
from rating.entitlement_store import find_contracts
from rating.money import minor_to_decimal
from rating.retainer import CarryOver, DatedRetainer
from rollup.period import billing_boundaries, find_time_zone

Mode = Literal["deposit", "advance", "shorter_terms", "regular"]
RETAINER_IDS: Final = {"deposit": "deposit", "advance": "payment-in-advance"}
"""The retainers that a switch makes."""
INVOICES_AVERAGED: Final = 3
STRUCTURE_OBJECT: Final = "customer"
_NAMES: Final = {"deposit": "Deposit", "advance": "Payment in advance"}
_LOOK: Final = timedelta(days=800)
"""Longer than any cadence."""


class StructureChange(Document):
    """contract_ids: these alone; none named: all that run. amount: of a deposit or advance, net, in major
    units of the contract's currency; left out, the average of what its last three invoices billed in arrears.
    payment_days: of ``shorter_terms``."""

    mode: Mode
    contract_ids: tuple[Key, ...] = ()
    amount: ExactDecimal | None = None
    payment_days: int | None = Field(default=None, ge=0, le=365)
    reason: str = Field(min_length=1, max_length=1024)


@dataclass(frozen=True, slots=True)
class ChangedStructure:
    """What became of one contract. effective_from: the first day of its next billing period; shorter terms
    hold for every invoice issued from now on. changed: False when it was so already."""

    contract_id: str
    version: int
    changed: bool
    effective_from: date
    amount: Decimal | None
    payment_days: int


def structure_issues(wanted: StructureChange) -> Iterator[Issue]:
    """What a change must keep beyond its field types."""
    sells = wanted.mode in RETAINER_IDS
    if wanted.amount is not None and (not sells or wanted.amount <= 0):
        words = f"The mode is {wanted.mode} and the amount {decimal_text(wanted.amount)}."
        yield Issue(
            "structure_amount", "amount", words, "an amount above 0 of a deposit or advance, or none."
        )
    if (wanted.mode == "shorter_terms") != (wanted.payment_days is not None):
        words = f"The mode is {wanted.mode} and payment_days {wanted.payment_days}."
        yield Issue(
            "structure_days", "payment_days", words, "payment_days with shorter_terms, and only there."
        )


def change_structure(
    ledger: Engine, customer_id: str, wanted: StructureChange, *, actor: str, now: datetime
) -> list[ChangedStructure]:
    """Switch every contract that runs, or those named; all of them or none. Again changes nothing.

    Raises InvalidDocument, NotFound for the customer, InvalidInput without invoices to take an amount from,
    Conflict when no contract runs on into another period, or one named does not.
    """
    issues = list(structure_issues(wanted))
    if issues:
        raise InvalidDocument("the change of the billing structure", issues)
    get_customer(ledger, customer_id)
    with ledger_transaction(ledger) as connection:
        contracts = _chosen(ledger, customer_id, wanted, now)
        made = [_changed(ledger, connection, contract, wanted, now) for contract in contracts]
        saved = save_contracts_in(
            ledger,
            connection,
            [contract for contract, _ in made],
            now=now,
            further_rules=contract_issues,
            entered=entered_by(actor, "contract", now=now),
        )
        found = [
            ChangedStructure(
                contract_id=contract.contract_id,
                version=one.version,
                changed=one.created,
                effective_from=_next_period(before, now),
                amount=amount,
                payment_days=contract.terms.payment_days,
            )
            for before, (contract, amount), one in zip(contracts, made, saved, strict=True)
        ]
        record_changes(connection, list(_entries(customer_id, wanted, found, actor)), now=now)
    return found


def _entries(
    customer_id: str, wanted: StructureChange, found: Sequence[ChangedStructure], actor: str
) -> Iterator[Change]:
    changed = [one for one in found if one.changed]
    if changed:
        after = {
            "mode": wanted.mode,
            "contracts": {one.contract_id: one.version for one in changed},
            "effective_from": {one.contract_id: one.effective_from.isoformat() for one in changed},
        }
        yield Change(actor, "billing_switched", STRUCTURE_OBJECT, customer_id, None, after, wanted.reason)


def _chosen(ledger: Engine, customer_id: str, wanted: StructureChange, now: datetime) -> list[Contract]:
    contracts = find_contracts(ledger, customer_id=customer_id)
    going_on = [contract for contract in contracts if _goes_on(contract, now)]
    known = {contract.contract_id for contract in going_on}
    missing = sorted(set(wanted.contract_ids) - known)
    if missing or not going_on:
        named = ", ".join(missing) or "none"
        raise Conflict(
            f"customer {customer_id!r} has no contract that goes on into another period under: {named}. "
            f"Those that do: {', '.join(sorted(known)) or 'none'}.",
            reason_code="no_next_period",
        )
    return [one for one in going_on if not wanted.contract_ids or one.contract_id in wanted.contract_ids]


def _goes_on(contract: Contract, now: datetime) -> bool:
    return contract.end_date is None or _next_period(contract, now) < contract.end_date


def _next_period(contract: Contract, now: datetime) -> date:
    """The first day of the next billing period; of a contract that begins later, its own."""
    today = now.astimezone(find_time_zone(contract.time_zone)).date()
    return contract.start_date if today < contract.start_date else _boundary_after(contract, today)


def _boundary_after(contract: Contract, day: date) -> date:
    edges = billing_boundaries(
        cadence=contract.billing.interval,
        anchor_date=contract.billing.anchor_date or contract.start_date,
        first=day,
        last=day + _LOOK,
    )
    return min(edge for edge in edges if edge > day)


def _changed(
    ledger: Engine, connection: Connection, contract: Contract, wanted: StructureChange, now: datetime
) -> tuple[Contract, Decimal | None]:
    """The contract as it shall be, and what is paid in advance."""
    first = _next_period(contract, now)
    if wanted.mode == "shorter_terms":
        terms = contract.terms.model_copy(update={"payment_days": wanted.payment_days})
        return contract.model_copy(update={"terms": terms}), None
    if wanted.mode == "regular":
        return contract.model_copy(update={"retainers": tuple(_until(contract, first))}), None
    standing = _standing(contract, wanted, first)
    if standing is not None:
        return contract, standing.amount
    charge_ids = _in_arrears(ledger, contract, first)
    amount = wanted.amount or _average(connection, contract.contract_id, charge_ids)
    until = _boundary_after(contract, first) if wanted.mode == "deposit" else None
    if until is not None and contract.end_date is not None:
        until = min(until, contract.end_date)
    made = DatedRetainer(
        retainer_id=RETAINER_IDS[wanted.mode],
        name=_NAMES[wanted.mode],
        amount=amount,
        charge_ids=charge_ids,
        carry_over=CarryOver(),
        effective_from=first,
        effective_until=until,
    )
    return contract.model_copy(update={"retainers": (*contract.retainers, made)}), amount


def _until(contract: Contract, first: date) -> Iterator[DatedRetainer]:
    """The retainers with those of a switch ended before ``first``."""
    for entry in contract.retainers:
        ended = entry.effective_until is not None and entry.effective_until <= first
        if entry.retainer_id not in RETAINER_IDS.values() or ended:
            yield entry
        elif entry.effective_from is None or entry.effective_from < first:
            yield entry.model_copy(update={"effective_until": first})


def _in_arrears(ledger: Engine, contract: Contract, day: date) -> tuple[str, ...]:
    """What a payment in advance pays for: the charges of the plan that are billed once they were had. A fee
    that is billed in advance anyway would use it up on the invoice that sells it."""
    plan = get_plan_in_force(ledger, plan_on(contract, day), on=day).plan
    found = tuple(
        charge.charge_id
        for charge in plan.charges
        if charge.timing == "arrears" and charge.kind != "one_time"
    )
    if not found:
        raise Conflict(
            f"contract {contract.contract_id!r} has nothing that is billed in arrears: its plan asks for "
            "all of it in advance already. Shorten its terms, or issue a deposit invoice for an order.",
            reason_code="nothing_in_arrears",
        )
    return found


def _standing(contract: Contract, wanted: StructureChange, first: date) -> DatedRetainer | None:
    """The same that holds from then on already. Raises Conflict when it is for another amount."""
    for entry in contract.retainers:
        if entry.retainer_id == RETAINER_IDS[wanted.mode] and entry.holds_on(first):
            if wanted.amount not in (None, entry.amount):
                raise Conflict(
                    f"contract {contract.contract_id!r} pays {decimal_text(entry.amount)} in advance already "
                    f"({entry.retainer_id}). Switch to regular first, or change the contract itself.",
                    reason_code="structure_stands",
                )
            return entry
    return None


def _average(connection: Connection, contract_id: str, charge_ids: Sequence[str]) -> Decimal:
    """The net average of what the contract's last issued invoices billed for these charges, rounded up to a
    minor unit."""
    columns = INVOICES.c
    statement = (
        select(columns.document)
        .where(columns.contract_id == contract_id, columns.state == "issued")
        .order_by(columns.billing_date.desc())
        .limit(INVOICES_AVERAGED)
    )
    invoices = [parse_invoice(text) for text in connection.execute(statement).scalars()]
    billed = [
        line.amount_minor for invoice in invoices for line in invoice.lines if line.charge_id in charge_ids
    ]
    if sum(billed) <= 0:
        raise InvalidInput(
            f"contract {contract_id!r} has no issued invoice to take the amount from. Say the amount.",
            reason_code="structure_amount",
        )
    return minor_to_decimal(-(-sum(billed) // len(invoices)), invoices[0].currency)
