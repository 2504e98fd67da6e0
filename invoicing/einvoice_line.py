"""Invoice lines in the terms of EN 16931 (BG-25), so that the arithmetic a receiver checks comes out.

A line states quantity, price and net amount, and receivers multiply. Where the rated quantity at one unit
price comes to the line's list amount, that is what is stated. Anything else (several tiers, a
percentage, a part of a month) is one unit at its amount: the quantity, its unit and the tiers stand in the
line's note and attributes. Discounts, and credit taken before tax, are allowances of the line (BG-27).

A price with more than four fraction digits is stated for a power of ten of units (BT-149), because some
readers cut longer ones: 0.0000012 each is 0.12 for 100,000.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from ingest.document import decimal_text, plain
from ingest.event import QUANTITY_SCALE
from invoicing.credit_allowance import allowed_minor
from invoicing.einvoice_model import EAllowance, ELine, ETax
from invoicing.invoice import InvoiceLine
from invoicing.tax_again import inclusive_minor
from invoicing.unit_codes import ONE, unit_code
from rating.item_line import ITEM_KIND
from rating.money import allocate, exact_money, round_to_minor

_PRICE_DIGITS_MAX: Final = 4
SLACK: Final = Fraction(1, 50)
"""How far quantity times price may be from the net amount, whatever the currency (PEPPOL-EN16931-R120): of a
currency without fraction digits half a unit is too much."""
_METERED_KINDS: Final = frozenset({"usage", "licence", ITEM_KIND})
_EXACT: Final = Context(prec=100)


@dataclass(frozen=True, slots=True)
class _Price:
    quantity: Decimal
    unit: str
    price: Decimal
    base_quantity: Decimal | None
    list_minor: int
    """What quantity times price comes to, in minor units, rounded as the line is."""


def electronic_line(line: InvoiceLine, *, position: int, digits: int, group: ETax) -> ELine:
    """One line of an issued invoice. position: from 1. digits: of the currency. group: how it is taxed."""
    priced = _before_credit(line)
    found = _unit_price(priced, digits) or _one_unit(priced, digits)
    last_day = line.period_end - timedelta(days=1)
    return ELine(
        line_id=str(position),
        quantity=found.quantity,
        unit=found.unit,
        net=Decimal(line.amount_minor).scaleb(-digits),
        period=(line.period_start, max(line.period_start, last_day)),
        price=found.price,
        base_quantity=found.base_quantity,
        category=group.category,
        rate_percent=group.rate_percent,
        name=line.description,
        seller_item=line.charge_id,
        note="" if found.price == _listed_price(line) else _note(line, digits),
        attributes=_attributes(line),
        allowances=(*_allowances(priced, found.list_minor, digits), *_credit(line, digits)),
    )


def _before_credit(line: InvoiceLine) -> InvoiceLine:
    """The line without the credit that was taken off its net amount. Off a price that includes tax it was
    taken with its tax, so there the line is stated at what it comes to; so is one that gives credit back."""
    off = allowed_minor(line) if _states_credit(line) else 0
    return replace(line, amount_minor=line.amount_minor + off)


def _states_credit(line: InvoiceLine) -> bool:
    return inclusive_minor(line) is None and allowed_minor(line) > 0


def _credit(line: InvoiceLine, digits: int) -> tuple[EAllowance, ...]:
    if not _states_credit(line):
        return ()
    return tuple(
        EAllowance(Decimal(entry.amount_minor).scaleb(-digits), entry.name) for entry in line.allowances
    )


def line_difference(line: ELine) -> Decimal:
    """How far the net amount is from quantity times price less allowances; a cent is too much."""
    base = Fraction(line.base_quantity or 1)
    product = Fraction(line.quantity) * Fraction(line.price) / base
    taken = sum((Fraction(entry.amount) for entry in line.allowances), Fraction(0))
    difference = abs(Fraction(line.net) - (product - taken))
    return Decimal(difference.numerator) / Decimal(difference.denominator)


def _listed_price(line: InvoiceLine) -> Decimal | None:
    """The one unit price of the line, if it has just one."""
    if len(line.tiers) != 1 or line.tiers[0].flat_amount:
        return None
    return line.tiers[0].unit_price


def _unit_price(line: InvoiceLine, digits: int) -> _Price | None:
    """Quantity and unit price, where they come to the list amount exactly; None where they do not."""
    price = _listed_price(line)
    if price is None or price < 0 or line.adjusts is not None:
        return None
    listed = _list_amount(line)
    if Fraction(price) * Fraction(line.rated_quantity) != listed or not _is_rounded_amount(line, digits):
        return None
    if line.discounts and (listed < 0 or any(discount.amount < 0 for discount in line.discounts)):
        return None
    list_minor = (
        round_to_minor(listed, digits=digits, mode="half_up") if line.discounts else line.amount_minor
    )
    if abs(listed - Fraction(Decimal(list_minor).scaleb(-digits))) > SLACK:
        return None
    shift = _fraction_digits(price)
    base, stated = None, price
    if shift > _PRICE_DIGITS_MAX:
        base = Decimal(10) ** (shift - digits)
        stated = price.scaleb(shift - digits, context=_EXACT)
    unit = unit_code(line.unit) if line.charge_kind in _METERED_KINDS else ONE
    return _Price(line.rated_quantity, unit, stated, base, list_minor)


def _one_unit(line: InvoiceLine, digits: int) -> _Price:
    """One unit at its list amount, or where that is below zero minus one unit at the amount."""
    list_minor = line.amount_minor
    if line.discounts and _is_rounded_amount(line, digits):
        list_minor = round_to_minor(_list_amount(line), digits=digits, mode="half_up")
    if line.amount_minor < 0 or list_minor < line.amount_minor:
        list_minor = line.amount_minor
    quantity = Decimal(-1 if list_minor < 0 else 1)
    return _Price(quantity, ONE, abs(Decimal(list_minor)).scaleb(-digits), None, list_minor)


def _is_rounded_amount(line: InvoiceLine, digits: int) -> bool:
    """Whether the amount in minor units is the exact one rounded. Of a price that included tax it is less."""
    difference: Fraction = Fraction(line.amount) * 10**digits - line.amount_minor
    return 2 * abs(difference) <= 1


def _list_amount(line: InvoiceLine) -> Fraction:
    """What the line came to before discounts, exact."""
    return sum((Fraction(discount.amount) for discount in line.discounts), Fraction(line.amount))


def _allowances(line: InvoiceLine, list_minor: int, digits: int) -> tuple[EAllowance, ...]:
    """The discounts in minor units: parts of what lies between list amount and net, largest remainder."""
    taken = list_minor - line.amount_minor
    if not line.discounts or taken <= 0:
        return ()
    weights = [int(discount.amount.scaleb(QUANTITY_SCALE, context=_EXACT)) for discount in line.discounts]
    return tuple(
        EAllowance(Decimal(part).scaleb(-digits), f"{discount.name} ({discount.words})")
        for part, discount in zip(allocate(taken, weights), line.discounts, strict=True)
        if part
    )


def _note(line: InvoiceLine, digits: int) -> str:
    """How the amount came about, where quantity and price of the line do not say it."""
    said = [line.price_text] if line.price_text else []
    if line.adjusts is not None:
        billed = line.adjusts.invoice_number or "the bill"
        before, now = (
            exact_money(amount, digits=digits)
            for amount in (line.adjusts.billed_amount, line.adjusts.rated_amount)
        )
        said.append(f"adjusts {billed} of {line.adjusts.billing_date}: {before} billed, {now} now")
        return "; ".join(said)
    for tier in line.tiers if len(line.tiers) > 1 else ():
        units, amount = decimal_text(tier.units), exact_money(tier.amount, digits=digits)
        said.append(f"tier {tier.number}: {units} units, {amount}")
    return "; ".join(said)


def _attributes(line: InvoiceLine) -> tuple[tuple[str, str], ...]:
    metered = line.charge_kind in _METERED_KINDS
    quantity = f"{decimal_text(line.rated_quantity)} {line.unit}".strip()
    found = [("quantity", quantity)] if metered else []
    if metered and line.quantity != line.rated_quantity:
        found.append(("metered quantity", f"{decimal_text(line.quantity)} {line.unit}".strip()))
    if line.days < line.full_days:
        found.append(("days", f"{line.days} of {line.full_days}"))
    return (*found, *((name, value or "(none)") for name, value in sorted(line.dimensions.items())))


def _fraction_digits(number: Decimal) -> int:
    exponent = plain(number).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
