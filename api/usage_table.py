"""Usage as a table for other programs: CSV, or a stream of Arrow record batches."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from starlette.responses import Response

from api.json import rows_of
from ingest.document import decimal_text
from ingest.media_type import ARROW_STREAM, CSV
from rollup.usage import LiveUsage

UNUSABLE_HEADER: Final = "Ratemill-Unusable-Events"
CSV_EXAMPLE: Final = """\
window_start,window_end,quantity,event_count
2013-01-01T00:00:00Z,2013-01-02T00:00:00Z,2,2
"""
_DIMENSION: Final = "dimensions."


def asked_form(accept: str) -> str | None:
    """The media type of a table that an Accept header names first; None when it wants JSON."""
    for part in accept.split(","):
        media_type = part.split(";")[0].strip().lower()
        if media_type in (CSV, ARROW_STREAM):
            return media_type
        if media_type in ("application/json", "*/*"):
            return None
    return None


def usage_table(found: LiveUsage, *, form: str, keys: Sequence[str]) -> Response:
    """The usage rows as ``form``, CSV or ARROW_STREAM; a header counts the events that are not in them.

    keys: the group keys. In CSV each is a column
    ``dimensions.NAME``, numbers are exact decimals, and instants are UTC.
    In Arrow the schema is LIVE_USAGE_SCHEMA.
    """
    body = _csv(found.usage, keys) if form == CSV else _arrow(found.usage)
    missing = pc.sum(found.unusable["event_count"]).as_py() or 0
    return Response(body, media_type=form, headers={UNUSABLE_HEADER: str(missing)})


def _csv(usage: pa.Table, keys: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{_DIMENSION}{name}" for name in keys]
    writer.writerow(["window_start", "window_end", *columns, "quantity", "event_count"])
    for row in rows_of(usage):
        instants = [row[name].isoformat().replace("+00:00", "Z") for name in ("window_start", "window_end")]
        dimensions = [row["dimensions"][name] for name in keys]
        writer.writerow([*instants, *dimensions, decimal_text(row["quantity"]), row["event_count"]])
    return text.getvalue().encode()


def _arrow(usage: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, usage.schema) as writer:
        writer.write_table(usage)
    return bytes(sink.getvalue())
