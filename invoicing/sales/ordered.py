"""What the parts of outcomes become when their quote is accepted: fees with promotions, billable items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final

from ingest.document import decimal_text
from invoicing.billable_item import BillableItem
from invoicing.sales.catalogue import Promotion
from invoicing.sales.outcome import Outcome, SoldPart, charge_id_of, cut_amount
from rating.contract_life import Addition
from rating.discount import Discount
from rating.money import format_minor, minor_digits, round_to_minor
from rating.price_plan import Charge, FlatPrice, PerUnitPrice

QUOTE_SYSTEM: Final = "quote"
"""The source system of items that an accepted quote makes."""
DESCRIPTION_MAX: Final = 512


def fees_of(outcomes: Sequence[Outcome]) -> tuple[Addition, ...]:
    """What acceptance adds to the contract: a fee in advance for each recurring part, from its first day."""
    return tuple(
        Addition(charge=_charge(outcome, part))
        for outcome in outcomes
        for part in outcome.parts
        if part.billed == "recurring"
    )


def promotions_of(outcomes: Sequence[Outcome], promotions: Mapping[str, Promotion]) -> tuple[Discount, ...]:
    """What acceptance adds to the contract's discounts: each promotion on the fees it goes off."""
    fees: dict[str, list[str]] = {}
    for outcome in outcomes:
        for part in outcome.parts:
            for promotion_id in part.promotion_ids if part.billed == "recurring" else ():
                fees.setdefault(promotion_id, []).append(charge_id_of(outcome.outcome_id, part.product_id))
    return tuple(
        Discount(
            discount_id=key,
            name=promotions[key].name,
            percent=promotions[key].percent,
            charge_ids=tuple(charge_ids),
            first_periods=promotions[key].first_periods,
        )
        for key, charge_ids in fees.items()
    )


def _charge(outcome: Outcome, part: SoldPart) -> Charge:
    price = _unit_price(part)
    by_unit = price is not None
    counted = "" if by_unit else f"{decimal_text(part.quantity)} {part.unit} "  # its line says 1 unit
    return Charge(
        charge_id=charge_id_of(outcome.outcome_id, part.product_id),
        name=f"{outcome.description}: {counted}{part.name}",
        kind="recurring",
        timing="advance",
        quantity=part.quantity if by_unit else None,
        unit=part.unit if by_unit else "unit",
        price=PerUnitPrice(model="per_unit", unit_price=price)
        if price is not None
        else FlatPrice(model="flat", amount=part.amount),
        tax_class=part.tax_class,
    )


def _unit_price(part: SoldPart) -> Decimal | None:
    """The price of one unit, when that is exact in 12 fraction digits."""
    price = Fraction(part.amount) / Fraction(part.quantity)
    cut = cut_amount(price)
    return cut if Fraction(cut) == price else None


def items_of(
    outcomes: Sequence[Outcome],
    promotions: Mapping[str, Promotion],
    *,
    quote_id: str,
    contract_id: str,
    currency: str,
    on: date,
) -> list[dict[str, object]]:
    """The billable items of what is billed once, as documents, by external id. A promotion that went off one
    is named in its words, with its amount."""
    return [
        BillableItem(
            source_system=QUOTE_SYSTEM,
            external_id=f"{quote_id}/{charge_id_of(outcome.outcome_id, part.product_id)}",
            source="product",
            contract_id=contract_id,
            date=on,
            quantity=part.quantity,
            unit=part.unit,
            description=_described(outcome, part, promotions, currency),
            project=quote_id,
            unit_price=_unit_price(part),
            amount=part.amount if _unit_price(part) is None else None,
            currency=currency,
            tax_class=part.tax_class,
        ).model_dump(mode="json")
        for outcome in outcomes
        for part in outcome.parts
        if part.billed == "once"
    ]


def words_without_promotions(description: str, promotions: Mapping[str, Promotion]) -> str:
    """The words of an item as they were before promotions were named in them."""
    opening = description.rfind(" (")
    named = opening >= 0 and any(
        description.startswith(promotion.name, opening + 2) for promotion in promotions.values()
    )
    return description[:opening] if named else description


def _described(outcome: Outcome, part: SoldPart, promotions: Mapping[str, Promotion], currency: str) -> str:
    words = f"{outcome.description}: {part.name}"
    off = part.list_amount - part.amount
    if not part.promotion_ids or not off:
        return words[:DESCRIPTION_MAX]
    names = ", ".join(promotions[key].name for key in part.promotion_ids)
    off_minor = round_to_minor(off, digits=minor_digits(currency), mode="half_up")
    less = f" ({names[:200]}: {format_minor(-off_minor, currency)})"
    return words[: DESCRIPTION_MAX - len(less)] + less
