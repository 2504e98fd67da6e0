"""The report by day: the journal as posted, and on top of it what spreading revenue over its days moves.

The event store makes the days; a few keys are answered at a time, so that memory holds their rows and no
more. ``sums_of_days`` says the same plainly, and the tests hold this to it, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl
import pyarrow as pa
from sqlalchemy import func, select

from ingest.clickhouse import EventStore
from invoicing.journal_mirror import JournalMirror
from invoicing.journal_tables import JOURNAL_ENTRIES
from invoicing.revenue import (
    NO_KEY,
    RevenueQuestion,
    key_column,
    mirror_conditions,
    revenue_report,
    sums_from_ledger,
    sums_from_mirror,
    sums_of_days,
)
from invoicing.revenue_columns import (
    SUM_NAMES,
    bounds_of,
    fits_64_bits,
    posted_sums,
    rows_of_changes,
    typed_changes,
)
from invoicing.revenue_part_read import PARTS_SCHEMA, read_parts

_KEYS_AT_ONCE: Final = 1_000
_TIMES: Final = 64
"""An amount is taken twice a day of a month to find the parts of its days."""
_MOVED: Final = ("revenue", "unbilled", "deferred")


def revenue_by_day(mirror: JournalMirror, question: RevenueQuestion) -> Iterator[pa.Table]:
    """Tables of REVENUE_SCHEMA in the order of their rows. Raises BrokenState when a row does not tie,
    instead of the table it is in."""
    through = mirror.catch_up_days()
    if through is not None:
        yield from days_from_mirror(mirror.event_store, question, through)
        return
    with mirror.ledger.connect() as connection:
        newest = connection.execute(select(func.max(JOURNAL_ENTRIES.c.entry_number))).scalar()
        parts = read_parts(connection, 0, int(newest or 0), mirror.days_of_use(connection))
        sums = [*sums_from_ledger(connection, question), *sums_of_days(parts, question)]
    yield revenue_report(question, sums)


def days_from_mirror(
    event_store: EventStore, question: RevenueQuestion, through_entry: int
) -> Iterator[pa.Table]:
    """The same out of the copy, through that entry."""
    where, parameters = mirror_conditions(question)
    where += " AND entry_number <= {through_entry:UInt64}"
    parameters["through_entry"] = through_entry
    if question.date_from is not None:
        parameters["date_from"] = question.date_from
    parts = _parts_where(question)
    if not fits_64_bits(event_store, _bounds(where, parts), parameters):
        yield _plainly(event_store, question)
        return
    key = key_column(question.group) or NO_KEY
    for currency, first, last in _key_ranges(event_store, key, where, parts, parameters):
        among = (
            f" AND currency = {{currency:String}} AND {key} >= {{first:String}} AND {key} <= {{last:String}}"
        )
        own = {"currency": currency, "first": first, "last": last}
        found = event_store.query(
            _days_sql(question, key, where + among, parts + among), {**parameters, **own}
        )
        rows = rows_of_changes(
            typed_changes(found.rename_columns({"day": "period"}), pl.col("period").cast(pl.String)), question
        )
        if rows is None:  # a row does not tie: the plain way says what is wrong
            yield _plainly(event_store, question)
            return
        yield rows


def _plainly(event_store: EventStore, question: RevenueQuestion) -> pa.Table:
    names = ", ".join(PARTS_SCHEMA.names)
    parts = event_store.query(f"SELECT {names} FROM revenue_parts WHERE position > 0")
    return revenue_report(
        question, [*sums_from_mirror(event_store, question), *sums_of_days(parts, question)]
    )


def _key_ranges(
    event_store: EventStore, key: str, postings: str, parts: str, parameters: dict[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """(currency, first key, last key), in the order of the rows."""
    found = event_store.query(
        f"SELECT currency, key FROM (SELECT DISTINCT currency, {key} AS key FROM journal_postings\n"
        f"WHERE {postings} UNION DISTINCT SELECT DISTINCT currency, {key} AS key FROM revenue_parts\n"
        f"WHERE {parts}) ORDER BY currency, key",
        parameters,
    )
    keys: dict[str, list[str]] = {}
    for currency, name in zip(found["currency"].to_pylist(), found["key"].to_pylist(), strict=True):
        keys.setdefault(str(currency), []).append(str(name))
    for currency, names in keys.items():
        for start in range(0, len(names), _KEYS_AT_ONCE):
            some = names[start : start + _KEYS_AT_ONCE]
            yield currency, some[0], some[-1]


def _bounds(postings: str, parts: str) -> str:
    """As ``bounds_of``, of all amounts that are summed, in parts of days too."""
    each = "arrayConcat([amount_minor], through_minor)"
    return (
        f"SELECT min(least) AS least, max(most) AS most, sum(lines) * {_TIMES} AS lines FROM (\n"
        f"{bounds_of(postings)}\nUNION ALL\n"
        f"SELECT min(arrayMin({each})), max(arrayMax({each})), count() FROM revenue_parts WHERE {parts})"
    )


def _parts_where(question: RevenueQuestion) -> str:
    """Which parts move something; the parameters are those of ``mirror_conditions``."""
    conditions = ["position > 0", "first_day <= {as_of:Date32}", "entry_number <= {through_entry:UInt64}"]
    if question.known_at is not None:
        conditions.append("posted_at <= parseDateTime64BestEffort({known_at:String}, 6, 'UTC')")
    if question.customer_id is not None:
        conditions.append("customer_id = {customer_id:String}")
    return " AND ".join(conditions)


def _days_sql(question: RevenueQuestion, key: str, postings: str, parts: str) -> str:
    """The sums of each day, key and currency, signed as they are shown. What lies before the first day that
    is shown is on the day before it, for the balances."""
    shown, until = "period", "period <= {as_of:Date32}"
    if question.date_from is not None:
        shown = "greatest(period, addDays({date_from:Date32}, -1))"
        parts += " AND last_day >= {date_from:Date32}"  # what ends before it moves nothing in all
    moved = ", ".join(f"{f'sum(moves.{name})' if name in _MOVED else 0} AS {name}" for name in SUM_NAMES)
    return (
        f"SELECT {shown} AS day, key, currency, {', '.join(f'sum({name}) AS {name}' for name in SUM_NAMES)}\n"
        f"FROM (SELECT entry_date AS period, {key} AS key, currency, {posted_sums()}\n"
        f"FROM journal_postings WHERE {postings} GROUP BY period, key, currency\nUNION ALL\n"
        f"SELECT period, key, currency, {moved} FROM ({day_moves_sql(key, parts)}) AS moves WHERE {until}\n"
        f"GROUP BY period, key, currency HAVING {' OR '.join(f'{name} != 0' for name in _MOVED)}\n"
        ") GROUP BY day, key, currency"
    )


def day_moves_sql(key: str, where: str) -> str:
    """``day_moves`` of the parts, a row a day, signed as they are shown.

    An amount is so many whole units a day and a rest: of parts of the same days only the rests differ in how
    they are rounded. So parts of the same days and rest are one row, however many they are, and those of the
    same days one row of running totals, before there is a row a day.
    """
    days = "toUInt16(toInt64(last_day) - toInt64(first_day) + 1)"
    same = "key, currency, first_day, last_day, billed_on, days"
    by_rest = (
        f"SELECT {key} AS key, currency, first_day, last_day, billed_on, {days} AS days,\n"
        "empty(through_minor) AS straight, if(straight, toUInt16(abs(amount_minor) % days), 0) AS rest,\n"
        "sum(if(straight, intDiv(amount_minor, toInt64(days)), 0)) AS whole,\n"
        "sum(if(straight, sign(amount_minor), 0)) AS rests, sumForEach(through_minor) AS used\n"
        f"FROM revenue_parts WHERE {where} GROUP BY {same}, straight, rest"
    )
    by_days = (
        f"SELECT {same}, sum(whole) AS a_day, sumForEach(used) AS used,\n"
        "sumForEach(arrayMap(\n"
        "    number -> rests * intDiv(2 * rest * number + days, 2 * days), range(1, days + 1))) AS rounded\n"
        f"FROM ({by_rest}) GROUP BY {same}"
    )
    through, before = (
        f"a_day * {number} + rounded[{number}] + used[{number}]" for number in ("(number + 1)", "number")
    )
    return (
        "SELECT addDays(first_day, number) AS period, key, currency, through - before AS amount,\n"
        "amount - if(period = last_day, amount_minor, 0) AS revenue,\n"
        "multiIf(last_day < billed_on, revenue, period < billed_on, amount, period = billed_on, -before, 0)"
        " AS unbilled,\n"
        "if(last_day <= billed_on, 0, multiIf(period > billed_on, -amount, period = billed_on, -through, 0)"
        " + if(period = last_day, amount_minor, 0)) AS deferred\n"
        f"FROM (SELECT {same}, number, {through} AS through, {before} AS before,\n"
        f"a_day * days + rounded[days] + used[days] AS amount_minor FROM ({by_days})\n"
        "ARRAY JOIN range(days) AS number)"
    )
