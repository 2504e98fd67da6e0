"""The SQL of a banded meter with free events: which are free is told by all events before in the period."""

from __future__ import annotations

from ingest.document import decimal_text
from ingest.event import QUANTITY_SCALE
from ingest.in_force import EventCut
from rollup.banded_meter import BAND_KEY, FREE_BAND, BandedMeter
from rollup.calendar import CalendarFacts
from rollup.counted_events import Parameters, band_sql, counted_events_sql
from rollup.query import Query, calendar_join, inside_calendar, period_key_sql


def free_bands_query(*, meter: BandedMeter, calendar: str, facts: CalendarFacts, cut: EventCut) -> Query:
    """Columns as ``meter_usage_query`` has them. The quantity of a band is the value that is charged: of
    the event that reaches ``free_value`` what is past it. Events that cannot be counted are left out and
    take no free place; the meter that is banded reports them."""
    parameters = Parameters()
    keys = [f"dimension_{place}" for place, key in enumerate(meter.group_by) if key != BAND_KEY]
    band = f"dimension_{len(keys)}"
    keyed = ", ".join(["period_key", *keys])
    before = f"PARTITION BY {keyed} ORDER BY time, sequence ROWS BETWEEN UNBOUNDED PRECEDING AND"
    names = "".join(f", e.{key} AS {key}" for key in keys)
    counted = counted_events_sql(meter, cut, parameters)
    where = ["isNotNull(e.number)", *inside_calendar(calendar, facts, parameters)]
    free, charged = _free_sql(meter)
    sql = (
        f"SELECT {', '.join(['period_key', *keys])}, {band},\n"
        "    count() AS event_count, count() AS number_count, sum(charged) AS quantity\n"
        "FROM (\n"
        f"    SELECT period_key{''.join(f', {key}' for key in keys)}, {free} AS is_free,\n"
        f"        if(is_free, number, {charged}) AS charged,\n"
        f"        if(is_free, '{FREE_BAND}', {band_sql(meter, 'charged')}) AS {band}\n"
        "    FROM (\n"
        "        SELECT *,\n"
        f"            max(running) OVER ({before} 1 PRECEDING) AS reached\n"
        "        FROM (\n"
        f"            SELECT *, row_number() OVER ({before} CURRENT ROW) AS place,\n"
        f"                sum(number) OVER ({before} CURRENT ROW) AS running\n"
        "            FROM (\n"
        f"                SELECT {period_key_sql(facts)} AS period_key{names}, e.time AS time,\n"
        f"                    e.sequence AS sequence,\n"
        "                    assumeNotNull(e.number) AS number\n"
        f"                FROM (\n{counted}\n) AS e {calendar_join(calendar, facts)}\n"
        f"                WHERE {' AND '.join(where)}\n"
        "            )\n"
        "        )\n"
        "    )\n"
        ")\n"
        f"GROUP BY {', '.join(['period_key', *keys, band])}\n"
        f"ORDER BY {', '.join(['period_key', *keys, band])}"
    )
    return Query(sql, parameters.values)


def _free_sql(meter: BandedMeter) -> tuple[str, str]:
    """Whether a row's event is free, and the value charged for it if it is not. ``running``: the value up
    to and with the event; ``reached``: the most that was before it, 0 at the first."""
    if meter.free_value is None:
        return f"place <= {meter.free_events:d}", "number"
    free_value = f"toDecimal128('{decimal_text(meter.free_value)}', {QUANTITY_SCALE})"
    free = f"reached < {free_value} AND running < {free_value}"
    return free, f"if(reached < {free_value}, running - {free_value}, number)"
