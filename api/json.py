"""Exact JSON: decimals as text, instants in UTC with ``Z``, bytes as hex, tables as lists of objects.

No binary float is written: orjson knows floats, so the tests look for them in every answer.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import PurePath
from typing import Any

import orjson
import pyarrow as pa
from starlette.responses import Response

from ingest.document import Document, decimal_text


def to_json(value: Any) -> bytes:
    """``value`` as one JSON text."""
    return orjson.dumps(value, default=_plain_value, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of an Arrow table as objects; map columns become objects, fixed bytes become hex."""
    maps = [field.name for field in table.schema if pa.types.is_map(field.type)]
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for name in maps:
            row[name] = dict(row[name] or ())
    return rows


class ExactJSON(Response):
    """An answer in exact JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)


def _plain_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Document):
        return value.model_dump(mode="json")
    if isinstance(value, pa.Table):
        return rows_of(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no exact JSON form")
