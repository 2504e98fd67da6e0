"""What deleting a customer and deleting a billing entity have in common.

Only a record that nothing refers to goes: one that was saved by mistake. Whoever saves something that needs
the record takes a shared lock before looking for it (``lock_referring``), and a deletion the same lock for
itself alone, so that one of the two sees what the other did. Nothing is erased from the audit trail: the
whole document stays in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, Table, func, select

from ingest.errors import Conflict, InvalidInput
from ingest.ledger import lock_name
from invoicing.audit_tables import AUDIT_ENTRIES
from invoicing.bulk import select_by_ids

DELETED: Final = "deleted"
REASON_MAX: Final = 1024
IDS_NAMED: Final = 3
_LOCK: Final = "what customers and billing entities are referred to by"


@dataclass(frozen=True, slots=True)
class Reference:
    """What holds a record: ``words`` in the plural, how many there are, the first few ids, and what to do
    about them, as a sentence; empty: nothing can be done about them, the record stays."""

    words: str
    count: int
    ids: Sequence[str]
    instead: str = ""


@dataclass(frozen=True, slots=True)
class DeletedRecord:
    """A record that is gone, and the version it was at."""

    key: str
    version: int


def lock_referring(connection: Connection) -> None:
    """No customer and no billing entity is deleted until the transaction ends. Take it before other locks
    and before looking for the record."""
    lock_name(connection, _LOCK, shared=True)


def lock_deleting(connection: Connection) -> None:
    """Until the transaction ends nobody saves what needs a customer or billing entity."""
    lock_name(connection, _LOCK)


def checked_reason(reason: str, *, what: str) -> str:
    """The reason without blanks around it. Raises InvalidInput for none, and for a long one."""
    if not reason.strip():
        raise InvalidInput(
            f"Nothing says why {what} is deleted. Give a reason; it stays on record.",
            reason_code="reason_missing",
        )
    if len(reason) > REASON_MAX:
        raise InvalidInput(
            f"the reason has {len(reason):,} characters; it may have {REASON_MAX:,}.",
            reason_code="reason_too_long",
        )
    return reason.strip()


def references_in(
    connection: Connection, words: str, column: ColumnElement[str], where: ColumnElement[bool], instead: str
) -> Iterator[Reference]:
    """The rows that hold a record, counted by the ids in ``column``."""
    count = connection.execute(select(func.count(column.distinct())).where(where)).scalar_one()
    if count:
        first = select(column).where(where).distinct().order_by(column).limit(IDS_NAMED)
        yield Reference(words, count, list(connection.execute(first).scalars()), instead)


def references_in_documents(
    connection: Connection, words: str, table: Table, column: str, field: str, key: str, instead: str
) -> Iterator[Reference]:
    """The rows whose canonical document says ``field: key`` anywhere in it, by the ids in ``column``."""
    said = f"{orjson.dumps(field).decode()}:{orjson.dumps(key).decode()}"
    document = table.c.document
    rows = connection.execute(
        select(table.c[column], document).where(document.contains(said, autoescape=True))
    )
    ids = sorted({row[0] for row in rows if said in row[1]})  # SQLite finds upper case for lower too
    if ids:
        yield Reference(words, len(ids), ids[:IDS_NAMED], instead)


def refuse_in_use(what: str, references: Sequence[Reference], *, reason_code: str, else_do: str) -> None:
    """Raises Conflict that names all that holds the record and what to do instead."""
    if not references:
        return
    named = "; ".join(_named(one) for one in references)
    steps = dict.fromkeys(one.instead for one in references if one.instead)
    advice = " ".join([*steps, else_do] if any(not one.instead for one in references) else steps)
    raise Conflict(
        f"{what} is referred to by {named}. It stays, and nothing was changed. {advice}",
        reason_code=reason_code,
    )


def _named(one: Reference) -> str:
    more = ", ..." if one.count > len(one.ids) else ""
    return f"{one.words}: {one.count:,} ({', '.join(one.ids)}{more})"


def deleted_ids(connection: Connection, object_kind: str, missing: Collection[str]) -> set[str]:
    """Which of these ids, none of which is on record, were on record and are deleted."""
    columns = AUDIT_ENTRIES.c
    query = select(columns.object_id).where(columns.object_kind == object_kind, columns.action == DELETED)
    return {row[0] for row in select_by_ids(connection, query, columns.object_id, sorted(missing))}


def state_before(version: int, document: Mapping[str, Any], **beside: Any) -> dict[str, Any]:
    """What the audit trail keeps of a record: all of it, and what went with it where there was any."""
    return {"version": version, "document": document} | {name: said for name, said in beside.items() if said}
