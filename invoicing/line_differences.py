"""Lines rated again beside the lines that were billed: which differ, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import polars as pl
import pyarrow as pa

from ingest.clickhouse import EventStore
from invoicing.billed_lines import billed_again_as
from rating.store import line_to_python

Change = Literal["changed", "new", "vanished"]
_OF_ONE_CUT: Final = ("contract_id", "billing_date", "charge_id", "charge_kind", "currency", "dimensions")


@dataclass(frozen=True, slots=True)
class LineDifference:
    """One line that comes to something else now. was: as billed or last adjusted, None when nothing was
    billed of it; now: as rated again, None when it is not due any more; rows of RATED_LINE_SCHEMA as Python
    values. billed_minor: what was billed of it in all, before credit, with what fee credits change by
    (``given_back_at_most.py``). charged_minor: what was billed after credit taken off before tax;
    allowed_minor: that credit."""

    was: Mapping[str, Any] | None
    now: Mapping[str, Any] | None
    billed_minor: int
    charged_minor: int
    allowed_minor: int

    @property
    def line(self) -> Mapping[str, Any]:
        """The side that there is, the billed one of two: it has the name of the line."""
        return self.was or self.now or {}

    @property
    def now_minor(self) -> int:
        return self.now["amount_minor"] if self.now else 0

    @property
    def difference_minor(self) -> int:
        return self.now_minor - self.billed_minor

    @property
    def change(self) -> Change:
        return "new" if self.was is None else "vanished" if self.now is None else "changed"


def line_differences(store: EventStore, lines: pa.Table, billed: pl.DataFrame) -> list[LineDifference]:
    """Pair both sides by line id, and what is left by what the lines are for; those that come to something
    else. A line of nothing that only one side has is no difference. lines: RATED_LINE_SCHEMA. billed: of
    ``give_back_at_most``."""
    fresh = pl.DataFrame(
        {
            "line_id": pl.Series(lines["line_id"].cast(pa.binary()).combine_chunks()),
            "now_minor": pl.Series(lines["amount_minor"].combine_chunks()),
        }
    ).with_row_index("row")
    both = fresh.join(billed, on="line_id", how="full", coalesce=True)
    gone_already = (
        pl.col("row").is_null() & pl.col("adjusted_by").is_not_null() & (pl.col("billed_minor") == 0)
    )
    odd = both.filter(pl.col("now_minor").ne_missing(pl.col("billed_minor")) & ~gone_already)
    rows = odd.filter(pl.col("billed_minor").is_not_null())
    past = billed_again_as(store, rows.iter_rows(named=True))
    amounts = {
        key: tuple(minor)
        for key, *minor in rows.select(
            "line_id", "billed_minor", "charged_minor", "allowed_minor"
        ).iter_rows()
    }
    now = {
        line_id: line_to_python(lines, row)
        for line_id, row in odd.select("line_id", "row").iter_rows()
        if row is not None
    }
    found = [
        LineDifference(
            None if was is None else past[was],
            None if becomes is None else now[becomes],
            *((0, 0, 0) if was is None else amounts[was]),
        )
        for was, becomes in _paired(past, now)
    ]
    return [one for one in found if one.difference_minor]


def _paired(
    past: Mapping[bytes, Mapping[str, Any]], now: Mapping[bytes, Mapping[str, Any]]
) -> Sequence[tuple[bytes | None, bytes | None]]:
    """(billed line, line now): of one id, or else for the same thing under another plan version."""
    pairs: list[tuple[bytes | None, bytes | None]] = [(key, key) for key in past if key in now]
    waiting: dict[tuple[Any, ...], list[bytes]] = {}
    for key, line in now.items():
        if key not in past:
            waiting.setdefault(purpose_of(line), []).append(key)
    for key, line in past.items():
        if key not in now:
            same = waiting.get(purpose_of(line))
            pairs.append((key, same.pop() if same else None))
    return [*pairs, *((None, key) for keys in waiting.values() for key in keys)]


def purpose_of(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a line is for, under whatever plan version."""
    names = (
        "contract_id",
        "billing_date",
        "charge_id",
        "charge_kind",
        "period_start",
        "period_end",
        "currency",
    )
    return (*(line[name] for name in names), *sorted(line["dimensions"].items()))


def stands_instead(other: Mapping[str, Any], line: Mapping[str, Any]) -> bool:
    """Whether the other line bills days of a period of licences, ``line``, that is taken back."""
    if line["charge_kind"] != "licence" or purpose_of(other) == purpose_of(line):
        return False
    same = all(other[name] == line[name] for name in _OF_ONE_CUT)
    starts, ends = other["period_start"], other["period_end"]
    return bool(same and line["period_start"] <= starts and ends <= line["period_end"])
