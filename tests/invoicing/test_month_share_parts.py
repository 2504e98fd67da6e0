"""Goal: parts of months follow usage and sum to the line, as plain references say; months tile a period."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.meter import Meter
from invoicing.adjustment_shares import BilledPart, difference_shares
from invoicing.discounted_months import ChainPart, shares_after_discounts
from invoicing.month_shares import adds_up, months_between, of_one_sign
from invoicing.recognition import MonthShares, line_parts, month_parts, shared_parts
from rollup.period import local_midnight

D = date.fromisoformat


@pytest.mark.parametrize(
    ("aggregation", "reading", "adds"),
    [
        ("count", None, True),
        ("sum", None, True),
        ("time_weighted", "unit_days", True),
        ("time_weighted", "average", False),
        ("time_weighted", "peak", False),
        ("time_weighted", "high_water", False),
        ("time_weighted", "end", False),
        ("max", None, False),
        ("min", None, False),
        ("avg", None, False),
        ("latest", None, False),
        ("unique_count", None, False),
        ("highest_sum", None, False),
        ("highest_count", None, False),
        ("sum_of_highest", None, False),
    ],
)
def test_which_meters_add_up_over_days(aggregation: str, reading: str | None, adds: bool) -> None:
    unique = "user" if aggregation == "unique_count" else None
    document: dict[str, Any] = {
        "meter_id": "m",
        "event_type": "e",
        "aggregation": aggregation,
        "reading": reading,
    }
    if "highest" in aggregation:
        document["parts"] = {"by": "hour"}
    assert adds_up(Meter.model_validate({**document, "unique_property": unique})) is adds


def test_usage_that_says_nothing_about_months_has_no_shares() -> None:
    january, february = D("2025-01-31"), D("2025-02-14")
    assert of_one_sign([(february, 3), (january, 0)]) == ((february, 3),)
    assert of_one_sign([(february, -3), (january, -1)]) == ((january, -1), (february, -3))
    assert of_one_sign([(february, 3), (january, -1)]) == ()
    assert of_one_sign([(february, 0)]) == ()


MONTH_ENDS = [D("2025-01-31"), D("2025-02-28"), D("2025-03-31"), D("2025-04-14")]
START, END = D("2025-01-15"), D("2025-04-15")
quantities = st.integers(0, 10**20)
amounts = st.integers(-(10**14), 10**14)


@st.composite
def usage_shares(draw: st.DrawFn) -> MonthShares:
    return of_one_sign((day, draw(quantities)) for day in MONTH_ENDS)


def plainly(shares: MonthShares, amount: int) -> dict[date, int]:
    """Each running total as a fraction, rounded by hand."""
    total, found, before = sum(share for _, share in shares), {}, 0
    for place, (day, _) in enumerate(shares, 1):
        exact = Fraction(amount * sum(share for _, share in shares[:place]), total)
        through = int(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
        found[day], before = through - before, through
    return found


@given(usage_shares(), amounts)
def test_parts_follow_the_shares_and_sum_to_the_line(shares: MonthShares, amount: int) -> None:
    if not shares:
        assert line_parts("usage", START, END, amount, shares) == month_parts(START, END, amount)
        return
    parts = shared_parts(shares, amount)
    assert dict(parts) == plainly(shares, amount)
    assert sum(part for _, part in parts) == amount
    assert line_parts("usage", START, END, amount, shares) == parts


@given(usage_shares(), amounts, st.lists(st.tuples(usage_shares(), amounts), max_size=3), st.booleans())
@settings(max_examples=100)
def test_a_line_and_its_adjustments_are_the_sum_by_the_new_shares(
    now: MonthShares, now_minor: int, steps: list[tuple[MonthShares, int]], knew: bool
) -> None:
    """However it came there: step by step, from a line that knew its months or from one that did not."""
    billed: list[BilledPart] = [BilledPart(1_000, ((MONTH_ENDS[1], 7),) if knew else None)]
    for shares, amount in [*steps, (now, now_minor)]:
        before = sum(part.amount_minor for part in billed)
        if amount == before:
            continue  # no difference, so no adjustment
        found = difference_shares(START, END, BilledPart(amount, shares or None), billed)
        billed.append(BilledPart(amount - before, found or None))
        sums: dict[date, int] = defaultdict(int)
        for part in billed:
            for day, minor in line_parts("usage", START, END, part.amount_minor, part.shares):
                sums[day] += minor
        wanted = dict(line_parts("usage", START, END, amount, shares or None))
        if found:
            assert {day: minor for day, minor in sums.items() if minor} == {
                day: minor for day, minor in wanted.items() if minor
            }
        else:
            assert sum(sums.values()) == amount


@given(
    st.lists(st.tuples(usage_shares(), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=2, max_size=4)
)
@settings(max_examples=150)
def test_a_line_and_its_adjustments_less_their_discounts_follow_usage(
    steps: list[tuple[MonthShares, int, int]],
) -> None:
    """A step: the usage of the months, what the line comes to by it, and how much of that credit at a
    discount pays, at most what there is to pay. Against fractions of all that is left."""
    steps = [(shares, amount, off) for shares, amount, off in steps if shares and amount]
    billed: list[BilledPart] = []
    chain: list[ChainPart] = []
    posted: dict[date, int] = defaultdict(int)
    for shares, amount, off in steps:
        before = sum(part.amount_minor for part in billed)
        if amount == before:
            continue
        own = difference_shares(START, END, BilledPart(amount, shares), billed) if billed else shares
        billed.append(BilledPart(amount - before, own or None))
        discounted = sum(part.discount_minor for part in chain)
        less = min(off, max(0, amount - discounted))  # no more than is left to pay
        chain.append(ChainPart(amount - before, less, own or None))
        used: dict[date, int] = defaultdict(int)
        for part in billed:
            for day, minor in line_parts("usage", START, END, part.amount_minor, part.shares):
                used[day] += minor
        moved = shares_after_discounts(START, END, chain)
        left = chain[-1].left_minor
        if not left:
            assert moved is None
            continue
        for day, minor in line_parts("usage", START, END, left, moved or own):
            posted[day] += minor
        total = sum(part.left_minor for part in chain)
        assert sum(posted.values()) == total
        wanted = plainly(tuple(sorted((day, minor) for day, minor in used.items() if minor)), total)
        if len(chain) > 1:
            assert {day: minor for day, minor in posted.items() if minor} == {
                day: minor for day, minor in wanted.items() if minor
            }
        assert all(minor * total >= 0 for minor in posted.values()), "no month is of the other sign"


@pytest.mark.parametrize("zone", ["UTC", "America/Sao_Paulo", "Pacific/Apia", "Asia/Beirut"])
def test_months_tile_a_period_from_local_midnight_to_local_midnight(zone: str) -> None:
    start, end = local_midnight(D("2018-10-15"), zone), local_midnight(D("2019-04-03"), zone)
    months = months_between(start, end, zone)
    assert [month[2] for month in months] == [
        D("2018-10-31"),
        D("2018-11-30"),
        D("2018-12-31"),
        D("2019-01-31"),
        D("2019-02-28"),
        D("2019-03-31"),
        D("2019-04-02"),
    ]
    edges = [month[0] for month in months]
    assert edges == [start, *(month[1] for month in months[:-1])]
    assert months[-1][1] == end
