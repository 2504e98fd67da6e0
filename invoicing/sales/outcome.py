"""An outcome of a quote: what is sold in the customer's words, the catalogue item it stands for, its price.

    outcome --> parts (products and services, each with its share of the price) --> fees and billable items

A quote is priced once, when it is saved: the parts stand in the document whose hash is accepted, so a later
price list changes no offer. Parts sum to the price of the outcome: largest remainder, by list prices.
A promotion lowers what is billed once; off a recurring fee it is a discount of the contract, so that every
line shows its name and amount. A price that is agreed is the price: no promotion goes off it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Final

from pydantic import Field

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.errors import Issue
from ingest.event import QUANTITY_SCALE, VALUE_INTEGER_DIGITS_MAX
from ingest.meter import Key
from invoicing.sales.catalogue import (
    BILLED,
    Billed,
    CatalogueItem,
    Promotion,
    SalesCatalogue,
    is_valid_on,
)
from rating.money import allocate, minor_digits, minor_to_decimal, round_to_minor

_END: Final = 10**VALUE_INTEGER_DIGITS_MAX
"""Quantities and amounts stay below it."""
_ID_LENGTH_MAX: Final = 120
"""So that the external id of an item holds it with the quote's own."""


class SoldPart(Document):
    """One product or service of an outcome. list_amount: at list price, exact; amount: its share of the
    price, in whole minor units. Both in major units, for all of the quantity; of what is recurring for a
    whole billing period, before its promotions. promotion_ids: those that go off it."""

    product_id: Key
    name: str
    billed: Billed
    quantity: ExactDecimal
    unit: str
    tax_class: Key
    list_amount: ExactDecimal
    amount: ExactDecimal
    promotion_ids: tuple[Key, ...] = ()


class Outcome(Document):
    """``quantity`` times ``product_id`` under a description of its own.

    recurring_amount: agreed for all of it each billing period, once_amount: once, both net of tax in the
    plan's currency; left out, list prices and promotions. parts: worked out when the quote is saved.
    """

    outcome_id: Key
    description: str = Field(min_length=1, max_length=1024)
    product_id: Key
    quantity: ExactDecimal = Decimal(1)
    recurring_amount: ExactDecimal | None = None
    once_amount: ExactDecimal | None = None
    parts: tuple[SoldPart, ...] = ()


@dataclass(frozen=True, slots=True)
class Pricing:
    """How outcomes are priced: in which currency, from what, by the list and promotions named, on a day."""

    currency: str
    catalogue: SalesCatalogue
    price_list_id: str | None
    promotion_ids: tuple[str, ...]
    on: date


def pricing_issues(pricing: Pricing) -> Iterator[Issue]:
    """A price list or promotion that is not there, does not hold on the day, is in another currency, or is
    named twice."""
    found = pricing.catalogue.price_lists.get(pricing.price_list_id or "")
    if pricing.price_list_id is not None and (
        found is None or not is_valid_on(found, pricing.on) or found.currency != pricing.currency
    ):
        yield Issue(
            "price_list_not_valid",
            "price_list_id",
            f"No price list {pricing.price_list_id!r} in {pricing.currency} is valid on {pricing.on}.",
            "one of `ratemill price-list list`, in the plan's currency, valid on the day of the quote.",
        )
    for place, promotion_id in enumerate(pricing.promotion_ids):
        promotion = pricing.catalogue.promotions.get(promotion_id)
        if promotion is None or not is_valid_on(promotion, pricing.on):
            yield Issue(
                "promotion_not_valid",
                f"promotion_ids[{place}]",
                f"No promotion {promotion_id!r} is valid on {pricing.on}.",
                "one of `ratemill promotion list` that is valid on the day of the quote.",
            )
        elif pricing.promotion_ids.index(promotion_id) != place:  # else it would go off twice
            words = f"Promotion {promotion_id!r} is named already."
            yield Issue("promotion_not_valid", f"promotion_ids[{place}]", words, "each promotion once.")


def outcome_issues(outcome: Outcome, pricing: Pricing, pointer: str) -> Iterator[Issue]:
    """Why an outcome cannot be priced."""
    item = pricing.catalogue.products.get(outcome.product_id)
    if item is None:
        words = f"{outcome.product_id!r} is not in the catalogue."
        yield Issue("unknown_product", f"{pointer}.product_id", words, "one of `ratemill product list`.")
        return
    tangible = _tangible(item, pricing.catalogue)
    for product_id, found, times in tangible:
        if found is None or found.kind == "bundle":
            yield Issue(
                "bundle_components",
                f"{pointer}.product_id",
                f"Bundle {outcome.product_id!r} holds {product_id!r}, which is no product or service on "
                "record.",
                "a bundle of products and services that are saved.",
            )
            return
        quantity = Fraction(outcome.quantity) * Fraction(times)
        if not 0 < quantity < _END or Fraction(cut_amount(quantity)) != quantity:
            yield Issue(
                "outcome_quantity",
                f"{pointer}.quantity",
                f"{decimal_text(outcome.quantity)} times {decimal_text(times)} of {product_id!r}.",
                "a number above 0 and below 10^15, with at most 12 fraction digits.",
            )
            return
        if len(charge_id_of(outcome.outcome_id, product_id)) > _ID_LENGTH_MAX:
            yield Issue(
                "outcome_id_too_long",
                f"{pointer}.outcome_id",
                f"With {product_id!r} behind it the id has more than {_ID_LENGTH_MAX} characters.",
                "a shorter outcome_id: both together name the fee.",
            )
    for billed in BILLED:
        own = [(found, times) for _, found, times in tangible if found is not None and found.billed == billed]
        yield from _amount_issues(outcome, billed, own, pricing, pointer)


def _amount_issues(
    outcome: Outcome,
    billed: Billed,
    own: Sequence[tuple[CatalogueItem, Decimal]],
    pricing: Pricing,
    pointer: str,
) -> Iterator[Issue]:
    agreed, name = _agreed(outcome, billed), f"{pointer}.{billed}_amount"
    if agreed is not None and not own:
        words = f"Nothing in {outcome.product_id!r} is billed {billed}."
        yield Issue("outcome_amount", name, words, "no amount, or a product that is.")
        return
    digits = minor_digits(pricing.currency)
    whole = agreed is None or (Fraction(agreed) * 10**digits).denominator == 1
    listed = [_listed(item, Fraction(outcome.quantity) * Fraction(times), pricing) for item, times in own]
    if (agreed is not None and not 0 <= agreed < _END) or not whole or sum(listed) >= _END:
        words = f"The price is {decimal_text(agreed or Decimal(0))} {pricing.currency}."
        yield Issue("outcome_amount", name, words, f"0 or more, below 10^15, with {digits} fraction digits.")
    unpriced = [item.product_id for item, _ in own if _list_price(item, pricing) is None]
    # A lone product needs no list price to share by.
    if unpriced and (agreed is None or len(own) > 1):
        yield Issue(
            "product_unpriced",
            f"{pointer}.product_id",
            f"{', '.join(unpriced)} has no price in {pricing.currency}.",
            "a price in the catalogue or the price list of the quote, by which the amount is shared out.",
        )
    elif len(own) > 1 and agreed and not any(listed):
        words = f"Every list price billed {billed} in {outcome.product_id!r} is 0."
        yield Issue("product_unpriced", f"{pointer}.product_id", words, "a price to share the amount by.")


def priced_outcome(outcome: Outcome, pricing: Pricing) -> Outcome:
    """The outcome with its parts. It has no ``outcome_issues``."""
    item = pricing.catalogue.products[outcome.product_id]
    tangible = [(found, times) for _, found, times in _tangible(item, pricing.catalogue) if found is not None]
    parts: list[SoldPart] = []
    for billed in BILLED:
        own = [
            (found, Fraction(outcome.quantity) * Fraction(times))
            for found, times in tangible
            if found.billed == billed
        ]
        listed = [_listed(found, quantity, pricing) for found, quantity in own]
        agreed = _agreed(outcome, billed)
        promoted = [[] if agreed is not None else _promotions(found.product_id, pricing) for found, _ in own]
        priced = listed if billed == "recurring" else list(map(_less, listed, promoted))
        shares = _shares(agreed, priced, pricing.currency)
        parts += [
            SoldPart(
                product_id=found.product_id,
                name=found.name,
                billed=billed,
                quantity=cut_amount(quantity),
                unit=found.unit,
                tax_class=found.tax_class,
                list_amount=cut_amount(at_list),
                amount=minor_to_decimal(share, pricing.currency),
                promotion_ids=tuple(promotion.promotion_id for promotion in promotions),
            )
            for (found, quantity), at_list, promotions, share in zip(
                own, listed, promoted, shares, strict=True
            )
        ]
    return outcome.model_copy(update={"parts": tuple(parts)})


def _tangible(
    item: CatalogueItem, catalogue: SalesCatalogue
) -> list[tuple[str, CatalogueItem | None, Decimal]]:
    """What one unit consists of: (product_id, the item, how many units of it)."""
    if item.kind != "bundle":
        return [(item.product_id, item, Decimal(1))]
    return [
        (each.product_id, catalogue.products.get(each.product_id), each.quantity) for each in item.components
    ]


def _agreed(outcome: Outcome, billed: Billed) -> Decimal | None:
    return outcome.recurring_amount if billed == "recurring" else outcome.once_amount


def _list_price(item: CatalogueItem, pricing: Pricing) -> Decimal | None:
    listed = pricing.catalogue.price_lists.get(pricing.price_list_id or "")
    if listed is not None and item.product_id in listed.prices:
        return listed.prices[item.product_id]
    return item.prices.get(pricing.currency)


def _listed(item: CatalogueItem, quantity: Fraction, pricing: Pricing) -> Fraction:
    return Fraction(_list_price(item, pricing) or Decimal(0)) * quantity


def _promotions(product_id: str, pricing: Pricing) -> list[Promotion]:
    named = (pricing.catalogue.promotions[key] for key in pricing.promotion_ids)
    return [promotion for promotion in named if promotion.covers(product_id)]


def _less(amount: Fraction, promotions: Sequence[Promotion]) -> Fraction:
    """Each promotion taken off what the one before left."""
    for promotion in promotions:
        amount *= Fraction(100 - promotion.percent) / 100
    return amount


def _shares(agreed: Decimal | None, listed: Sequence[Fraction], currency: str) -> list[int]:
    """Minor units of each part: of what was agreed, else of what the list comes to, rounded once."""
    if not listed:
        return []
    digits = minor_digits(currency)
    price = sum(listed, Fraction(0)) if agreed is None else agreed
    total = round_to_minor(price, digits=digits, mode="half_up")
    if len(listed) == 1 or not any(listed):
        return [total, *[0] * (len(listed) - 1)]
    scale = lcm(*(amount.denominator for amount in listed))
    return allocate(total, [int(amount * scale) for amount in listed])


def cut_amount(amount: Fraction) -> Decimal:
    """The exact amount cut at 12 fraction digits, as everywhere."""
    scale: int = 10**QUANTITY_SCALE
    return Decimal(amount.numerator * scale // amount.denominator).scaleb(-QUANTITY_SCALE)


def charge_id_of(outcome_id: str, product_id: str) -> str:
    """The id of a part's fee; with the quote's before it, the external id of its item."""
    return f"{outcome_id}.{product_id}"
