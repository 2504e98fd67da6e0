"""The bill of a customer at any moment: what the next invoices of its contracts come to, and what is open.

Every part is the one of its own question: ``preview_contract`` and ``outstanding``. Nothing is stored.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.errors import Conflict, NotFound
from invoicing.customer_find import FoundCustomer
from invoicing.invoice import Invoice
from invoicing.outstanding import OutstandingDocument, outstanding
from invoicing.preview import preview_contract
from invoicing.settings import Seller
from rating.contract import Contract
from rating.contract_period import runs_on
from rating.entitlement_store import find_contracts
from rollup.period import find_time_zone


@dataclass(frozen=True, slots=True)
class HeldBill:
    """A contract that would be held, not billed, and why."""

    contract_id: str
    reason_code: str
    message: str


@dataclass(frozen=True, slots=True)
class BillTotal:
    """Of one currency, minor units with tax: what the bills come to after prepaid credit, what is open of
    documents that are issued, and both."""

    currency: str
    bills_minor: int
    open_minor: int
    total_minor: int


@dataclass(frozen=True, slots=True)
class CurrentBill:
    """bills: by contract; those with a line, or whose contract runs now."""

    found: FoundCustomer
    as_of: datetime
    bills: tuple[Invoice, ...]
    held: tuple[HeldBill, ...]
    open_documents: tuple[OutstandingDocument, ...]
    totals: tuple[BillTotal, ...]


def current_bill(
    found: FoundCustomer,
    *,
    contract_id: str | None,
    at: datetime,
    event_store: EventStore,
    ledger: Engine,
    seller: Seller | None,
) -> CurrentBill:
    """The bill at ``at``, with usage before it. contract_id: this contract alone. A contract that would be
    held keeps no other from being shown. Raises NotFound for a contract that the customer does not have."""
    customer_id = found.customer.customer_id
    contracts = find_contracts(ledger, customer_id=customer_id, contract_id=contract_id)
    if contract_id is not None and not contracts:
        raise NotFound(
            f"customer {customer_id!r} has no contract {contract_id!r}. `ratemill customer now "
            f"{customer_id}` shows those it has."
        )
    bills: list[Invoice] = []
    held: list[HeldBill] = []
    for contract in contracts:
        try:
            bill = preview_contract(
                contract_id=contract.contract_id,
                at=at,
                event_store=event_store,
                ledger=ledger,
                seller=seller,
            )
        except Conflict as error:
            held.append(HeldBill(contract.contract_id, error.reason_code, str(error)))
            continue
        if bill.lines or _runs(contract, at):
            bills.append(bill)
    owed = outstanding(ledger, as_of=at.date(), customer_id=customer_id).documents
    documents = tuple(each for each in owed if contract_id in (None, each.contract_id))
    return CurrentBill(found, at, tuple(bills), tuple(held), documents, tuple(_totals(bills, documents)))


def _runs(contract: Contract, at: datetime) -> bool:
    return runs_on(contract, at.astimezone(find_time_zone(contract.time_zone)).date())


def _totals(bills: list[Invoice], documents: tuple[OutstandingDocument, ...]) -> list[BillTotal]:
    due: Counter[str] = Counter()
    still_open: Counter[str] = Counter()
    for bill in bills:
        due[bill.currency] += bill.due_minor
    for each in documents:
        still_open[each.currency] += each.open_minor
    return [
        BillTotal(currency, due[currency], still_open[currency], due[currency] + still_open[currency])
        for currency in sorted({*due, *still_open})
    ]
