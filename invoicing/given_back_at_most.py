"""What was billed of a line as far as it can be given back: no fee comes back twice.

Lines are compared as they are rated, before credit that was taken off them before tax: what of it goes back
is decided where a bill takes credit (``allowance_release.py``). A fee of which days were not had came back by
a credit of its own; when a discount of an amount is shared out again and the fee comes to less, it must not
come back once more. So what a fee is charged in all, with ``now`` what it comes to, is

    charged in all = max(now, fee credits of it)

It does not matter in how many steps ``now`` gets where it is: all adjustments of a line sum to the same.
Other lines are charged what they come to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from rating.steps import FEE_CREDIT_KIND

FEES: Final = frozenset({"recurring", "one_time"})
_OF_ONE_FEE: Final = ["contract_id", "plan_id", "charge_id"]
COUNTED: Final = (
    pl.col("charged_minor")
    + pl.col("allowed_minor")
    - pl.when(pl.col("given_back_minor") > 0)
    .then((pl.col("given_back_minor") - pl.col("now_minor")).clip(lower_bound=0))
    .otherwise(0)
)
"""What was billed of each line as far as it counts, of charged_minor, allowed_minor, now_minor and
given_back_minor, what fee credits give back of it, zero for none."""


def give_back_at_most(billed: pl.DataFrame, *, lines: pa.Table, credits_now: pa.Table) -> pl.DataFrame:
    """``billed`` (of ``load_billed_lines``) with ``billed_minor``: what to compare with what each line comes
    to now, so that the difference is what is to be charged or given back.

    lines: RATED_LINE_SCHEMA, rated again, with the fee credits of earlier bills; credits_now: those of the
    bill that is made now.
    """
    rated = pl.DataFrame(
        {
            "line_id": pl.Series(lines["line_id"].cast(pa.binary()).combine_chunks()),
            "now_minor": pl.Series(lines["amount_minor"].combine_chunks()),
        }
    )
    both = (
        billed.join(rated, on="line_id", how="left", maintain_order="left")
        .join(_given_back(lines, credits_now), on="line_id", how="left", maintain_order="left")
        .with_columns(pl.col("now_minor", "given_back_minor").fill_null(0))
    )
    return both.with_columns(billed_minor=COUNTED).select(*billed.columns, "billed_minor")


def _given_back(lines: pa.Table, credits_now: pa.Table) -> pl.DataFrame:
    """(line_id, given_back_minor): what fee credits give back of fees, above zero. A credit is of the fee of
    its charge that an earlier date billed for its days."""
    credits_found = _only([lines, credits_now], {FEE_CREDIT_KIND}).drop("line_id")
    fees = _only([lines], FEES).drop("amount_minor")
    return (
        fees.join(credits_found, on=_OF_ONE_FEE, suffix="_back")
        .filter(
            (pl.col("billing_date") < pl.col("billing_date_back"))
            & (pl.col("period_start") <= pl.col("period_start_back"))
            & (pl.col("period_end_back") <= pl.col("period_end"))
        )
        .group_by("line_id")
        .agg(given_back_minor=-pl.col("amount_minor").sum())
    )


def _only(tables: Sequence[pa.Table], kinds: frozenset[str] | set[str]) -> pl.DataFrame:
    names = [*_OF_ONE_FEE, "billing_date", "period_start", "period_end", "line_id", "amount_minor"]
    wanted = pa.array(sorted(kinds), pa.string())
    parts = []
    for table in tables:
        some = table.filter(pc.is_in(table["charge_kind"].cast(pa.string()), value_set=wanted)).select(names)
        some = some.set_column(6, "line_id", some["line_id"].cast(pa.binary()))
        frame: Any = pl.from_arrow(some)
        parts.append(frame.with_columns(pl.col(*_OF_ONE_FEE).cast(pl.String)))
    both: pl.DataFrame = pl.concat(parts)
    return both
