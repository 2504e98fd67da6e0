"""Why a draft is reviewed, and by whom: rules, lines and earlier bills in, reasons and names out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from statistics import median
from typing import Any, Final

from ingest.document import decimal_text
from invoicing.review.rules import ReviewRules
from rating.money import format_minor, minor_digits

COUNTED_KINDS: Final = frozenset({"usage", "licence"})
"""Kinds of charges whose quantities are compared with earlier ones."""
PLAN_KINDS: Final = COUNTED_KINDS | {"recurring", "one_time", "minimum_spend"}
"""Kinds of lines that come of charges of the plan itself: what an invoice is compared by."""


@dataclass(frozen=True, slots=True)
class ReviewLine:
    """What rules look at of a line. amount_minor: as rated. unpriced: something was used and every price that
    could apply to it is 0."""

    line_id: str
    charge_id: str
    charge_kind: str
    plan_id: str
    quantity: Decimal
    amount_minor: int
    unpriced: bool


@dataclass(frozen=True, slots=True)
class BilledCharge:
    """What a charge came to on an earlier billing date, all its lines summed."""

    charge_kind: str
    quantity: Decimal
    amount_minor: int


@dataclass(frozen=True, slots=True)
class EarlierBill:
    """An earlier billing date of the contract, by charge_id. issued: whether its invoice has left the
    house."""

    billing_date: date
    issued: bool
    charges: Mapping[str, BilledCharge]


@dataclass(frozen=True, slots=True)
class DraftFacts:
    """A draft as rules see it. total_minor: net. earlier: in the order of their dates."""

    currency: str
    total_minor: int
    account_owner: str
    lines: Sequence[ReviewLine]
    earlier: Sequence[EarlierBill] = field(default=())


@dataclass(frozen=True, slots=True)
class Flag:
    """One reason: its code, the line it is about (empty: the whole invoice), and a sentence."""

    reason_code: str
    line_id: str
    charge_id: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def why_review(rules: ReviewRules, draft: DraftFacts) -> tuple[Flag, ...]:
    """Every reason to review the draft; none: it is issued without. Under ``exception`` an invoice that
    comes, charge by charge, to what the contract's last issued one came to needs no review whatever its
    amount."""
    if rules.policy == "none":
        return ()
    if rules.policy == "all":
        return (Flag("policy_all", "", "", "Every invoice is reviewed."),)
    if _as_last_time(draft):
        return ()
    flags = [*_above_threshold(rules, draft)]
    for anomaly in rules.anomalies:
        flags += _CHECKS[anomaly](rules, draft)
    return tuple(flags)


def reviewers_of(rules: ReviewRules, draft: DraftFacts) -> tuple[str, ...]:
    """Who reviews it, in their order: those of every route that fits, else the rules' own; nobody twice."""
    charges = {line.charge_id for line in draft.lines}
    plans = {line.plan_id for line in draft.lines}
    found: dict[str, None] = {}
    for route in rules.routes:
        fits = (
            (not route.charge_ids or charges & set(route.charge_ids))
            and (not route.plan_ids or plans & set(route.plan_ids))
            and (not route.account_owners or draft.account_owner in route.account_owners)
            and (not route.above or _is_above(route.above, draft))
        )
        if fits:
            found |= dict.fromkeys(route.reviewers)
    return tuple(found or dict.fromkeys(rules.reviewers))


def _is_above(amounts: Mapping[str, Decimal], draft: DraftFacts) -> bool:
    limit = amounts.get(draft.currency)
    return limit is not None and draft.total_minor > limit.scaleb(minor_digits(draft.currency))


def _above_threshold(rules: ReviewRules, draft: DraftFacts) -> Iterator[Flag]:
    if _is_above(rules.thresholds, draft):
        limit = decimal_text(rules.thresholds[draft.currency])
        total = format_minor(draft.total_minor, draft.currency)
        words = f"The net total {total} {draft.currency} is more than {limit}."
        yield Flag("above_threshold", "", "", words)


def _as_last_time(draft: DraftFacts) -> bool:
    if not draft.earlier or not draft.earlier[-1].issued:
        return False
    if any(line.charge_kind not in PLAN_KINDS for line in draft.lines):
        return False
    now: dict[str, int] = {}
    for line in draft.lines:
        now[line.charge_id] = now.get(line.charge_id, 0) + line.amount_minor
    return now == {key: charge.amount_minor for key, charge in draft.earlier[-1].charges.items()}


def _new_product(_rules: ReviewRules, draft: DraftFacts) -> Iterator[Flag]:
    # What is used is compared with what was used before, fees with fees: the first bill of either is no news.
    known = {
        key: charge.charge_kind in COUNTED_KINDS
        for bill in draft.earlier
        for key, charge in bill.charges.items()
    }
    for line in _first_of_charges(draft):
        if line.charge_id not in known and (line.charge_kind in COUNTED_KINDS) in known.values():
            words = f"{line.charge_id} was on no earlier bill of the contract."
            yield Flag("new_product", line.line_id, line.charge_id, words)


def _unusual_quantity(rules: ReviewRules, draft: DraftFacts) -> Iterator[Flag]:
    for line in _first_of_charges(draft):
        if line.charge_kind not in COUNTED_KINDS:
            continue
        before = [
            bill.charges[line.charge_id].quantity for bill in draft.earlier if line.charge_id in bill.charges
        ]
        before = before[-rules.trailing_dates :]
        now = _quantity(draft, line.charge_id)
        if len(before) < rules.trailing_dates_min:
            continue
        usual = median(before)
        if now > rules.quantity_factor * usual:
            words = (
                f"{line.charge_id} has {decimal_text(now)}, more than "
                f"{decimal_text(rules.quantity_factor)} times "
                f"{decimal_text(usual)}, the median of the last {len(before)} bills."
            )
            yield Flag("unusual_quantity", line.line_id, line.charge_id, words)


def _negative_line(_rules: ReviewRules, draft: DraftFacts) -> Iterator[Flag]:
    for line in draft.lines:
        if line.amount_minor < 0:
            amount = format_minor(line.amount_minor, draft.currency)
            yield Flag("negative_line", line.line_id, line.charge_id, f"{line.charge_id} comes to {amount}.")


def _missing_price(_rules: ReviewRules, draft: DraftFacts) -> Iterator[Flag]:
    for line in draft.lines:
        if line.unpriced:
            words = f"{decimal_text(line.quantity)} of {line.charge_id} cost nothing: every price of it is 0."
            yield Flag("missing_price", line.line_id, line.charge_id, words)


def _zero_after_use(_rules: ReviewRules, draft: DraftFacts) -> Iterator[Flag]:
    lines = {line.charge_id: line for line in reversed(draft.lines)}
    for charge_id, charge in draft.earlier[-1].charges.items() if draft.earlier else ():
        used = charge.charge_kind in COUNTED_KINDS and charge.quantity > 0
        if used and _quantity(draft, charge_id) == 0:
            words = f"{charge_id} had {decimal_text(charge.quantity)} on the last bill and nothing now."
            line = lines.get(charge_id)
            yield Flag("zero_after_use", line.line_id if line else "", charge_id, words)


def _first_of_charges(draft: DraftFacts) -> list[ReviewLine]:
    """The largest line of each charge of the plan, in the order of the lines."""
    found: dict[str, ReviewLine] = {}
    for line in draft.lines:
        if line.charge_kind in PLAN_KINDS:
            before = found.get(line.charge_id)
            if before is None or line.quantity > before.quantity:
                found[line.charge_id] = line
    return list(found.values())


def _quantity(draft: DraftFacts, charge_id: str) -> Decimal:
    counted = (
        line.quantity
        for line in draft.lines
        if line.charge_id == charge_id and line.charge_kind in COUNTED_KINDS
    )
    return sum(counted, Decimal(0))


_CHECKS: Final = {
    "new_product": _new_product,
    "unusual_quantity": _unusual_quantity,
    "negative_line": _negative_line,
    "missing_price": _missing_price,
    "zero_after_use": _zero_after_use,
}
