"""Goal: usage is revenue on the days it was consumed on, late usage too, as known at any time."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from invoicing.adjustment_shares import BilledPart
from invoicing.day_usage import AdjustedByDay, UsedByDay, days_between
from invoicing.journal_mirror import JournalMirror
from invoicing.recognition import day_parts
from invoicing.revenue import REVENUE_SCHEMA, RevenueQuestion, revenue_report, sums_from_ledger, sums_of_days
from invoicing.revenue_answer import answer_revenue
from invoicing.revenue_part_read import read_parts
from rollup.period import local_midnight
from tests.invoicing.support import CALLS
from tests.invoicing.test_accrual import by_months
from tests.invoicing.world import World, at

D = date.fromisoformat
FIRST, LAST = D("2025-01-15"), D("2025-01-24")
DAYS = [FIRST + timedelta(days=number) for number in range(10)]
quantities = st.dictionaries(st.sampled_from(DAYS), st.integers(0, 10**20), max_size=6)
amounts = st.integers(-(10**14), 10**14)


def plainly(used: dict[date, int], amount: int) -> list[int]:
    """Running totals as fractions, rounded by hand; straight line where nothing was used."""
    total, running, before, found = sum(used.values()), 0, 0, []
    if not total:
        return [part for _, part in day_parts(FIRST, LAST + timedelta(days=1), amount)]
    for day in DAYS:
        running += used.get(day, 0)
        exact = Fraction(amount * running, total)
        through = int(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
        found.append(through - before)
        before = through
    return found


@given(quantities, amounts)
def test_a_part_follows_what_was_used_each_day(used: dict[date, int], amount: int) -> None:
    found = UsedByDay(used).amounts(FIRST, LAST, amount)
    assert (found or plainly({}, amount)) == plainly(used, amount)
    assert not found or sum(found) == amount


def test_usage_above_and_below_zero_says_nothing_of_days() -> None:
    used = UsedByDay({DAYS[0]: 3, DAYS[4]: -1, LAST + timedelta(days=7): 5})
    assert used.amounts(FIRST, LAST, 100) == []
    assert used.amounts(FIRST, DAYS[3], 100) == [100, 0, 0, 0]


@given(st.lists(st.tuples(quantities, amounts), min_size=2, max_size=4))
@settings(max_examples=100)
def test_a_line_and_its_adjustments_are_its_sum_by_what_is_known_now(
    steps: list[tuple[dict[date, int], int]],
) -> None:
    (first, amount), *later = steps
    billed, known = [BilledPart(amount, None)], UsedByDay(first)
    sums = known.amounts(FIRST, LAST, amount) or plainly({}, amount)
    for used, comes_to in later:
        now = UsedByDay(used)
        before = sum(part.amount_minor for part in billed)
        adjusted = AdjustedByDay(FIRST, LAST + timedelta(days=1), billed, known, now)
        found = adjusted.amounts(FIRST, LAST, comes_to - before) or plainly({}, comes_to - before)
        assert sum(found) == comes_to - before
        knows = any(used.values()) or any(known.quantities.values())
        sums = [one + other for one, other in zip(sums, found, strict=True)]
        if knows:
            assert sums == plainly(used, comes_to)
        billed, known = [*billed, BilledPart(comes_to - before, None)], now
        if not knows:
            return


@pytest.mark.parametrize("zone", ["UTC", "America/Sao_Paulo", "Pacific/Apia"])
def test_days_tile_a_period(zone: str) -> None:
    start, end = local_midnight(D("2018-10-15"), zone), local_midnight(D("2018-11-20"), zone)
    days = days_between(start, end, zone)
    edges = [day[1] for day in days]
    assert [start, *edges] == [*(day[0] for day in days), end]
    assert [day[2] for day in days] == sorted({day[2] for day in days})
    assert len(days) == 36


TRANSFER = {
    **CALLS,
    "charge_id": "transfer",
    "meter_id": "transfer",
    "unit": "GB",
    "price": {"model": "per_unit", "unit_price": "0.10"},
}


def recognised(rows: Any) -> dict[str, int]:
    return {row["period"]: row["recognised_minor"] for row in rows.to_pylist() if row["recognised_minor"]}


@pytest.mark.requirement("REP-04")
@pytest.mark.embedded_store
def test_calls_are_revenue_on_their_days(ledger: Engine, event_store: EventStore) -> None:
    """A month from the 15th at a cent a call, and 0.10 a GB by region. Calls of 25 January come in after the
    bill: as known before, they are not there; as known now, they are on their day."""
    world = World(event_store, ledger)
    world.plan(CALLS, TRANSFER)
    world.contract(start_date=date(2025, 1, 15))
    world.events(
        ("transfer", "c1-subject", "2025-01-20", "10", {"region": "eu"}),
        ("transfer", "c1-subject", "2025-02-01", "20", {"region": "us"}),
        ("call", "c1-subject", "2025-01-20", "500"),
        ("call", "c1-subject", "2025-02-03T23:00", "900"),
    )
    world.bill("2025-02-15", now=at("2025-02-15"))
    world.received = at("2025-02-20")
    world.events(("call", "c1-subject", "2025-01-25", "100"), ("call", "c1-subject", "2025-03-01", "7"))
    world.bill("2025-03-15", now=at("2025-03-15"))
    mirror = JournalMirror(ledger, event_store)
    asked = {
        known: RevenueQuestion("day", "customer", D("2025-12-31"), at(known))
        for known in ("2025-02-16", "2026-01-01")
    }
    answers = {}
    for known, question in asked.items():
        [answers[known]] = answer_revenue(mirror, question)
        with ledger.connect() as connection:
            parts = read_parts(connection, 0, 10**6, mirror.days_of_use(connection))
            sums = [*sums_from_ledger(connection, question), *sums_of_days(parts, question)]
            assert revenue_report(question, sums).equals(answers[known])
            by_month = RevenueQuestion("month", "customer", D("2025-12-31"), at(known))
            months = revenue_report(by_month, sums_from_ledger(connection, by_month))
        assert by_months(answers[known]) == by_months(months)
    assert recognised(answers["2025-02-16"]) == {"2025-01-20": 600, "2025-02-01": 200, "2025-02-03": 900}
    assert recognised(answers["2026-01-01"]) == {
        "2025-01-20": 600,
        "2025-01-25": 100,
        "2025-02-01": 200,
        "2025-02-03": 900,
        "2025-03-01": 7,
    }
    inside = RevenueQuestion("day", "product", D("2025-01-20"))
    [rows] = answer_revenue(mirror, inside)
    assert [(row["key"], row["recognised_minor"], row["unbilled_minor"]) for row in rows.to_pylist()] == [
        ("calls", 500, 500),
        ("transfer", 100, 100),
    ]
    assert rows.schema == REVENUE_SCHEMA
