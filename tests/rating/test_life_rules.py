"""Goal: a phase, addition or quantity that could not be billed is refused, and the message says where."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from rating.agreement_dates import phase_starts, plan_windows, terms_by_day
from rating.contract import Contract
from rating.contract_rules import ContractSurroundings, PlanFacts, contract_rules
from rating.price_plan import PricePlan
from tests.rating.plans import METERS


def fee(amount: str, charge_id: str = "fee", **more: Any) -> dict[str, Any]:
    return {
        "charge_id": charge_id,
        "name": charge_id.title(),
        "kind": "recurring",
        "price": {"model": "flat", "amount": amount},
        **more,
    }


SEATS = fee("0", "seats") | {"price": {"model": "per_unit", "unit_price": "10"}, "quantity": "10"}
FROM_11 = {"effective_from": "2025-04-11"}
TWELVE = {"charge_id": "seats", "quantity": "12"} | FROM_11


def plan(
    plan_id: str, *charges: dict[str, Any], start: str = "2020-01-01", currency: str = "EUR"
) -> PricePlan:
    document = {"plan_id": plan_id, "name": plan_id, "currency": currency, "effective_from": start}
    return PricePlan.model_validate(document | {"charges": list(charges)})


PLANS = (
    plan("gold", SEATS, fee("30")),
    plan("plus", fee("60")),
    plan("late", fee("60"), start="2026-01-01"),
    plan("yen", fee("60"), currency="JPY"),
    plan("ahead", fee("30", timing="advance")),
)


def contract(**changes: Any) -> Contract:
    document = {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "start_date": "2025-04-01",
        "time_zone": "UTC",
        **changes,
    }
    return Contract.model_validate(document)


def broken(**changes: Any) -> list[tuple[str, str]]:
    surroundings = ContractSurroundings(
        plans={entry.plan_id: PlanFacts(entry.effective_from, frozenset()) for entry in PLANS},
        holders={},
        versions={entry.plan_id: [entry] for entry in PLANS},
        meters=METERS,
    )
    found = contract_rules(contract(**changes), surroundings=surroundings)
    return [(issue.reason_code, issue.pointer) for issue in found]


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"phases": [{"plan_id": "gone"} | FROM_11]}, "unknown_plan", "phases[0].plan_id"),
        ({"phases": [{"plan_id": "late"} | FROM_11]}, "plan_not_effective", "phases[0].effective_from"),
        ({"phases": [{"plan_id": "yen"} | FROM_11]}, "phase_currency", "phases"),
        (
            {"phases": [{"plan_id": "plus", "effective_from": "2025-04-01"}]},
            "phase_order",
            "phases[0].effective_from",
        ),
        (
            {"phases": [{"plan_id": "plus"} | FROM_11], "end_date": "2025-04-11"},
            "phase_order",
            "phases[0].effective_from",
        ),
        (
            {"phases": [{"plan_id": "plus", "effective_from": "1900-01-01"}]},
            "date_out_of_range",
            "phases[0].effective_from",
        ),
        (
            {"additions": [{"charge": fee("9", "x", kind="one_time")}]},
            "addition_kind",
            "additions[0].charge.kind",
        ),
        ({"additions": [{"charge": SEATS}]}, "charge_id_taken", "additions[0].charge.charge_id"),
        (
            {"additions": [{"charge": fee("9", "x")}, {"charge": fee("8", "x")} | FROM_11]},
            "charge_id_taken",
            "additions[1].charge.charge_id",
        ),
        ({"additions": [{"charge": fee("-1", "x")}]}, "negative_number", "additions[0].charge.price.amount"),
        (
            {"additions": [{"charge": fee("1", "x"), "effective_from": "2025-03-01"}]},
            "before_contract",
            "additions[0].effective_from",
        ),
        ({"quantities": [TWELVE | {"charge_id": "fee"}]}, "quantity_of_what", "quantities[0].charge_id"),
        ({"quantities": [TWELVE | {"quantity": "-3"}]}, "negative_quantity", "quantities[0].quantity"),
        ({"quantities": [TWELVE, TWELVE]}, "quantity_twice", "quantities[1]"),
    ],
)
def test_rules_name_the_path(changes: dict[str, Any], code: str, pointer: str) -> None:
    assert (code, pointer) in broken(**changes)


def test_days_that_stay_paid_in_advance_are_not_billed_in_arrears_too() -> None:
    """Under ``unused: none`` the old fee stays paid to the end of the period; the new one is due after it."""
    change = {"plan_id": "ahead", "unused": "none", "phases": [{"plan_id": "plus"} | FROM_11]}
    assert broken(**change) == [("phase_paid_twice", "phases[0].plan_id")]
    assert not broken(**change | {"unused": "credit"})
    assert not broken(**change | {"phases": [{"plan_id": "plus", "effective_from": "2025-05-01"}]})
    assert not broken(**change | {"phases": [{"plan_id": "plus", "change": "at_period_end"} | FROM_11]})
    assert not broken(**change | {"plan_id": "plus", "phases": [{"plan_id": "ahead"} | FROM_11]})


def test_a_whole_life_is_allowed() -> None:
    assert not broken(
        phases=[{"plan_id": "plus"} | FROM_11, {"plan_id": "gold", "effective_from": "2026-01-01"}],
        additions=[
            {"charge": fee("9", "x"), "effective_until": "2025-04-11"},
            {"charge": fee("8", "x")} | FROM_11,
        ],
        quantities=[{"charge_id": "seats", "quantity": "3"}, TWELVE],
    )


def test_when_a_phase_begins() -> None:
    """At the end of a period: where the next one begins, also when that is the very day asked."""
    later = {"plan_id": "plus", "change": "at_period_end"}
    cases = {
        "2025-04-11": date(2025, 4, 15),
        "2025-04-15": date(2025, 4, 15),
        "2025-04-16": date(2025, 5, 15),
    }
    for asked, begins in cases.items():
        found = contract(billing={"anchor_date": "2025-01-15"}, phases=[later | {"effective_from": asked}])
        assert phase_starts(found) == [(date(2025, 4, 1), "gold"), (begins, "plus")]
        assert plan_windows(found)[-1] == ("plus", begins, None)
        assert [(day, plan_id) for day, plan_id, _ in terms_by_day(found)] == phase_starts(found)
