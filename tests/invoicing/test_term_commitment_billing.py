"""Goal: a term is trued up on real stores, and one that cannot be is refused."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.json import to_json
from api.lines import explain
from api.state import Ratemill
from ingest.errors import InvalidDocument
from invoicing.billed_time import contract_change_issues
from invoicing.document import printed
from invoicing.history import BillingDates
from invoicing.preview import preview_contract
from invoicing.rerate import rerate
from invoicing.what_if import what_if
from invoicing.what_if_variant import PriceVariant
from rating.agreement_store import get_agreement
from rating.billed_spend import spent_towards
from rating.catalogue import get_plan_version, save_contract
from rating.explain import explain_line
from rating.price_plan import PricePlan
from rating.store import get_rated_line
from rating.verify import differences
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_adjustments import Sender
from tests.invoicing.test_rerate import again, rows
from tests.invoicing.test_term_commitments import term, units_of
from tests.invoicing.world import LONG_AGO, World, at, readable, unseen


def quarter_in(world: World, **changes: Any) -> None:
    world.plan(CALLS, MONTHLY_FEE)
    world.contract(
        start_date=date(2025, 1, 1), term_commitments=[term("40", "2025-01-01", "2025-04-01")], **changes
    )
    for month in (1, 2, 3):
        world.events(("call", "c1-subject", f"2025-{month:02}-10", "1000"))


def test_a_term_is_trued_up_explained_previewed_and_rated_again(world: World) -> None:
    quarter_in(world)
    world.bill("2025-02-01")
    world.bill("2025-03-01")
    preview = preview_contract(
        contract_id="c1", at=at("2025-03-31T23:59"), event_store=world.event_store, ledger=world.ledger
    )
    world.bill("2025-04-01")
    last = world.invoices()[-1]
    assert readable(last) == [
        "2025-04-01 calls 2025-03-01..2025-04-01 1000 call 10.00",
        "2025-04-01 fee 2025-04-01..2025-05-01 1 unit 30.00",
        "2025-04-01 commitment-true-up annual 2025-01-01..2025-04-01 30 EUR 10.00",
    ]
    line = last.invoice.lines[-1]
    assert (line.description, line.price_source) == ("Commitment, true-up", "contract")
    assert line.price_text == "up to 40.00 from 2025-01-01 to 2025-04-01"
    assert [entry.line_id for entry in preview.lines] == [entry.line_id for entry in last.invoice.lines]
    assert preview.total_minor == last.invoice.total_minor

    rated = get_rated_line(world.event_store, line.line_id)
    agreement = get_agreement(world.ledger, rated["agreement"])
    commitment = agreement.term_commitments[0]
    spent = spent_towards(world.event_store, rated, commitment, contract_id="c1", time_zone="UTC")
    assert spent == [(date(2025, month, 1), Decimal(10)) for month in (2, 3, 4)]
    text = explain_line(
        rated,
        get_plan_version(world.ledger, "gold", 1).plan,
        agreement=agreement,
        spent=spent,
    ).to_text()
    assert "spent            billed on 2025-03-01: 10.00 EUR -> 20.00 EUR" in text
    assert "commitment       committed 40.00 EUR -> 40.00 EUR" in text

    def again() -> Any:
        return rerate(
            dates=BillingDates(date(2025, 4, 1), date(2025, 5, 1)),
            contract_ids=None,
            event_store=world.event_store,
            stored_usage=None,
            ledger=world.ledger,
            now=at("2025-06-01"),
            progress=unseen,
        )

    assert again().changes == ()
    world.events(("call", "c1-subject", "2025-03-20", "300"))  # late: 3.00 more, so 3.00 less to true up
    changed = [(row["charge_id"], row["difference_minor"]) for row in again().changes[0].to_pylist()]
    assert changed == [("calls", 300), ("commitment-true-up", -300)]


def test_units_are_trued_up_with_what_came_late_and_shown_as_units(world: World) -> None:
    """1,000 calls a month of 3,500 committed; 120 of January come late and are adjusted on 1 March."""
    world.plan(CALLS)
    world.contract(
        start_date=date(2025, 1, 1), term_commitments=[units_of("3500", "2025-01-01", "2025-04-01")]
    )
    for month in (1, 2, 3):
        world.events(("call", "c1-subject", f"2025-{month:02}-10", "1000"))
    world.bill("2025-02-01")
    world.events(("call", "c1-subject", "2025-01-20", "120"))
    world.bill("2025-03-01")
    preview = preview_contract(
        contract_id="c1", at=at("2025-03-31T23:59"), event_store=world.event_store, ledger=world.ledger
    )
    world.bill("2025-04-01")
    last = world.invoices()[-1]
    assert readable(last)[-1:] == [
        "2025-04-01 commitment-true-up calls 2025-01-01..2025-04-01 3120 call 323.00"  # 380 at 0.85
    ]
    assert [line.line_id for line in preview.lines] == [line.line_id for line in last.invoice.lines]
    line = last.invoice.lines[-1]
    assert line.price_text == "up to 3500 call at 0.85 from 2025-01-01 to 2025-04-01"
    assert "3,120 of 3,500 call used" in printed(last.invoice)["lines"][-1]["detail"]
    rated = get_rated_line(world.event_store, line.line_id)
    agreement = get_agreement(world.ledger, rated["agreement"])
    commitment = agreement.term_commitments[0]
    spent = spent_towards(world.event_store, rated, commitment, contract_id="c1", time_zone="UTC")
    assert spent == [
        (date(2025, month, 1), Decimal(units)) for month, units in ((2, 1000), (3, 1120), (4, 1000))
    ]
    plan = get_plan_version(world.ledger, "gold", 1).plan
    explanation = explain_line(rated, plan, agreement=agreement, spent=spent)
    assert "committed 3,500 call at 0.85 EUR -> 3,500 call" in explanation.to_text()
    assert differences(json.loads(to_json(explanation.to_dict()))) == []


def test_a_true_up_counts_what_was_billed_after_the_end(world: World) -> None:
    """40.00 are committed for a quarter and 30.00 spent. After the end 200 calls of January come, 2.00, and
    later 100 of March, 1.00: each makes the true-up of 10.00 less by as much, and can be explained."""
    quarter_in(world, end_date=date(2025, 4, 1))
    sender = Sender(world)
    for as_of in ("2025-02-01", "2025-03-01", "2025-04-01"):
        world.bill(as_of, now=at(f"{as_of}T06:00"))
    for number, (day, value) in enumerate((("2025-01-20", "200"), ("2025-03-20", "100"))):
        received = at(f"2025-05-0{1 + number}")
        sender.received_at = received
        sender.calls((f"late{number}", "c1", day, value))
        assert world.bill(f"{received:%Y-%m-%d}", now=received.replace(hour=6)).held == ()
    first, second = [stored.invoice for stored in world.invoices()][-2:]
    assert [[line.amount_minor for line in bill.lines] for bill in (first, second)] == [
        [200, -200],
        [100, -100],
    ]
    assert rows(again(world, first="2025-04-01", end="2025-05-01")) == []
    state = cast(Ratemill, SimpleNamespace(event_store=world.event_store, ledger=world.ledger))
    for stored in world.invoices():
        for line in stored.invoice.lines:
            explanation, _ = explain(state, line.line_id)
            assert explanation.amount_minor == line.amount_minor
            assert differences(json.loads(to_json(explanation.to_dict()))) == []


def test_what_if_prices_the_true_up_too(world: World) -> None:
    """At half the price 10.00 less is billed for March, and the true-up takes 5.00 of it back."""
    quarter_in(world)
    for as_of in ("2025-02-01", "2025-03-01", "2025-04-01"):
        world.bill(as_of)
    plan = get_plan_version(world.ledger, "gold", 1).plan
    cheap = {**CALLS, "price": {"model": "per_unit", "unit_price": "0.005"}}
    variant = PricePlan.model_validate({**plan.model_dump(), "charges": [cheap, MONTHLY_FEE]})
    answer = what_if(
        variants=[PriceVariant("half", (variant,))],
        dates=BillingDates(date(2025, 4, 1), date(2025, 4, 2)),
        contract_ids=None,
        event_store=world.event_store,
        stored_usage=None,
        ledger=world.ledger,
        now=at("2025-06-01"),
        progress=unseen,
    )
    assert answer.now_minor.tolist() == [1000 + 3000 + 1000]
    assert answer.minor.tolist() == [[500 + 3000 + 1500]]


def test_what_if_trues_up_tiers_that_count_over_the_year(world: World) -> None:
    """1,000 calls a month at 0.01 up to 2,500 of the year and free from there on: 10.00, 10.00 and 5.00 of
    40.00 that are committed. At one price March comes to 10.00, and the true-up to 10.00 instead of 15.00."""
    tiers = [{"up_to": "2500", "unit_price": "0.01"}, {"up_to": None, "unit_price": "0"}]
    world.plan(CALLS | {"tiers_count": "year", "price": {"model": "graduated", "tiers": tiers}})
    world.contract(start_date=date(2025, 1, 1), term_commitments=[term("40", "2025-01-01", "2025-04-01")])
    for month in (1, 2, 3):
        world.events(("call", "c1-subject", f"2025-{month:02}-10", "1000"))
    plan = get_plan_version(world.ledger, "gold", 1).plan
    answer = what_if(
        variants=[
            PriceVariant("one price", (PricePlan.model_validate({**plan.model_dump(), "charges": [CALLS]}),))
        ],
        dates=BillingDates(date(2025, 1, 1), date(2025, 4, 2)),
        contract_ids=None,
        event_store=world.event_store,
        stored_usage=None,
        ledger=world.ledger,
        now=at("2025-06-01"),
        progress=unseen,
    )
    assert answer.now_minor.tolist() == [1000 + 1000 + 500 + 1500]
    assert answer.minor.tolist() == [[3 * 1000 + 1000]]


def test_a_plan_of_fees_alone_is_trued_up_at_the_end_of_the_contract(world: World) -> None:
    world.plan(MONTHLY_FEE)
    world.contract(
        start_date=date(2025, 1, 1),
        end_date=date(2025, 3, 1),
        term_commitments=[term("100", "2025-01-01", "2026-01-01", counts_fees=True, ended_early="full")],
    )
    world.bill("2025-03-01")
    assert readable(world.invoices()[-1]) == [
        "2025-03-01 commitment-true-up annual 2025-01-01..2025-03-01 60 EUR 40.00"
    ]


REFUSED = {
    "nothing": (term("0", "2025-02-01", "2025-03-01"), "commitment_of_nothing", "amount"),
    "ends first": (term("1", "2025-03-01", "2025-03-01"), "end_not_after_start", "effective_until"),
    "before the contract": (term("1", "2025-01-14", "2025-03-01"), "before_contract", "effective_from"),
    "no such charge": (
        term("1", "2025-02-01", "2025-03-01", charge_ids=["fax"]),
        "unknown_charge",
        "charge_ids[0]",
    ),
    "too large": (term("99999999999999999999", "2025-02-01", "2025-03-01"), "amount_too_large", "amount"),
    "units without a price": (
        {**units_of("5", "2025-02-01", "2025-03-01"), "unit_price": None},
        "commitment_amount_or_units",
        "",
    ),
    "units and a sum": (
        {**units_of("5", "2025-02-01", "2025-03-01"), "amount": "1"},
        "commitment_amount_or_units",
        "",
    ),
    "units of a fee": (
        {**units_of("5", "2025-02-01", "2025-03-01"), "charge_ids": ["fee"]},
        "commitment_units_charges",
        "charge_ids",
    ),
    "units of nothing in particular": (
        {**units_of("5", "2025-02-01", "2025-03-01"), "charge_ids": []},
        "commitment_units_charges",
        "charge_ids",
    ),
    "no units": (units_of("0", "2025-02-01", "2025-03-01"), "commitment_of_nothing", "units"),
    "out of the calendar": (term("1", "2025-02-01", "2999-03-01"), "date_out_of_range", "effective_until"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_term_that_cannot_be_is_refused(world: World, name: str) -> None:
    commitment, code, field = REFUSED[name]
    world.plan()
    with pytest.raises(InvalidDocument) as caught:
        world.contract(term_commitments=[commitment])
    found = [(issue.reason_code, issue.pointer) for issue in caught.value.issues]
    assert found == [(code, f"term_commitments[0].{field}".rstrip("."))]


def test_terms_of_the_same_charges_may_not_overlap(world: World) -> None:
    world.plan()
    first, second = (
        term("1", "2025-02-01", "2025-04-01"),
        term("1", "2025-03-31", "2025-05-01", commitment_id="b"),
    )
    with pytest.raises(InvalidDocument, match="commitment_overlaps"):
        world.contract(term_commitments=[first, second])
    with pytest.raises(InvalidDocument, match="commitment_id_taken"):
        world.contract(term_commitments=[first, term("1", "2025-04-01", "2025-05-01")])


def test_a_term_is_not_cut_where_its_true_up_would_be_lost(world: World) -> None:
    """1 February is settled: a contract that ended there would have no date left to true up on."""
    world.plan(CALLS)
    committed = term("40", "2025-01-01", "2025-04-01")
    document = {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "subjects": ["c1-subject"],
        "start_date": "2025-01-01",
        "time_zone": "UTC",
        "term_commitments": [committed],
    }
    save_contract(world.ledger, document, now=LONG_AGO)
    world.bill("2025-02-01")

    def end(day: str) -> None:
        ended = document | {"end_date": day}
        save_contract(world.ledger, ended, now=LONG_AGO, further_rules=contract_change_issues)

    with pytest.raises(InvalidDocument, match="true-up"):
        end("2025-02-01")
    end("2025-02-02")
    world.bill("2025-02-02")
    assert readable(world.invoices()[-1]) == [
        "2025-02-02 commitment-true-up annual 2025-01-01..2025-02-02 0 EUR 14.22"
    ]


def test_what_was_committed_for_billed_time_stays(world: World) -> None:
    quarter_in(world)
    world.bill("2025-02-01")
    document = {
        "contract_id": "c1",
        "customer_id": "acme",
        "plan_id": "gold",
        "subjects": ["c1-subject"],
        "start_date": "2025-01-01",
        "time_zone": "UTC",
    }

    def save(*commitments: dict[str, Any]) -> bool:
        changed = document | {"term_commitments": commitments}
        saved = save_contract(world.ledger, changed, now=LONG_AGO, further_rules=contract_change_issues)
        return saved.created

    with pytest.raises(InvalidDocument) as caught:
        save(term("39", "2025-01-01", "2025-04-01"))
    assert [issue.pointer for issue in caught.value.issues] == ["term_commitments"]
    assert save(
        term("40", "2025-01-01", "2025-04-01"), term("50", "2025-04-01", "2025-07-01", commitment_id="next")
    )
