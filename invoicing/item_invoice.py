"""Invoices for items outside the billing dates: planned for a day, cancelled before it, never issued earlier.

Planning takes the open items that fit and keeps every other invoice from billing them. The day comes by the
clock of the contract; from then on the next look of the scheduler, or the next billing run, issues it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from pydantic import Field
from sqlalchemy import Connection, Engine, Row, insert, select, update

from ingest.document import Document
from ingest.errors import Conflict, InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from ingest.meter import Key
from invoicing.audit_trail import Change, record_changes
from invoicing.billable_due import ContractFacts, OwnedItem, contracts_named, open_items_of
from invoicing.billable_item import ItemSource
from invoicing.billable_tables import BILLABLE_ITEMS, ITEM_INVOICES
from invoicing.tables import BESIDE
from rollup.period import find_time_zone

SCHEDULED: Final = "scheduled"
INVOICED: Final = "invoiced"
CANCELLED: Final = "cancelled"
ITEM_INVOICE_OBJECT: Final = "item_invoice"
"""What the audit trail calls them."""
_ID_LENGTH: Final = 16
_PREFIX: Final = "items-"


class ItemInvoiceRequest(Document):
    """Which open items, and when. One of contract_id and customer_id: of a customer each contract gets an
    invoice of its own. Left out are items after ``through``. invoice_on: the contract's local day from which
    it is due; left out, today. as_draft: leave it without a number, to be looked at and issued by hand."""

    contract_id: Key | None = None
    customer_id: Key | None = None
    source: ItemSource | None = None
    project: str | None = Field(default=None, min_length=1, max_length=256)
    through: date | None = None
    invoice_on: date | None = None
    as_draft: bool = False


@dataclass(frozen=True, slots=True)
class ItemInvoice:
    """state: scheduled, invoiced or cancelled. reason: why it was cancelled. invoice_id: once it is
    invoiced."""

    item_invoice_id: str
    contract_id: str
    invoice_on: date
    state: str
    as_draft: bool
    invoice_id: str | None
    reason: str
    actor: str
    created_at: str
    items: int

    @property
    def owner(self) -> str:
        """Its key among invoices and rated lines."""
        return f"{self.contract_id}{BESIDE}{_PREFIX}{self.item_invoice_id}"

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def item_invoice_of(owner: str) -> str:
    """The item invoice whose key that is."""
    return owner.partition(BESIDE)[2].removeprefix(_PREFIX)


def plan_item_invoices(
    ledger: Engine, request: ItemInvoiceRequest, *, actor: str, now: datetime
) -> list[ItemInvoice]:
    """Plan one invoice a contract for the open items that fit and wait for no other. Raises InvalidInput
    when the request names nobody or both, or nothing fits."""
    if (request.contract_id is None) == (request.customer_id is None):
        raise InvalidInput(
            "The request names both a contract and a customer, or neither. Name one.",
            reason_code="item_invoice_owner",
        )
    planned = []
    with ledger_transaction(ledger) as connection:
        found = _fitting(connection, request)
        if not found:
            raise InvalidInput(
                "No open item fits, so there is nothing to invoice. `ratemill items list --state open` shows "
                "what is open; items that wait for another invoice of their own are not taken twice.",
                reason_code="no_items",
            )
        changes = []
        for contract, items in found:
            today = now.astimezone(find_time_zone(contract.time_zone)).date()
            one = _planned(contract, items, request, on=request.invoice_on or today, actor=actor, now=now)
            _write(connection, one, [owned.stored.item_id for owned in items], now=now)
            after = {"contract_id": one.contract_id, "invoice_on": one.invoice_on, "items": one.items}
            changes.append(
                Change(actor, SCHEDULED, ITEM_INVOICE_OBJECT, one.item_invoice_id, None, after, "")
            )
            planned.append(one)
        record_changes(connection, changes, now=now)
    return planned


def cancel_item_invoice(
    ledger: Engine, item_invoice_id: str, *, reason: str, actor: str, now: datetime
) -> ItemInvoice:
    """Let its items go: they are billed with the contract's next invoice again. Raises NotFound, InvalidInput
    without a reason, Conflict when it is invoiced or cancelled already."""
    if not reason.strip():
        raise InvalidInput(
            "Nothing says why the invoice is cancelled. Give a reason; it stays on record.",
            reason_code="reason_missing",
        )
    with ledger_transaction(ledger) as connection:
        before = _one(connection, item_invoice_id)
        release(connection, item_invoice_id, reason=reason, now=now)
        states = {"state": before.state}, {"state": CANCELLED}
        change = Change(actor, CANCELLED, ITEM_INVOICE_OBJECT, item_invoice_id, *states, reason)
        record_changes(connection, [change], now=now)
    return get_item_invoice(ledger, item_invoice_id)


def release(connection: Connection, item_invoice_id: str, *, reason: str, now: datetime) -> None:
    """Cancel a scheduled one and free its items. Raises Conflict for one that is not scheduled any more."""
    table, items = ITEM_INVOICES, BILLABLE_ITEMS
    scheduled = (table.c.item_invoice_id == item_invoice_id) & (table.c.state == SCHEDULED)
    values = {"state": CANCELLED, "reason": reason, "updated_at": now.isoformat()}
    if connection.execute(update(table).where(scheduled).values(**values)).rowcount != 1:
        raise Conflict(
            f"invoice {item_invoice_id} for items is not scheduled any more, so it cannot be cancelled. What "
            "is issued is corrected by a credit note.",
            reason_code="item_invoice_state",
        )
    waiting = (items.c.item_invoice_id == item_invoice_id) & items.c.invoice_id.is_(None)
    connection.execute(update(items).where(waiting).values(item_invoice_id=None))


def get_item_invoice(ledger: Engine, item_invoice_id: str) -> ItemInvoice:
    """Raises NotFound."""
    with ledger.connect() as connection:
        return _one(connection, item_invoice_id)


def list_item_invoices(
    ledger: Engine, *, state: str | None, limit: int, after: Sequence[Any] | None = None
) -> list[ItemInvoice]:
    """By day and id. after: (invoice_on, item_invoice_id) of the last of the page before."""
    table = ITEM_INVOICES
    query = select(table).order_by(table.c.invoice_on, table.c.item_invoice_id).limit(limit)
    if state is not None:
        query = query.where(table.c.state == state)
    if after is not None:
        same_day = (table.c.invoice_on == after[0]) & (table.c.item_invoice_id > after[1])
        query = query.where((table.c.invoice_on > after[0]) | same_day)
    with ledger.connect() as connection:
        return [_read(connection, row) for row in connection.execute(query).all()]


def scheduled_up_to(connection: Connection, day: date) -> list[ItemInvoice]:
    """Those that are due by that day, in the order of their days."""
    table = ITEM_INVOICES
    query = select(table).where(table.c.state == SCHEDULED, table.c.invoice_on <= day.isoformat())
    rows = connection.execute(query.order_by(table.c.invoice_on, table.c.item_invoice_id)).all()
    return [_read(connection, row) for row in rows]


def _fitting(
    connection: Connection, request: ItemInvoiceRequest
) -> list[tuple[ContractFacts, list[OwnedItem]]]:
    contracts = contracts_named(connection, contract_id=request.contract_id, customer_id=request.customer_id)
    by_contract: dict[str, list[OwnedItem]] = {}
    facts: dict[str, ContractFacts] = {one.contract_id: one for one in contracts}
    for owned in open_items_of(connection, sorted(facts)):
        if owned.contract is not None and owned.contract.contract_id in facts and _fits(owned, request):
            by_contract.setdefault(owned.contract.contract_id, []).append(owned)
    return [(facts[contract_id], by_contract[contract_id]) for contract_id in sorted(by_contract)]


def _fits(owned: OwnedItem, request: ItemInvoiceRequest) -> bool:
    item = owned.stored.item
    return (
        owned.stored.item_invoice_id is None
        and request.source in (None, item.source)
        and request.project in (None, item.project)
        and (request.through is None or item.date <= request.through)
    )


def _planned(
    contract: ContractFacts,
    items: Sequence[OwnedItem],
    request: ItemInvoiceRequest,
    *,
    on: date,
    actor: str,
    now: datetime,
) -> ItemInvoice:
    first = items[0].stored
    question = f"ratemill item invoice\n{contract.contract_id}\n{now.isoformat()}\n{first.item_id}"
    return ItemInvoice(
        item_invoice_id=hashlib.sha256(question.encode()).hexdigest()[:_ID_LENGTH],
        contract_id=contract.contract_id,
        invoice_on=on,
        state=SCHEDULED,
        as_draft=request.as_draft,
        invoice_id=None,
        reason="",
        actor=actor,
        created_at=now.isoformat(),
        items=len(items),
    )


def _write(connection: Connection, one: ItemInvoice, item_ids: Sequence[str], *, now: datetime) -> None:
    values: Mapping[str, Any] = {name: value for name, value in one.to_dict().items() if name != "items"}
    row = {**values, "invoice_on": one.invoice_on.isoformat(), "updated_at": now.isoformat()}
    connection.execute(insert(ITEM_INVOICES).values(**row))
    table = BILLABLE_ITEMS
    for start in range(0, len(item_ids), 5_000):
        part = list(item_ids[start : start + 5_000])
        free = table.c.item_id.in_(part) & table.c.item_invoice_id.is_(None)
        taken = connection.execute(
            update(table).where(free).values(item_invoice_id=one.item_invoice_id)
        ).rowcount
        if taken != len(part):
            raise Conflict(
                "some of the items were taken by another invoice meanwhile; nothing was planned. Try again.",
                reason_code="item_changed",
            )


def _one(connection: Connection, item_invoice_id: str) -> ItemInvoice:
    query = select(ITEM_INVOICES).where(ITEM_INVOICES.c.item_invoice_id == item_invoice_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no invoice {item_invoice_id!r} for items. `ratemill items invoices` shows "
            "those there are."
        )
    return _read(connection, row)


def _read(connection: Connection, row: Row[Any]) -> ItemInvoice:
    table = BILLABLE_ITEMS
    waiting = select(table.c.item_id).where(table.c.item_invoice_id == row.item_invoice_id)
    return ItemInvoice(
        item_invoice_id=row.item_invoice_id,
        contract_id=row.contract_id,
        invoice_on=date.fromisoformat(row.invoice_on),
        state=row.state,
        as_draft=bool(row.as_draft),
        invoice_id=row.invoice_id,
        reason=row.reason,
        actor=row.actor,
        created_at=row.created_at,
        items=len(connection.execute(waiting).all()),
    )
