"""Billable items in the ledger: taken in once, amended, cancelled or closed while unbilled, and read.

The same item again changes nothing. Another body under its id is a conflict that is listed, or an amendment
where the sender says so and the item is not billed yet; what it was before is in the audit trail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine, select, update

from ingest.document import canonical_json, document_hash, validate_document
from ingest.errors import Conflict, InvalidDocument, InvalidInput, Issue
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import Change, record_changes
from invoicing.billable_item import (
    NOT_BILLABLE,
    OPEN,
    BillableItem,
    StoredItem,
    item_rules,
)
from invoicing.billable_read import get_item, item_not_found, stored_item
from invoicing.billable_tables import BILLABLE_ITEM_CONFLICTS, BILLABLE_ITEMS
from invoicing.bulk import insert_rows, select_by_ids

Outcome = Literal["accepted", "duplicate", "amended", "conflict", "rejected"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("accepted", "duplicate", "amended", "conflict", "rejected")
ITEM_OBJECT: Final = "item"
"""What the audit trail calls items."""
_UNBILLED: Final = frozenset({OPEN, NOT_BILLABLE})


@dataclass(frozen=True, slots=True)
class TakenItem:
    """What became of one item of a batch. row: its place, from 1. issues: of a rejected one, all rules
    broken; of a conflict, what is on record instead."""

    row: int
    outcome: Outcome
    item_id: str | None
    external_id: str
    issues: tuple[Issue, ...] = ()


def import_items(
    ledger: Engine, documents: Sequence[Any], *, amend: bool, actor: str, now: datetime
) -> list[TakenItem]:
    """Take in a batch, each item by itself: one that is wrong keeps none of the others out.

    amend: another body under the id of an item that is not billed yet takes its place; without it, and for
    what is billed, it is a conflict.
    """
    with ledger_transaction(ledger) as connection:
        return import_items_in(connection, documents, amend=amend, actor=actor, now=now)


def import_items_in(
    connection: Connection, documents: Sequence[Any], *, amend: bool, actor: str, now: datetime
) -> list[TakenItem]:
    """As ``import_items``, in the caller's transaction."""
    checked = [_checked(row, document) for row, document in enumerate(documents, start=1)]
    items = {place: one for place, one in enumerate(checked) if isinstance(one, BillableItem)}
    known = _known(connection, [item.item_id for item in items.values()])
    new: dict[str, tuple[Any, ...]] = {}
    conflicts: list[tuple[BillableItem, str]] = []
    taken: list[TakenItem] = []
    changes: list[Change] = []
    for place, one in enumerate(checked):
        if not isinstance(one, BillableItem):
            taken.append(one)
            continue
        digest = document_hash(one)
        before = known.get(one.item_id)
        if before is None:
            new[one.item_id] = _new_row(one, digest, now.isoformat())
            known[one.item_id] = (digest, OPEN, 1, None)
            outcome: Outcome = "accepted"
        else:
            may = amend and one.item_id not in new
            outcome = _again(connection, one, digest, before, may, changes, actor=actor, now=now)
            if outcome == "amended":
                known[one.item_id] = (digest, OPEN, before[2] + 1, before[3])
            elif outcome == "conflict":
                conflicts.append((one, digest))
        issues = (_conflict(before[1] if before else OPEN),) if outcome == "conflict" else ()
        taken.append(TakenItem(place + 1, outcome, one.item_id, one.external_id, issues))
    insert_rows(connection, BILLABLE_ITEMS, new.values())
    _keep_conflicts(connection, conflicts, now.isoformat())
    record_changes(connection, changes, now=now)
    return taken


def amend_item(
    ledger: Engine, item_id: str, document: Mapping[str, Any], *, reason: str, actor: str, now: datetime
) -> StoredItem:
    """Put another body in the place of an unbilled item's. Raises NotFound, InvalidDocument, and Conflict
    for an item that is billed, closed or cancelled."""
    item = validate_document(BillableItem, dict(document), what="the item", rules=item_rules)
    if item.item_id != item_id:
        raise InvalidDocument(
            "the item",
            [Issue("item_identity", "external_id", "This is the id of another item.", "the item's own.")],
        )
    with ledger_transaction(ledger) as connection:
        stored = _locked(connection, item_id)
        _refuse_settled(stored, "amended")
        change = _write_amended(connection, stored, item, reason=reason, actor=actor, now=now)
        record_changes(connection, [change], now=now)
    return get_item(ledger, item_id)


def settle_items(
    ledger: Engine,
    item_ids: Sequence[str],
    *,
    state: Literal["closed", "cancelled"],
    reason: str,
    actor: str,
    now: datetime,
) -> list[StoredItem]:
    """Take items off the queue for good, all or none: closed (it was had, and is not billed) or cancelled (it
    never was). Raises InvalidInput without a reason, NotFound, Conflict for one that is billed or settled."""
    if not reason.strip():
        raise InvalidInput(
            f"Nothing says why the items are {state}. Give a reason; it stays on record.",
            reason_code="reason_missing",
        )
    with ledger_transaction(ledger) as connection:
        settle_items_in(connection, item_ids, state=state, reason=reason, actor=actor, now=now)
    return [get_item(ledger, item_id) for item_id in dict.fromkeys(item_ids)]


def settle_items_in(
    connection: Connection,
    item_ids: Sequence[str],
    *,
    state: Literal["closed", "cancelled"],
    reason: str,
    actor: str,
    now: datetime,
) -> None:
    """As ``settle_items``, in the caller's transaction and with a reason that is one."""
    changes: list[Change] = []
    for item_id in dict.fromkeys(item_ids):
        stored = _locked(connection, item_id)
        _refuse_settled(stored, state)
        changes.append(
            _changed(stored, action=state, reason=reason, actor=actor, after=stored.item, state=state)
        )
        values = {"state": state, "reason": reason, "version": stored.version + 1}
        _change(connection, item_id, stored.version, {**values, "updated_at": now.isoformat()})
    record_changes(connection, changes, now=now)


def _checked(row: int, document: Any) -> BillableItem | TakenItem:
    try:
        return validate_document(BillableItem, document, what=f"item {row}", rules=item_rules)
    except InvalidDocument as error:
        named = document.get("external_id") if isinstance(document, Mapping) else None
        return TakenItem(row, "rejected", None, str(named or ""), tuple(error.issues))


def _known(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, str, int, str | None]]:
    """(document hash, state, version, item_invoice_id) of those on record, by id."""
    table = BILLABLE_ITEMS
    columns = (
        table.c.item_id,
        table.c.document_hash,
        table.c.state,
        table.c.version,
        table.c.item_invoice_id,
    )
    found = select_by_ids(connection, select(*columns), table.c.item_id, list(dict.fromkeys(ids)))
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in found}


def _again(
    connection: Connection,
    item: BillableItem,
    digest: str,
    known: tuple[str, str, int, str | None],
    amend: bool,
    changes: list[Change],
    *,
    actor: str,
    now: datetime,
) -> Outcome:
    """An item that is on record, or earlier in the batch."""
    if digest == known[0]:
        return "duplicate"
    if not amend or known[1] not in _UNBILLED:
        return "conflict"
    before = _locked(connection, item.item_id)
    if before.state not in _UNBILLED:
        return "conflict"
    reason = "imported again"
    changes.append(_write_amended(connection, before, item, reason=reason, actor=actor, now=now))
    return "amended"


def _write_amended(
    connection: Connection, before: StoredItem, item: BillableItem, *, reason: str, actor: str, now: datetime
) -> Change:
    names = [column.name for column in BILLABLE_ITEMS.columns]
    row = dict(zip(names, _new_row(item, document_hash(item), now.isoformat()), strict=True))
    kept = {"item_id", "created_at", "line_id", "invoice_id", "item_invoice_id"}
    changed = {name: value for name, value in row.items() if name not in kept}
    old, version = before.item, before.version
    if (old.contract_id, old.customer_id) != (item.contract_id, item.customer_id):
        changed["item_invoice_id"] = None  # that invoice is of the contract before
    _change(connection, item.item_id, version, {**changed, "version": version + 1})
    return _changed(before, action="amended", reason=reason, actor=actor, after=item, state=row["state"])


def _changed(
    before: StoredItem, *, action: str, reason: str, actor: str, after: BillableItem, state: str
) -> Change:
    """The change as the audit trail keeps it: state and item before and after."""
    was, becomes = (
        {"state": each, "item": item.model_dump(mode="json")}
        for each, item in ((before.state, before.item), (state, after))
    )
    return Change(actor, action, ITEM_OBJECT, before.item_id, was, becomes, reason)


def _change(connection: Connection, item_id: str, version: int, values: Mapping[str, Any]) -> None:
    table = BILLABLE_ITEMS
    changed = connection.execute(
        update(table).where(table.c.item_id == item_id, table.c.version == version).values(**values)
    ).rowcount
    if changed != 1:
        raise Conflict(
            f"item {item_id} changed meanwhile; nothing was written. Look at it and try again.",
            reason_code="item_changed",
        )


def _new_row(item: BillableItem, digest: str, now: str) -> tuple[Any, ...]:
    return (
        item.item_id,
        item.source_system,
        item.external_id,
        item.source,
        item.customer_id,
        item.contract_id,
        item.project,
        item.date.isoformat(),
        canonical_json(item),
        digest,
        1,
        OPEN if item.billable else NOT_BILLABLE,
        None,
        None,
        None,
        "" if item.billable else item.not_billable_reason,
        now,
        now,
    )


def _keep_conflicts(connection: Connection, conflicts: Sequence[tuple[BillableItem, str]], now: str) -> None:
    table = BILLABLE_ITEM_CONFLICTS
    rows = {
        (item.item_id, digest): (item.item_id, digest, canonical_json(item), now)
        for item, digest in conflicts
    }
    found = select_by_ids(
        connection,
        select(table.c.item_id, table.c.document_hash),
        table.c.item_id,
        sorted({item_id for item_id, _ in rows}),
    )
    known = {tuple(row) for row in found}
    insert_rows(connection, table, [row for key, row in rows.items() if key not in known])


def _conflict(state: str) -> Issue:
    return Issue(
        "item_conflict",
        "external_id",
        f"Another item with this id is on record and is {state}; it stays in force.",
        "the same item again, or amend where it is not billed yet.",
    )


def _locked(connection: Connection, item_id: str) -> StoredItem:
    query = select(BILLABLE_ITEMS).where(BILLABLE_ITEMS.c.item_id == item_id).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        raise item_not_found(item_id)
    return stored_item(row)


def _refuse_settled(stored: StoredItem, wanted: str) -> None:
    if stored.state not in _UNBILLED:
        raise Conflict(
            f"item {stored.item_id} is {stored.state} and cannot be {wanted}. What an invoice has billed is "
            "corrected by a credit note.",
            reason_code="item_settled",
        )
