"""A process whose batches share commits and that may be killed: ``python -m tests.simulation.child_group
FOLDER FIRST LAST GATE``.

It first says what the store holds (one JSON line), then submits batches FIRST to LAST, WINDOW of them
at a time, and prints one JSON line for each answer when it comes and not before.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock, Semaphore

from ingest.clickhouse import default_events_url, open_event_store
from ingest.group_commit import GroupCommit
from ingest.load import IngestReport, open_ingest
from tests.simulation.child_ingest import batch_body, limits

NOW = datetime(2025, 4, 1, tzinfo=UTC)
WINDOW = 8


def main(folder: str, first: str, last: str, gate: str) -> None:
    store = open_event_store(default_events_url(Path(folder)))
    # Every other batch is too large to be decoded with others.
    settings = replace(limits(gate), small_body_bytes_max=len(batch_body(100)) - 1)
    group = GroupCommit(open_ingest(store, meters=lambda: (), settings=settings), lambda _facts: None)
    stored = store.query("SELECT id, toString(value) AS value FROM events ORDER BY id").to_pydict()
    _say({"stored": stored["id"], "values": stored["value"]})
    room = Semaphore(WINDOW)
    for batch in range(int(first), int(last) + 1):
        room.acquire()
        padding = b"\n" * (batch % 2)
        answer = group.submit(
            batch_body(batch) + padding,
            content_type="application/x-ndjson",
            content_encoding=None,
            received_at=NOW,
            refusals_max=10,
        )
        answer.add_done_callback(partial(_answered, batch, room))
    group.close()
    store.close()


def _answered(batch: int, room: Semaphore, answer: Future[IngestReport]) -> None:
    report = answer.result()
    _say({"batch": batch, "accepted": report.accepted, "duplicates": report.duplicates})
    room.release()


_saying = Lock()


def _say(line: object) -> None:
    with _saying:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
