"""One rounding a bill instead of one a line: ``rounding_place: invoice`` of a plan.

The lines keep their exact amounts. Their sum is rounded once, as the plan rounds, and the minor units are
given to the lines by largest remainder: each gets its own whole units or one more, so that they sum to it.
What was rounded together stands on each line by name (``ROUNDED_SUM``) beside what it got
(``ROUNDED_PART``): the share of one line cannot be told without the others, that it is one can.

Rounded together are the priced lines of one contract and billing date that are in one currency, of plans that
say so. Where a plan has a minimum or a maximum of a period, the usage and licence lines of the period are
rounded by themselves: that is what is compared with the limit, so it must not depend on fees that happen to
be on the same bill.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np

from ingest.event import QUANTITY_SCALE
from rating.batch import PricedRows
from rating.compile import PriceBook
from rating.due_charges import DueCharges
from rating.kernels import TOO_LARGE
from rating.money import minor_digits, minor_to_decimal, round_to_minor
from rating.period_columns import PeriodColumns
from rating.price_plan import PricePlan, RoundingMode
from rating.special_price import Inputs
from rating.wide_columns import integer_of

ROUNDED_SUM: Final = "~rounded_sum"
ROUNDED_PART: Final = "~rounded_part"
"""Inputs of a line, in major units. No meter can be called so, and a formula names its inputs by meters."""
_SCALE: Final = 10**QUANTITY_SCALE
_METERED: Final = frozenset({"usage", "licence"})
_MINOR_MAX: Final = 2**63 - 1
_WIDE: Final = Context(prec=60)


def round_bills(
    periods: PeriodColumns, due: DueCharges, priced: PricedRows, price_book: PriceBook
) -> tuple[PricedRows, Mapping[int, Inputs]]:
    """The rows with the minor units they get, and by row what they got it from; see the module. Rows of plans
    that round each line are as they were. A bill that comes to more than minor units hold is unrated."""
    rounds = np.array([entry.plan.rounding_place == "invoice" for entry in price_book.versions], np.bool_)
    if not rounds.any():
        return priced, {}
    rows = np.flatnonzero(rounds[periods.plan_row[due.period]] & ~priced.unrated)
    amount_minor, status = priced.results.amount_minor.copy(), priced.results.status.copy()
    inputs: dict[int, Inputs] = {}
    for plan, group in _groups(rows.tolist(), periods, due, price_book):
        amounts = [integer_of(priced.results.amount[row]) for row in group]
        parts = share_rounded(amounts, digits=minor_digits(plan.currency), mode=plan.rounding)
        if max(map(abs, parts)) > _MINOR_MAX:
            status[group] = TOO_LARGE
            continue
        total = Decimal(sum(amounts)).scaleb(-QUANTITY_SCALE, context=_WIDE)
        for row, part in zip(group, parts, strict=True):
            amount_minor[row] = part
            inputs[row] = {ROUNDED_SUM: total, ROUNDED_PART: minor_to_decimal(part, plan.currency)}
    results = priced.results._replace(amount_minor=amount_minor, status=status)
    return replace(priced, results=results, unrated=priced.unrated | (status == TOO_LARGE)), inputs


def share_rounded(amounts: Sequence[int], *, digits: int, mode: RoundingMode) -> list[int]:
    """Minor units of amounts at scale 12: they sum to the rounded sum, and each is the amount without its
    fraction of a minor unit, or the next one. Ties of remainders go to the earlier amount; amounts that
    sum to less than nothing are shared like their opposites.

    >>> share_rounded([4_000_000_000, 4_000_000_000, 4_000_000_000], digits=2, mode="half_up")
    [1, 0, 0]
    """
    total = sum(amounts)
    if total < 0:
        return [-part for part in share_rounded([-amount for amount in amounts], digits=digits, mode=mode)]
    minor_unit = _SCALE // 10**digits
    wanted = round_to_minor(Fraction(total, _SCALE), digits=digits, mode=mode)
    parts = [amount // minor_unit for amount in amounts]
    by_remainder = sorted(range(len(amounts)), key=lambda place: -(amounts[place] % minor_unit))
    for place in by_remainder[: wanted - sum(parts)]:
        parts[place] += 1
    return parts


def part_follows(line: Mapping[str, Any], plan: PricePlan) -> bool:
    """Whether the rounded amount of a line is what its plan lets it be: the exact one rounded, or, where a
    bill was rounded as a whole, less than a minor unit from it and what the line says it got."""
    digits = minor_digits(plan.currency)
    part = line["inputs"].get(ROUNDED_PART)
    if plan.rounding_place == "line" or part is None:
        minor = round_to_minor(Fraction(line["amount"]), digits=digits, mode=plan.rounding)
        return bool(part is None and minor == line["amount_minor"])
    off = abs(Fraction(part) - Fraction(line["amount"])) * 10**digits
    return bool(off < 1 and part == minor_to_decimal(line["amount_minor"], plan.currency))


def _groups(
    rows: Sequence[int], periods: PeriodColumns, due: DueCharges, price_book: PriceBook
) -> Iterator[tuple[PricePlan, list[int]]]:
    """The rows that are rounded together, in row order, with the last plan they are of."""
    found: dict[tuple[int, str, RoundingMode, int], tuple[PricePlan, list[int]]] = {}
    for row in rows:
        period = int(due.period[row])
        plan = price_book.versions[int(periods.plan_row[period])].plan
        charge = price_book.charges[int(due.charge[row])].charge
        apart = period if charge.kind in _METERED and _limits_spend(plan) else -1
        key = (int(periods.invoice[period]), plan.currency, plan.rounding, apart)
        group = found.setdefault(key, (plan, []))
        group[1].append(row)
    yield from found.values()


def _limits_spend(plan: PricePlan) -> bool:
    limits = (plan.minimum_spend, plan.maximum_spend)
    return bool(plan.group_minimums) or any(limit is not None for limit in limits)
