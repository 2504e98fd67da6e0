"""Goal: other prices over the same history: who pays what, exactly what a bill under them would say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from ingest.errors import InvalidDocument, InvalidInput, NotFound
from invoicing.history import BillingDates
from invoicing.what_if import what_if
from invoicing.what_if_answer import WhatIf
from invoicing.what_if_variant import VariantDocument, read_variants
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, at, unseen


def plan_document(*charges: dict[str, Any], plan_id: str = "gold", **more: Any) -> dict[str, Any]:
    return {
        "plan_id": plan_id,
        "name": "Tried out",
        "currency": "EUR",
        "effective_from": "2027-01-01",
        "charges": list(charges),
        **more,
    }


def ask(
    world: World,
    variants: dict[str, list[dict[str, Any]]],
    *,
    first: str = "2025-01-01",
    end: str = "2025-04-01",
    contract_ids: Sequence[str] | None = None,
) -> WhatIf:
    documents = [VariantDocument(name=name, plans=tuple(plans)) for name, plans in variants.items()]
    return what_if(
        variants=read_variants(world.ledger, documents),
        dates=BillingDates(date.fromisoformat(first), date.fromisoformat(end)),
        contract_ids=contract_ids,
        event_store=world.event_store,
        stored_usage=world.stored_usage,
        ledger=world.ledger,
        now=at("2026-01-01"),
        progress=unseen,
    )


def rows(answer: WhatIf) -> list[str]:
    """``dearer c1 now 31.00 then 32.00 = 1.00`` a row."""
    return [
        f"{row['variant']} {row['contract_id']} "
        + (
            f"held: {row['reason_code']}"
            if row["reason_code"]
            else f"{row['now_minor']} -> {row['variant_minor']}: {row['difference_minor']:+}"
        )
        for table in answer.tables()
        for row in table.to_pylist()
    ]


def tiered(*tiers: tuple[str | None, str]) -> dict[str, Any]:
    listed = [({} if bound is None else {"up_to": bound}) | {"unit_price": price} for bound, price in tiers]
    return CALLS | {"price": {"model": "graduated", "tiers": listed}}


@pytest.mark.requirement("RAT-10")
def test_winners_losers_and_totals_by_hand(world: World) -> None:
    """January to March: three fees of 30.00 in advance (15 January, February, March), calls at 0.01.

    tiers: the first 500 calls of a period at 0.02, the rest at 0.005; no fee.
    small: 100 and 200 calls = 3.00 -> 2.00 + 4.00; large: 1,000 and 5,000 = 60.00 -> 12.50 + 32.50.
    """
    world.plan(MONTHLY_FEE, CALLS)
    world.contracts(["large", "small"])
    world.events(
        ("call", "small-subject", "2025-01-20", "100"),
        ("call", "small-subject", "2025-02-20", "200"),
        ("call", "large-subject", "2025-01-20", "1000"),
        ("call", "large-subject", "2025-02-20", "5000"),
    )
    answer = ask(
        world,
        {
            "tiers": [plan_document(tiered(("500", "0.02"), (None, "0.005")))],
            "dearer": [
                plan_document(MONTHLY_FEE, CALLS | {"price": {"model": "per_unit", "unit_price": "0.02"}})
            ],
            "same": [plan_document(MONTHLY_FEE, CALLS)],
        },
    )
    assert rows(answer) == [
        "tiers large 15000 -> 4500: -10500",
        "tiers small 9300 -> 600: -8700",
        "dearer large 15000 -> 21000: +6000",
        "dearer small 9300 -> 9600: +300",
        "same large 15000 -> 15000: +0",
        "same small 9300 -> 9300: +0",
    ]
    (tiers,) = answer.totals(0)
    assert (tiers.winners, tiers.losers, tiers.unchanged) == (2, 0, 0)
    assert (tiers.now_minor, tiers.variant_minor, tiers.difference_minor) == (24300, 5100, -19200)
    assert [(total.winners, total.losers, total.unchanged) for n in (1, 2) for total in answer.totals(n)] == [
        (0, 2, 0),
        (0, 0, 2),
    ]


def test_it_says_what_a_bill_says(world: World) -> None:
    """Amounts now are those that were billed, over a plan version that changed in mid-period; under the
    variant they are those of a world whose only prices are the variant's."""
    world.plan(MONTHLY_FEE, CALLS, minimum_spend="5")
    world.plan(MONTHLY_FEE, CALLS | {"free_units": "20"}, start="2025-02-01")
    world.contract("c1")
    world.contract(
        "own", overrides=[{"charge_id": "calls", "price": {"model": "per_unit", "unit_price": "1"}}]
    )
    for subject in ("c1-subject", "own-subject"):
        world.events(
            ("call", subject, "2025-01-20", "100"),
            ("call", subject, "2025-02-10", "50.5"),
            ("call", subject, "2025-02-20", "70"),
        )
    variant = plan_document(
        MONTHLY_FEE | {"price": {"model": "flat", "amount": "10"}},
        tiered(("60", "0.1"), (None, "0.03")),
        discounts=[{"discount_id": "ten", "name": "Ten", "percent": "10"}],
    )
    answer = ask(world, {"v": [variant]})
    world.bill("2025-03-31")
    billed: dict[str, int] = {}
    for stored in world.invoices():
        owner = stored.summary.contract_id
        billed[owner] = billed.get(owner, 0) + stored.invoice.total_minor
    shown = {row["contract_id"]: row for table in answer.tables() for row in table.to_pylist()}
    assert {owner: row["now_minor"] for owner, row in shown.items()} == billed
    assert ask(world, {"v": [variant]}).now_minor.tolist() == answer.now_minor.tolist(), "billed or not"
    # 27.00 of fees; 150.5 calls in one period: 60 x 0.1 + 90.5 x 0.03 = 8.715, and 70: 6.30; less 10 %.
    assert shown["c1"]["variant_minor"] == 2700 + 784 + 567
    assert shown["own"]["variant_minor"] == 2700 + 13545 + 6300


def test_who_cannot_be_priced_is_listed_and_counts_nowhere(world: World) -> None:
    matrix = {
        "charge_id": "transfer",
        "name": "Transfer",
        "kind": "usage",
        "meter_id": "transfer",
        "price": {
            "model": "matrix",
            "dimensions": ["region"],
            "cells": [{"match": {"region": "eu"}, "price": {"model": "per_unit", "unit_price": "1"}}],
        },
    }
    priced_all = matrix | {"price": {"model": "per_unit", "unit_price": "2"}}
    world.plan(matrix)
    world.contracts(["eu", "us"])
    world.contract("broken")
    world.events(
        ("transfer", "eu-subject", "2025-01-20", "10", {"region": "eu"}),
        ("transfer", "us-subject", "2025-01-20", "10", {"region": "us"}),
        ("transfer", "broken-subject", "2025-01-20", "", {"region": "eu"}),
    )
    answer = ask(world, {"all": [plan_document(priced_all)], "fewer": [plan_document(_only(matrix, "us"))]})
    assert rows(answer) == [
        "all broken held: unusable_events",
        "all eu 1000 -> 2000: +1000",
        "all us held: unrated_usage",
        "fewer broken held: unusable_events",
        "fewer eu held: unrated_usage",
        "fewer us held: unrated_usage",
    ]
    assert [total.contracts for total in answer.totals(0)] == [1]
    assert answer.totals(1) == []
    shown = answer.to_dict()
    assert [variant["held"] for variant in shown["variants"]] == [2, 3]
    reasons = {(entry["variant"], entry["contract_id"]): entry["message"] for entry in shown["held"]}
    assert "no price for 10" in reasons[None, "us"]
    assert "no price for 10" in reasons["fewer", "eu"]


def _only(matrix: dict[str, Any], region: str) -> dict[str, Any]:
    cells = [{"match": {"region": region}, "price": {"model": "per_unit", "unit_price": "1"}}]
    return matrix | {"price": matrix["price"] | {"cells": cells}}


def test_only_contracts_on_the_plans_and_only_those_asked_for(world: World) -> None:
    world.plan(CALLS)
    world.plan(CALLS, plan_id="silver")
    world.contracts(["a", "b"])
    world.contract("other", plan_id="silver")
    both = [plan_document(MONTHLY_FEE), plan_document(MONTHLY_FEE, plan_id="silver")]
    assert rows(ask(world, {"v": both[:1], "w": both[1:]})) == [
        "v a 0 -> 9000: +9000",
        "v b 0 -> 9000: +9000",
        "w other 0 -> 9000: +9000",
    ]
    assert rows(ask(world, {"v": both}, contract_ids=["b"], end="2025-02-15")) == ["v b 0 -> 3000: +3000"]
    with pytest.raises(NotFound, match="'nobody'"):
        ask(world, {"v": both}, contract_ids=["nobody"])


def test_a_subject_that_came_after_the_bill_brings_no_usage_to_it(world: World) -> None:
    world.plan(CALLS)
    world.contract("c1")
    world.events(("call", "c1-subject", "2025-01-20", "100"), ("call", "later", "2025-01-20", "900"))
    world.bill("2025-02-15")
    world.contract("c1", subjects=["c1-subject", "later"])
    world.events(("call", "later", "2025-02-20", "700"))
    doubled = CALLS | {"price": {"model": "per_unit", "unit_price": "0.02"}}
    answer = ask(world, {"v": [plan_document(doubled)]})
    assert rows(answer) == ["v c1 800 -> 1600: +800"]


def test_bad_variants_are_refused_with_their_path_and_nothing_is_saved(world: World) -> None:
    world.plan(CALLS)
    world.contract("c1")
    good = plan_document(CALLS)
    cases: tuple[tuple[dict[str, list[dict[str, Any]]], str, str], ...] = (
        ({}, "no_variant", "variants"),
        ({"v": []}, "no_plan", "variants[0].plans"),
        ({"v": [good, good]}, "plan_given_twice", "variants[0].plans"),
        ({"v": [good | {"plan_id": "unknown"}]}, "plan_unknown", "plan_id"),
        ({"v": [good | {"currency": "USD"}]}, "currency_changed", "currency"),
        ({"v": [good | {"charges": [CALLS | {"meter_id": "none"}]}]}, "unknown_meter", "charges[0].meter_id"),
    )
    for variants, code, pointer in cases:
        with pytest.raises(InvalidInput) as caught:
            ask(world, variants)
        assert [(issue.reason_code, issue.pointer) for issue in caught.value.issues] == [(code, pointer)]
    with pytest.raises(InvalidDocument):
        ask(world, {"v": [good | {"charges": []}]})
    named_twice = [VariantDocument(name="v", plans=(good,))] * 2
    with pytest.raises(InvalidInput, match=r"variants\[1\]\.name"):
        read_variants(world.ledger, named_twice)
    with pytest.raises(InvalidInput, match="later than the first"):
        ask(world, {"v": [good]}, first="2025-02-01", end="2025-02-01")
