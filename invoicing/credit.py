"""Prepaid credit: the document that grants some, and the values everything else about it is made of.

Credit is money that invoices draw on before anything is due: bought (``paid``), given (``promotional``) or
part of a ``retainer``. What a grant is worth and what was paid for it may differ: 100.00 bought for
80.00 has a cost basis of 80.00, and that is what becomes revenue as the credit is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from pydantic import Field

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.errors import Issue
from ingest.meter import Key
from rating.money import MINOR_DIGITS

CreditKind = Literal["paid", "promotional", "retainer"]
EntryKind = Literal[
    "granted",
    "rolled_in",
    "drawn",
    "returned",
    "taken_off",
    "put_back",
    "expired",
    "rolled_over",
    "voided",
]
Origin = Literal["given", "rollover", "retainer", "top_up"]
AMOUNT_MINOR_MAX: Final = 10**15
"""The largest grant: a thousand of them still add up far below 64 bits."""


class Rollover(Document):
    """What becomes of the rest on the day a grant expires: up to ``maximum`` of it (left out: all) moves to
    one new grant, which ends on ``expires_on`` (left out: never) and does not roll over again."""

    maximum: ExactDecimal | None = None
    expires_on: date | None = None


class CreditGrant(Document):
    """``amount`` of credit for a customer, for what is used on the days of [effective_from, expires_on).

    cost_basis: what was paid for it, in the same currency. priority: the lowest is drawn first.
    contract_ids, charge_ids: the only ones it pays for; none named: all. expires_on left out: never.
    """

    grant_id: Key
    customer_id: Key
    name: str = Field(min_length=1, max_length=256)
    kind: CreditKind
    currency: str
    amount: ExactDecimal
    cost_basis: ExactDecimal
    priority: int = Field(default=100, ge=0, le=1000)
    effective_from: date
    expires_on: date | None = None
    contract_ids: tuple[Key, ...] = ()
    charge_ids: tuple[Key, ...] = ()
    rollover: Rollover | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """A grant on record. Amounts in minor units; ``remaining_minor`` after all entries made so far."""

    grant: CreditGrant
    amount_minor: int
    cost_minor: int
    remaining_minor: int
    origin: Origin
    origin_id: str | None
    created_at: str

    def opening_entry(self) -> CreditEntry:
        """The entry that makes it: all of it, on the day it begins."""
        kind: EntryKind = "rolled_in" if self.origin == "rollover" else "granted"
        grant = self.grant
        return CreditEntry(grant.grant_id, kind, grant.effective_from, self.amount_minor, self.cost_minor)


@dataclass(frozen=True, slots=True)
class CreditEntry:
    """One entry on a grant, minor units: what came is above zero, what went is below. cost_minor: the part
    of the cost basis that came or went with it. lines: of a draw, (line_id, amount drawn) of each line.
    ``returned``: drawn by an invoice and given back by a credit note or a later bill below zero, whose id is
    then the ``invoice_id``; its lines, of the invoice that drew, are below zero. ``taken_off`` and
    ``put_back``: the same of promotional credit that was taken off lines before tax
    (``credit_allowance.py``, ``allowance_release.py``)."""

    grant_id: str
    kind: EntryKind
    entry_date: date
    amount_minor: int
    cost_minor: int
    invoice_id: str | None = None
    reason: str = ""
    lines: tuple[tuple[str, int], ...] = ()


def credit_rules(grant: CreditGrant) -> Iterator[Issue]:
    """What a grant must keep beyond its field types."""
    digits = MINOR_DIGITS.get(grant.currency)
    if digits is None:
        yield Issue(
            "unknown_currency",
            "currency",
            f"{grant.currency!r} is not a current ISO 4217 currency code.",
            "a code like EUR or USD.",
        )
    if grant.expires_on is not None and grant.expires_on <= grant.effective_from:
        yield Issue(
            "end_not_after_start",
            "expires_on",
            f"The credit begins on {grant.effective_from} and expires on {grant.expires_on}.",
            "a day after effective_from; it is the first day it pays for nothing.",
        )
    yield from _amount_rules(grant, digits or 0)
    yield from _rollover_rules(grant)


def _amount_rules(grant: CreditGrant, digits: int) -> Iterator[Issue]:
    amounts = {"amount": grant.amount, "cost_basis": grant.cost_basis}
    if grant.rollover is not None and grant.rollover.maximum is not None:
        amounts["rollover.maximum"] = grant.rollover.maximum
    for pointer, amount in amounts.items():
        minor = amount.scaleb(digits)
        if minor != minor.to_integral_value() or not 0 <= minor <= AMOUNT_MINOR_MAX:
            yield Issue(
                "credit_amount",
                pointer,
                f"{decimal_text(amount)} {grant.currency} cannot be credited.",
                f"an amount from 0 in whole minor units ({digits} digits).",
            )
    if grant.amount <= 0:
        yield Issue("credit_amount", "amount", "The grant gives nothing.", "an amount above 0.")
    if grant.cost_basis > grant.amount or (grant.kind == "promotional" and grant.cost_basis != 0):
        yield Issue(
            "credit_cost_basis",
            "cost_basis",
            f"{decimal_text(grant.cost_basis)} were paid for {decimal_text(grant.amount)} {grant.kind}.",
            "0 for promotional credit, and at most the amount for any other.",
        )


def _rollover_rules(grant: CreditGrant) -> Iterator[Issue]:
    rollover = grant.rollover
    if rollover is None:
        return
    if grant.expires_on is None:
        yield Issue(
            "rollover_without_expiry",
            "rollover",
            "The credit never expires, so nothing rolls over.",
            "expires_on as well, or no rollover.",
        )
    elif rollover.expires_on is not None and rollover.expires_on <= grant.expires_on:
        yield Issue(
            "end_not_after_start",
            "rollover.expires_on",
            f"What rolls over on {grant.expires_on} would expire on {rollover.expires_on}.",
            "a later day, or none.",
        )
