"""Refused records as they are on record: each as it was sent, with its reason and what became of it.

A refusal is open until its record was repaired (an event or a correction came of it) or dismissed with a
reason. Settling adds a row; nothing is changed or removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.clock import from_micros, to_micros
from ingest.event import TIMESTAMP
from ingest.query import Where, instant_sql

OPEN: Final = "open"
REPAIRED: Final = "repaired"
DISMISSED: Final = "dismissed"

SETTLED_SCHEMA: Final = pa.schema(
    [
        pa.field("batch_id", pa.string(), nullable=False),
        pa.field("line", pa.uint64(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in ("state", "reason", "source", "id")),
        pa.field("settled_at", TIMESTAMP, nullable=False),
    ]
)
"""The columns of ``settled_refusals``. source, id: of the event or correction that came of a repair."""

_SETTLED_SQL: Final = (
    "SELECT batch_id, line, "
    "argMax(tuple(toString(state), reason, source, id), (settled_at, state)) AS settled "
    "FROM settled_refusals GROUP BY batch_id, line"
)
_REFUSED_SQL: Final = (
    "SELECT concat(r.batch_id, '-', toString(r.line)) AS refusal_id, r.batch_id AS batch_id, r.line AS line, "
    "toString(r.outcome) AS outcome, toString(r.reason_code) AS reason_code, toString(r.field) AS field, "
    "r.message AS message, r.expected AS expected, r.record AS record, r.refused_at AS refused_at, "
    f"if(s.settled.1 = '', '{OPEN}', s.settled.1) AS state, s.settled.2 AS settled_reason, "
    "s.settled.3 AS repaired_source, s.settled.4 AS repaired_id "
    f"FROM refused_events AS r LEFT JOIN ({_SETTLED_SQL}) AS s ON r.batch_id = s.batch_id AND r.line = s.line"
)


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """A record that did not become an event. ``position`` goes into ``after`` of ``list_refused``.

    state: open, repaired or dismissed. settled_reason: of a dismissal. repaired_source, repaired_id: the
    event or correction that came of a repair.
    """

    refusal_id: str
    batch_id: str
    line: int
    outcome: str
    reason_code: str
    field: str
    message: str
    expected: str
    record: str
    state: str
    settled_reason: str
    repaired_source: str
    repaired_id: str
    refused_at: datetime

    @property
    def position(self) -> tuple[int, str, int]:
        return to_micros(self.refused_at), self.batch_id, self.line


def list_refused(
    store: EventStore,
    *,
    limit: int,
    batch_id: str | None = None,
    outcome: str | None = None,
    reason_code: str | None = None,
    state: str | None = None,
    after: tuple[int, str, int] | None = None,
) -> list[RefusedEvent]:
    """Rejected records and conflicts, latest first; at most ``limit``."""
    where = Where()
    where.add("batch_id = {batch_id:String}", batch_id=batch_id)
    where.add("outcome = {outcome:String}", outcome=outcome)
    where.add("reason_code = {reason_code:String}", reason_code=reason_code)
    where.add("state = {state:String}", state=state)
    if after is not None:
        where.add(
            f"(refused_at, batch_id, line) < "
            f"({instant_sql('after_time')}, {{after_batch:String}}, {{after_line:UInt64}})",
            after_time=after[0],
            after_batch=after[1],
            after_line=after[2],
        )
    return _read(store, where, f"ORDER BY refused_at DESC, batch_id DESC, line DESC LIMIT {limit:d}")


def count_refused(
    store: EventStore, *, refused_from: datetime | None, refused_to: datetime | None
) -> list[dict[str, Any]]:
    """(outcome, state, record_count) of the records refused in [refused_from, refused_to)."""
    where = Where()
    where.add(
        f"refused_at >= {instant_sql('refused_from')}",
        refused_from=to_micros(refused_from) if refused_from else None,
    )
    where.add(
        f"refused_at < {instant_sql('refused_to')}", refused_to=to_micros(refused_to) if refused_to else None
    )
    counted: list[dict[str, Any]] = store.query(
        f"SELECT outcome, state, count() AS record_count FROM ({_REFUSED_SQL}) WHERE {where.sql()} "
        "GROUP BY outcome, state ORDER BY outcome, state",
        where.parameters,
    ).to_pylist()
    return counted


def find_refused(store: EventStore, refusal_ids: Sequence[str]) -> dict[str, RefusedEvent]:
    """Those refusals, by id; what is not on record is left out."""
    where = Where()
    where.add("batch_id IN {batches:Array(String)}", batches=sorted({_batch_of(one) for one in refusal_ids}))
    where.add("refusal_id IN {refusal_ids:Array(String)}", refusal_ids=sorted(set(refusal_ids)))
    return {one.refusal_id: one for one in _read(store, where, "")}


def settlement(
    refusal_id: str,
    state: str,
    *,
    reason: str,
    source: str,
    id: str,  # noqa: A002
    settled_at: datetime,
) -> dict[str, Any]:
    """A row of SETTLED_SCHEMA."""
    batch_id, _, line = refusal_id.rpartition("-")
    return {
        "batch_id": batch_id,
        "line": int(line),
        "state": state,
        "reason": reason,
        "source": source,
        "id": id,
        "settled_at": settled_at,
    }


def _batch_of(refusal_id: str) -> str:
    return refusal_id.rpartition("-")[0]


def _read(store: EventStore, where: Where, order: str) -> list[RefusedEvent]:
    rows: list[dict[str, Any]] = store.query(
        "SELECT * EXCEPT (refused_at), toUnixTimestamp64Micro(refused_at) AS refused_micros "
        f"FROM ({_REFUSED_SQL}) WHERE {where.sql()} {order}",
        where.parameters,
    ).to_pylist()
    return [RefusedEvent(refused_at=from_micros(row.pop("refused_micros")), **row) for row in rows]
