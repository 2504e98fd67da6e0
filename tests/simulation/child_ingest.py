"""A process that ingests and may be killed: ``python -m tests.simulation.child_ingest FOLDER FIRST LAST
GATE``.

It first says what the store holds (one JSON line), then sends batches FIRST to LAST and prints one
JSON line for each acknowledgement, after ``ingest_batch`` has returned and not before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ingest.clickhouse import default_events_url, open_event_store
from ingest.load import ingest_batch, open_ingest
from ingest.settings import IngestSettings

EVENTS_A_BATCH = 150
NOW = datetime(2025, 4, 1, tzinfo=UTC)
Say = Callable[[object], None]


def batch_ids(batch: int) -> list[str]:
    """The ids of a batch: the last ten of the batch before it come again."""
    first = batch * EVENTS_A_BATCH
    return [f"e{number}" for number in range(max(0, first - 10), first + EVENTS_A_BATCH)]


def batch_body(batch: int) -> bytes:
    """NDJSON; the value of event e7 is 7.5, so that sums can be told."""
    lines = [
        {
            "source": "sender",
            "id": name,
            "type": "call",
            "subject": f"s{int(name[1:]) % 7}",
            "time": f"2025-03-{int(name[1:]) % 28 + 1:02d}T10:00:00Z",
            "value": f"{name[1:]}.5",
            "properties": {},
        }
        for name in batch_ids(batch)
    ]
    return "\n".join(json.dumps(line) for line in lines).encode()


def limits(gate: str) -> IngestSettings:
    """Settings with a gate of that kind; the bounded one moves identities every few batches."""
    if gate == "memory":
        return IngestSettings()
    return IngestSettings(gate="bounded", identities_waiting_max=2 * EVENTS_A_BATCH)


def main(folder: str, first: str, last: str, gate: str) -> None:
    store = open_event_store(default_events_url(Path(folder)))
    ingest = open_ingest(store, meters=lambda: (), settings=limits(gate))
    stored = store.query("SELECT id, toString(value) AS value FROM events ORDER BY id").to_pydict()
    _say({"stored": stored["id"], "values": stored["value"]})
    for batch in range(int(first), int(last) + 1):
        report = ingest_batch(
            batch_body(batch),
            content_type="application/x-ndjson",
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
