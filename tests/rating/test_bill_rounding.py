"""Goal: a bill rounded as a whole comes to its rounded sum, its lines sum to that, and each can be proved."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.json import to_json
from invoicing.einvoice_line import electronic_line, line_difference
from invoicing.einvoice_model import ETax
from invoicing.invoice import InvoiceTier
from rating import verify
from rating.bill_rounding import ROUNDED_PART, ROUNDED_SUM, share_rounded
from rating.compile import compile_price_book
from rating.explain import explain_line
from rating.money import round_to_minor
from rating.rate import rate_amounts, rate_usage
from rating.reprice import reprice_line
from rating.verify_rounding import bill_differences
from tests.invoicing.contract_case import Billed, bill
from tests.invoicing.credit_case import line as invoice_line
from tests.rating.plans import METERS, periods, plan, usage, versions

SCALE = 10**12


def used(meter_id: str, price: str, **more: Any) -> dict[str, Any]:
    return {
        "charge_id": meter_id,
        "name": meter_id,
        "kind": "usage",
        "meter_id": meter_id,
        "price": {"model": "per_unit", "unit_price": price},
        **more,
    }


def fee(price: str, charge_id: str = "fee", **more: Any) -> dict[str, Any]:
    return {
        "charge_id": charge_id,
        "name": charge_id,
        "kind": "recurring",
        "quantity": "1",
        "price": {"model": "per_unit", "unit_price": price},
        **more,
    }


def month(*charges: dict[str, Any], spent: dict[str, str] | None = None, **terms: Any) -> Billed:
    """January's bill of a plan that rounds the invoice. spent: by meter; None: one unit of each."""
    return bill(
        {
            "plan": {"charges": list(charges), "rounding_place": "invoice", **terms},
            "contract": {"start_date": "2026-01-01"},
            "usage": [
                {"day": "2026-01-10", "meter_id": meter_id, "quantity": quantity}
                for meter_id, quantity in (spent or {"calls": "1", "hours": "1", "bytes": "1"}).items()
            ],
            "as_of": "2026-02-01",
        }
    )


def cents(billed: Billed) -> dict[str, int]:
    return {line["charge_id"]: line["amount_minor"] for line in billed.lines()}


THREE = (used("calls", "0.335"), used("hours", "0.335"), used("bytes", "0.335"))


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"rounding_place": "line"}, {"bytes": 34, "calls": 34, "hours": 34}),  # 1.02
        ({}, {"calls": 34, "hours": 34, "bytes": 33}),  # 1.005 is 1.01
        ({"rounding": "half_even"}, {"calls": 34, "hours": 33, "bytes": 33}),  # 1.005 is 1.00
    ],
)
def test_three_lines_of_a_third_of_a_euro(terms: dict[str, Any], expected: dict[str, int]) -> None:
    billed = month(*THREE, **terms)
    assert cents(billed) == expected
    assert [str(line["amount"].normalize()) for line in billed.lines()] == ["0.335"] * 3


def test_fees_of_the_next_month_are_on_the_same_bill() -> None:
    billed = month(used("calls", "0.004"), fee("0.003", timing="advance"))
    first, *second = billed.lines()
    assert first["amount_minor"] == 0
    assert [(line["charge_id"], line["amount_minor"]) for line in second] == [("calls", 1), ("fee", 0)]


def test_usage_taken_back_and_a_bill_below_zero_are_shared_alike() -> None:
    up = month(*THREE)
    down = month(*THREE, spent={"calls": "-1", "hours": "-1", "bytes": "-1"})
    assert [-line["amount_minor"] for line in down.lines()] == [line["amount_minor"] for line in up.lines()]
    mixed = month(*THREE, spent={"calls": "-1", "hours": "1", "bytes": "1"})
    assert cents(mixed) == {"calls": -33, "hours": 34, "bytes": 33}  # 0.335 is 0.34


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        # 0.335 + 0.335 + 0.335 of 10.00, whatever the fee beside them
        ({"minimum_spend": "10"}, {"minimum-spend": 899}),
        ({"maximum_spend": "0.5"}, {"calls": 16, "hours": 17, "bytes": 17}),
        (
            {
                "group_minimums": [
                    {"minimum_id": "two", "name": "Two", "amount": "1", "charge_ids": ["calls", "hours"]}
                ]
            },
            {"minimum:two": 32},
        ),
    ],
)
def test_limits_hold_to_the_cent_beside_fees(limit: dict[str, Any], expected: dict[str, int]) -> None:
    billed = month(*THREE, fee("7.004"), fee("1.004", "more"), **limit)
    found = cents(billed)
    assert expected.items() <= found.items()
    assert (found["fee"], found["more"]) == (701, 100)  # 8.008 is 8.01
    for line in billed.lines():
        assert reprice_line(line, billed.plans[1]) == 0


@pytest.mark.parametrize("place", ["line", "invoice"])
def test_a_maximum_beside_usage_taken_back_leaves_a_line_above_it(place: str) -> None:
    billed = month(
        used("calls", "1"), used("hours", "1"), spent={"calls": "20", "hours": "-5"}, maximum_spend="10",
        rounding_place=place,
    )  # fmt: skip
    assert cents(billed) == {"calls": 1500, "hours": -500}
    assert [verify.differences(line) for line in exported(billed)] == [[], []]


def test_discounts_come_first_and_keep_all_their_digits() -> None:
    tenth = [{"discount_id": "tenth", "name": "Tenth", "percent": "10"}]
    billed = month(*THREE, discounts=tenth)  # 3 x 0.3015 is 0.9045, and 0.90
    assert cents(billed) == {"calls": 30, "hours": 30, "bytes": 30}
    assert month(*THREE, discounts=tenth, rounding_place="line").total_minor() == 90
    five = [{"discount_id": "five", "name": "Five", "amount": "0.05"}]
    assert month(*THREE, discounts=five).total_minor() == 96  # 0.955; line by line it is 0.97
    assert month(*THREE, discounts=five, rounding_place="line").total_minor() == 97


def test_a_fee_given_back_is_what_it_got() -> None:
    """Two fees of 10.005 are 20.01: one got 10.01, the other 10.00. 16 of 31 days of that are given back."""
    fees = (fee("10.005", "a", timing="advance"), fee("10.005", "b", timing="advance"))
    contract = {"start_date": "2026-01-01"}
    billed = bill(
        {
            "plan": {"charges": list(fees), "rounding_place": "invoice"},
            "contract": contract,
            "billed": "2026-01-01",
            "amended": {"end_date": "2026-01-16"},
            "as_of": "2026-02-01",
        }
    )
    by_charge: dict[str, list[int]] = {}
    for line in billed.lines():
        by_charge.setdefault(line["charge_id"], []).append(line["amount_minor"])
    assert by_charge == {"a": [1001, -517], "b": [1000, -516]}
    for line in billed.lines():
        gold = billed.plans[1]
        assert reprice_line(line, gold) == 0
        assert verify.differences(json.loads(to_json(explain_line(line, gold).to_dict()))) == []


AMOUNTS = st.lists(st.integers(-(10**16), 10**16), min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(AMOUNTS, st.sampled_from([0, 2, 3]), st.sampled_from(["half_up", "half_even"]))
def test_parts_sum_to_the_rounded_sum_and_the_largest_remainders_get_more(
    amounts: list[int], digits: int, mode: Any
) -> None:
    parts = share_rounded(amounts, digits=digits, mode=mode)
    assert sum(parts) == round_to_minor(Fraction(sum(amounts), SCALE), digits=digits, mode=mode)
    sign = -1 if sum(amounts) < 0 else 1
    unit = SCALE // 10**digits
    whole = [divmod(sign * amount, unit) for amount in amounts]
    over = [sign * part - units for part, (units, _) in zip(parts, whole, strict=True)]
    assert set(over) <= {0, 1}
    more = [rest for (_, rest), got in zip(whole, over, strict=True) if got]
    less = [rest for (_, rest), got in zip(whole, over, strict=True) if not got]
    assert min(more, default=unit) >= max(less, default=0)


def exported(billed: Billed) -> list[dict[str, Any]]:
    gold = billed.plans[1]
    return [json.loads(to_json(explain_line(line, gold).to_dict())) for line in billed.lines()]


QUANTITY = st.integers(-(10**3), 10**7).map(lambda number: f"{number / 1000:.3f}")


@settings(max_examples=25, deadline=None)
@given(
    quantities=st.tuples(QUANTITY, QUANTITY, QUANTITY),
    mode=st.sampled_from(["half_up", "half_even"]),
    more=st.sampled_from(
        [
            {},
            {"discounts": [{"discount_id": "d", "name": "D", "percent": "3.3"}]},
            {"discounts": [{"discount_id": "d", "name": "D", "amount": "1.01"}]},
            {"minimum_spend": "99.99"},
            {"maximum_spend": "55.55"},
        ]
    ),
)
def test_every_line_is_proved_again_and_the_bill_with_them(
    quantities: tuple[str, str, str], mode: str, more: dict[str, Any]
) -> None:
    spent = dict(zip(("calls", "hours", "bytes"), quantities, strict=True))
    billed = month(*THREE, fee("7.0049"), spent=spent, rounding=mode, **more)
    lines = exported(billed)
    assert [verify.differences(line) for line in lines] == [[] for _ in lines]
    assert all(reprice_line(line, billed.plans[1]) == 0 for line in billed.lines())
    told = dict(bill_differences(lines))
    assert told
    assert not any(told.values())


def test_a_cent_moved_from_line_to_line_or_made_up_is_found() -> None:
    lines = exported(month(*THREE))
    first = lines[0]
    assert first["inputs"]["rounded_sum"] == "1.005"
    assert first["inputs"]["bill"] == "c 2026-02-01"
    made_up = first | {"amount_minor": 35, "billed": "0.35 EUR"}
    made_up["inputs"] = first["inputs"] | {"rounded_part": "0.35"}
    assert verify.differences(made_up)  # more than a cent from 0.335
    raised = lines[2] | {"amount_minor": 34, "billed": "0.34 EUR"}
    raised["inputs"] = lines[2]["inputs"] | {"rounded_part": "0.34"}
    assert verify.differences(raised) == []  # alone it could be
    assert dict(bill_differences([*lines[:2], raised])) == {
        "c 2026-02-01": "its lines sum to 102, 1.005 is 101 rounded"
    }
    assert not dict(bill_differences(lines[:2]))  # of a part of a bill nothing is told


def test_the_verifier_says_what_is_wrong_with_a_bill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, path = exported(month(*THREE)), tmp_path / "bill.json"
    path.write_text(json.dumps(lines))
    assert verify.main([str(path)]) == 0
    assert "bill c 2026-02-01: agrees" in capsys.readouterr().out
    lines[2]["inputs"]["rounded_part"] = "0.34"
    path.write_text(json.dumps([*lines[:2], lines[2] | {"amount_minor": 34, "billed": "0.34 EUR"}]))
    assert verify.main([str(path)]) == 1
    assert "bill c 2026-02-01: DIFFERS: its lines sum to 102" in capsys.readouterr().out


@pytest.mark.parametrize("got", [33, 34])
def test_in_an_e_invoice_quantity_times_price_is_the_line_to_half_a_cent(got: int) -> None:
    """2.5 at 0.134 is 0.335, and the bill may give it 0.33 or 0.34."""
    units = Decimal("2.5")
    tier = InvoiceTier(1, Decimal(0), None, Decimal("0.134"), None, units, Decimal("0.335"))
    billed = invoice_line(got, amount=Decimal("0.335"), quantity=units, rated_quantity=units, tiers=(tier,))
    group = ETax("S", Decimal(19), Decimal(0), Decimal(0))
    found = electronic_line(billed, position=1, digits=2, group=group)
    assert line_difference(found) <= Decimal("0.005")
    assert found.net == Decimal(got).scaleb(-2)


def test_what_a_line_says_of_its_bill() -> None:
    line = month(*THREE).lines()[2]
    assert (line["inputs"][ROUNDED_SUM], line["inputs"][ROUNDED_PART]) == (Decimal("1.005"), Decimal("0.33"))


TWO_CENTS = compile_price_book(
    versions(plan(*THREE, fee("0.0049"), rounding_place="invoice", maximum_spend="50")), METERS
)


@settings(max_examples=25, deadline=None)
@given(st.lists(QUANTITY, min_size=6, max_size=6))
def test_amounts_without_lines_and_lines_in_any_order_are_the_same(quantities: list[str]) -> None:
    table = periods({"contract_id": "a"}, {"contract_id": "b"})
    rows = [
        (place % 2, meter_id, quantity)
        for place, (meter_id, quantity) in enumerate(
            zip(["calls", "calls", "hours", "hours", "bytes", "bytes"], quantities, strict=True)
        )
    ]
    whole = rate_usage(periods=table, usage=usage(*rows), price_book=TWO_CENTS, run_id="r", threads=1).lines
    turned = rate_usage(
        periods=table, usage=usage(*rows[::-1]), price_book=TWO_CENTS, run_id="r", threads=2
    ).lines
    assert whole.equals(turned)
    amounts = rate_amounts(periods=table, usage=usage(*rows), price_book=TWO_CENTS, threads=1)
    lines = whole.select(["contract_id", "amount_minor"]).to_pylist()
    sums = [sum(line["amount_minor"] for line in lines if line["contract_id"] == each) for each in "ab"]
    assert amounts.amount_minor.tolist() == sums


def test_a_bill_past_64_bits_is_unrated_as_a_whole() -> None:
    """Each line of it would fit; one minor unit more would not."""
    charges = (used("calls", "1"), used("hours", "1"))
    most = "92233720368547758.074"
    billed = month(*charges, spent={"calls": most, "hours": "0.004"})
    assert billed.lines() == []
    assert set(billed.rated.unrated["reason_code"].to_pylist()) == {"amount_too_large"}
