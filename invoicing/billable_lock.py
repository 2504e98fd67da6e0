"""Locks the items of invoices, in the transaction that writes them: an item is on one invoice, for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, update

from ingest.errors import Conflict
from invoicing.billable_item import INVOICED, OPEN
from invoicing.billable_tables import BILLABLE_ITEMS, ITEM_INVOICES
from invoicing.draft import Draft
from invoicing.item_invoice import SCHEDULED, item_invoice_of


def lock_items(
    connection: Connection,
    drafts: Sequence[Draft],
    items: Mapping[str, Sequence[tuple[str, int]]],
    *,
    now: datetime,
) -> None:
    """Mark the items behind the drafts' lines as invoiced. items: (item_id, version) by line id in hex.

    Raises Conflict when one was amended, closed or billed since it was priced; the caller's transaction then
    writes nothing.
    """
    rows = [
        {"of_item": item_id, "of_version": version, "line": line_id, "invoice": draft.invoice_id}
        for draft in drafts
        for line_id in draft.line_ids
        for item_id, version in items.get(line_id, ())
    ]
    if not rows:
        return
    for draft in drafts:
        if draft.owner != draft.contract_id and any(line_id in items for line_id in draft.line_ids):
            _end_item_invoice(connection, draft, now=now)
    table = BILLABLE_ITEMS
    statement = (
        update(table)
        .where(
            table.c.item_id == bindparam("of_item"),
            table.c.version == bindparam("of_version"),
            table.c.state == OPEN,
        )
        .values(
            state=INVOICED,
            line_id=bindparam("line"),
            invoice_id=bindparam("invoice"),
            updated_at=now.isoformat(),
        )
    )
    changed = connection.execute(statement, rows).rowcount
    if changed != len(rows):
        raise Conflict(
            f"{len(rows) - changed} items were amended, closed or billed while the run was at work, "
            "so nothing of this block was written. Run billing again.",
            reason_code="item_changed",
        )


def _end_item_invoice(connection: Connection, draft: Draft, *, now: datetime) -> None:
    """An invoice for items that was planned is written now, unless it was cancelled meanwhile."""
    table = ITEM_INVOICES
    scheduled = (table.c.item_invoice_id == item_invoice_of(draft.owner)) & (table.c.state == SCHEDULED)
    values = {"state": INVOICED, "invoice_id": draft.invoice_id, "updated_at": now.isoformat()}
    if connection.execute(update(table).where(scheduled).values(**values)).rowcount != 1:
        raise Conflict(
            f"the invoice for items planned on contract {draft.contract_id!r} was cancelled while it was "
            "being written; nothing was written. Run billing again.",
            reason_code="item_changed",
        )
