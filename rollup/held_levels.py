"""Levels as far as they are known at some instant, taken to stay as they are from then on.

Seats paid in advance are billed for the level at the beginning of a period; once the period is over, the
same reading knows all that happened in it (``invoicing/seats_in_advance.py``). A ``Holding`` says of every
row of a calendar up to which instant changes of its level count.

Where seats are counted by the day, it also brings the local days: a change counts from the beginning of the
day that it is made on, and the average is that over the days, each weighing the ``units`` it has in the
plan's way of counting (1 for calendar days; in a calendar of 30-day months the 31st has none).
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.in_force import read_cut
from ingest.meter import Meter
from rollup.calendar import check_calendar
from rollup.holding import Holding
from rollup.level_usage import roll_up_levels
from rollup.roll_up import RolledUp
from rollup.usage_table import MeterUsage, arrange_unusable, arrange_usage


def roll_up_held_levels(
    store: EventStore, *, calendar: pa.Table, meters: Sequence[Meter], holding: Holding
) -> RolledUp:
    """The readings of ``meters`` (time_weighted ones) in the periods of ``calendar`` (CALENDAR_SCHEMA).
    Nothing is written. Raises BrokenState as ``roll_up_usage`` does."""
    facts = check_calendar(calendar)
    parts: list[MeterUsage] = []
    unusable: list[tuple[int, pa.Table]] = []
    if facts.rows and meters:
        unusable = roll_up_levels(
            store,
            calendar=calendar,
            end_micros=facts.end_micros,
            cut=read_cut(store, known_at=None),
            levels=dict(enumerate(meters)),
            parts=parts,
            holding=holding,
        )
    return RolledUp(arrange_usage(meters, parts), arrange_unusable(meters, unusable))
