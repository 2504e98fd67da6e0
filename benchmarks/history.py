"""The history that re-rating and what-if are measured on: a year of usage of many contracts, and variants.

Every contract has one event a month of each of six event types, so that a month has six lines a contract.
Amounts come from the seed, as in ``canonical.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.canonical import EVENT_TYPES, Workload, draw, nanos_to_decimal, subject_names
from ingest.event import EVENT_SCHEMA, TIMESTAMP

MONTHS: Final = tuple(datetime(2025 + month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in range(13))
"""The twelve months of 2025; the thirteenth is the end of the last."""
KINDS: Final = EVENT_TYPES[::2]
NOW: Final = datetime(2026, 1, 2, 12, tzinfo=UTC)
_VALUE: Final = 90


@dataclass(frozen=True, slots=True)
class History:
    """variants: how many price variants a what-if has."""

    contracts: int
    plans: int
    variants: int

    @property
    def workload(self) -> Workload:
        """For the documents: meters, plans and contracts."""
        return Workload("history", 0, self.contracts, plans=self.plans)


HISTORIES: Final = {
    "tiny": History(50, 5, 10),
    "small": History(1_000, 20, 100),
    "full": History(10_000, 20, 1_000),
}


BILLED_CONTRACTS: Final = {"tiny": 500, "small": 10_000, "full": 100_000}
"""Invoices of the case that issues them, each with a line for every kind of ``BILLED_KINDS``."""
BILLED_KINDS: Final = EVENT_TYPES[:5]


def history_events(history: History, *, kinds: Sequence[str] = KINDS, months: int = 12) -> Iterator[pa.Table]:
    """EVENT_SCHEMA, a table a month: every contract and event type once, in the middle of the month."""
    rows = history.contracts * len(kinds)
    contract = np.repeat(np.arange(history.contracts), len(kinds))
    kind = np.tile(np.arange(len(kinds)), history.contracts)
    for month, start in enumerate(MONTHS[:months]):
        number = np.arange(rows, dtype=np.uint64) + np.uint64(month * rows)
        values = (draw(history.workload.seed, _VALUE, number) % np.uint64(5 * 10**12)).astype(np.int64)
        columns = [
            pa.array(["history"] * rows),
            pa.array([str(entry) for entry in number.tolist()]),
            pa.array(list(kinds)).take(pa.array(kind)),
            subject_names(contract),
            pa.array([start.replace(day=15)] * rows, TIMESTAMP),
            nanos_to_decimal(values + 1),
            pa.array([[]] * rows, EVENT_SCHEMA.field("properties").type),
        ]
        yield pa.Table.from_arrays(
            [column.cast(field.type) for column, field in zip(columns, EVENT_SCHEMA, strict=True)],
            schema=EVENT_SCHEMA,
        )


def variant_documents(plan: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The plan with every price raised by 0.1 %, 0.2 % ... : prices with the digits of a real tender."""
    return [_raised(plan, Decimal(number) / 1000 + 1) for number in range(1, count + 1)]


def _raised(plan: dict[str, Any], factor: Decimal) -> dict[str, Any]:
    charges = []
    for charge in plan["charges"]:
        tiers = [
            tier | {"unit_price": str((Decimal(tier["unit_price"]) * factor).normalize())}
            for tier in charge["price"]["tiers"]
        ]
        charges.append(charge | {"price": charge["price"] | {"tiers": tiers}})
    return plan | {"charges": charges}
