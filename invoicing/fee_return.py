"""What is given back of a billed fee that is not had, and how much when the fee comes to something else.

A credit takes its share of the fee as it stood. When late usage then takes more or less of a discount that
both share, the fee comes to something else for its whole period, of which days were given back: so the credit
is made again of what the fee comes to now, and only what is kept of the fee is charged or given back. It is
the fee's adjustment that says so; the credit line stays as it was billed. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rating.credit_line import UnusedTime, credit_line
from rating.price_plan import PricePlan
from rating.store import line_to_python

Line = Mapping[str, Any]
"""One row of RATED_LINE_SCHEMA as Python values."""


@dataclass(frozen=True, slots=True)
class FeeReturn:
    """A part of a billed fee that is given back. fee: its line as it stood then. plan: its agreed plan.
    billing_date: that gives it back. left_minor: what corrections and credit notes had left of the fee, by
    itself, whatever else is given back of it."""

    fee: Line
    unused: UnusedTime
    plan: PricePlan
    billing_date: date
    left_minor: int

    @property
    def fee_id(self) -> bytes:
        fee_id: bytes = self.fee["line_id"]
        return fee_id


@dataclass(frozen=True, slots=True)
class CreditAgain:
    """A fee credit as it was billed and as it is of the fee now, of one id; None for one of nothing."""

    fee_id: bytes
    was: Line | None
    now: Line | None

    @property
    def difference_minor(self) -> int:
        """What it comes to now, below zero, less what it came to."""
        minor = [0 if line is None else line["amount_minor"] for line in (self.was, self.now)]
        return int(minor[1] - minor[0])


def fee_credits(
    returns: Sequence[FeeReturn], fees: Mapping[bytes, Line], *, run_id: str
) -> list[dict[str, Any] | None]:
    """The credit line of each return, in order; None where nothing is left to give back. fees: by line_id,
    as they come to now; those that are not named stay as they stood."""
    left: dict[bytes, int] = {}
    found: list[dict[str, Any] | None] = []
    for one in returns:
        fee = fees.get(one.fee_id, one.fee)
        more = fee["amount_minor"] - one.fee["amount_minor"]
        rest = min(left.get(one.fee_id, one.left_minor + more), fee["amount_minor"])
        if rest <= 0:  # a credit note gave it back already, or it was free
            found.append(None)
            continue
        line = credit_line(
            fee,
            one.unused,
            plan=one.plan,
            billing_date=one.billing_date,
            run_id=run_id,
            left_minor=rest,
        )
        left[one.fee_id] = rest + line["amount_minor"]
        found.append(line)
    return found


def credits_again(returns: Sequence[FeeReturn], lines: pa.Table) -> list[CreditAgain]:
    """The credits of ``returns`` beside those of the fees as they are among ``lines`` (RATED_LINE_SCHEMA)."""
    fees = dict(_fees(returns, lines))
    pairs = zip(
        returns, fee_credits(returns, {}, run_id=""), fee_credits(returns, fees, run_id=""), strict=True
    )
    found = []
    for one, was, now in pairs:
        named = {**now, "line_id": was["line_id"]} if was is not None and now is not None else now
        found.append(CreditAgain(one.fee_id, was, named))
    return found


def _fees(returns: Sequence[FeeReturn], lines: pa.Table) -> Iterator[tuple[bytes, Line]]:
    if not returns:
        return
    ids = lines["line_id"].cast(pa.binary())
    wanted = pa.array(sorted({one.fee_id for one in returns}), pa.binary())
    for row in pc.indices_nonzero(pc.is_in(ids, value_set=wanted)).to_pylist():
        yield ids[row].as_py(), line_to_python(lines, row)
