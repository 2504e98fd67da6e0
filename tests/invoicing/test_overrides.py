"""Goal: customers on one plan pay their own prices, from their days; every line says whose it is."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ingest.errors import BrokenState, InvalidDocument
from invoicing.billed_time import contract_change_issues
from invoicing.document import printed
from invoicing.preview import preview_contract
from rating.agreement_store import get_agreement
from rating.catalogue import get_plan_version, save_contract
from rating.explain import explain_line
from rating.store import get_rated_line
from tests.invoicing.contract_case import bill
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, World, at, readable
from tests.rating.plans import usage_charge

PER_CALL = {"model": "per_unit", "unit_price": "0.12"}
FEE = {
    "charge_id": "fee",
    "name": "Fee",
    "kind": "recurring",
    "timing": "advance",
    "price": {"model": "flat", "amount": "31"},
}
NEGOTIATED = {"charge_id": "calls", "price": {"model": "per_unit", "unit_price": "0.005"}}


@pytest.mark.requirement("CON-08")
def test_same_usage_two_agreements_two_rates(any_world: World) -> None:
    any_world.plan(CALLS)
    any_world.contract("list-price")
    any_world.contract("own-price", overrides=[NEGOTIATED])
    for subject in ("list-price-subject", "own-price-subject"):
        any_world.events(("call", subject, "2025-01-20", "1000"))
    report = any_world.bill("2025-02-15")
    assert report.held == ()
    shown = [(readable(stored), stored.invoice.lines[0]) for stored in any_world.invoices()]
    assert [rows for rows, _ in shown] == [
        ["2025-02-15 calls 2025-01-15..2025-02-15 1000 call 10.00"],
        ["2025-02-15 calls 2025-01-15..2025-02-15 1000 call 5.00"],
    ]
    assert [(line.price_source, line.price_text) for _, line in shown] == [
        ("plan", "0.01 per call"),
        ("contract", "0.005 per call"),
    ]
    invoice = any_world.invoices()[1].invoice
    assert "price by contract" in printed(invoice)["lines"][0]["detail"]


@pytest.mark.requirement("CON-06")
@pytest.mark.requirement("CON-08")
def test_an_own_price_explains_itself(world: World) -> None:
    world.plan(CALLS)
    world.contract(overrides=[NEGOTIATED])
    world.events(("call", "c1-subject", "2025-01-20", "1000"))
    world.bill("2025-02-15")
    line = get_rated_line(world.event_store, world.invoices()[0].invoice.lines[0].line_id)
    plan = get_plan_version(world.ledger, "gold", line["plan_version"]).plan
    agreement = get_agreement(world.ledger, line["agreement"])
    shown = explain_line(line, plan, agreement=agreement).to_text()
    assert f"price: agreed in contract c1 (agreement {line['agreement']}), instead of Gold (gold" in shown
    assert "0.005 each = 5.00" in shown
    with pytest.raises(BrokenState, match="names agreement"):
        explain_line(line, plan)


@pytest.mark.requirement("CON-05")
@pytest.mark.requirement("CON-08")
def test_a_new_list_price_reaches_all_but_the_overridden_charge(world: World) -> None:
    dearer = CALLS | {"price": {"model": "per_unit", "unit_price": "0.02"}}
    fee = MONTHLY_FEE | {"price": {"model": "flat", "amount": "40"}}
    world.plan(MONTHLY_FEE, CALLS)
    world.plan(fee, dearer, start="2025-02-15")
    world.contract(overrides=[NEGOTIATED])
    world.events(
        ("call", "c1-subject", "2025-02-01", "100"),
        ("call", "c1-subject", "2025-02-20", "100"),
    )
    world.bill("2025-03-15")
    assert [readable(stored) for stored in world.invoices()] == [
        ["2025-01-15 fee 2025-01-15..2025-02-15 1 unit 30.00"],
        [
            "2025-02-15 calls 2025-01-15..2025-02-15 100 call 0.50",
            "2025-02-15 fee 2025-02-15..2025-03-15 1 unit 40.00",
        ],
        [
            "2025-03-15 calls 2025-02-15..2025-03-15 100 call 0.50",
            "2025-03-15 fee 2025-03-15..2025-04-15 1 unit 40.00",
        ],
    ]


@pytest.mark.requirement("RAT-06")
def test_an_override_that_begins_in_mid_period_splits_it() -> None:
    billed = bill(
        {
            "plan": {"charges": [usage_charge("calls", PER_CALL), FEE]},
            "contract": {
                "start_date": "2026-01-01",
                "overrides": [
                    {
                        "charge_id": "calls",
                        "effective_from": "2026-01-16",
                        "effective_until": "2026-02-10",
                        "price": {"model": "per_unit", "unit_price": "0.10"},
                    },
                    {
                        "charge_id": "fee",
                        "effective_from": "2026-02-10",
                        "free_units": None,
                        "price": {"model": "flat", "amount": "14"},
                    },
                ],
            },
            "usage": [
                {"day": "2026-01-15", "meter_id": "calls", "quantity": 100},
                {"day": "2026-01-16", "meter_id": "calls", "quantity": 100},
                {"day": "2026-02-10", "meter_id": "calls", "quantity": 100},
            ],
            "as_of": "2026-03-01",
        }
    )
    assert billed.table() == [
        "2026-01-01 fee 2026-01-01..2026-01-16 1 = 15.00",
        "2026-01-01 fee 2026-01-16..2026-02-01 1 = 16.00",
        "2026-02-01 calls 2026-01-01..2026-01-16 100 = 12.00",
        "2026-02-01 calls 2026-01-16..2026-02-01 100 = 10.00",
        "2026-02-01 fee 2026-02-01..2026-02-10 1 = 9.96",
        "2026-02-01 fee 2026-02-10..2026-03-01 1 = 9.50",
        "2026-03-01 calls 2026-02-10..2026-03-01 100 = 12.00",
        "2026-03-01 fee 2026-03-01..2026-04-01 1 = 14.00",
    ]
    whose = [bool(line["agreement"]) for line in billed.lines() if line["charge_id"] == "calls"]
    assert whose == [False, True, True]  # from 10 February another charge is agreed


def save(world: World, *overrides: dict[str, Any]) -> bool:
    document = {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "subjects": ["c1-subject"],
        "start_date": date(2025, 1, 15),
        "time_zone": "UTC",
        "overrides": overrides,
    }
    saved = save_contract(world.ledger, document, now=LONG_AGO, further_rules=contract_change_issues)
    return saved.created


def test_billed_time_keeps_its_prices(world: World) -> None:
    """Billed on 15 February: what was agreed before it stays."""
    world.plan(MONTHLY_FEE, CALLS)
    world.contract()
    world.bill("2025-02-15")
    cheaper_fee = {"charge_id": "fee", "price": {"model": "flat", "amount": "20"}}
    for override in (
        NEGOTIATED,
        NEGOTIATED | {"effective_from": "2025-02-14"},
        cheaper_fee | {"effective_from": "2025-02-14"},
    ):
        with pytest.raises(InvalidDocument) as caught:
            save(world, override)
        (issue,) = caught.value.issues
        assert (issue.reason_code, issue.pointer) == ("contract_already_billed", "overrides")
        assert "up to 2025-02-15 as they were" in issue.expected
    assert save(world, NEGOTIATED | {"effective_from": "2025-02-15"})
    assert save(
        world,
        NEGOTIATED | {"effective_from": "2025-02-15"},
        cheaper_fee | {"effective_from": "2025-03-15"},
    )
    world.events(("call", "c1-subject", "2025-02-20", "1000"))
    draft = preview_contract(
        contract_id="c1", at=at("2025-03-01"), event_store=world.event_store, ledger=world.ledger
    )
    world.bill("2025-03-15")
    issued = world.invoices()[-1]
    assert readable(issued) == [
        "2025-03-15 calls 2025-02-15..2025-03-15 1000 call 5.00",
        "2025-03-15 fee 2025-03-15..2025-04-15 1 unit 20.00",
    ]
    assert draft.lines == issued.invoice.lines


def test_a_price_changed_behind_a_bill_holds_the_contract(world: World) -> None:
    world.plan(CALLS)
    world.contract()
    world.events(("call", "c1-subject", "2025-01-20", "1000"))
    world.bill("2025-02-15")
    world.contract(overrides=[NEGOTIATED])  # without being asked
    report = world.bill("2025-03-15")
    assert [held.reason_code for held in report.held] == ["billing_dates_changed"]
