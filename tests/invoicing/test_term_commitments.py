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
from ingest.errors import BrokenState
from invoicing.hold import hold_unrated
from rating.agreement import Agreement
from rating.explain import explain_line, reprice_line
from rating.line_table import UNRATED_SCHEMA
from rating.term_commitment import TermCommitment, true_up
from rating.verify import differences
from tests.invoicing.contract_case import Billed, bill
from tests.invoicing.support import MONTHLY_FEE
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
