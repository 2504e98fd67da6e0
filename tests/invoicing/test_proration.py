"""Goal: a part of a period costs what its method says, by figures worked out by hand, and parts make a whole.

A fee of 300.00 in advance, billing periods from the first of the month (2026: January has 31 days, February
28, the third quarter 92).
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invoicing.due import due_service_periods
from rating.proration import METHODS, part_words, shares, units_between
from rollup.period import billing_boundaries
from tests.invoicing.contract_case import bill
from tests.invoicing.support import MONTHLY_FEE, contract_row, contracts_table, settled_table
from tests.invoicing.support import plan as plan_version

FEE = {
    "charge_id": "fee",
    "name": "Fee",
    "kind": "recurring",
    "timing": "advance",
    "price": {"model": "flat", "amount": "300"},
}
THIRTY_DAYS = {"proration_divisor": "thirty_days"}


def first_line(start: str, cadence: str, **settings_of_plan: str) -> tuple[int, int, str]:
    """(part, whole, amount) of the first fee of a contract that begins inside a period."""
    case = {
        "plan": {"charges": [FEE], **settings_of_plan},
        "contract": {"start_date": start, "billing": {"cadence": cadence, "anchor_date": "2026-01-01"}},
        "as_of": start,
    }
    (line,) = bill(case).lines()
    return line["days"], line["full_days"], f"{line['amount_minor'] / 100:.2f}"


@pytest.mark.parametrize(
    ("start", "cadence", "plan", "part", "whole", "amount"),
    [
        # 12 January to 1 February: 20 days
        ("2026-01-12", "monthly", {}, 20, 31, "193.55"),
        ("2026-01-12", "monthly", THIRTY_DAYS, 20, 30, "200.00"),
        ("2026-01-12", "monthly", {"proration": "thirty_360"}, 19, 30, "190.00"),
        ("2026-01-12", "monthly", {"proration": "by_second"}, 1_728_000, 2_678_400, "193.55"),
        ("2026-01-12", "monthly", {"proration": "none"}, 1, 1, "300.00"),
        # 2 January to 1 February: 30 days are a month of thirty
        ("2026-01-02", "monthly", {}, 30, 31, "290.32"),
        ("2026-01-02", "monthly", THIRTY_DAYS, 30, 30, "300.00"),
        # the 31st alone: in a month of 30 days it is a day of its own, in 30/360 it is the 30th
        ("2026-01-31", "monthly", THIRTY_DAYS, 1, 30, "10.00"),
        ("2026-01-31", "monthly", {"proration": "thirty_360"}, 1, 30, "10.00"),
        # 12 February to 1 March: 17 days
        ("2026-02-12", "monthly", {}, 17, 28, "182.14"),
        ("2026-02-12", "monthly", THIRTY_DAYS, 17, 30, "170.00"),
        ("2026-02-12", "monthly", {"proration": "thirty_360"}, 19, 30, "190.00"),
        # 12 August to 1 October: 50 days
        ("2026-08-12", "quarterly", {}, 50, 92, "163.04"),
        ("2026-08-12", "quarterly", THIRTY_DAYS, 50, 90, "166.67"),
        ("2026-08-12", "quarterly", {"proration": "thirty_360"}, 49, 90, "163.33"),
        # a week has seven days
        ("2026-01-31", "weekly", THIRTY_DAYS, 5, 7, "214.29"),
    ],
)
def test_a_part_by_hand(
    start: str, cadence: str, plan: dict[str, str], part: int, whole: int, amount: str
) -> None:
    assert first_line(start, cadence, **plan) == (part, whole, amount)


def test_an_hour_that_a_clock_change_skips_is_not_paid() -> None:
    """Berlin, March 2026: 743 hours, of which 479 are left on 12 March; in days that is 20 of 31."""
    row = contract_row(start_date=date(2026, 3, 12), anchor_date=date(2026, 1, 1), time_zone="Europe/Berlin")
    found = {}
    for proration in ("by_day", "by_second"):
        periods = due_service_periods(
            contracts=contracts_table(row),
            plan_versions=[plan_version(charges=[MONTHLY_FEE], proration=proration)],
            settled=settled_table(),
            as_of=date(2026, 3, 12),
        )
        found[proration] = (periods["days"][0].as_py(), periods["full_days"][0].as_py())
    assert found == {"by_day": (20, 31), "by_second": (479 * 3600, 743 * 3600)}


def test_a_fee_that_is_not_prorated_is_billed_once_a_period() -> None:
    """A new plan in the middle of the period charges such a fee from the next one on."""
    whole, by_day = FEE | {"prorated": False}, FEE | {"charge_id": "other"}
    case: dict[str, Any] = {
        "plans": [
            {"charges": [whole, by_day]},
            {"charges": [whole | {"price": {"model": "flat", "amount": "500"}}, by_day], "plan_id": "plus"},
        ],
        "contract": {
            "start_date": "2026-01-16",
            "billing": {"anchor_date": "2026-01-01"},
            "phases": [{"plan_id": "plus", "effective_from": "2026-02-15"}],
        },
        "as_of": "2026-03-01",
    }
    table = [
        "2026-01-16 fee 2026-01-16..2026-02-01 1 = 300.00",
        "2026-01-16 other 2026-01-16..2026-02-01 1 = 154.84",
        "2026-02-01 fee 2026-02-01..2026-02-15 1 = 300.00",
        "2026-02-01 other 2026-02-01..2026-02-15 1 = 150.00",
        "2026-02-01 other 2026-02-15..2026-03-01 1 = 150.00",
        "2026-03-01 fee 2026-03-01..2026-04-01 1 = 500.00",
        "2026-03-01 other 2026-03-01..2026-04-01 1 = 300.00",
    ]
    assert bill(case).table() == table
    amended = {**case, "billed": "2026-02-01", "amended": {"phases": case["contract"].pop("phases")}}
    assert [row for row in bill(amended).table() if " fee " in row] == [
        "2026-01-16 fee 2026-01-16..2026-02-01 1 = 300.00",
        "2026-02-01 fee 2026-02-01..2026-03-01 1 = 300.00",
        "2026-03-01 fee 2026-03-01..2026-04-01 1 = 500.00",
    ]


def test_credit_and_charge_of_an_amendment_are_counted_as_the_plan_does() -> None:
    """From 31 January on: one day of thirty in 30/360, 12 hours are not told."""
    case = {
        "plan": {
            "charges": [FEE | {"price": {"model": "per_unit", "unit_price": "30"}, "quantity": "10"}],
            "proration": "thirty_360",
        },
        "contract": {"start_date": "2026-01-01"},
        "billed": "2026-01-01",
        "amended": {
            "quantities": [
                {"charge_id": "fee", "quantity": 12, "effective_from": "2026-01-16"},
                {"charge_id": "fee", "quantity": 5, "effective_from": "2026-01-31"},
            ]
        },
        "as_of": "2026-02-01",
    }
    assert bill(case).table() == [
        "2026-01-01 fee 2026-01-01..2026-02-01 10 = 300.00",
        "2026-02-01 fee 2026-01-16..2026-01-31 2 = 28.00",
        "2026-02-01 fee 2026-02-01..2026-03-01 5 = 150.00",
        "2026-02-01 fee 2026-01-31..2026-02-01 300 = -5.00",
    ]


DAYS = st.integers(0, 1500).map(lambda number: date(2024, 1, 1) + timedelta(days=number))


@settings(max_examples=200, deadline=None)
@given(
    anchor=DAYS,
    day=DAYS,
    cadence=st.sampled_from(["weekly", "monthly", "quarterly", "annual"]),
    cut=st.floats(0, 1),
    method=st.sampled_from([method for method in METHODS if method != "by_second"]),
)
def test_two_parts_make_a_whole(anchor: date, day: date, cadence: str, cut: float, method: Any) -> None:
    """Of a billing period cut anywhere; only a divisor of thirty days may miss it, and never asks more than
    a whole for one part."""
    start, end = billing_boundaries(cadence=cadence, anchor_date=anchor, first=day, last=day)[:2]
    middle = start + timedelta(days=int(cut * (end - start).days))
    edges = [np.array([edge], "datetime64[D]").astype(np.int64) for edge in (start, middle, end)]
    (whole,) = shares(method, start=edges[0], end=edges[2], whole_start=edges[0], whole_end=edges[2])[1]
    parts = [
        shares(method, start=first, end=past, whole_start=edges[0], whole_end=edges[2])[0][0]
        for first, past in ((edges[0], edges[1]), (edges[1], edges[2]))
    ]
    assert all(0 <= part <= whole for part in parts)
    if method != "thirty_days":
        assert sum(parts) == whole
    assert parts[0] == units_between(method, start, middle, at_most=int(whole)) or middle == end


def test_the_words_of_a_part() -> None:
    assert part_words(14, 31) == "14 of 31 days"
    assert part_words(1_209_600, 2_678_400) == "1,209,600 of 2,678,400 seconds"
