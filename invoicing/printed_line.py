"""The texts of one invoice line on paper, by their place in the template of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from invoicing.invoice import InvoiceAdjusts, InvoiceLine, InvoiceTier
from invoicing.template import Shown
from invoicing.words import Words
from rating.item_line import ITEM_KIND
from rating.spend_ids import GROUP_MINIMUM_PREFIX, is_minimum
from rating.steps import FEE_CREDIT_KIND, MINIMUM_SPEND_KIND
from rating.term_commitment import TRUE_UP_CHARGE_ID, TRUE_UP_KIND

_LONGEST_WORD: Final = 20
"""A longer word may be broken anywhere, so that no key or id runs over its neighbour."""
_QUANTITY_WIDTH: Final = 26
"""A quantity with more characters is set in lines, so that the description keeps its place."""
_ZERO_WIDTH_SPACE: Final = "\u200b"
_METERED_KINDS: Final = frozenset({"usage", "licence", ITEM_KIND})
_OF_MONEY: Final = frozenset({MINIMUM_SPEND_KIND, FEE_CREDIT_KIND, TRUE_UP_KIND})
_PER_UNIT: Final = "per_unit"
"""The price model of a line for units; of a true-up for money it is ``flat``."""
_PRORATED_KINDS: Final = frozenset({"recurring", "licence", *_OF_MONEY})
_TIERED_MODELS: Final = frozenset({"graduated", "volume", "stairstep"})


def printed_line(
    line: InvoiceLine, *, digits: int, w: Words, shown: Shown, taxed: Sequence[str]
) -> dict[str, Any]:
    """One line. digits: of the currency. shown: which of its details. taxed: what it says of its tax."""
    if line.adjusts is not None:
        return _adjustment(line, line.adjusts, digits, w, shown, taxed)
    of_money = line.charge_kind in _OF_MONEY
    quantity = "" if of_money or not _has_quantity(line) else w.number(line.rated_quantity)
    unit = line.unit if line.charge_kind in _METERED_KINDS else ""
    tiered = line.price_model in _TIERED_MODELS or any(
        tier.up_to is not None or tier.above for tier in line.tiers
    )
    tiers = [_tier(tier, digits, w) for tier in line.tiers] if tiered and shown.tiers else []
    discounts = list(_discounts(line, digits, w)) if shown.discounts else []
    return {
        "description": breakable(line.description),
        "detail": breakable(" · ".join([*_details(line, digits, w, shown), *taxed])),
        # What was priced, so that quantity, unit and price go together; `_details` has what was metered.
        "quantity": breakable(quantity),
        "unit": breakable(unit),
        "wide": is_wide(quantity, unit),
        "price": "" if tiered else breakable(w.price(line.price_text)),
        "amount": w.money(line.amount_minor, digits),
        "tiers": [*tiers, *discounts, *_allowances(line, digits, w)],
    }


def is_wide(quantity: str, unit: str) -> bool:
    """Whether a quantity and its unit are too long for one line."""
    return len(quantity) + len(unit) > _QUANTITY_WIDTH


def breakable(words: str, *, longest: int = _LONGEST_WORD) -> str:
    """The same words with places where those of more than ``longest`` characters may be broken."""
    if len(words) <= longest:
        return words
    pieces = []
    for word in words.split(" "):
        parts = [word[place : place + longest] for place in range(0, len(word), longest)]
        pieces.append(_ZERO_WIDTH_SPACE.join(parts))
    return " ".join(pieces)


def _adjustment(
    line: InvoiceLine, adjusts: InvoiceAdjusts, digits: int, w: Words, shown: Shown, taxed: Sequence[str]
) -> dict[str, Any]:
    """What it comes to now and what was billed before; its tiers and discounts stand in the document."""
    of_money = is_minimum(line.charge_id) or (
        line.charge_id == TRUE_UP_CHARGE_ID and line.price_model != _PER_UNIT
    )
    unit = line.unit
    number = adjusts.invoice_number
    invoice = w("adjusted_invoice", number=number) if number else w("adjusted_bill")
    details = _where(line, w, shown)
    date = w.short_day(adjusts.billing_date)
    if adjusts.invoice_id is None:
        details.append(w("nothing_billed", date=date))
    else:
        details.append(w("adjusts", what=invoice, date=date))
    details += taxed
    now, before = (
        "" if of_money else f"{w.number(quantity)} {unit}"
        for quantity in (line.quantity, adjusts.billed_quantity)
    )
    rows = [
        {**_small_row(w("comes_to"), "", adjusts.rated_amount, digits, w), "units": breakable(now)},
        {**_small_row(w("billed_before"), "", -adjusts.billed_amount, digits, w), "units": breakable(before)},
    ]
    return {
        "description": breakable(line.description),
        "detail": breakable(" · ".join(details)),
        "quantity": "",
        "unit": "",
        "wide": False,
        "price": "",
        "amount": w.money(line.amount_minor, digits),
        "tiers": [*rows, *_allowances(line, digits, w)],
    }


def _has_quantity(line: InvoiceLine) -> bool:
    return line.charge_kind in _METERED_KINDS or line.quantity != 1


def _where(line: InvoiceLine, w: Words, shown: Shown) -> list[str]:
    """For which days and of what."""
    names = [f"{name} {value or w('none_named')}" for name, value in sorted(line.dimensions.items())]
    if line.charge_kind == ITEM_KIND:  # the description has its fields
        names = []
    period = [w.period(line.period_start, line.period_end)] if shown.period else []
    return period + (names if shown.dimensions else [])


def _details(line: InvoiceLine, digits: int, w: Words, shown: Shown) -> list[str]:
    """What stands under the description: for which days, of what, and what else made the amount."""
    details = _where(line, w, shown)
    if line.days < line.full_days and line.charge_kind in _PRORATED_KINDS:
        details.insert(1 if shown.period else 0, w.part(line.days, line.full_days))
    if line.charge_kind == ITEM_KIND:
        return [*details, w("item_count" if line.event_count == 1 else "items_count", count=line.event_count)]
    if line.charge_kind == TRUE_UP_KIND and line.price_model == _PER_UNIT:
        used, promised = w.number(line.quantity), w.number(line.rated_quantity)
        return [*details, w("units_used", used=used, promised=promised, unit=line.unit)]
    if line.charge_kind in {MINIMUM_SPEND_KIND, TRUE_UP_KIND}:
        reached, least = (w.exact(number, digits) for number in (line.quantity, line.rated_quantity))
        some = line.charge_kind == TRUE_UP_KIND or line.charge_id.startswith(GROUP_MINIMUM_PREFIX)
        what = w("what_counts" if some else "usage_and_licences")
        return [*details, w("came_to", what=what, reached=reached, least=least)]
    if line.charge_kind == FEE_CREDIT_KIND:
        billed = w.exact(line.quantity, digits)
        if line.rated_quantity == 1:
            return [*details, w("billed_at", amount=billed)]
        quantity = w.number(line.rated_quantity)
        return [*details, w("units_given_back", quantity=quantity, amount=billed)]
    if line.price_source == "contract":
        details.append(w("price_by_contract"))
    if line.rated_quantity != line.quantity and shown.metered:
        details.append(w("metered", quantity=w.number(line.quantity)))
    of_tiers = sum((tier.amount for tier in line.tiers), Decimal(0))
    listed = _list_amount(line)
    if line.tiers and of_tiers != listed:
        details.append(w("raised_to_minimum" if of_tiers < listed else "limited_to_maximum"))
    return details


def _list_amount(line: InvoiceLine) -> Decimal:
    return sum((discount.amount for discount in line.discounts), line.amount)


def _discounts(line: InvoiceLine, digits: int, w: Words) -> Iterator[dict[str, str]]:
    """The list amount and what each discount took off it, under the line."""
    if not line.discounts:
        return
    yield _small_row(w("before_discounts"), "", _list_amount(line), digits, w)
    for discount in line.discounts:
        yield _small_row(discount.name, w.price(discount.words), -discount.amount, digits, w)


def _allowances(line: InvoiceLine, digits: int, w: Words) -> Iterator[dict[str, str]]:
    """What credit took off the line before tax."""
    for entry in line.allowances:
        yield _small_row(entry.name, "", Decimal(-entry.amount_minor).scaleb(-digits), digits, w)


def _small_row(label: str, price: str, amount: Decimal, digits: int, w: Words) -> dict[str, str]:
    shown = w.exact(amount, digits)
    return {"label": breakable(label), "units": "", "price": breakable(price), "amount": shown}


def _tier(tier: InvoiceTier, digits: int, w: Words) -> dict[str, str]:
    lower = w("tier_over", bound=w.number(tier.above)) if tier.above else ""
    upper = "" if tier.up_to is None else w("tier_up_to", bound=w.number(tier.up_to))
    prices = []
    if tier.unit_price is not None:
        prices.append(w("tier_price", price=w.exact(tier.unit_price, digits)))
    if tier.flat_amount is not None:
        prices.append(w("tier_flat", price=w.exact(tier.flat_amount, digits)))
    reach = " ".join(filter(None, [lower, upper])) or w("all_units")
    return {
        "label": w("tier", number=tier.number, range=reach),
        "units": w.number(tier.units),
        "price": " + ".join(prices),
        "amount": w.exact(tier.amount, digits),
    }
