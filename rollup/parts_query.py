"""The SQL of a meter that aggregates in two steps: within each part of a period, then over its parts."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ingest.clock import from_micros
from ingest.errors import BrokenState
from ingest.in_force import EventCut
from ingest.meter import PROPERTY_PREFIX, Meter, MeterParts
from rollup.calendar import CalendarFacts
from rollup.counted_events import DECIMAL_SQL, Parameters, counted_events_sql
from rollup.period import find_time_zone, local_midnights_micros
from rollup.query import Query, calendar_join, inside_calendar, period_key_sql

HOUR_MICROS: Final = 3_600_000_000
_STEPS: Final = {
    "highest_sum": ("sum(e.number)", "max"),
    "highest_count": (f"CAST(count(e.number) AS {DECIMAL_SQL})", "max"),
    "sum_of_highest": ("max(e.number)", "sum"),
}
"""Aggregation -> what is asked of each part, and of the parts together."""


def parts_query(*, meter: Meter, calendar: str, facts: CalendarFacts, cut: EventCut) -> Query:
    """Columns as ``meter_usage_query`` has them."""
    if meter.parts is None:
        raise BrokenState(f"meter {meter.meter_id!r} has no parts; ask meter_usage_query for it.")
    parameters = Parameters()
    keys = [f"dimension_{place}" for place in range(len(meter.group_by))]
    within, over = _STEPS[meter.aggregation]
    grouped = ", ".join(["period_key", *keys])
    named = "".join(f", e.{key} AS {key}" for key in keys)
    # The columns inside have names of their own: an alias that is also a column below it is not read twice.
    sql = (
        f"SELECT {grouped},\n"
        "    sum(part_events) AS event_count, sum(part_numbers) AS number_count,\n"
        f"    {over}(part_quantity) AS quantity\n"
        "FROM (\n"
        f"    SELECT {period_key_sql(facts)} AS period_key{named},\n"
        f"        {_part_sql(meter.parts, facts, parameters)} AS part,\n"
        "        count() AS part_events, count(e.number) AS part_numbers,\n"
        f"        {within} AS part_quantity\n"
        f"    FROM (\n{counted_events_sql(meter, cut, parameters)}\n) AS e {calendar_join(calendar, facts)}\n"
        f"    WHERE {' AND '.join(inside_calendar(calendar, facts, parameters))}\n"
        f"    GROUP BY {grouped}, part\n"
        ")\n"
        f"GROUP BY {grouped}\n"
        f"ORDER BY {grouped}"
    )
    return Query(sql, parameters.values)


def _part_sql(parts: MeterParts, facts: CalendarFacts, parameters: Parameters) -> str:
    """The part an event ``e`` of the calendar falls in. Days are cut at midnights worked out here, by
    the rules of billing periods, and not by those the store came with."""
    micros = "toUnixTimestamp64Micro(e.time)"
    if parts.by == "hour":
        first = facts.start_micros // HOUR_MICROS * HOUR_MICROS
        return f"intDiv({micros} - {parameters.whole(first)}, {HOUR_MICROS})"
    if parts.by == "day":
        # Not a parameter: those travel in the address of a request, and a year of days is long for one.
        midnights = ", ".join(str(one) for one in _midnights(parts, facts))
        return f"roundDown({micros}, CAST([{midnights}] AS Array(Int64)))"
    return f"CAST(e.properties[{parameters.text(parts.by.removeprefix(PROPERTY_PREFIX))}] AS String)"


def _midnights(parts: MeterParts, facts: CalendarFacts) -> list[int]:
    """Where the local days begin that the calendar touches, in order."""
    name = parts.time_zone or ""
    zone = find_time_zone(name)
    first = from_micros(facts.start_micros).astimezone(zone).date() - timedelta(days=1)
    last = from_micros(facts.end_micros).astimezone(zone).date()
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return sorted(set(local_midnights_micros(days, name).tolist()))
