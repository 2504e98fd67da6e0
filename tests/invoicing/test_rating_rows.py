"""Goal: the rows RAT-04, RAT-05 and RAT-10 of the requirements, as a finance person would check them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from rating.explain import explain_line
from tests.invoicing.contract_case import bill
from tests.invoicing.test_special_prices import charge, lines, tried
from tests.invoicing.test_wider_prices import used
from tests.invoicing.world import World, at
from tests.rating.plans import usage_charge


def retainer(*, days: dict[str, str], **more: Any) -> list[str]:
    """A monthly fee with 100 hours in it and 84.00 for each hour beyond: the lines of the hours."""
    fee = {
        "charge_id": "retainer",
        "name": "Retainer",
        "kind": "recurring",
        "price": {"model": "flat", "amount": "8000"},
    }
    hours = usage_charge("hours", {"model": "per_unit", "unit_price": "84"}, free_units="100", **more)
    billed = bill(
        {
            "plan": {"charges": [fee, hours]},
            "contract": {"start_date": "2026-01-01"},
            "usage": [{"day": day, "meter_id": "hours", "quantity": count} for day, count in days.items()],
            "as_of": "2026-03-01",
        }
    )
    return [row for row in billed.table() if " hours " in row]


@pytest.mark.requirement("RAT-04")
def test_hours_beyond_the_allowance_are_charged_and_hours_within_it_are_not() -> None:
    """112 used of 100: 12 at 84.00. 88 used: nothing, and the 12 that were left are gone with the month."""
    assert retainer(days={"2026-01-10": "112", "2026-02-10": "88"}) == [
        "2026-02-01 hours 2026-01-01..2026-02-01 112 = 1008.00",
        "2026-03-01 hours 2026-02-01..2026-03-01 88 = 0.00",
    ]
    assert retainer(days={"2026-01-10": "88", "2026-02-10": "112"})[1].endswith("112 = 1008.00")


@pytest.mark.requirement("RAT-04")
def test_an_allowance_of_the_year_rolls_over_from_month_to_month(world: World) -> None:
    """1,200 hours a contract year: what one month leaves, a later one has; only the 13th hundred costs."""
    hours = charge("hours", {"model": "per_unit", "unit_price": "84"}, free_units="1200", tiers_count="year")
    world.plan(hours)
    world.contract(billing={"cadence": "semiannual"})
    used(world, "c1", _2025_02_01="500", _2025_08_01="712", _2026_02_01="88")
    world.bill("2026-07-15", now=at("2026-08-01"))
    assert lines(world) == [
        "2025-07-15 hours 2025-01-15..2025-07-15 500 call 0.00",
        "2026-01-15 hours 2025-07-15..2026-01-15 712 call 1008.00",
        "2026-07-15 hours 2026-01-15..2026-07-15 88 call 0.00",
    ]


LOYAL, VOUCHER, SPRING = "Loyal, 10 %", "Voucher, 11 off the invoice", "Spring, 20 %"


@pytest.mark.requirement("RAT-05")
@pytest.mark.parametrize(
    ("order", "total", "said"),
    [
        ("percentage_first", 6100, [f"{LOYAL}: -10.00", f"{SPRING}: -18.00", f"{VOUCHER}: -11.00"]),
        ("amount_first", 6408, [f"{VOUCHER}: -11.00", f"{LOYAL}: -8.90", f"{SPRING}: -16.02"]),
        ("as_written", 6320, [f"{LOYAL}: -10.00", f"{VOUCHER}: -11.00", f"{SPRING}: -15.80"]),
    ],
)
def test_a_percentage_an_amount_and_a_promotion_in_each_order(
    order: str, total: int, said: list[str]
) -> None:
    """10 % for ever, 11.00 off and a promotion of 20 % for the first two months, on 100.00; percentages are
    of what is left. The derivation shows them in the order applied. In March the promotion is over."""
    promises = [
        {"discount_id": "loyal", "name": "Loyal", "percent": "10"},
        {"discount_id": "voucher", "name": "Voucher", "amount": "11"},
        {"discount_id": "spring", "name": "Spring", "percent": "20", "first_periods": 2},
    ]
    billed = bill(
        {
            "plan": {
                "charges": [usage_charge("calls", {"model": "per_unit", "unit_price": "1"})],
                "discounting": {"order": order},
            },
            "contract": {"start_date": "2026-01-01", "discounts": promises},
            "usage": [
                {"day": f"2026-0{month}-10", "meter_id": "calls", "quantity": "100"} for month in (1, 2, 3)
            ],
            "as_of": "2026-04-01",
        }
    )
    first, second, third = billed.lines()
    assert (first["amount_minor"], second["amount_minor"]) == (total, total)
    assert len(third["discount_number"]) == 2
    explained = explain_line(first, billed.plans[1], agreement=billed.agreements[first["agreement"]])
    steps = [step.text.replace(" EUR", "") for step in explained.steps if step.step == "discounts"]
    assert steps == said
    assert Decimal(first["amount"]) * 100 == total


STORED = "SELECT count(), sum(cityHash64(*)) FROM {table}"


@pytest.mark.requirement("RAT-10")
def test_new_ways_of_pricing_rate_old_usage_again_without_a_change_to_what_is_stored(world: World) -> None:
    """100 and 50 calls of c1, 60 of c2 were billed at 1.00 each. What they would have cost by the event, by a
    formula with seats that were counted for nothing so far, by tiers of the year, and pooled."""
    world.plan(charge("calls", {"model": "per_unit", "unit_price": "1"}))
    world.contracts(["c1", "c2"])
    world.events(("seat", "c1-subject", "2025-01-15", "4"))
    used(world, "c1", _2025_01_20="100", _2025_02_20="50")
    used(world, "c2", _2025_01_20="60")
    world.bill("2025-03-15")
    before = [world.event_store.command(STORED.format(table=name)) for name in ("events", "rated_lines")]
    steps = {"model": "graduated", "tiers": [{"up_to": "100", "unit_price": "1"}, {"unit_price": "0.5"}]}
    formula = charge("calls", {"model": "per_unit", "unit_price": "1"}, formula="calls - 10 * seats")
    del formula["meter_id"]
    tries = {
        "by the event": charge("calls", {"model": "percentage", "percent": "50", "minimum_per_event": "40"}),
        "formula": formula,
        "year": charge("calls", steps, tiers_count="year"),
        "pooled": charge("calls", steps, pooled_over="customer"),
    }
    assert {name: tried(world, price, end="2025-04-01") for name, price in tries.items()} == {
        "by the event": [5000 + 4000, 4000],
        "formula": [15_000 - 2 * 4000, 6000],
        "year": [10_000 + 2500, 6000],
        "pooled": [8125 + 5000, 4875],
    }
    assert [
        world.event_store.command(STORED.format(table=name)) for name in ("events", "rated_lines")
    ] == before
