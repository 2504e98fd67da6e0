"""Goal: a limit allows up to and including itself; of several the one that refuses decides; documents that
mean nothing are refused with the field."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from ingest.meter import Meter
from rating.contract import Contract
from rating.contract_period import billing_period, entitlement_period
from rating.entitlement import (
    Entitlement,
    EntitlementPeriod,
    Mode,
    Standing,
    best,
    judge,
    strictest,
    without_limit,
)
from rating.entitlement_rules import entitlement_rules

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


def standing(
    limit: str, used: str, mode: Mode = "hard", contract: str = "c", period: EntitlementPeriod = "month"
) -> Standing:
    return Standing(contract, "calls", period, START, END, mode, Decimal(limit), Decimal(used), 1, 0)


@pytest.mark.requirement("HLD-04")
@pytest.mark.parametrize(
    ("limit", "used", "quantity", "mode", "allowed", "reason", "remaining"),
    [
        ("100", "99", "1", "hard", True, "within_limit", "1"),
        ("100", "99", "1.000000000001", "hard", False, "over_limit", "1"),
        ("100", "100", "0", "hard", True, "within_limit", "0"),
        ("100", "101", "0", "hard", False, "over_limit", "-1"),
        ("100", "100", "1", "soft", True, "over_soft_limit", "0"),
        ("0", "0", "1", "hard", False, "over_limit", "0"),
        (
            "99999999999999999999999999.999999999999",
            "0.000000000001",
            "1",
            "hard",
            True,
            "within_limit",
            "99999999999999999999999999.999999999998",
        ),
    ],
)
def test_one_limit(
    limit: str, used: str, quantity: str, mode: Mode, allowed: bool, reason: str, remaining: str
) -> None:
    verdict = judge([standing(limit, used, mode)], Decimal(quantity))
    assert (verdict.allowed, verdict.reason, verdict.remaining) == (allowed, reason, Decimal(remaining))


def test_of_several_limits_each_must_allow() -> None:
    day, month = standing("10", "4", period="day"), standing("100", "95")
    assert judge([day, month], Decimal(5)).standing == month
    assert judge([day, month], Decimal(6)).allowed is False
    assert judge([day, month], Decimal(7)).standing == month, "both refuse, the month has least left"
    soft = standing("3", "3", "soft")
    assert (judge([day, soft], Decimal(1)).reason, judge([day, soft], Decimal(7)).reason) == (
        "over_soft_limit",
        "over_limit",
    )


def test_several_contracts() -> None:
    roomy, tight = (
        judge([standing("9", "1", contract="a")], Decimal(2)),
        judge([standing("2", "1", contract="b")], Decimal(2)),
    )
    free, foreign = without_limit("not_limited", "c"), without_limit("not_in_contract", "d")
    assert strictest([roomy, tight, free, foreign]).contract_id == "b"
    assert best([roomy, tight, free, foreign]).contract_id == "a"
    assert strictest([free, foreign]).allowed
    assert strictest([foreign]).reason == "not_in_contract"
    assert best([]).reason == strictest([]).reason == "no_contract"


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("billing_period", "2026-03-14T23:00+00:00", "2026-04-14T22:00+00:00"),
        ("day", "2026-03-28T23:00+00:00", "2026-03-29T22:00+00:00"),
        ("month", "2026-02-28T23:00+00:00", "2026-03-31T22:00+00:00"),
        ("contract", "2026-01-14T23:00+00:00", None),
    ],
)
def test_periods_are_local_to_the_contract(period: EntitlementPeriod, start: str, end: str | None) -> None:
    contract = Contract(
        contract_id="c", customer_id="a", plan_id="p", start_date=date(2026, 1, 15), time_zone="Europe/Berlin"
    )
    expected = (datetime.fromisoformat(start), None if end is None else datetime.fromisoformat(end))
    assert entitlement_period(contract, period, on=date(2026, 3, 29)) == expected


@pytest.mark.parametrize(
    ("billing", "first", "past"),
    [
        ({"cadence": "weekly", "every": 2}, "2026-03-26", "2026-04-09"),
        ({"cadence": "monthly", "every": 36}, "2026-01-15", "2029-01-15"),
        ({"cadence": "quarterly", "anchor_date": "2026-02-28"}, "2026-02-28", "2026-05-28"),
        ({"cadence": "annual", "anchor_date": "2026-03-01"}, "2026-03-01", "2027-03-01"),
        ({"cadence": "annual", "anchor_date": "2025-12-01"}, "2026-01-15", "2026-12-01"),  # begins with it
    ],
)
def test_the_billing_period_is_of_the_whole_interval(billing: dict[str, Any], first: str, past: str) -> None:
    names = dict.fromkeys(("contract_id", "customer_id", "plan_id"), "c")
    document = names | {"start_date": "2026-01-15", "time_zone": "UTC"}
    contract = Contract.model_validate(document | {"billing": billing})
    days = [day.date().isoformat() for day in billing_period(contract, on=date(2026, 3, 29))]
    assert days == [first, past]


@pytest.mark.parametrize(
    ("changes", "reason_code", "pointer"),
    [
        ({"meter_id": "nobody"}, "unknown_meter", "entitlements[0].meter_id"),
        ({"meter_id": "mean"}, "entitlement_not_additive", "entitlements[0].meter_id"),
        ({"limit": None}, "entitlement_limit", "entitlements[0]"),
        ({"provisioned_meter_id": "seats"}, "entitlement_limit", "entitlements[0]"),
        (
            {"limit": None, "provisioned_meter_id": "calls"},
            "provisioned_without_levels",
            "entitlements[0].provisioned_meter_id",
        ),
        ({"limit": "-1"}, "negative_limit", "entitlements[0].limit"),
        ({"per_provisioned": "2"}, "per_provisioned_unused", "entitlements[0].per_provisioned"),
    ],
)
def test_what_means_nothing_is_refused(
    changes: dict[str, str | None], reason_code: str, pointer: str
) -> None:
    meters = {
        "calls": Meter(meter_id="calls", event_type="call", aggregation="sum"),
        "mean": Meter(meter_id="mean", event_type="call", aggregation="avg"),
        "seats": Meter(meter_id="seats", event_type="seat", aggregation="time_weighted", reading="end"),
    }
    one = Entitlement.model_validate(
        {"meter_id": "calls", "period": "month", "mode": "hard", "limit": "10", **changes}
    )
    issues = list(entitlement_rules([one], meters=meters))
    assert [(issue.reason_code, issue.pointer) for issue in issues] == [(reason_code, pointer)]
    twice = list(entitlement_rules([one, one], meters=meters))
    assert "entitlement_twice" in {issue.reason_code for issue in twice}
