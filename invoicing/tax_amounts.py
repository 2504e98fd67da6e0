"""Arithmetic of tax on one invoice, in whole minor units. Pure.

Tax is rounded once for each category and rate (EN 16931 BR-CO-17), half up, never for a line. Where prices
include tax it is taken out of the group's sum, so that net and tax come to exactly what was priced, and the
net is shared out among the lines by largest remainder. There net x rate may differ from the tax by one minor
unit: not every amount with tax is some net amount plus its rounded tax.

A line is (key, amount_minor, includes_tax); lines of one key are taxed alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from invoicing.invoice import Invoice
from invoicing.invoice_tax import InvoiceTax
from invoicing.tax_decision import TaxDecision

_WHOLE = 100


def tax_on_net(net_minor: int, percent: Decimal) -> int:
    """Tax on a net sum: ``percent`` of it, rounded half away from zero."""
    above, below = percent.as_integer_ratio()
    return _rounded(net_minor * above, _WHOLE * below)


def tax_in_gross(gross_minor: int, percent: Decimal) -> int:
    """The tax in a sum that includes it, rounded half away from zero."""
    above, below = percent.as_integer_ratio()
    return _rounded(gross_minor * above, _WHOLE * below + above)


def net_parts(amounts_minor: Sequence[int], percent: Decimal) -> list[int]:
    """The net of each amount that includes tax; they sum to the sum of the amounts less ``tax_in_gross``.

    Each is its exact net rounded down or up: up where most was cut off, the first of equals.
    """
    gross = sum(amounts_minor)
    share = Fraction(_WHOLE) / (_WHOLE + Fraction(percent))
    exact = [amount * share for amount in amounts_minor]
    parts = [part.numerator // part.denominator for part in exact]
    left = gross - tax_in_gross(gross, percent) - sum(parts)
    by_rest = sorted(range(len(parts)), key=lambda place: (parts[place] - exact[place], place))
    for place in by_rest[:left]:
        parts[place] += 1
    return parts


def shares_of(total: int, weights: Sequence[int]) -> list[int]:
    """``total`` shared out by weights of either sign, in whole units that sum to it; by largest remainder,
    the first of equals. For 0 <= total <= sum(weights) no part is larger than its weight or of another sign.
    Weights of sum 0 leave all to the first. ``rating.money.allocate`` is for weights that are never negative.

    >>> shares_of(50, [120, -20])
    [60, -10]
    """
    whole = sum(weights)
    if not whole:
        return [total, *(0 for _ in weights[1:])] if weights else []
    exact = [Fraction(total * weight, whole) for weight in weights]
    parts = [part.numerator // part.denominator for part in exact]
    by_rest = sorted(range(len(parts)), key=lambda place: (parts[place] - exact[place], place))
    for place in by_rest[: total - sum(parts)]:
        parts[place] += 1
    return parts


def gross_of_lines(invoice: Invoice) -> list[int]:
    """What each line comes to with its share of its group's tax; they sum to the gross amount."""
    gross = [line.amount_minor for line in invoice.lines]
    for group in invoice.tax:
        places = [
            place
            for place, line in enumerate(invoice.lines)
            if line.tax is not None
            and (line.tax.category, line.tax.rate_percent) == (group.category, group.rate_percent)
        ]
        parts = shares_of(group.tax_minor, [invoice.lines[place].amount_minor for place in places])
        for place, part in zip(places, parts, strict=True):
            gross[place] += part
    return gross


def tax_group(decision: TaxDecision, *, net_minor: int, gross_minor: int) -> InvoiceTax:
    """The group of lines taxed alike. net_minor: the sum of those without tax; gross_minor: of those with."""
    inside = tax_in_gross(gross_minor, decision.percent)
    return InvoiceTax(
        category=decision.category,
        rate_percent=decision.percent,
        taxable_minor=net_minor + gross_minor - inside,
        tax_minor=tax_on_net(net_minor, decision.percent) + inside,
        reason=decision.reason,
        reason_code=decision.reason_code,
    )


def _rounded(above: int, below: int) -> int:
    """above / below, rounded half away from zero. below: above zero."""
    size = (2 * abs(above) + below) // (2 * below)
    return size if above >= 0 else -size
