"""Discounts on priced lines: what each takes off each line, exactly, so that the parts sum to the whole.

A discount is a figure on the line it lowers, with the list amount above it; it never makes a line of
its own. Kept amounts have 12 digits; a percentage of one is cut to 12 digits like every exact amount,
and what is left is rounded to minor units once. An amount is shared out in whole minor units by largest
remainder, so an invoice falls by that very amount. Nothing falls below zero.

Invoices that percentages alone are taken off go through ``rating/percent_kernel.py``, with the same results;
all other discounts are few and go through plain integers here. Lines without discounts are left untouched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.event import QUANTITY_SCALE
from rating.batch import PricedRows
from rating.compile import PriceBook
from rating.discount import Discount, in_order
from rating.due_charges import DueCharges
from rating.money import allocate, minor_digits, round_to_minor
from rating.percent_kernel import LineColumns, percentages_of, take_percentages, takes_percentages_only
from rating.period_columns import PeriodColumns
from rating.price_plan import PricePlan
from rating.reference import PriceTerms, price_quantity
from rating.unrateable import Unrateable
from rating.wide_columns import integer_of, scaled_integer, words_of

_SCALE: Final = 10**QUANTITY_SCALE
_METERED: Final = frozenset({"usage", "licence"})
_WIDE: Final = Context(prec=60)


@dataclass(frozen=True, slots=True)
class DiscountRows:
    """What was taken off each line: entries [start[row], start[row + 1]) of number and amount.

    number: of the discount in the line's agreed plan, from 1. amount: (entries, 2) at scale 12, of the
    same sign as the line.
    """

    start: NDArray[np.int64]
    number: NDArray[np.uint16]
    amount: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Entries:
    """What was taken: of which line, by which discount, how much ((entries, 2) at scale 12)."""

    row: NDArray[np.int64]
    number: NDArray[np.uint16]
    amount: NDArray[np.uint64]


@dataclass(slots=True)
class DiscountedLine:
    """One line on its way down. Amounts at scale 12. taken: (number, amount) in the order applied."""

    row: int
    period: int
    plan: PricePlan
    charge_id: str
    charge_kind: str
    arrears: bool
    period_number: int
    first_day: date
    quantity: Decimal
    event_count: int
    share: Fraction
    terms: PriceTerms
    listed: int
    left: int
    units_off: Decimal = Decimal(0)
    taken: list[tuple[int, int]] = field(default_factory=list)

    def take(self, number: int, amount: int) -> None:
        """Lower what is left by ``amount``, at most to zero; nothing is no entry."""
        bounded = max(min(amount, self.left), 0) if self.left >= 0 else min(max(amount, self.left), 0)
        if bounded:
            self.left -= bounded
            self.taken.append((number, bounded))


def discount_lines(
    periods: PeriodColumns, due: DueCharges, priced: PricedRows, price_book: PriceBook
) -> tuple[PricedRows, DiscountRows]:
    """The rows with their discounted amounts, and what was taken off. See the module."""
    count = len(due.period)
    discounted = np.array([bool(entry.plan.reductions()) for entry in price_book.versions], np.bool_)
    rows = np.flatnonzero(discounted[periods.plan_row[due.period]] & ~priced.unrated)
    nothing = DiscountRows(np.zeros(count + 1, np.int64), np.zeros(0, np.uint16), np.zeros((0, 2), np.uint64))
    if not len(rows):
        return priced, nothing
    compiled, plain = _by_way(rows, periods, due, price_book)
    amount, amount_minor = priced.results.amount.copy(), priced.results.amount_minor.copy()
    parts = [
        _take_compiled(compiled, periods, due, priced, price_book, amount, amount_minor),
        _take_plainly(_invoices(plain, periods, due, priced, price_book), amount, amount_minor),
    ]
    results = priced.results._replace(amount=amount, amount_minor=amount_minor)
    return replace(priced, results=results), _joined(parts, count)


def _by_way(
    rows: NDArray[np.int64], periods: PeriodColumns, due: DueCharges, price_book: PriceBook
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that can go the compiled way, and the others. All lines of an invoice go one way: they must
    be of one plan that takes nothing off but percentages."""
    plan_row = periods.plan_row[due.period[rows]]
    simple = np.zeros(len(price_book.versions), np.bool_)
    used = np.unique(plan_row)
    simple[used] = [takes_percentages_only(price_book.versions[row].plan) for row in used.tolist()]
    _, invoice = np.unique(periods.invoice[due.period[rows]], return_inverse=True)
    order = np.argsort(invoice, kind="stable")
    begins = np.flatnonzero(np.diff(invoice[order], prepend=-1))
    first = np.minimum.reduceat(plan_row[order], begins)
    last = np.maximum.reduceat(plan_row[order], begins)
    chosen = ((first == last) & simple[first])[invoice]
    return rows[chosen], rows[~chosen]


def _take_compiled(
    rows: NDArray[np.int64],
    periods: PeriodColumns,
    due: DueCharges,
    priced: PricedRows,
    price_book: PriceBook,
    amount: NDArray[np.uint64],
    amount_minor: NDArray[np.int64],
) -> _Entries:
    period, price_row = due.period[rows], due.rows.price_row[rows]
    plan_row = periods.plan_row[period]
    taken = take_percentages(
        LineColumns(
            plan_row=plan_row,
            charge=price_book.index.order[due.charge[rows]],
            period_number=periods.period_number[period],
            first_day=periods.first_days[period],
            minor_unit=price_book.prices.minor_unit[price_row],
            rounding=price_book.prices.rounding[price_row],
        ),
        priced.results.amount[rows],
        percentages_of(price_book, np.unique(plan_row).tolist()),
    )
    lowered = taken.counts > 0
    amount[rows[lowered]] = taken.amount[lowered]
    amount_minor[rows[lowered]] = taken.amount_minor[lowered]
    return _Entries(np.repeat(rows, taken.counts), taken.number, taken.part)


def _take_plainly(
    groups: Iterable[list[DiscountedLine]], amount: NDArray[np.uint64], amount_minor: NDArray[np.int64]
) -> _Entries:
    entries: list[tuple[int, int, int]] = []
    for group in groups:
        apply_discounts(group)
        limit_spend(group)
        for line in group:
            if not line.taken:
                continue
            entries += [(line.row, number, part) for number, part in line.taken]
            amount[line.row] = words_of(line.left)
            amount_minor[line.row] = round_to_minor(
                Fraction(line.left, _SCALE), digits=line.terms.minor_digits, mode=line.terms.rounding
            )
    return _Entries(
        np.array([row for row, _, _ in entries], np.int64),
        np.array([number for _, number, _ in entries], np.uint16),
        np.array([words_of(part) for *_, part in entries], np.uint64).reshape(-1, 2),
    )


def _joined(parts: Sequence[_Entries], count: int) -> DiscountRows:
    """By line; those of one line stay in the order applied."""
    row = np.concatenate([part.row for part in parts])
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row, minlength=count)
    return DiscountRows(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([part.number for part in parts])[order],
        np.concatenate([part.amount for part in parts])[order],
    )


def apply_discounts(lines: Sequence[DiscountedLine]) -> None:
    """Take every discount off the lines of one invoice, in the order of ``Discounting``. How a percentage is
    taken is as the plan of each line says, which proves it."""
    for discount in _of_lines(lines):
        numbers = [_number_in(line.plan, discount) for line in lines]
        covered = [
            (line, number)
            for line, number in zip(lines, numbers, strict=True)
            if number and discount.covers(line.charge_id, line.charge_kind)
        ]
        if discount.kind == "amount":
            _take_amount(covered, discount)
            continue
        for line, number in covered:
            if not discount.holds_in(period_number=line.period_number, first_day=line.first_day):
                continue
            if discount.kind == "units":
                line.take(number, _units_amount(line, discount))
            else:
                base = line.left if line.plan.discounting.mode == "stacked" else line.listed
                step = percent_step(base, discount.percent or Decimal(0), line.plan)
                line.take(number, step)


def limit_spend(lines: Sequence[DiscountedLine]) -> None:
    """Lower the usage and licence lines in arrears of each period to the maximum spend of its plan, in minor
    units as billed, shared out by largest remainder over the lines above zero."""
    by_period: dict[int, list[DiscountedLine]] = {}
    for line in lines:
        counted = line.arrears and line.charge_kind in _METERED
        if line.plan.maximum_spend is not None and counted:
            by_period.setdefault(line.period, []).append(line)
    for metered in by_period.values():
        _lower(metered)


def _lower(metered: Sequence[DiscountedLine]) -> None:
    plan, terms = metered[0].plan, metered[0].terms
    most = Fraction(plan.maximum_spend or 0) * metered[0].share
    most_minor = round_to_minor(most, digits=terms.minor_digits, mode=plan.rounding)
    minor_unit = _SCALE // 10**terms.minor_digits
    if plan.rounding_place == "invoice":  # their exact sum is the maximum then, and is rounded with the bill
        billed, unit = [line.left for line in metered], 1
    else:
        billed = [
            round_to_minor(Fraction(line.left, _SCALE), digits=terms.minor_digits, mode=plan.rounding)
            for line in metered
        ]
        unit = minor_unit
    excess = sum(billed) - most_minor * (minor_unit // unit)
    weights = [max(amount, 0) for amount in billed]
    if excess <= 0 or not sum(weights):
        return
    for line, amount, part in zip(metered, billed, allocate(min(excess, sum(weights)), weights), strict=True):
        if part:  # what stays is whole minor units, so that no second rounding can pass the maximum
            line.take(len(plan.reductions()), line.left - (amount - part) * unit)


def percent_of(amount: int, percent: Decimal) -> int:
    """The part of an amount at scale 12, cut there towards zero."""
    magnitude = abs(amount) * scaled_integer(percent) // (100 * _SCALE)
    return magnitude if amount >= 0 else -magnitude


def percent_step(amount: int, percent: Decimal, plan: PricePlan) -> int:
    """What a percentage takes off an amount at scale 12, rounded if the plan rounds each step."""
    if plan.discounting.rounding == "once":
        return percent_of(amount, percent)
    digits = minor_digits(plan.currency)
    minor_unit: int = _SCALE // 10**digits

    def rounded(number: Fraction) -> int:
        return round_to_minor(number, digits=digits, mode=plan.rounding) * minor_unit

    base = rounded(Fraction(amount, _SCALE))
    return rounded(Fraction(base, _SCALE) * Fraction(percent) / 100)


def _of_lines(lines: Sequence[DiscountedLine]) -> list[Discount]:
    """The discounts of all plans the lines are of, once each, in the order of the last plan. Of an amount
    that a new plan version changed the last one counts: it is taken off the invoice once."""
    found: dict[object, Discount] = {}
    for plan in {id(line.plan): line.plan for line in reversed(lines)}.values():
        for _, discount in in_order(plan.discounts, plan.discounting):
            key = discount.discount_id if discount.kind == "amount" else discount
            found.setdefault(key, discount)
    # Again over all of them: a percentage of an earlier plan still comes before an amount of the last.
    return [discount for _, discount in in_order(found.values(), lines[-1].plan.discounting)]


def _number_in(plan: PricePlan, discount: Discount) -> int:
    """The number of the discount in a plan, 0 when the plan has it not."""
    for number, entry in enumerate(plan.discounts, start=1):
        same_amount = discount.kind == entry.kind == "amount" and discount.discount_id == entry.discount_id
        if same_amount or entry == discount:
            return number
    return 0


def _take_amount(covered: Sequence[tuple[DiscountedLine, int]], discount: Discount) -> None:
    """One amount off one invoice. Which invoices: those that bill the first of its charges for a period
    it holds in; fees in advance come a period before usage, so one invoice a period takes it."""
    if not covered or not _is_due(covered, discount):
        return
    digits = covered[0][0].terms.minor_digits
    minor_unit = _SCALE // 10**digits
    open_lines = [(line, number) for line, number in covered if line.left > 0]
    whole = [line.left // minor_unit for line, _ in open_lines]
    wanted = round_to_minor(discount.amount or Decimal(0), digits=digits, mode="half_up")
    parts = allocate(min(wanted, sum(whole)), whole) if sum(whole) else [0] * len(whole)
    rest = (wanted - sum(parts)) * minor_unit
    for (line, number), part in zip(open_lines, parts, strict=True):
        # Once every whole minor unit is taken, what is left of the amount goes on fractions of one.
        finer = min(rest, line.left - part * minor_unit) if rest else 0
        rest -= finer
        line.take(number, part * minor_unit + finer)


def _is_due(covered: Sequence[tuple[DiscountedLine, int]], discount: Discount) -> bool:
    charges = covered[-1][0].plan.charges
    in_advance = any(
        charge.timing == "advance" and discount.covers(charge.charge_id, charge.kind) for charge in charges
    )
    periods = [(line.period_number, line.first_day) for line, _ in covered if line.arrears is not in_advance]
    return any(discount.holds_in(period_number=number, first_day=day) for number, day in periods)


def _units_amount(line: DiscountedLine, discount: Discount) -> int:
    """What the line costs less when so many priced units are free beyond those free already."""
    line.units_off += discount.units or Decimal(0)
    free = (line.terms.free_units or Decimal(0)) + line.units_off
    try:
        priced = price_quantity(  # the rules refuse units off a price that needs more than its quantity
            replace(line.terms, free_units=free),
            quantity=line.quantity,
            event_count=line.event_count,
            share=line.share,
        )
    except Unrateable:
        return 0  # fewer units of a line that has a price always have one; a credit has no units to give
    return max(line.left - int(priced.amount * _SCALE), 0)


def _invoices(
    rows: NDArray[np.int64],
    periods: PeriodColumns,
    due: DueCharges,
    priced: PricedRows,
    price_book: PriceBook,
) -> Iterator[list[DiscountedLine]]:
    """The rows as lines, those of one contract and billing date together, in row order."""
    groups: dict[int, list[DiscountedLine]] = {}
    for row in rows.tolist():
        period, charge_row = int(due.period[row]), int(due.charge[row])
        charge = price_book.charges[charge_row].charge
        listed = integer_of(priced.results.amount[row])
        line = DiscountedLine(
            row=row,
            period=period,
            plan=price_book.versions[int(periods.plan_row[period])].plan,
            charge_id=charge.charge_id,
            charge_kind=charge.kind,
            arrears=bool(periods.arrears[period]),
            period_number=int(periods.period_number[period]),
            first_day=periods.first_day(period),
            quantity=Decimal(integer_of(due.rows.quantity[row])).scaleb(-QUANTITY_SCALE, context=_WIDE),
            event_count=int(due.rows.event_count[row]),
            share=Fraction(int(due.rows.days[row]), int(due.rows.full_days[row])),
            terms=price_book.terms[int(due.rows.price_row[row])],
            listed=listed,
            left=listed,
        )
        groups.setdefault(int(periods.invoice[period]), []).append(line)
    yield from groups.values()
