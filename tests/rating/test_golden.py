"""Goal: the hand-checked cases of ``tests/golden/rating/cases.txt`` come out exactly, by the kernels of a
billing run, by the reference, and by ``ratemill price``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.document import read_document
from ingest.errors import InvalidInput
from rating.compile import compile_price_book
from rating.money import format_minor
from rating.price import price_request
from rating.price_plan import PricePlan
from rating.rate import RatedLines, rate_usage
from rating.reference import price_quantity
from rating.unrateable import Unrateable
from tests.rating.plans import METERS, periods, plan, usage, versions
from tests.rating.random_prices import MODELS

CASES_FILE = Path(__file__).parents[1] / "golden" / "rating" / "cases.txt"
CHARGE = re.compile(r"charge: (\{.*\})(?:  currency: (\w+))?(?:  rounding: (\w+))?$")
CASE = re.compile(r"    (-?[\d.]+)(?: events (\d+))?(?: days (\d+)/(\d+))? = (.+)$")


@dataclass(frozen=True)
class Case:
    line_number: int
    charge: dict[str, Any]
    currency: str
    rounding: str
    quantity: str
    event_count: int
    days: int
    full_days: int
    expected: str

    def plan(self) -> PricePlan:
        kind = self.charge.get("kind", "usage")
        given = {"charge_id": "x", "name": "x", "kind": kind, **self.charge}
        if kind in {"usage", "licence"}:
            given.setdefault("meter_id", "calls")
        return plan(given, currency=self.currency, rounding=self.rounding)


def read_cases() -> list[Case]:
    cases, heading = [], None
    for number, line in enumerate(CASES_FILE.read_text(encoding="utf-8").splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        charge, case = CHARGE.match(line), CASE.match(line)
        if charge:
            heading = (
                read_document(yaml.dump(yaml.load(charge[1], yaml.BaseLoader))),  # noqa: S506 - text only
                charge[2] or "EUR",
                charge[3] or "half_up",
            )
        elif case and heading:
            quantity, events, days, full_days, expected = case.groups()
            cases.append(
                Case(
                    number,
                    *heading,
                    quantity,
                    int(events or 1),
                    int(days or 1),
                    int(full_days or 1),
                    expected,
                )
            )
        else:
            raise ValueError(f"{CASES_FILE.name}:{number} is neither a charge nor a case: {line!r}")
    return cases


CASES = read_cases()
each_case = pytest.mark.parametrize("case", CASES, ids=[f"line {case.line_number}" for case in CASES])


def rated_lines(case: Case) -> RatedLines:
    start = date(2026, 1, 1)
    meter_id = case.charge.get("meter_id", "calls")
    metered = case.charge.get("kind", "usage") in {"usage", "licence"}
    used = case.event_count > 0 or Decimal(case.quantity) != 0
    return rate_usage(
        periods=periods(
            {"start": start, "end": start + timedelta(days=case.days), "full_days": case.full_days}
        ),
        usage=usage(*([(0, meter_id, case.quantity, case.event_count)] if metered and used else [])),
        price_book=compile_price_book(versions(case.plan()), METERS),
        run_id="golden",
        threads=1,
    )


@pytest.mark.requirement("RAT-01")
def test_there_are_enough_cases_and_every_model_has_some() -> None:
    assert len(CASES) >= 200
    assert {case.charge["price"]["model"] for case in CASES} == set(MODELS)


@pytest.mark.requirement("RAT-01")
@pytest.mark.requirement("RAT-03")
@each_case
def test_a_billing_run_agrees(case: Case) -> None:
    rated = rated_lines(case)
    if case.expected.startswith("unrated "):
        assert rated.unrated["reason_code"].to_pylist() == [case.expected.removeprefix("unrated ")]
        assert rated.lines.num_rows == 0
        return
    (amount_minor,) = rated.lines["amount_minor"].to_pylist()
    assert format_minor(amount_minor, case.currency) == case.expected


@pytest.mark.requirement("RAT-01")
@each_case
def test_the_reference_agrees(case: Case) -> None:
    (terms,) = compile_price_book(versions(case.plan()), METERS).terms
    share = Fraction(case.days, case.full_days)
    quantity = case.charge.get("quantity") or case.quantity
    try:
        priced = price_quantity(
            terms, quantity=Decimal(str(quantity)), event_count=case.event_count, share=share
        )
        found = format_minor(priced.amount_minor, case.currency)
    except Unrateable as error:
        found = f"unrated {error.reason_code}"
    assert found == case.expected


@pytest.mark.requirement("RAT-01")
@pytest.mark.parametrize("case", CASES, ids=[f"line {case.line_number}" for case in CASES])
def test_the_price_command_agrees(case: Case) -> None:
    request = {
        "charge": case.charge,
        "currency": case.currency,
        "rounding": case.rounding,
        "quantity": case.quantity,
        "event_count": case.event_count,
        "days": case.days,
        "full_days": case.full_days,
    }
    if case.charge.get("meter_id") == "seat_days":
        request["meter"] = {"aggregation": "time_weighted", "reading": "unit_days"}
    if case.charge.get("meter_id") == "peak":
        request["meter"] = {"aggregation": "max"}
    try:
        found = price_request(request)["billed"]
    except InvalidInput as error:
        found = f"unrated {error.reason_code}"
    assert found == case.expected
