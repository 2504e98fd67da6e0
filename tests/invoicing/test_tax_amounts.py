"""Goal: tax is right to the cent, parts sum to the whole, and the compiled path is the plain one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import BrokenState, Issue
from invoicing.billing_entity import BillingEntity
from invoicing.draft import Draft, DraftContext, draft_invoices
from invoicing.invoice import Invoice, invoice_text, parse_invoice
from invoicing.invoice_tax import InvoiceTax
from invoicing.saved_document import StoredDocument
from invoicing.tax_amounts import (
    gross_of_lines,
    net_parts,
    shares_of,
    tax_group,
    tax_in_gross,
    tax_on_net,
)
from invoicing.tax_decision import TaxDecision, TaxQuestion
from invoicing.tax_desk import ContractTax, TaxDesk, tax_buyer, tax_seller
from rating.price_plan import Charge
from tests.invoicing.support import contract_row, plan
from tests.invoicing.test_draft import rated, table
from tests.invoicing.world import at

PERCENTS = [Decimal(text) for text in ("0", "2.6", "5.5", "7", "8.1", "19", "20", "25", "6.3751")]
percents = st.sampled_from(PERCENTS)
amounts = st.integers(-(10**9), 10**9)

ON_NET = """
100.00 | 19  | 19.00
  0.99 | 19  |  0.19
  0.33 | 19  |  0.06
  0.50 | 7   |  0.04
  0.50 | 19  |  0.10
 -0.50 | 19  | -0.10
 10.00 | 5.5 |  0.55
"""
IN_GROSS = """
119.00 | 19  | 100.00 + 19.00
  0.99 | 19  |   0.83 +  0.16
 10.00 | 7   |   9.35 +  0.65
  1.00 | 8.1 |   0.93 +  0.07
  0.02 | 19  |   0.02 +  0.00
"""


def minor(text: str) -> int:
    return int(Decimal(text.strip()).scaleb(2))


@pytest.mark.requirement("TAX-01")
@pytest.mark.parametrize("case", ON_NET.strip().splitlines())
def test_tax_on_net(case: str) -> None:
    net, percent, tax = case.split("|")
    assert tax_on_net(minor(net), Decimal(percent.strip())) == minor(tax)


@pytest.mark.parametrize("case", IN_GROSS.strip().splitlines())
def test_tax_taken_out_of_prices_that_include_it(case: str) -> None:
    gross, percent, parts = case.split("|")
    net, tax = (minor(part) for part in parts.split("+"))
    group = tax_group(TaxDecision("S", Decimal(percent.strip())), net_minor=0, gross_minor=minor(gross))
    assert (group.taxable_minor, group.tax_minor) == (net, tax)


def test_three_lines_of_0_33_are_taxed_once_and_not_line_by_line() -> None:
    group = tax_group(TaxDecision("S", Decimal(19)), net_minor=3 * 33, gross_minor=0)
    assert group.tax_minor == 19  # 0.99 x 19 % = 0.1881; three times 0.06 would be 0.18
    assert net_parts([33, 33, 33], Decimal(19)) == [28, 28, 27]  # 0.83 in all


@given(st.lists(amounts, min_size=1, max_size=8), percents)
def test_net_and_tax_come_to_what_was_priced(lines: list[int], percent: Decimal) -> None:
    net, tax = net_parts(lines, percent), tax_in_gross(sum(lines), percent)
    assert sum(net) + tax == sum(lines)
    share = Fraction(100) / (100 + Fraction(percent))
    assert all(abs(part - line * share) < 1 for part, line in zip(net, lines, strict=True))
    # Within one minor unit of the rate on the net sum, as EN 16931 BR-CO-17 is checked.
    assert abs(tax_on_net(sum(net), percent) - tax) <= 1


@given(st.integers(-(10**12), 10**12), percents)
def test_tax_on_net_is_decimal_half_up(net: int, percent: Decimal) -> None:
    by_decimal = (Decimal(net) * percent / 100).quantize(Decimal(1), rounding=ROUND_HALF_UP)
    assert tax_on_net(net, percent) == int(by_decimal)


@given(st.integers(0, 10**9), percents)
def test_a_price_with_tax_made_of_a_net_one_gives_it_back(net: int, percent: Decimal) -> None:
    gross = net + tax_on_net(net, percent)
    assert gross - tax_in_gross(gross, percent) == net


@given(st.integers(-(10**9), 10**9), st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_shares_sum_to_the_whole(total: int, weights: list[int]) -> None:
    parts = shares_of(total, weights)
    assert sum(parts) == total
    if sum(weights):
        assert all(
            abs(part - Fraction(total * weight, sum(weights))) < 1
            for part, weight in zip(parts, weights, strict=True)
        )


# The compiled path.

CLASSES = ("standard", "reduced", "books")
ANSWERS = {
    "standard": TaxDecision("S", Decimal(19)),
    "reduced": TaxDecision("S", Decimal(7)),
    "books": TaxDecision("E", Decimal(0), "Exempt.", "VATEX-EU-132"),
}


class Rule:
    """A provider of its own: what a service would answer."""

    def decide(self, question: TaxQuestion) -> TaxDecision | Issue:
        decision = ANSWERS[question.tax_class]
        # The standard rate was 16 until the end of January.
        if question.tax_class == "standard" and question.tax_date < date(2025, 2, 1):
            return replace(decision, percent=Decimal(16))
        return decision


def charge(tax_class: str) -> dict[str, Any]:
    price = {"model": "per_unit", "unit_price": "1"}
    return {
        "charge_id": tax_class,
        "name": tax_class,
        "kind": "usage",
        "meter_id": "m",
        "price": price,
        "tax_class": tax_class,
    }


PLANS = [
    plan(charges=[charge(name) for name in CLASSES]),
    plan(plan_id="with-tax", charges=[charge(name) for name in CLASSES], prices_include_tax=True),
]
ENTITY = BillingEntity(entity_id="de", legal_name="Northwind GmbH", country="DE", tax_id="DE136695976")
DESK = TaxDesk(
    entities={"de": StoredDocument(ENTITY, 1)},
    sellers={"de": ('{"entity_id":"de","name":"Northwind GmbH"}', tax_seller(ENTITY))},
    named={},
    required={"de": ()},
    provider=Rule(),
)
CUSTOMER = {"customer_id": "acme", "name": "Acme", "country": "DE"}
TAX = ContractTax(ENTITY, DESK.sellers["de"][0], DESK.sellers["de"][1], tax_buyer(CUSTOMER))
CONTEXT = DraftContext(
    contracts={"c1": contract_row("c1"), "c2": contract_row("c2")},
    customers={"acme": (1, '{"country":"DE","customer_id":"acme","name":"Acme"}')},
    terms=dict.fromkeys(("c1", "c2"), '{"payment_days":30}'),
    seller="null",
    plan_versions=PLANS,
    agreements={},
    tax=DESK,
    taxes={"c1": TAX, "c2": TAX},
)


def taxed_line(
    contract_id: str, number: int, *, tax_class: str, amount: int, **changes: Any
) -> dict[str, Any]:
    fixed = {"price_model": "per_unit", "amount_minor": amount, "amount": Decimal(amount).scaleb(-2)}
    line = rated(contract_id, "tiered", number) | {"charge_id": tax_class}
    return line | fixed | changes


def drafted(*rows: dict[str, Any]) -> list[Draft]:
    return draft_invoices(lines=table(*rows), context=CONTEXT)


def parsed(draft: Draft) -> Invoice:
    text = draft.text(number=None, issue_date=None)
    invoice = parse_invoice(text)
    assert invoice_text(invoice) == text
    return invoice


def readable(groups: Sequence[InvoiceTax]) -> list[str]:
    return [f"{one.category} {one.rate_percent} {one.taxable_minor} {one.tax_minor}" for one in groups]


@pytest.mark.requirement("TAX-01")
@pytest.mark.requirement("CON-09")
def test_lines_of_two_rates_on_one_invoice() -> None:
    [draft] = drafted(
        taxed_line("c1", 1, tax_class="standard", amount=10_000),
        taxed_line("c1", 2, tax_class="reduced", amount=5_000),
        taxed_line("c1", 3, tax_class="standard", amount=33),
        taxed_line("c1", 4, tax_class="books", amount=1_000),
    )
    invoice = parsed(draft)
    assert readable(invoice.tax) == ["E 0 1000 0", "S 7 5000 350", "S 19 10033 1906"]
    assert (invoice.total_minor, invoice.tax_minor, invoice.gross_minor) == (16_033, 2_256, 18_289)
    assert (draft.tax_minor, draft.entity_id, draft.priced_minor) == (2_256, "de", None)
    assert invoice.tax[0].reason_code == "VATEX-EU-132"
    assert [line.tax.rate_percent for line in invoice.lines if line.tax] == [19, 7, 19, 0]


def test_a_rate_that_changed_between_two_services_of_one_invoice() -> None:
    january = {"period_start": at("2025-01-01"), "period_end": at("2025-02-01")}
    [draft] = drafted(
        taxed_line("c1", 1, tax_class="standard", amount=10_000, **january),
        taxed_line("c1", 2, tax_class="standard", amount=10_000),
    )
    assert readable(parsed(draft).tax) == ["S 16 10000 1600", "S 19 10000 1900"]


def test_prices_with_tax_in_them() -> None:
    [draft] = drafted(
        taxed_line("c1", 1, tax_class="standard", amount=11_900, plan_id="with-tax"),
        taxed_line("c1", 2, tax_class="reduced", amount=1_000, plan_id="with-tax"),
    )
    invoice = parsed(draft)
    assert readable(invoice.tax) == ["S 7 935 65", "S 19 10000 1900"]
    assert [line.amount_minor for line in invoice.lines] == [10_000, 935]
    assert [line.tax.inclusive_minor for line in invoice.lines if line.tax] == [11_900, 1_000]
    assert (draft.priced_minor, invoice.gross_minor) == ((11_900, 1_000), 12_900)


def plain_tax(rows: Sequence[dict[str, Any]]) -> tuple[list[int], dict[tuple[str, Decimal], tuple[int, int]]]:
    """Net amounts of the lines of one invoice and (taxable, tax) of its groups, the plain way."""
    net = [0] * len(rows)
    groups: dict[tuple[str, Decimal], tuple[int, int]] = {}
    members: dict[tuple[str, Decimal], dict[bool, list[int]]] = {}
    for place, row in enumerate(rows):
        decision = ANSWERS[row["charge_id"]]
        key = (decision.category, decision.percent)
        members.setdefault(key, {}).setdefault(row["plan_id"] == "with-tax", []).append(place)
    for key, parts in members.items():
        outside, inside = parts.get(False, []), parts.get(True, [])
        for place in outside:
            net[place] = rows[place]["amount_minor"]
        priced = [rows[place]["amount_minor"] for place in inside]
        for place, part in zip(inside, net_parts(priced, key[1]), strict=True):
            net[place] = part
        tax = tax_on_net(sum(net[place] for place in outside), key[1]) + tax_in_gross(sum(priced), key[1])
        groups[key] = sum(net[place] for place in (*outside, *inside)), tax
    return net, groups


line_facts = st.tuples(st.sampled_from(CLASSES), st.integers(-(2**60), 2**60) | amounts, st.booleans())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(line_facts, min_size=1, max_size=5), min_size=1, max_size=2))
def test_the_compiled_path_is_the_plain_one(invoices: list[list[tuple[str, int, bool]]]) -> None:
    rows, number = [], 0
    for contract_id, facts in zip(("c1", "c2"), invoices, strict=False):
        for tax_class, amount, inclusive in facts:
            number += 1
            plan_id = "with-tax" if inclusive else "gold"
            rows.append(taxed_line(contract_id, number, tax_class=tax_class, amount=amount, plan_id=plan_id))
    for draft in drafted(*rows):
        mine = [row for row in rows if row["contract_id"] == draft.contract_id]
        invoice = parsed(draft)
        net, groups = plain_tax(mine)
        assert [line.amount_minor for line in invoice.lines] == net
        found = {(one.category, one.rate_percent): (one.taxable_minor, one.tax_minor) for one in invoice.tax}
        assert found == groups
        assert sum(gross_of_lines(invoice)) == invoice.gross_minor == invoice.total_minor + invoice.tax_minor


@settings(max_examples=30, deadline=None)
@given(st.lists(line_facts, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_lines_changes_no_sum(
    facts: list[tuple[str, int, bool]], shuffle: random.Random
) -> None:
    rows = [
        taxed_line("c1", place, tax_class=name, amount=amount, plan_id="with-tax" if inside else "gold")
        for place, (name, amount, inside) in enumerate(facts, start=1)
    ]
    other = list(rows)
    shuffle.shuffle(other)
    [one], [two] = drafted(*rows), drafted(*other)
    assert parsed(one).tax == parsed(two).tax
    assert one.total_minor == two.total_minor


def test_what_is_not_taxed_as_it_is_summed_is_never_written() -> None:
    [draft] = drafted(taxed_line("c1", 1, tax_class="standard", amount=10_000))
    invoice = parsed(draft)
    wrong = replace(invoice, tax=(replace(invoice.tax[0], taxable_minor=9_999),))
    with pytest.raises(BrokenState, match="taxed on other amounts"):
        invoice_text(wrong)


def test_a_charge_says_its_class_and_is_standard_by_itself() -> None:
    made = Charge.model_validate({name: value for name, value in charge("x").items() if name != "tax_class"})
    assert made.tax_class == "standard"
