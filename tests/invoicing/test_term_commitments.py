"""Goal: over a term, what counts and the true-up come to the larger of what was committed and what was
spent; the line can be explained, priced again and verified; nothing committed for billed time changes."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.json import to_json
from ingest.errors import BrokenState, InvalidDocument
from invoicing.billed_time import contract_change_issues
from invoicing.document import printed
from invoicing.history import BillingDates
from invoicing.hold import hold_unrated
from invoicing.preview import preview_contract
from invoicing.rerate import rerate
from invoicing.what_if import what_if
from invoicing.what_if_variant import PriceVariant
from rating.agreement import Agreement
from rating.agreement_store import get_agreement
from rating.billed_spend import spent_towards
from rating.catalogue import get_plan_version, save_contract
from rating.explain import explain_line, reprice_line
from rating.line_table import UNRATED_SCHEMA
from rating.price_plan import PricePlan
from rating.store import get_rated_line
from rating.term_commitment import TermCommitment, true_up
from rating.verify import differences
from tests.invoicing.contract_case import Billed, bill
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import LONG_AGO, World, at, readable, unseen
from tests.rating.plans import periods, usage_charge

ONE = {"model": "per_unit", "unit_price": "1"}
FEE = {**MONTHLY_FEE, "price": {"model": "flat", "amount": "31"}}


def term(amount: str, first: str, until: str, **more: Any) -> dict[str, Any]:
    return {
        "commitment_id": more.pop("commitment_id", "annual"),
        "amount": amount,
        "effective_from": first,
        "effective_until": until,
        **more,
    }


def units_of(units: str, first: str, until: str, **more: Any) -> dict[str, Any]:
    """Calls committed at 0.85 for one that is missing."""
    named = {"units": units, "unit_price": "0.85", "unit": "call", "charge_ids": ["calls"], **more}
    return {
        "commitment_id": "calls",
        "effective_from": first,
        "effective_until": until,
        **named,
    }


def quarter(*commitments: dict[str, Any], as_of: str = "2026-05-01", **contract: Any) -> Billed:
    """From 1 January: 100 calls a month at 1.00 and a fee of 31.00 in advance."""
    return bill(
        {
            "plan": {"charges": [usage_charge("calls", ONE), FEE]},
            "contract": {"start_date": "2026-01-01", "term_commitments": list(commitments), **contract},
            "usage": [
                {"day": f"2026-{month:02}-10", "meter_id": "calls", "quantity": 100} for month in range(1, 6)
            ],
            "as_of": as_of,
        }
    )


def true_ups(billed: Billed) -> list[str]:
    return [row for row in billed.table() if "commitment-true-up" in row]


CASES = {
    "usage alone counts": (
        quarter(term("400", "2026-01-01", "2026-04-01")),
        ["2026-04-01 commitment-true-up 2026-01-01..2026-04-01 300 = 100.00"],
    ),
    "reached to the cent: no line": (quarter(term("300", "2026-01-01", "2026-04-01")), []),
    "more was spent: no line": (quarter(term("299.99", "2026-01-01", "2026-04-01")), []),
    "fees count if it says so": (
        quarter(term("400", "2026-01-01", "2026-04-01", counts_fees=True)),
        ["2026-04-01 commitment-true-up 2026-01-01..2026-04-01 393 = 7.00"],
    ),
    "only the charges named": (
        quarter(term("400", "2026-01-01", "2026-04-01", charge_ids=["fee"])),
        ["2026-04-01 commitment-true-up 2026-01-01..2026-04-01 93 = 307.00"],
    ),
    "one after the other": (
        quarter(
            term("150", "2026-01-01", "2026-02-01"),
            term("150", "2026-02-01", "2026-03-01", commitment_id="next"),
        ),
        [
            "2026-02-01 commitment-true-up 2026-01-01..2026-02-01 100 = 50.00",
            "2026-03-01 commitment-true-up 2026-02-01..2026-03-01 100 = 50.00",
        ],
    ),
    "two at a time, of different charges": (
        quarter(
            term("400", "2026-01-01", "2026-04-01", charge_ids=["calls"]),
            term("100", "2026-01-01", "2026-04-01", charge_ids=["fee"], commitment_id="fees"),
        ),
        [
            "2026-04-01 commitment-true-up 2026-01-01..2026-04-01 300 = 100.00",
            "2026-04-01 commitment-true-up 2026-01-01..2026-04-01 93 = 7.00",
        ],
    ),
    "units, at the price of a missing one": (
        quarter(units_of("400", "2026-01-01", "2026-04-01")),
        ["2026-04-01 commitment-true-up 2026-01-01..2026-04-01 300 = 85.00"],
    ),
    "units reached: no line": (quarter(units_of("300", "2026-01-01", "2026-04-01")), []),
    "units, a term that begins and ends inside periods": (
        quarter(units_of("200.5", "2026-01-20", "2026-03-16")),
        ["2026-04-01 commitment-true-up 2026-01-20..2026-03-16 200 = 0.43"],
    ),
    "units and money side by side, of different charges": (
        quarter(
            units_of("301", "2026-01-01", "2026-04-01"),
            term("94", "2026-01-01", "2026-04-01", charge_ids=["fee"], commitment_id="fees"),
        ),
        [
            "2026-04-01 commitment-true-up 2026-01-01..2026-04-01 300 = 0.85",
            "2026-04-01 commitment-true-up 2026-01-01..2026-04-01 93 = 1.00",
        ],
    ),
    # 900 for 90 days; 59 of them until 1 March: 590 owed, 200 used
    "units, ended early, by days": (
        quarter(units_of("900", "2026-01-01", "2026-04-01"), end_date="2026-03-01"),
        ["2026-03-01 commitment-true-up 2026-01-01..2026-03-01 200 = 331.50"],
    ),
    "units, ended early, in full": (
        quarter(units_of("900", "2026-01-01", "2026-04-01", ended_early="full"), end_date="2026-03-01"),
        ["2026-03-01 commitment-true-up 2026-01-01..2026-03-01 200 = 595.00"],
    ),
    # the period is cut at the end of the term: 100 calls fall on 10 March, none after it
    "a term that ends inside a period": (
        quarter(term("400", "2026-01-01", "2026-03-16")),
        ["2026-04-01 commitment-true-up 2026-01-01..2026-03-16 300 = 100.00"],
    ),
    "not over yet: no line": (quarter(term("400", "2026-01-01", "2027-01-01")), []),
    # 900 for 90 days; 59 of them until 1 March
    "ended early, by days": (
        quarter(term("900", "2026-01-01", "2026-04-01"), end_date="2026-03-01"),
        ["2026-03-01 commitment-true-up 2026-01-01..2026-03-01 200 = 390.00"],
    ),
    "ended early, in full": (
        quarter(term("900", "2026-01-01", "2026-04-01", ended_early="full"), end_date="2026-03-01"),
        ["2026-03-01 commitment-true-up 2026-01-01..2026-03-01 200 = 700.00"],
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.requirement("CON-12")
def test_the_line_at_the_end_of_a_term(name: str) -> None:
    billed, expected = CASES[name]
    assert true_ups(billed) == expected


def test_every_line_is_explained_priced_again_and_verified() -> None:
    for billed, expected in CASES.values():
        found = [line for line in billed.lines() if line["charge_kind"] == "commitment_true_up"]
        assert len(found) == len(expected)
        for line in found:
            agreement, plan = billed.agreements[line["agreement"]], billed.plans[1]
            explanation = explain_line(line, plan, agreement=agreement)
            assert reprice_line(line, plan, agreement) == 0
            assert differences(json.loads(to_json(explanation.to_dict()))) == []
            altered = {**line, "amount_minor": line["amount_minor"] + 1}
            assert reprice_line(altered, plan, agreement) != 0
            with pytest.raises(BrokenState):
                explain_line(altered, plan, agreement=agreement)


@pytest.mark.parametrize(
    ("unused", "ended_early", "expected"),
    [
        # 31.00 paid for January, 10.00 given back for the 10 days not had; 21 of 365 days owe 21.00.
        ("credit", "prorated", []),
        ("none", "prorated", []),
        ("credit", "full", ["2026-01-22 commitment-true-up 2026-01-01..2026-01-22 21 = 344.00"]),
        ("none", "full", ["2026-01-22 commitment-true-up 2026-01-01..2026-01-22 31 = 334.00"]),
    ],
)
def test_a_fee_paid_past_an_early_end_counts_with_what_is_given_back(
    unused: str, ended_early: str, expected: list[str]
) -> None:
    counted = term("365", "2026-01-01", "2027-01-01", counts_fees=True, ended_early=ended_early)
    billed = bill(
        {
            "plan": {"charges": [FEE]},
            "contract": {"start_date": "2026-01-01", "unused": unused, "term_commitments": [counted]},
            "billed": "2026-01-01",
            "amended": {"end_date": "2026-01-22"},
            "as_of": "2026-01-22",
        }
    )

    assert true_ups(billed) == expected


def test_a_term_of_two_currencies_is_not_told_to_add_a_price() -> None:
    row = {
        "period_key": 0,
        "contract_id": "c",
        "charge_id": "commitment-true-up",
        "meter_id": "",
        "dimensions": [("commitment", "year")],
        "quantity": Decimal(100),
        "reason_code": "currency_mixed",
    }
    (held,) = hold_unrated(pa.Table.from_pylist([row], schema=UNRATED_SCHEMA), periods=periods({}))
    assert held.reason_code == "unrated_usage"
    assert "end the commitment on the day the currency changes" in held.message
    assert "Add the price" not in held.message


def test_older_agreements_keep_their_keys() -> None:
    """Rated lines name them for ever; a new field must not move them."""
    limits = {"limits": {"minimum_spend": "50"}}
    assert Agreement.model_validate(limits).key() == "93ce02b9d7ca55b3f8d459ab099788d2"


@settings(max_examples=300, deadline=None)
@given(
    committed=st.decimals(min_value="0.01", max_value="9999999", places=4),
    spent=st.integers(-(10**6), 10**9),
    days=st.integers(1, 366),
    cut=st.integers(0, 365),
    rounding=st.sampled_from(["half_up", "half_even"]),
)
@pytest.mark.requirement("CON-12")
def test_counted_and_true_up_are_the_larger_of_committed_and_spent(
    committed: Decimal, spent: int, days: int, cut: int, rounding: Any
) -> None:
    owed = max(1, days - cut)
    found = true_up(committed, spent_minor=spent, days=owed, full_days=days, digits=2, rounding=rounding)
    assert spent + found.amount_minor == max(found.required_minor, spent)
    assert abs(found.required_minor - found.required * 100) <= Decimal("0.5")


@settings(max_examples=15, deadline=None)
@given(committed=st.decimals(min_value="1", max_value="900", places=2), counts_fees=st.booleans())
def test_the_lines_of_a_term_come_to_the_larger_of_committed_and_spent(
    committed: Decimal, counts_fees: bool
) -> None:
    agreed = term(str(committed), "2026-01-01", "2026-04-01", counts_fees=counts_fees)
    commitment = TermCommitment.model_validate(agreed)
    billed = quarter(agreed)
    in_term = [line for line in billed.lines() if line["period_end"].date() <= date(2026, 4, 1)]
    spent = sum(
        line["amount_minor"]
        for line in in_term
        if commitment.covers(charge_id=line["charge_id"], charge_kind=line["charge_kind"])
    )
    added = sum(line["amount_minor"] for line in in_term if line["charge_kind"] == "commitment_true_up")
    assert spent + added == max(100 * committed, spent)


# On real stores: invoices one after the other, as runs make them.


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
    spent = spent_towards(world.event_store, rated, agreement.term_commitments[0], time_zone="UTC")
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
    spent = spent_towards(world.event_store, rated, agreement.term_commitments[0], time_zone="UTC")
    assert spent == [
        (date(2025, month, 1), Decimal(units)) for month, units in ((2, 1000), (3, 1120), (4, 1000))
    ]
    plan = get_plan_version(world.ledger, "gold", 1).plan
    explanation = explain_line(rated, plan, agreement=agreement, spent=spent)
    assert "committed 3,500 call at 0.85 EUR -> 3,500 call" in explanation.to_text()
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
