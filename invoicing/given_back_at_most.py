"""What billed lines are compared with when they are rated again, where a part of a fee was given back.

Lines are compared as they are rated, before credit that was taken off them before tax: what of it goes back
is decided where a bill takes credit (``allowance_release.py``). A fee of which days were not had came back by
a credit of its own. When the fee comes to something else (a discount of an amount is shared out again), so
does that credit, and the fee's adjustment is what both change by:

    charged in all = now - credit of now + credit as billed

So what is kept of a fee is its share of what it comes to, in however many steps that came about. Credit lines
themselves are never adjusted. Other lines are charged what they come to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import polars as pl

from invoicing.fee_return import CreditAgain

FEES: Final = frozenset({"recurring", "one_time"})
_SHIFTS: Final = {"line_id": pl.Binary, "shift_minor": pl.Int64}


def give_back_at_most(
    billed: pl.DataFrame, *, then: Sequence[CreditAgain], at_once: Sequence[CreditAgain]
) -> pl.DataFrame:
    """``billed`` (of ``load_billed_lines``) with ``billed_minor``: what to compare with what each line comes
    to now, so that the difference is what is to be charged or given back.

    then: credits of earlier bills, which are among the lines as they come to now; at_once: of the bill that
    is made now, which are not.
    """
    shifts: Counter[bytes] = Counter()
    for one in (*then, *at_once):
        shifts[one.fee_id] -= one.difference_minor
    for one in then:
        line = one.was or one.now
        if line is not None:
            shifts[line["line_id"]] += one.difference_minor
    frame = pl.DataFrame(list(shifts.items()), schema=_SHIFTS, orient="row")
    both = pl.concat([billed, _never_billed(billed, then)], how="diagonal")
    both = both.join(frame, on="line_id", how="left", maintain_order="left")
    counted = pl.col("charged_minor") + pl.col("allowed_minor") + pl.col("shift_minor").fill_null(0)
    return both.with_columns(billed_minor=counted).drop("shift_minor")


def _never_billed(billed: pl.DataFrame, then: Sequence[CreditAgain]) -> pl.DataFrame:
    """Rows of nothing for credits of fees that were free then."""
    new = [one.now for one in then if one.was is None and one.now is not None]
    rows = [
        {
            **{name: line[name] for name in ("contract_id", "billing_date", "line_id")},
            "charged_minor": 0,
            "allowed_minor": 0,
        }
        for line in new
    ]
    names = ("contract_id", "billing_date", "line_id", "charged_minor", "allowed_minor")
    return pl.DataFrame(rows, schema={name: billed.schema[name] for name in names})
