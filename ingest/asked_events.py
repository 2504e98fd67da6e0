"""Which events a question is about: so that it waits for those alone, however many others come in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ingest.meter import Meter


@dataclass(frozen=True, slots=True)
class AskedEvents:
    """Events of these types and subjects. subjects: None for all."""

    types: frozenset[str]
    subjects: frozenset[str] | None

    @classmethod
    def counted(cls, meters: Iterable[Meter], subjects: Iterable[str] | None) -> AskedEvents:
        """What these meters count of these subjects. subjects: None for all."""
        types = frozenset(meter.event_type for meter in meters)
        return cls(types, None if subjects is None else frozenset(subjects))

    def covers(self, other: AskedEvents) -> bool:
        """Whether every event that ``other`` is about is one of these."""
        if not other.types <= self.types:
            return False
        return self.subjects is None or (other.subjects is not None and other.subjects <= self.subjects)

    def among(self, events: pa.Table) -> bool:
        """Whether any of ``events`` (columns ``type`` and ``subject``) is one of these."""
        chosen = _is_one_of(events["type"], self.types)
        if self.subjects is not None:
            chosen = pc.and_(chosen, _is_one_of(events["subject"], self.subjects))
        return bool(pc.any(chosen).as_py())


def _is_one_of(column: pa.ChunkedArray, texts: Iterable[str]) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=pa.array(texts, pa.string()))
