"""Records in every format a sender may choose: the body, its content type and content encoding."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tests.simulation.auditor import BAD_VALUE, Fix, Sent

Body = tuple[bytes, str, str | None]


def encode(records: Sequence[Sent], random: Random) -> Body:
    """The records in a random format and encoding that can carry them."""
    readable = all(record.value != BAD_VALUE for record in records)
    formats = [_ndjson, _json, _cloud_events, _csv] + ([_parquet, _arrow] if readable else [])
    body, content_type = random.choice(formats)(records)
    encoding = random.choice([None, "gzip", "zstd"])
    if encoding == "gzip":
        body = gzip.compress(body, mtime=0)
    elif encoding == "zstd":
        body = zstandard.compress(body)
    return body, content_type, encoding


def encode_fixes(fixes: Sequence[Fix], random: Random) -> Body:
    """The corrections as NDJSON or a JSON array, plain or compressed."""
    lines = []
    for fix in fixes:
        named = {"source": fix.source, "id": fix.id, "corrects": fix.corrects, "reason": fix.reason}
        given = {
            "time": None if fix.time is None else fix.time.isoformat(),
            "value": fix.value,
            "properties": None if fix.properties is None else dict(fix.properties),
        }
        kind = "cancel" if fix.cancels() else "amend"
        lines.append(json.dumps({"kind": kind, **named, **{k: v for k, v in given.items() if v is not None}}))
    if random.random() < 0.5:
        body, content_type = "\n".join(lines).encode(), "application/x-ndjson"
    else:
        body, content_type = f"[{','.join(lines)}]".encode(), "application/json"
    if random.random() < 0.5:
        return gzip.compress(body, mtime=0), content_type, "gzip"
    return body, content_type, None


def _plain(record: Sent) -> dict[str, Any]:
    return {
        "source": record.source,
        "id": record.id,
        "type": record.type,
        "subject": record.subject,
        "time": record.time.isoformat(),
        "value": record.value,
        "properties": dict(record.properties),
    }


def _ndjson(records: Sequence[Sent]) -> tuple[bytes, str]:
    text = "\n".join(json.dumps(_plain(record)) for record in records)
    return text.encode(), "application/x-ndjson"


def _json(records: Sequence[Sent]) -> tuple[bytes, str]:
    return json.dumps([_plain(record) for record in records]).encode(), "application/json; charset=utf-8"


def _cloud_events(records: Sequence[Sent]) -> tuple[bytes, str]:
    events = []
    for record in records:
        plain = _plain(record)
        data = {"value": plain.pop("value"), **plain.pop("properties")}
        events.append({"specversion": "1.0", **plain, "data": data})
    return json.dumps(events).encode(), "application/cloudevents-batch+json"


def _csv(records: Sequence[Sent]) -> tuple[bytes, str]:
    names = sorted({name for record in records for name, _ in record.properties})
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*_COLUMNS, *[f"properties.{name}" for name in names]])
    for record in records:
        plain = _plain(record)
        properties = [plain["properties"].get(name, "") for name in names]
        writer.writerow([*[plain[name] for name in _COLUMNS], *properties])
    return text.getvalue().encode(), "text/csv"


_COLUMNS: Final = ("source", "id", "type", "subject", "time", "value")


def _table(records: Sequence[Sent]) -> pa.Table:
    rows = [
        {
            **_plain(record),
            "time": record.time,
            "value": Decimal(record.value),
            "properties": list(record.properties),
        }
        for record in records
    ]
    schema = pa.schema(
        [
            *[(name, pa.string()) for name in ("source", "id", "type", "subject")],
            ("time", pa.timestamp("us", "UTC")),
            ("value", pa.decimal128(38, 12)),
            ("properties", pa.map_(pa.string(), pa.string())),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def _parquet(records: Sequence[Sent]) -> tuple[bytes, str]:
    sink = io.BytesIO()
    pq.write_table(_table(records), sink)
    return sink.getvalue(), "application/vnd.apache.parquet"


def _arrow(records: Sequence[Sent]) -> tuple[bytes, str]:
    table, sink = _table(records), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue(), "application/vnd.apache.arrow.stream"
