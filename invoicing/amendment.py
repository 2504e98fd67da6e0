"""What a change in the middle of a period does to fees that are paid for already. Pure, a contract at a time.

Fees in advance were billed on the last billing date for the days up to the next one. When the contract
changes inside these days (another plan, a fee more or less, other quantities, an earlier end), the next
invoice puts it right: for the days from the change on, each billed fee that is no longer due as it was gets
a *credit*, and each fee that is due instead, or more, a *charge*. Fees that stay as they are get neither.

Where only the quantity of a fee per unit differs, only the difference is credited or charged. Under
``unused: none`` nothing is given back, so that what would replace something paid for begins with the next
period; what comes on top is charged at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from rating.contract_life import ChargeQuantity, Unused
from rating.credit_line import units_billed
from rating.price_plan import Charge, PricePlan
from rating.proration import is_unprorated
from rating.retainer import sells_credit


@dataclass(frozen=True, slots=True)
class BilledFee:
    """A fee in advance as it was billed, for [start, end). line: its rated line. plan: its agreed plan."""

    line: Mapping[str, Any]
    plan: PricePlan
    charge: Charge

    @property
    def start(self) -> datetime:
        start: datetime = self.line["period_start"]
        return start

    @property
    def end(self) -> datetime:
        end: datetime = self.line["period_end"]
        return end


@dataclass(frozen=True, slots=True)
class DueTerms:
    """What holds for [start, end) now: the agreed plan, and ``row``, the period it comes from. listed: the
    plan without what is agreed. begins: it came with a phase on ``start``: what is due once is due."""

    start: datetime
    end: datetime
    plan: PricePlan
    listed: PricePlan
    row: Mapping[str, Any]
    begins: bool


@dataclass(frozen=True, slots=True)
class FeeCredit:
    """``units`` of a billed fee that are not had through [start, end)."""

    fee: BilledFee
    start: datetime
    end: datetime
    units: Decimal


@dataclass(frozen=True, slots=True)
class FeeCharge:
    """Fees that are due for [start, end), beginning under ``terms``. quantities: of those of which only a
    difference is due."""

    terms: DueTerms
    start: datetime
    end: datetime
    charge_ids: tuple[str, ...]
    quantities: tuple[ChargeQuantity, ...]


@dataclass(frozen=True, slots=True)
class Amendment:
    """credits: by fee and time, those of fees that were free among them. charges: by time; no two cover the
    same fee on the same day."""

    credits: tuple[FeeCredit, ...]
    charges: tuple[FeeCharge, ...]


@dataclass(frozen=True, slots=True)
class _Due:
    terms: DueTerms
    charge: Charge
    quantity: Decimal | None


def amend(billed: Sequence[BilledFee], terms: Sequence[DueTerms], *, unused: Unused) -> Amendment:
    """The credits and charges that put the billed fees right. billed: all recurring fees of the period, each
    charge once a day. terms: in order of time, without overlap; none for days after the contract's end."""
    spans = [*((fee.start, fee.end) for fee in billed), *((part.start, part.end) for part in terms)]
    edges = sorted({edge for span in spans for edge in span})
    credits_found: list[FeeCredit] = []
    due_found: list[tuple[datetime, datetime, list[_Due]]] = []
    high_water: dict[str, Decimal] = {}
    for start, end in pairwise(edges):
        fees = [fee for fee in billed if fee.start <= start and end <= fee.end]
        now = next((part for part in terms if part.start <= start and end <= part.end), None)
        if not fees and now is None:
            continue
        given_back, due = _compare(fees, now, unused=unused, high_water=high_water)
        credits_found += [FeeCredit(fee, start, end, units) for fee, units in given_back]
        due_found.append((start, end, due))
    return Amendment(tuple(_joined(credits_found)), tuple(_charges(due_found)))


def _compare(
    fees: Sequence[BilledFee],
    now: DueTerms | None,
    *,
    unused: Unused,
    high_water: dict[str, Decimal],
) -> tuple[list[tuple[BilledFee, Decimal]], list[_Due]]:
    """(units given back of each fee, fees due) on days on which all of this holds. high_water: by charge, the
    most units that were had beyond the billed ones on earlier days; brought up to date."""
    given_back: list[tuple[BilledFee, Decimal]] = []
    due: list[_Due] = []
    coming = {charge.charge_id: charge for charge in _recurring(now)}
    plan_changed = now is not None and any(fee.plan.plan_id != now.plan.plan_id for fee in fees)
    for fee in (fee for fee in fees if _is_comparable(fee.charge, fee.plan)):
        charge = coming.pop(fee.charge.charge_id, None)
        more = _more_units(fee, charge, now)
        if more is not None and unused == "none":
            more = high_water[fee.charge.charge_id] = max(more, high_water.get(fee.charge.charge_id, more))
        if more is None:
            if unused == "credit":
                given_back.append((fee, units_billed(fee.charge)))
                due += [_Due(now, charge, None)] if now is not None and charge is not None else []
        elif more > 0 and now is not None and charge is not None:
            due.append(_Due(now, charge, more))
        elif more < 0 and unused == "credit":
            given_back.append((fee, -more))
    if now is not None and not (plan_changed and unused == "none"):
        due += [_Due(now, charge, None) for charge in coming.values()]
    return [entry for entry in given_back if entry[0].line["amount"] >= 0], due


def _recurring(now: DueTerms | None) -> Iterator[Charge]:
    if now is not None:
        yield from (charge for charge in now.plan.charges if _is_comparable(charge, now.plan))


def _is_comparable(charge: Charge, plan: PricePlan) -> bool:
    """A fee in advance whose price for a part of the period is a part of its price: others are due whole
    where a period begins, and neither given back nor charged within it. So is the price of a retainer: the
    credit it bought stays."""
    in_advance = charge.kind == "recurring" and charge.timing == "advance"
    return in_advance and not is_unprorated(charge, plan) and not sells_credit(charge.charge_id)


def _more_units(fee: BilledFee, charge: Charge | None, now: DueTerms | None) -> Decimal | None:
    """How many units more the fee has now; None when it is another fee."""
    if charge is None or now is None:
        return None
    if reductions_of(fee.plan, charge, now.row) != reductions_of(now.plan, charge, now.row):
        return None
    alike = {"name": "", "quantity": None}
    if fee.charge.model_copy(update=alike) != charge.model_copy(update=alike):
        return None
    more = units_billed(charge) - units_billed(fee.charge)
    bounded = charge.minimum_amount is not None or charge.maximum_amount is not None
    return None if more and bounded else more  # a bound is for all units, so a part has no price of its own


def reductions_of(plan: PricePlan, charge: Charge, period: Mapping[str, Any]) -> tuple[Any, ...]:
    """All beside the charge itself that decides what it comes to in a period, a row of
    SERVICE_PERIOD_SCHEMA. Of discounts, those that hold in it, for however long."""
    number, first_day = period["period_number"], period["period_first_day"]
    whenever = {"name": "", "first_periods": None, "effective_from": None, "effective_until": None}
    covering = [
        discount.model_copy(update=whenever)
        for discount in plan.discounts
        if discount.covers(charge.charge_id, charge.kind)
        and discount.holds_in(period_number=number, first_day=first_day)
    ]
    return (covering, plan.discounting, plan.rounding)


def _joined(found: Sequence[FeeCredit]) -> Iterator[FeeCredit]:
    """Credits of one fee and as many units on days next to each other are one."""
    by_fee: dict[tuple[Any, Decimal], list[FeeCredit]] = {}
    for entry in found:
        standing = by_fee.setdefault((entry.fee.line["line_id"], entry.units), [])
        if standing and standing[-1].end == entry.start:
            standing[-1] = replace(standing[-1], end=entry.end)
        else:
            standing.append(entry)
    yield from sorted(
        (entry for entries in by_fee.values() for entry in entries),
        key=lambda entry: (entry.fee.line["charge_id"], entry.fee.line["line_id"], entry.start, entry.units),
    )


@dataclass(slots=True)
class _Stretch:
    """Days next to each other on which one fee is due alike; ``due``: of the first of them."""

    due: _Due
    start: datetime
    end: datetime

    def goes_on(self, other: _Due, start: datetime) -> bool:
        mine, row = self.due.terms, other.terms.row
        return (
            self.end == start
            and (mine.row["plan_id"], mine.row["plan_version"]) == (row["plan_id"], row["plan_version"])
            and self.due.quantity == other.quantity
            and _priced(self.due) == _priced(other)
            and reductions_of(mine.plan, other.charge, row)
            == reductions_of(other.terms.plan, other.charge, row)
        )


def _priced(due: _Due) -> Charge:
    """The fee as far as it decides the amount: of a difference, not the units it is the difference to."""
    return due.charge if due.quantity is None else due.charge.model_copy(update={"quantity": due.quantity})


def _charges(found: Sequence[tuple[datetime, datetime, Sequence[_Due]]]) -> Iterator[FeeCharge]:
    """One entry for all fees due for the same days under the same terms. Cut only where a fee changes."""
    stretches: dict[str, list[_Stretch]] = {}
    for start, end, due in found:
        for entry in due:
            standing = stretches.setdefault(entry.charge.charge_id, [])
            if standing and standing[-1].goes_on(entry, start):
                standing[-1].end = end
            else:
                standing.append(_Stretch(entry, start, end))
    together: dict[tuple[datetime, datetime, int], list[_Due]] = {}
    for parts in stretches.values():
        for part in parts:
            together.setdefault((part.start, part.end, id(part.due.terms)), []).append(part.due)
    for (start, end, _), entries in sorted(together.items(), key=lambda item: item[0][:2]):
        entries.sort(key=lambda entry: entry.charge.charge_id)
        yield FeeCharge(
            terms=entries[0].terms,
            start=start,
            end=end,
            charge_ids=tuple(entry.charge.charge_id for entry in entries),
            quantities=tuple(
                ChargeQuantity(charge_id=entry.charge.charge_id, quantity=entry.quantity)
                for entry in entries
                if entry.quantity is not None
            ),
        )


ONCE: Final = "one_time"


def due_once(terms: Sequence[DueTerms], billed: Collection[tuple[str, str]] = ()) -> Iterator[FeeCharge]:
    """What plans that came with a phase charge once, in advance. billed: (plan_id, charge_id) of what was
    billed for a phase in this time already: it had been written before the bill."""
    for part in terms:
        once = [
            charge.charge_id
            for charge in part.plan.charges
            if _is_once(charge) and (part.plan.plan_id, charge.charge_id) not in billed
        ]
        if part.begins and once:
            yield FeeCharge(part, part.start, part.end, tuple(sorted(once)), ())


def once_given_back(
    billed: Sequence[BilledFee], terms: Sequence[DueTerms], *, unused: Unused
) -> Iterator[FeeCredit]:
    """What was charged once, in advance, for a phase that was to come in this time and now does not. billed:
    such lines. One whose phase begins on another day of it stays paid."""
    coming = {(due.terms.plan.plan_id, charge_id) for due in due_once(terms) for charge_id in due.charge_ids}
    for fee in billed:
        key = (fee.plan.plan_id, fee.charge.charge_id)
        if unused == "credit" and key not in coming and fee.line["amount"] >= 0:
            yield FeeCredit(fee, fee.start, fee.end, units_billed(fee.charge))


def _is_once(charge: Charge) -> bool:
    return charge.kind == ONCE and charge.timing == "advance"
