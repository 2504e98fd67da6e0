"""Due service periods: the right days, once each, on the right billing date."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invoicing.due import calendar_of, due_service_periods, without_plan
from rating.plan_version import PlanVersion
from rating.service_period import SERVICE_PERIOD_SCHEMA
from rollup.period import billing_boundaries
from rollup.schema import CALENDAR_SCHEMA
from tests.invoicing.support import (
    CALLS,
    MONTHLY_FEE,
    contract_row,
    contracts_table,
    plan,
    readable,
    settled_table,
)


def due(
    *rows: dict[str, Any],
    as_of: str,
    versions: Sequence[PlanVersion] = (),
    settled: Sequence[tuple[str, str]] = (),
    now: datetime | None = None,
) -> pa.Table:
    return due_service_periods(
        contracts=contracts_table(*rows),
        plan_versions=versions or [plan()],
        settled=settled_table(*settled),
        as_of=date.fromisoformat(as_of),
        now=now,
    )


@pytest.mark.requirement("CON-02")
@pytest.mark.requirement("CON-03")
def test_a_monthly_contract_from_15_january() -> None:
    periods = due(contract_row(), as_of="2025-02-15")
    assert periods.schema == SERVICE_PERIOD_SCHEMA
    assert readable(periods) == [
        "c1 2025-01-15 advance 2025-01-15T00:00 2025-02-15T00:00 31/31 v1 first",
        "c1 2025-02-15 arrears 2025-01-15T00:00 2025-02-15T00:00 31/31 v1 first",
        "c1 2025-02-15 advance 2025-02-15T00:00 2025-03-15T00:00 28/28 v1",
    ]
    assert periods["period_key"].to_pylist() == [0, 1, 2]


def test_nothing_is_due_before_the_start_and_after_everything_is_settled() -> None:
    assert due(contract_row(), as_of="2025-01-14").num_rows == 0
    assert due(contract_row(), as_of="2025-02-20", settled=[("c1", "2025-02-15")]).num_rows == 0


def test_no_contracts_give_an_empty_table() -> None:
    assert due(as_of="2025-02-20").schema == SERVICE_PERIOD_SCHEMA


def test_a_calendar_month_contract_starts_and_ends_with_partial_periods() -> None:
    row = contract_row(anchor_date=date(2025, 1, 1), end_date=date(2025, 3, 11))
    assert readable(due(row, as_of="2025-12-31")) == [
        "c1 2025-01-15 advance 2025-01-15T00:00 2025-02-01T00:00 17/31 v1 first",
        "c1 2025-02-01 arrears 2025-01-15T00:00 2025-02-01T00:00 17/31 v1 first",
        "c1 2025-02-01 advance 2025-02-01T00:00 2025-03-01T00:00 28/28 v1",
        "c1 2025-03-01 arrears 2025-02-01T00:00 2025-03-01T00:00 28/28 v1",
        "c1 2025-03-01 advance 2025-03-01T00:00 2025-03-11T00:00 10/31 v1",
        "c1 2025-03-11 arrears 2025-03-01T00:00 2025-03-11T00:00 10/31 v1",
    ]


def test_a_contract_ending_on_a_boundary_has_that_date_once() -> None:
    row = contract_row(end_date=date(2025, 2, 15))
    assert readable(due(row, as_of="2025-12-31")) == [
        "c1 2025-01-15 advance 2025-01-15T00:00 2025-02-15T00:00 31/31 v1 first",
        "c1 2025-02-15 arrears 2025-01-15T00:00 2025-02-15T00:00 31/31 v1 first",
    ]


@pytest.mark.requirement("RAT-06")
def test_a_period_is_cut_where_a_plan_version_takes_effect() -> None:
    versions = [
        plan(charges=[CALLS]),
        plan(charges=[CALLS], version=2, effective_from="2025-02-01"),
        plan(charges=[CALLS], version=3, effective_from="2025-02-01"),
        plan(charges=[CALLS], version=4, effective_from="2025-02-15"),
    ]
    assert readable(due(contract_row(), as_of="2025-03-15", versions=versions)) == [
        "c1 2025-02-15 arrears 2025-01-15T00:00 2025-02-01T00:00 17/31 v1 first",
        "c1 2025-02-15 arrears 2025-02-01T00:00 2025-02-15T00:00 14/31 v3",
        "c1 2025-03-15 arrears 2025-02-15T00:00 2025-03-15T00:00 28/28 v4",
    ]


def test_rows_on_which_nothing_can_be_charged_are_not_made() -> None:
    only_fee = due(contract_row(), as_of="2025-02-15", versions=[plan(charges=[MONTHLY_FEE])])
    assert {str(timing) for timing in only_fee["timing"]} == {"advance"}
    with_minimum = [plan(charges=[MONTHLY_FEE], minimum_spend="5")]
    timings = due(contract_row(), as_of="2025-02-15", versions=with_minimum)["timing"].to_pylist()
    assert timings == ["advance", "arrears", "advance"]


def test_periods_start_at_local_midnight_through_a_clock_change() -> None:
    row = contract_row(time_zone="Europe/Berlin", start_date=date(2025, 3, 1))
    periods = due(row, as_of="2025-04-01", versions=[plan(charges=[CALLS])])
    assert readable(periods) == ["c1 2025-04-01 arrears 2025-02-28T23:00 2025-03-31T22:00 31/31 v1 first"]


def test_a_day_that_a_clock_change_skipped_is_no_period() -> None:
    """Samoa went from 29 to 31 December 2011."""
    there = contract_row(start_date=date(2011, 12, 30), end_date=date(2011, 12, 31), time_zone="Pacific/Apia")
    beside = contract_row("c2", start_date=date(2011, 12, 30), end_date=date(2011, 12, 31))
    periods = due_service_periods(
        contracts=contracts_table(there, beside),
        plan_versions=[plan(effective_from="2010-01-01")],
        settled=settled_table(),
        as_of=date(2012, 1, 1),
    )
    assert readable(periods) == [
        "c2 2011-12-30 advance 2011-12-30T00:00 2011-12-31T00:00 1/31 v1 first",
        "c2 2011-12-31 arrears 2011-12-30T00:00 2011-12-31T00:00 1/31 v1 first",
    ]
    assert periods["period_key"].to_pylist() == [0, 1]


def test_days_before_1970_are_days_like_others() -> None:
    row = contract_row(start_date=date(1969, 11, 1), end_date=date(1969, 12, 1))
    periods = due_service_periods(
        contracts=contracts_table(row),
        plan_versions=[plan(effective_from="1960-01-01")],
        settled=settled_table(),
        as_of=date(1970, 1, 1),
    )
    assert periods["billing_date"].to_pylist() == [date(1969, 11, 1), date(1969, 12, 1)]


def test_a_billing_date_is_due_only_once_its_day_has_begun_in_the_contract_s_zone() -> None:
    row = contract_row(time_zone="America/Los_Angeles")
    before = datetime(2025, 1, 15, 7, 59, tzinfo=UTC)
    assert due(row, as_of="2025-01-15", now=before).num_rows == 0
    assert due(row, as_of="2025-01-15", now=before + timedelta(minutes=1)).num_rows == 1


def test_contracts_without_a_price_on_their_first_day_are_named_and_left_out() -> None:
    rows = [contract_row("a", plan_id="none"), contract_row("b"), contract_row("c", plan_id="late")]
    versions = [plan(), plan(plan_id="late", effective_from="2025-01-16")]
    assert without_plan(contracts_table(*rows), versions)["contract_id"].to_pylist() == ["a", "c"]
    assert set(due(*rows, as_of="2025-02-15", versions=versions)["contract_id"].to_pylist()) == {"b"}


def test_the_calendar_names_each_subject_of_an_arrears_row() -> None:
    periods = due(contract_row(), as_of="2025-02-15")
    subjects = pa.table({"contract_id": ["c1", "c1", "other"], "subject": ["s2", "s1", "s3"]})
    calendar = calendar_of(periods=periods, contract_subjects=subjects)
    assert calendar.schema == CALENDAR_SCHEMA
    assert [(row["period_key"], row["subject"]) for row in calendar.to_pylist()] == [(1, "s1"), (1, "s2")]


def plain_due(row: dict[str, Any], as_of: date, settled: date | None) -> list[tuple[date, str, date, date]]:
    """The rule in its plainest words: list the billing dates, pair them up."""
    start, end = row["start_date"], row["end_date"]
    far = as_of + timedelta(days=800)
    bounds = billing_boundaries(
        cadence=row["cadence"], anchor_date=row["anchor_date"], first=start, last=max(start, far)
    )
    stops = [day for day in bounds if day > start and (end is None or day < end)]
    dates = [start, *stops, *([end] if end else [])]
    wanted = []
    for place, day in enumerate(dates):
        if day > as_of or (settled and day <= settled):
            continue
        if day > start:
            wanted.append((day, "arrears", dates[place - 1], day))
        if end is None or day < end:
            wanted.append((day, "advance", day, dates[place + 1]))
    return wanted


days = st.dates(date(2023, 1, 1), date(2026, 12, 31))


@settings(max_examples=150)
@given(st.data())
def test_any_contracts_agree_with_the_plain_rule(data: st.DataObject) -> None:
    rows, settled = [], []
    for number in range(data.draw(st.integers(1, 5))):
        start = data.draw(days)
        length = data.draw(st.none() | st.integers(1, 500))
        end = None if length is None else start + timedelta(length)
        cadence = data.draw(st.sampled_from(["weekly", "monthly", "quarterly", "semiannual", "annual"]))
        anchor = data.draw(st.none() | st.dates(date(2019, 1, 1), date(2028, 12, 31)))
        rows.append(
            contract_row(f"c{number}", start_date=start, end_date=end, cadence=cadence, anchor_date=anchor)
        )
        if data.draw(st.booleans()):
            settled.append((f"c{number}", data.draw(days).isoformat()))
    as_of = data.draw(days)
    found = due(*rows, as_of=as_of.isoformat(), settled=settled).to_pylist()
    last = {key: date.fromisoformat(day) for key, day in settled}
    wanted = [
        (row["contract_id"], *entry)
        for row in rows
        for entry in plain_due(row, as_of, last.get(row["contract_id"]))
    ]
    assert [
        (
            entry["contract_id"],
            entry["billing_date"],
            entry["timing"],
            entry["period_start"].date(),
            entry["period_end"].date(),
        )
        for entry in found
    ] == wanted
    assert all(entry["days"] == (entry["period_end"] - entry["period_start"]).days for entry in found)
    assert all(1 <= entry["days"] <= entry["full_days"] for entry in found)


def test_a_hundred_thousand_contracts_are_one_table_operation() -> None:
    count = 100_000
    starts = (np.datetime64("2024-01-01") + np.arange(count) % 366).astype("datetime64[D]")
    zones = np.array(["UTC", "Europe/Berlin", "America/New_York"])[np.arange(count) % 3]
    contracts = pa.table(
        {
            "contract_id": [f"c{number:06d}" for number in range(count)],
            "version": np.ones(count, np.int64),
            "customer_id": ["x"] * count,
            "plan_id": ["gold"] * count,
            "start_date": starts,
            "end_date": pa.nulls(count, pa.date32()),
            "time_zone": zones,
            "cadence": ["monthly"] * count,
            "anchor_date": starts,
        }
    )
    settled = pa.table(
        {"contract_id": contracts["contract_id"], "billing_date": pa.array(["2025-06-14"] * count)}
    )
    periods = due_service_periods(
        contracts=contracts, plan_versions=[plan()], settled=settled, as_of=date(2025, 7, 14)
    )
    # From 15 June to 14 July every contract has exactly one billing date: an arrears and an advance row.
    assert periods.num_rows == 2 * count
