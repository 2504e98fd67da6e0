"""Reads billable items: pages, single ones, what they were before, what contradicts them, how many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, func, or_, select

from ingest.errors import NotFound
from invoicing.billable_item import STATES, BillableItem, StoredItem
from invoicing.billable_tables import BILLABLE_ITEM_CONFLICTS, BILLABLE_ITEMS


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items: every field that is not None must hold."""

    state: str | None = None
    source: str | None = None
    contract_id: str | None = None
    customer_id: str | None = None
    project: str | None = None
    invoice_id: str | None = None
    line_id: str | None = None


def get_item(ledger: Engine, item_id: str) -> StoredItem:
    """One item. Raises NotFound."""
    with ledger.connect() as connection:
        row = connection.execute(select(BILLABLE_ITEMS).where(BILLABLE_ITEMS.c.item_id == item_id)).first()
    if row is None:
        raise item_not_found(item_id)
    return stored_item(row)


def list_items(
    ledger: Engine, *, chosen: ItemFilter, limit: int, after: Sequence[Any] | None = None
) -> list[StoredItem]:
    """By date and id. after: (date, item_id) of the last item of the page before."""
    table = BILLABLE_ITEMS
    conditions = conditions_of(chosen)
    if after is not None:
        same_day = and_(table.c.item_date == after[0], table.c.item_id > after[1])
        conditions.append(or_(table.c.item_date > after[0], same_day))
    query = select(table).where(*conditions).order_by(table.c.item_date, table.c.item_id).limit(limit)
    with ledger.connect() as connection:
        return [stored_item(row) for row in connection.execute(query)]


def list_conflicts(ledger: Engine, *, limit: int, after: Sequence[Any] | None = None) -> list[dict[str, Any]]:
    """Bodies that came under the id of an item on record and are not in force."""
    table = BILLABLE_ITEM_CONFLICTS
    keys = (table.c.item_id, table.c.document_hash)
    query = select(table).order_by(*keys).limit(limit)
    if after is not None:
        item_id, digest = after
        query = query.where(
            or_(table.c.item_id > item_id, and_(table.c.item_id == item_id, table.c.document_hash > digest))
        )
    with ledger.connect() as connection:
        return [
            {
                "item_id": row.item_id,
                "document_hash": row.document_hash,
                "received_at": row.received_at,
                "item": BillableItem.model_validate_json(row.document).model_dump(mode="json"),
            }
            for row in connection.execute(query)
        ]


def count_conflicts(connection: Connection) -> int:
    """How many bodies wait for somebody to say which holds."""
    return int(connection.execute(select(func.count()).select_from(BILLABLE_ITEM_CONFLICTS)).scalar_one())


def count_by_state(connection: Connection) -> dict[str, int]:
    """How many items are in each state: together all that ever came in."""
    table = BILLABLE_ITEMS
    found = Counter(
        {
            row[0]: int(row[1])
            for row in connection.execute(select(table.c.state, func.count()).group_by(table.c.state))
        }
    )
    return {state: found[state] for state in STATES}


def conditions_of(chosen: ItemFilter) -> list[ColumnElement[bool]]:
    """The filter as conditions on the table of items."""
    return [
        BILLABLE_ITEMS.c[name] == getattr(chosen, name)
        for name in ItemFilter.__slots__
        if getattr(chosen, name) is not None
    ]


def stored_item(row: Row[Any]) -> StoredItem:
    """An item of a row of the table."""
    return StoredItem(
        item=BillableItem.model_validate_json(row.document),
        item_id=row.item_id,
        version=row.version,
        state=row.state,
        line_id=row.line_id,
        invoice_id=row.invoice_id,
        item_invoice_id=row.item_invoice_id,
        reason=row.reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def item_not_found(item_id: str) -> NotFound:
    """What to say of an id that no item has."""
    return NotFound(f"there is no item {item_id!r}. `ratemill items list` shows what is.")
