"""Small helpers of this room's tests: one event as text, and a context over the real store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ingest.clickhouse import EventStore
from ingest.load import IngestContext, IngestReport, ingest_batch, open_ingest
from ingest.meter import Meter
from ingest.settings import IngestSettings

NOW: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NDJSON: Final = "application/x-ndjson"


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A good event; ``changes`` replace fields, and a field changed to ``...`` is left out."""
    fields = {
        "source": "gateway",
        "id": f"call-{number}",
        "type": "api.call",
        "subject": "acme",
        "time": "2026-02-03T04:05:06Z",
        "value": "2.5",
        "properties": {"region": "eu"},
        **changes,
    }
    return {name: part for name, part in fields.items() if part is not ...}


def ndjson(*events: dict[str, Any] | str) -> bytes:
    return "\n".join(part if isinstance(part, str) else json.dumps(part) for part in events).encode()


def context(
    store: EventStore, *, meters: Sequence[Meter] = (), settings: IngestSettings | None = None
) -> IngestContext:
    return open_ingest(store, meters=lambda: tuple(meters), settings=settings or IngestSettings())


def send(
    ingest: IngestContext, body: bytes, *, content_type: str = NDJSON, content_encoding: str | None = None
) -> IngestReport:
    return ingest_batch(
        body, content_type=content_type, content_encoding=content_encoding, received_at=NOW, ingest=ingest
    )


def counts(report: IngestReport) -> tuple[int, int, int, int]:
    """(accepted, duplicates, conflicts, rejected)"""
    return report.accepted, report.duplicates, report.conflicts, report.rejected


def stored(store: EventStore) -> list[dict[str, Any]]:
    """Every event of the store by arrival, without what differs between two stores."""
    rows: list[dict[str, Any]] = store.query(
        "SELECT source, id, type, subject, toUnixTimestamp64Micro(time) AS micros, value, properties "
        "FROM events ORDER BY sequence"
    ).to_pylist()
    return rows
