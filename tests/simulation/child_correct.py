"""A process that corrects and may be killed: ``python -m tests.simulation.child_correct FOLDER FIRST LAST
EVENTS GATE``.

It first says which values count (one JSON line), then sends the batches of corrections FIRST to LAST and
prints one JSON line for each acknowledgement, after ``correct_events`` has returned and not before.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.clickhouse import default_events_url, open_event_store
from ingest.correct import correct_events
from ingest.in_force import IN_FORCE_SQL
from ingest.load import ingest_batch, open_ingest
from tests.simulation.child_ingest import limits

EVENTS_A_BATCH = 5
NOW = datetime(2025, 4, 1, tzinfo=UTC)
NDJSON = "application/x-ndjson"


def corrections(batch: int) -> list[tuple[int, str | None]]:
    """(event, its new value or None to cancel it): some of this batch's own five events and, a second
    time, two that the batch before has amended."""
    first = batch * EVENTS_A_BATCH
    own: list[tuple[int, str | None]] = [
        (first, f"{batch}.25"),
        (first + 1, f"{batch}.25"),
        (first + 2, None),
    ]
    before = first - EVENTS_A_BATCH
    return own + ([(before, f"{batch}.5"), (before + 1, None)] if batch else [])


def body(lines: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(line) for line in lines).encode()


def event(number: int) -> dict[str, Any]:
    time = f"2025-03-{number % 28 + 1:02d}T10:00:00Z"
    return {"source": "s", "id": f"e{number}", "type": "t", "subject": "a", "time": time, "value": "1"}


def correction(batch: int, number: int, value: str | None) -> dict[str, Any]:
    """Its id ends in the id of the event, so that a version tells which event it is of."""
    named = {"source": "s", "id": f"b{batch}-e{number}", "corrects": f"e{number}", "reason": "r"}
    return named | ({"kind": "cancel"} if value is None else {"kind": "amend", "value": value})


def main(folder: str, first: str, last: str, events: str, gate: str) -> None:
    store = open_event_store(default_events_url(Path(folder)))
    ingest = open_ingest(store, meters=lambda: (), settings=limits(gate))
    sent = body([event(number) for number in range(int(events))])
    ingest_batch(sent, content_type=NDJSON, content_encoding=None, received_at=NOW, ingest=ingest)
    rows = store.query(f"SELECT id, toString(value) AS value FROM events WHERE {IN_FORCE_SQL} ORDER BY id")
    _say({"in_force": sorted([row["id"].split("-")[-1], row["value"]] for row in rows.to_pylist())})
    for batch in range(int(first), int(last) + 1):
        report = correct_events(
            body([correction(batch, number, value) for number, value in corrections(batch)]),
            content_type=NDJSON,
            content_encoding=None,
            received_at=NOW,
            ingest=ingest,
        )
        _say({"batch": batch, "accepted": report.accepted, "duplicates": report.duplicates})
    store.close()


def _say(line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
