"""Goal: what is sold is translated into what is delivered, and its price is shared out to the last cent."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invoicing.sales.catalogue import (
    CatalogueItem,
    PriceList,
    Promotion,
    SalesCatalogue,
    item_rules,
    price_list_rules,
    promotion_rules,
)
from invoicing.sales.ordered import fees_of, items_of, promotions_of
from invoicing.sales.outcome import (
    Outcome,
    Pricing,
    outcome_issues,
    priced_outcome,
    pricing_issues,
)

DAY = date(2026, 5, 1)


def item(product_id: str, price: str, billed: str = "recurring", **more: Any) -> dict[str, Any]:
    return {
        "product_id": product_id,
        "name": product_id.title(),
        "kind": "product",
        "billed": billed,
        "prices": {"EUR": price},
        **more,
    }


BACKUP = {
    "product_id": "backup",
    "name": "Backup",
    "kind": "bundle",
    "components": [
        {"product_id": "storage", "quantity": "3"},
        {"product_id": "support"},
        {"product_id": "setup"},
    ],
}
PRODUCTS = (
    item("storage", "10.00", unit="TB"),
    item("support", "20.00", kind="service", tax_class="reduced"),
    item("setup", "99.00", "once", kind="service"),
    BACKUP,
)


def pricing(
    *products: dict[str, Any], currency: str = "EUR", lists: Any = (), promotions: Any = (), **named: Any
) -> Pricing:
    found = [CatalogueItem.model_validate(each) for each in products or PRODUCTS]
    offers = [Promotion.model_validate(each) for each in promotions]
    return Pricing(
        currency,
        SalesCatalogue(
            {each.product_id: each for each in found},
            {each["price_list_id"]: PriceList.model_validate(each) for each in lists},
            {each.promotion_id: each for each in offers},
        ),
        named.get("price_list_id"),
        tuple(each.promotion_id for each in offers),
        named.get("on", DAY),
    )


def sold(how: Pricing, **changes: Any) -> Outcome:
    outcome = Outcome.model_validate(
        {"outcome_id": "safe", "description": "No data is ever lost", "product_id": "backup", **changes}
    )
    assert list(outcome_issues(outcome, how, "outcomes[0]")) == []
    return priced_outcome(outcome, how)


def parts(outcome: Outcome) -> list[str]:
    return [f"{each.quantity} {each.product_id} {each.billed} = {each.amount:.2f}" for each in outcome.parts]


@pytest.mark.requirement("CON-10")
def test_a_bundle_is_its_products_at_list_price() -> None:
    assert parts(sold(pricing(), quantity="2")) == [
        "6 storage recurring = 60.00",
        "2 support recurring = 40.00",
        "2 setup once = 198.00",
    ]


@pytest.mark.requirement("CON-10")
def test_an_agreed_price_is_shared_by_list_prices() -> None:
    assert parts(sold(pricing(), recurring_amount="33.34", once_amount="0")) == [
        "3 storage recurring = 20.00",
        "1 support recurring = 13.34",
        "1 setup once = 0.00",
    ]
    in_yen = pricing(*({**each, "prices": {"JPY": "1"}} for each in PRODUCTS[:2]), currency="JPY")
    assert [each.amount for each in sold(in_yen, product_id="storage", recurring_amount="7").parts] == [7]


def test_a_price_list_goes_before_the_catalogue() -> None:
    partner = {
        "price_list_id": "partner",
        "name": "Partner",
        "currency": "EUR",
        "prices": {"storage": "8.50"},
    }
    how = pricing(lists=[partner], price_list_id="partner")
    assert parts(sold(how))[0] == "3 storage recurring = 25.50"
    assert parts(sold(how))[1] == "1 support recurring = 20.00"


def test_a_promotion_is_a_discount_on_fees_and_a_lower_price_of_what_is_billed_once() -> None:
    spring = {"promotion_id": "spring", "name": "Spring", "percent": "10", "first_periods": 3}
    how = pricing(promotions=[spring])
    outcome = sold(how)
    assert parts(outcome)[1:] == ["1 support recurring = 20.00", "1 setup once = 89.10"]
    [discount] = promotions_of([outcome], how.catalogue.promotions)
    assert (discount.name, discount.percent, discount.first_periods, discount.charge_ids) == (
        "Spring",
        Decimal(10),
        3,
        ("safe.storage", "safe.support"),
    )
    agreed = sold(how, recurring_amount="40.00")  # a price that is agreed is the price
    assert promotions_of([agreed], how.catalogue.promotions) == ()


def test_fees_and_items_come_to_the_parts() -> None:
    outcome = sold(pricing(), recurring_amount="50.00", once_amount="10.01", quantity="3")
    by_id = {addition.charge.charge_id: addition.charge for addition in fees_of([outcome])}
    assert {(each.kind, each.timing) for each in by_id.values()} == {("recurring", "advance")}
    # 20.00 for 3 has no exact price of one: the fee is a flat one.
    assert by_id["safe.support"].price.model_dump(mode="json") == {"model": "flat", "amount": "20"}
    assert by_id["safe.support"].name == "No data is ever lost: 3 unit Support"
    assert by_id["safe.support"].tax_class == "reduced"
    [one] = items_of([outcome], {}, quote_id="q1", contract_id="c1", currency="EUR", on=DAY)
    assert (one["external_id"], one["amount"], one["unit_price"]) == ("q1/safe.setup", "10.01", None)


@pytest.mark.requirement("CON-10")
@settings(max_examples=150)
@given(
    prices=st.lists(st.decimals("0", "9999.9999", places=4), min_size=1, max_size=6),
    counts=st.lists(st.decimals("0.001", "50", places=3), min_size=6, max_size=6),
    quantity=st.decimals("0.1", "999", places=2),
    agreed=st.one_of(st.none(), st.decimals("0", "99999.99", places=2)),
)
def test_parts_sum_to_the_price_and_none_is_a_unit_off_its_share(
    prices: list[Decimal], counts: list[Decimal], quantity: Decimal, agreed: Decimal | None
) -> None:
    products = [item(f"p{place}", str(price)) for place, price in enumerate(prices)]
    bundle = {
        "product_id": "all",
        "name": "All",
        "kind": "bundle",
        "components": [
            {"product_id": f"p{place}", "quantity": str(counts[place])} for place in range(len(prices))
        ],
    }
    how = pricing(*products, bundle)
    document = {"outcome_id": "o", "description": "All of it", "product_id": "all", "quantity": quantity}
    outcome = Outcome.model_validate({**document, "recurring_amount": agreed})
    if list(outcome_issues(outcome, how, "outcomes[0]")):
        assert agreed
        assert not any(prices)
        return
    found = priced_outcome(outcome, how).parts
    listed = [
        Fraction(price) * Fraction(counts[place]) * Fraction(quantity) for place, price in enumerate(prices)
    ]
    whole = sum(listed)
    cents = sum(Fraction(part.amount) * 100 for part in found)
    assert cents == (Fraction(agreed) * 100 if agreed is not None else (2 * whole * 100 + 1) // 2)
    for part, share in zip(found, listed, strict=True):
        exact = share / whole * cents if whole else Fraction(0)
        assert abs(Fraction(part.amount) * 100 - exact) < 1


def test_what_cannot_be_priced_says_why() -> None:
    def codes(how: Pricing, **changes: Any) -> list[str]:
        document = {"outcome_id": "safe", "description": "Safe", "product_id": "backup", **changes}
        return [
            each.reason_code for each in outcome_issues(Outcome.model_validate(document), how, "outcomes[0]")
        ]

    how = pricing()
    assert codes(how, product_id="moon") == ["unknown_product"]
    assert codes(how, quantity="0") == ["outcome_quantity"]
    assert codes(how, product_id="storage", once_amount="1") == ["outcome_amount"]
    assert codes(how, recurring_amount="1.005") == ["outcome_amount"]
    assert codes(pricing(currency="USD"), product_id="storage") == ["product_unpriced"]
    assert codes(pricing(currency="USD"), product_id="storage", recurring_amount="5") == []
    assert codes(pricing(BACKUP)) == ["bundle_components"]
    assert codes(pricing(*PRODUCTS, {**BACKUP, "product_id": "storage"})) == ["bundle_components"]
    assert codes(how, outcome_id="o" * 120) == ["outcome_id_too_long"] * 3
    over = {"promotion_id": "old", "name": "Old", "percent": "10", "valid_until": "2026-05-01"}
    assert [each.reason_code for each in pricing_issues(pricing(promotions=[over]))] == [
        "promotion_not_valid"
    ]
    spring = {"promotion_id": "spring", "name": "Spring", "percent": "10"}
    [twice] = pricing_issues(
        pricing(promotions=[spring, spring])
    )  # it would go off what is billed once twice
    assert (twice.reason_code, twice.pointer) == ("promotion_not_valid", "promotion_ids[1]")
    missing = pricing_issues(pricing(price_list_id="none"))
    assert [each.reason_code for each in missing] == ["price_list_not_valid"]


def test_a_catalogue_document_that_breaks_a_rule_is_refused() -> None:
    def of_item(**changes: Any) -> set[str]:
        return {each.reason_code for each in item_rules(CatalogueItem.model_validate(changes))}

    assert of_item(**item("a", "1")) == set()
    assert of_item(**item("a", "-1")) == {"negative_number"}
    assert of_item(**{**item("a", "1"), "billed": None}) == {"product_billed"}
    assert of_item(**{**item("a", "1"), "prices": {"XXX": "1"}}) == {"unknown_currency"}
    assert of_item(**{**BACKUP, "prices": {"EUR": "1"}}) == {"bundle_components"}
    twice = [{"product_id": "a"}, {"product_id": "a"}, {"product_id": "b", "quantity": "0"}]
    assert of_item(**{**BACKUP, "components": twice}) == {"bundle_components"}
    listed = PriceList.model_validate(
        {"price_list_id": "p", "name": "P", "currency": "ZZZ", "prices": {"a": "-1"}}
    )
    assert {each.reason_code for each in price_list_rules(listed)} == {"unknown_currency", "negative_number"}
    backwards = {"valid_from": "2026-02-01", "valid_until": "2026-01-01"}
    offer = Promotion.model_validate({"promotion_id": "p", "name": "P", "percent": "101", **backwards})
    assert [each.reason_code for each in promotion_rules(offer)] == ["promotion_percent", "validity_order"]
