"""Delivered is not consumed: what was provisioned beside what was used, per subject, product and window.

Two meters are read in the same windows: one of licences (usually ``time_weighted``, by its own reading) and
one of use. The product is whatever properties both are split by.

    difference = provisioned - consumed       below zero: used without a licence for it
    flagged    when |difference| is more than ``threshold_percent`` of what was provisioned

A side without usage is 0; where both sides have none there is no row. All arithmetic is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest.asked_events import AskedEvents
from ingest.clickhouse import EventStore
from ingest.clock import from_micros
from ingest.errors import InvalidInput
from ingest.meter import Meter
from rollup.usage_by_subject import UsageBySubject, query_usage_by_subject

_WIDE: Final = Context(prec=80)
_Key = tuple[int, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Variance:
    """One subject and product in one window; see the module."""

    window_start: datetime
    window_end: datetime
    subject: str
    dimensions: dict[str, str]
    provisioned: Decimal
    consumed: Decimal
    difference: Decimal
    flagged: bool


@dataclass(frozen=True, slots=True)
class Uncounted:
    """Events that should be in a figure and cannot: while there are any, that figure is not whole."""

    meter_id: str
    subject: str
    window_start: datetime
    reason_code: str
    event_count: int
    example_source: str
    example_id: str


@dataclass(frozen=True, slots=True)
class VarianceReport:
    """rows: by window, subject and dimensions."""

    rows: tuple[Variance, ...]
    unusable: tuple[Uncounted, ...]


def compare_provisioned(
    store: EventStore,
    *,
    provisioned: Meter,
    consumed: Meter,
    edges: NDArray[np.int64],
    subjects: Sequence[str] | None,
    group_by: Sequence[str],
    threshold_percent: Decimal,
) -> VarianceReport:
    """Both meters in each window between ``edges`` (microseconds), split by ``group_by`` instead of their own
    group keys.

    subjects: only these; None for all that have events of either. threshold_percent: from 0 on; of
    nothing provisioned, any use is beyond it. Raises InvalidInput for a negative threshold or a
    question too large to answer at once.
    """
    if threshold_percent < 0:
        raise InvalidInput(
            f"a threshold of {threshold_percent} percent is below zero; give 0 or more.",
            reason_code="negative_threshold",
        )
    sides: list[dict[_Key, Decimal]] = []
    unusable: list[Uncounted] = []
    with store.one_question(AskedEvents.counted([provisioned, consumed], subjects)):
        for meter in (provisioned, consumed):
            split = meter.model_copy(update={"group_by": tuple(dict.fromkeys(group_by))})
            found = query_usage_by_subject(store, meter=split, edges=edges, subjects=subjects, apart=True)
            sides.append(_quantities(found))
            unusable += _uncounted(meter, found, edges)
    rows = [
        _variance(key, sides[0].get(key, Decimal(0)), sides[1].get(key, Decimal(0)), edges, threshold_percent)
        for key in sorted(sides[0].keys() | sides[1].keys())
    ]
    return VarianceReport(tuple(rows), tuple(unusable))


def _quantities(found: UsageBySubject) -> dict[_Key, Decimal]:
    return {
        (*_place(row, found), tuple(sorted(row["dimensions"]))): row["quantity"]
        for row in found.usage.to_pylist()
    }


def _place(row: dict[str, Any], found: UsageBySubject) -> tuple[int, str]:
    """Number of the window, and subject, of a row."""
    window, subject = divmod(row["period_key"], len(found.subjects))
    return window, found.subjects[subject]


def _uncounted(meter: Meter, found: UsageBySubject, edges: NDArray[np.int64]) -> list[Uncounted]:
    rows = []
    for row in found.unusable.to_pylist():
        window, subject = _place(row, found)
        rows.append(
            Uncounted(
                meter_id=meter.meter_id,
                subject=subject,
                window_start=from_micros(int(edges[window])),
                reason_code=row["reason_code"],
                event_count=row["event_count"],
                example_source=row["example_source"],
                example_id=row["example_id"],
            )
        )
    return rows


def _variance(
    key: _Key, provisioned: Decimal, consumed: Decimal, edges: NDArray[np.int64], threshold_percent: Decimal
) -> Variance:
    window, subject, dimensions = key
    difference = _WIDE.subtract(provisioned, consumed)
    allowed = _WIDE.multiply(_WIDE.abs(provisioned), threshold_percent)
    return Variance(
        window_start=from_micros(int(edges[window])),
        window_end=from_micros(int(edges[window + 1])),
        subject=subject,
        dimensions=dict(dimensions),
        provisioned=provisioned,
        consumed=consumed,
        difference=difference,
        flagged=_WIDE.multiply(_WIDE.abs(difference), Decimal(100)) > allowed,
    )
