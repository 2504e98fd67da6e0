"""Goal: every charge that is due gives exactly one line, in a fixed order, the same every time."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ingest.meter import Meter
from rating.compile import compile_price_book
from rating.line_item import RATED_LINE_SCHEMA
from rating.price_plan import PricePlan
from rating.rate import RatedLines, rate_usage
from rating.reprice import reprice_line
from rating.store import line_to_python
from tests.rating.plans import METERS, periods, plan, rows_of, usage, usage_charge, versions

PER_CALL = {"model": "per_unit", "unit_price": "0.12"}
FEE = {"charge_id": "fee", "name": "Fee", "kind": "recurring", "price": {"model": "flat", "amount": "31"}}
SETUP = {
    "charge_id": "setup",
    "name": "Setup",
    "kind": "one_time",
    "price": {"model": "flat", "amount": "99.95"},
}


def rate(periods_table: pa.Table, usage_table: pa.Table, *plans: PricePlan, threads: int = 1) -> RatedLines:
    book = compile_price_book(versions(*plans), METERS)
    return rate_usage(
        periods=periods_table, usage=usage_table, price_book=book, run_id="run-1", threads=threads
    )


def charged(rated: RatedLines) -> list[tuple[Any, ...]]:
    return rows_of(rated.lines, ["period_start", "charge_id", "amount_minor"])


def ids(rated: RatedLines) -> list[tuple[Any, ...]]:
    return rows_of(rated.lines, ["charge_id", "amount_minor"])


def test_one_usage_row_gives_one_line() -> None:
    rated = rate(periods({}), usage((0, "calls", "250", 250)), plan(usage_charge("calls", PER_CALL)))
    rated.lines.validate(full=True)
    assert rated.lines.schema.equals(RATED_LINE_SCHEMA)
    assert rated.unrated.num_rows == 0
    (line,) = rated.lines.to_pylist()
    del line["line_id"], line["input_hash"], line["period_start"], line["period_end"]
    assert line == {
        "run_id": "run-1",
        "contract_id": "c",
        "plan_id": "gold",
        "plan_version": 1,
        "charge_id": "calls",
        "charge_kind": "usage",
        "price_model": "per_unit",
        "meter_id": "calls",
        "unit": "call",
        "billing_date": date(2026, 2, 1),
        "days": 31,
        "full_days": 31,
        "dimensions": [],
        "quantity": Decimal(250),
        "rated_quantity": Decimal(250),
        "event_count": 250,
        "tier_number": [1],
        "tier_units": [Decimal(250)],
        "tier_amount": [Decimal(30)],
        "amount": Decimal(30),
        "amount_minor": 3000,
        "currency": "EUR",
        "agreement": "",
        "discount_number": [],
        "discount_amount": [],
        "inputs": [],
    }


@pytest.mark.requirement("RAT-02")
def test_a_rate_card_prices_a_timesheet() -> None:
    """Roles are cells of a matrix; every line shows hours x rate."""
    price = {
        "model": "matrix",
        "dimensions": ["class"],
        "cells": [
            {"match": {"class": role}, "price": {"model": "per_unit", "unit_price": rate_}}
            for role, rate_ in (("partner", "320"), ("senior", "180.50"), ("junior", "95"))
        ],
    }
    rated = rate(
        periods({}),
        usage(
            (0, "storage", "10.25", 3, {"class": "partner", "region": ""}),
            (0, "storage", "37.25", 9, {"class": "senior", "region": ""}),
            (0, "storage", "80", 12, {"class": "junior", "region": ""}),
        ),
        plan(usage_charge("storage", price)),
    )
    table = rows_of(rated.lines, ["quantity", "amount_minor"])
    assert table == [(Decimal("10.25"), 328_000), (Decimal("37.25"), 672_363), (Decimal(80), 760_000)]
    assert sum(row[1] for row in table) == 1_760_363


@pytest.mark.requirement("RAT-06")
@pytest.mark.requirement("CON-05")
def test_usage_is_priced_by_the_version_in_force() -> None:
    """The price changes on the 16th: the calendar splits the period, each half has its version."""
    split = periods(
        {"end": date(2026, 1, 16), "billing_date": date(2026, 2, 1), "full_days": 31},
        {"start": date(2026, 1, 16), "plan_version": 2, "full_days": 31},
    )
    rated = rate(
        split,
        usage((0, "calls", "100"), (1, "calls", "100")),
        plan(usage_charge("calls", PER_CALL)),
        plan(
            usage_charge("calls", {"model": "per_unit", "unit_price": "0.15"}),
            effective_from="2026-01-16",
        ),
    )
    assert rows_of(rated.lines, ["plan_version", "amount_minor"]) == [(1, 1200), (2, 1500)]


def test_each_charge_falls_on_the_rows_of_its_timing() -> None:
    charges = (
        usage_charge("calls", PER_CALL),
        {**FEE, "charge_id": "fee-before", "timing": "advance"},
        {**FEE, "charge_id": "fee-after"},
        {**SETUP, "timing": "advance"},
        {**SETUP, "charge_id": "training", "timing": "arrears"},
    )
    rated = rate(
        periods(
            {"timing": "advance", "first": True},
            {"timing": "arrears", "first": True},
            {"timing": "advance", "start": date(2026, 2, 1), "end": date(2026, 3, 1)},
            {"timing": "arrears", "start": date(2026, 2, 1), "end": date(2026, 3, 1)},
        ),
        usage((1, "calls", "10"), (3, "calls", "20")),
        plan(*charges),
    )
    assert ids(rated) == [
        ("fee-before", 3100),
        ("setup", 9995),
        ("calls", 120),
        ("fee-after", 3100),
        ("training", 9995),
        ("fee-before", 3100),
        ("calls", 240),
        ("fee-after", 3100),
    ]


def test_a_partial_period_costs_its_days() -> None:
    """17 of 31 days of 31.00; a fixed quantity of 3 at 31.00; a one-time fee stays whole."""
    three = {**FEE, "charge_id": "three", "quantity": "3", "price": {"model": "per_unit", "unit_price": "31"}}
    rated = rate(
        periods({"start": date(2026, 1, 15), "full_days": 31, "first": True}),
        usage(),
        plan(FEE, three, SETUP),
    )
    assert ids(rated) == [("fee", 1700), ("three", 5100), ("setup", 9995)]


def test_a_seat_price_is_for_a_whole_period_and_a_seat_day_is_not() -> None:
    seats = {**usage_charge("seats", {"model": "per_unit", "unit_price": "31"}), "kind": "licence"}
    days = {**usage_charge("seat_days", {"model": "per_unit", "unit_price": "1"}), "kind": "licence"}
    half = periods({"start": date(2026, 1, 15), "full_days": 31})
    rated = rate(half, usage((0, "seats", "10", 0), (0, "seat_days", "170", 0)), plan(seats, days))
    assert ids(rated) == [("seats", 17_000), ("seat_days", 17_000)]


def test_nothing_used_is_no_line_and_a_balance_of_zero_is_one() -> None:
    rated = rate(
        periods({}, {}),
        usage((0, "calls", "0", 0), (1, "calls", "0", 2)),
        plan(usage_charge("calls", {"model": "flat", "amount": "5"})),
    )
    assert rows_of(rated.lines, ["event_count", "amount_minor"]) == [(2, 500)]


def test_a_charge_that_is_due_without_usage_is_there_once_in_every_arrears_period() -> None:
    """In advance there is no usage to wait for; a group that was used is not charged as unused too."""
    tiers = {"model": "graduated", "tiers": [{"unit_price": "1", "flat_amount": "5"}]}
    hot = {"region": "eu", "class": "hot"}
    gold = plan(
        usage_charge("calls", tiers, zero_usage="charge", minimum_amount="6"),
        usage_charge("storage", tiers, zero_usage="charge"),
        usage_charge("hours", tiers),
    )
    rated = rate(
        periods({}, {"contract_id": "d"}, {"contract_id": "d", "timing": "advance"}),
        usage((0, "calls", "0", 0), (1, "calls", "3"), (1, "storage", "2", 1, hot)),
        gold,
    )
    assert rows_of(rated.lines, ["contract_id", "charge_id", "quantity", "event_count", "amount_minor"]) == [
        ("c", "calls", 0, 0, 600),
        ("c", "storage", 0, 0, 500),
        ("d", "calls", 3, 1, 800),
        ("d", "storage", 2, 1, 700),
    ]
    assert len(set(rated.lines["line_id"].to_pylist())) == 4


def test_usage_of_a_meter_without_a_charge_gives_no_line() -> None:
    rated = rate(periods({}), usage((0, "hours", "5")), plan(usage_charge("calls", PER_CALL)))
    assert (rated.lines.num_rows, rated.unrated.num_rows) == (0, 0)


def test_two_charges_may_price_one_meter() -> None:
    again = {**usage_charge("calls", {"model": "flat", "amount": "1"}), "charge_id": "service"}
    rated = rate(periods({}), usage((0, "calls", "10")), plan(usage_charge("calls", PER_CALL), again))
    assert ids(rated) == [("calls", 120), ("service", 100)]


MATRIX = {
    "model": "matrix",
    "dimensions": ["region", "class"],
    "cells": [
        {"match": {"region": "eu", "class": "hot"}, "price": {"model": "per_unit", "unit_price": "3"}},
        {"match": {"region": "eu"}, "price": {"model": "per_unit", "unit_price": "2"}},
        {"match": {"class": ""}, "price": {"model": "per_unit", "unit_price": "7"}},
    ],
}
STORED = usage(
    (0, "storage", "1", 1, {"region": "eu", "class": "cold"}),
    (0, "storage", "1", 1, {"region": "eu", "class": "hot"}),
    (0, "storage", "1", 1, {"region": "us", "class": "hot"}),
    (0, "storage", "1", 1, {"region": "us", "class": ""}),
)


def test_the_first_cell_that_matches_prices_and_the_rest_is_unrated() -> None:
    rated = rate(periods({}), STORED, plan(usage_charge("storage", MATRIX)))
    assert rows_of(rated.lines, ["dimensions", "amount_minor"]) == [
        ([("region", "eu"), ("class", "cold")], 200),
        ([("region", "eu"), ("class", "hot")], 300),
        ([("region", "us"), ("class", "")], 700),
    ]
    assert rated.unrated.to_pylist() == [
        {
            "period_key": 0,
            "contract_id": "c",
            "charge_id": "storage",
            "meter_id": "storage",
            "dimensions": [("region", "us"), ("class", "hot")],
            "quantity": Decimal(1),
            "reason_code": "no_matching_cell",
        }
    ]


def test_a_default_prices_what_no_cell_matches() -> None:
    price = {**MATRIX, "default": {"model": "per_unit", "unit_price": "1"}}
    rated = rate(periods({}), STORED, plan(usage_charge("storage", price)))
    assert rated.lines["amount_minor"].to_pylist() == [200, 300, 100, 700]


def test_a_credit_is_a_negative_line_or_unrated() -> None:
    tiered = {"model": "volume", "tiers": [{"unit_price": "1"}]}
    rated = rate(
        periods({}),
        usage((0, "calls", "-10"), (0, "hours", "-10")),
        plan(usage_charge("calls", PER_CALL), usage_charge("hours", tiered)),
    )
    assert ids(rated) == [("calls", -120)]
    assert rows_of(rated.unrated, ["charge_id", "reason_code", "quantity"]) == [
        ("hours", "negative_quantity", Decimal(-10))
    ]


def test_a_minimum_spend_line_makes_up_the_difference() -> None:
    spending = plan(usage_charge("calls", PER_CALL), FEE, minimum_spend="31")
    rated = rate(
        periods(
            {},  # 12.00 of usage: 19.00 more
            {},  # no usage at all: all of it
            {},  # 36.00 of usage: none
            {"start": date(2026, 1, 15), "full_days": 31},  # 17 days: 17.00, 12.00 reached
            {"timing": "advance"},
        ),
        usage((0, "calls", "100"), (2, "calls", "300"), (3, "calls", "100")),
        spending,
    )
    assert ids(rated) == [
        ("calls", 1200), ("fee", 3100), ("minimum-spend", 1900),
        ("fee", 3100), ("minimum-spend", 3100),
        ("calls", 3600), ("fee", 3100),
        ("calls", 1200), ("fee", 1700), ("minimum-spend", 500),
    ]  # fmt: skip
    line = rated.lines.slice(2, 1).to_pylist()[0]
    assert (line["charge_kind"], line["quantity"], line["rated_quantity"], line["amount"], line["unit"]) == (
        "minimum_spend", Decimal(12), Decimal(31), Decimal(19), "EUR",
    )  # fmt: skip
    assert line["tier_number"] == []


def test_a_minimum_spend_too_large_to_keep_is_unrated() -> None:
    spending = plan(usage_charge("calls", PER_CALL), minimum_spend="92233720368547758.08")
    rated = rate(periods({}, {"timing": "advance"}), usage((0, "calls", "100")), spending)
    assert ids(rated) == [("calls", 1200)]
    assert rows_of(rated.unrated, ["period_key", "charge_id", "meter_id", "dimensions", "reason_code"]) == [
        (0, "minimum-spend", "", [], "amount_too_large")
    ]


def test_a_sum_past_64_bits_under_a_minimum_spend_is_unrated() -> None:
    """Each line is 5 x 10**18 cents: two of one sign are past 2**63, which is about 9.2 x 10**18."""
    charges = (
        usage_charge("calls", {"model": "per_unit", "unit_price": "1"}),
        usage_charge("hours", {"model": "per_unit", "unit_price": "1"}),
        usage_charge("bytes", {"model": "per_unit", "unit_price": "1"}),
    )
    large, minimum = "50000000000000000", "60000000000000000"
    used = usage(
        (0, "calls", large), (0, "hours", large),  # past 2**63
        (1, "calls", large), (1, "hours", large), (1, "bytes", f"-{large}"),  # past it on the way only
        (2, "calls", f"-{large}"),  # the difference to the minimum is past it
        (3, "calls", f"-{large}"), (3, "hours", f"-{large}"),  # past -2**63
    )  # fmt: skip
    rated = rate(periods({}, {}, {}, {}), used, plan(*charges, minimum_spend=minimum))
    reasons = rows_of(rated.unrated, ["period_key", "charge_id", "reason_code"])
    assert reasons == [(key, "minimum-spend", "amount_too_large") for key in (0, 2, 3)]
    spend = [row for row in rated.lines.to_pylist() if row["charge_id"] == "minimum-spend"]
    assert [row["amount_minor"] for row in spend] == [10**18]


@pytest.mark.parametrize(
    ("name", "total"),
    [
        *((name, 3100) for name in ("max", "min", "avg", "latest", "average", "peak", "end")),
        *((name, 6200) for name in ("unit_days", "count", "sum", "unique_count")),
    ],
)
def test_a_level_is_paid_once_when_a_version_splits_the_period(name: str, total: int) -> None:
    """31.00 for a level that stood all month, whichever day a new version takes effect; what adds up
    over the parts is priced as it was counted in each."""
    timed = name in {"average", "peak", "end", "unit_days"}
    meter = Meter.model_construct(
        meter_id="m",
        event_type="e",
        aggregation="time_weighted" if timed else name,
        reading=name if timed else None,
    )
    charge = usage_charge("m", {"model": "per_unit", "unit_price": "31"})
    gold = [plan(charge), plan(charge, effective_from="2026-01-16")]
    split = periods(
        {"end": date(2026, 1, 16), "billing_date": date(2026, 2, 1), "full_days": 31},
        {"start": date(2026, 1, 16), "plan_version": 2, "full_days": 31},
    )
    book = compile_price_book(versions(*gold), {"m": meter})
    used = usage((0, "m", "1"), (1, "m", "1"))
    lines = rate_usage(periods=split, usage=used, price_book=book, run_id="r", threads=1).lines
    assert sum(lines["amount_minor"].to_pylist()) == total
    for row, version in enumerate(gold):
        assert reprice_line(line_to_python(lines, row), version) == 0
