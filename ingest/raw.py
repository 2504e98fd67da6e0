"""Records as decoding leaves them: texts in columns, not judged yet.

Every format is brought to this one shape, so that the rules in ``ingest/validate.py`` are written
once and hold for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.arrow_buffers import PROPERTIES_TYPE
from ingest.refusal import Refusal

TEXT_FIELDS: Final = ("source", "id", "type", "subject")
EVENT_FIELDS: Final = (*TEXT_FIELDS, "time", "value", "properties")

RAW_SCHEMA: Final = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in (*TEXT_FIELDS, "time", "value")),
        pa.field("properties", PROPERTIES_TYPE, nullable=False),
    ]
)
"""Columns of ``RawBatch.records``; null is "not given". ``time`` may instead be a timestamp with a
zone and ``value`` a decimal, when the sender's format has such types."""

Properties = Sequence[tuple[str, str | None]]
RawRow = tuple[str | None, str | None, str | None, str | None, str | None, str | None, Properties]
"""One record in the order of RAW_SCHEMA, where columns are not worth it."""


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Decoded records and those that could not be decoded.

    records: RAW_SCHEMA, in the order sent.
    lines: of each record, its line (text formats) or record number, from 1.
    refused: records that have no row because they cannot be read.
    record_text: the record of a row as it was sent (JSON text where the format is binary).
    time_optional: a record without time gets the instant it was received (CloudEvents only).
    """

    records: pa.Table
    lines: npt.NDArray[np.uint64]
    record_text: Callable[[int], str]
    refused: tuple[Refusal, ...] = field(default=())
    time_optional: bool = False

    @property
    def record_count(self) -> int:
        return int(self.records.num_rows) + len(self.refused)


def table_of_rows(rows: Sequence[RawRow]) -> pa.Table:
    """A RAW_SCHEMA table of single records."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(RAW_SCHEMA)
    arrays = [pa.array(column, entry.type) for column, entry in zip(columns, RAW_SCHEMA, strict=True)]
    return pa.table(arrays, schema=RAW_SCHEMA)
