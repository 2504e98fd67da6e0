"""What was billed of a line as far as it can be given back: no bill gives back more than was paid for it.

A line is rated without the credit that is taken off it before tax. When it comes to less later, what was
given for nothing must not come back as money; nor may a fee come back twice, by a credit of its unused days
and as a discount of an amount is shared out again. So what a line is to be charged in all, with ``now`` what
it comes to, is

    charged in all = max(now - credit taken off, fee credits of it - what stands instead of it)

where licences that are cut have lines that stand instead (``seat_changes.py``), and count as one with them.
A minimum and the usage that counts towards it take each other's place too: in a period with a minimum, credit
that one line needs no more is left to the others, and only what all of them need no more is kept back. (Not
where their tax differs: the difference would be paid out.)
A fee whose credit was cut short, because credit before tax had paid for what was not had, is charged nothing
more until what it comes to more exceeds what that credit was cut by.
It does not matter in how many steps ``now`` gets where it is: all adjustments of a line sum to the same.
Lines without credit or fee credits are charged what they come to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ingest.clickhouse import EventStore
from invoicing.billed_lines import billed_again_as
from invoicing.line_differences import purpose_of
from rating.credit_line import IN_FULL, OF_BILLED
from rating.plan_version import PlanVersion
from rating.steps import FEE_CREDIT_KIND, MINIMUM_SPEND_KIND
from rating.store import line_to_python

FEES: Final = frozenset({"recurring", "one_time"})
_OF_ONE_CUT: Final = ("contract_id", "billing_date", "charge_id", "charge_kind", "currency", "dimensions")
_OF_ONE_FEE: Final = ["contract_id", "plan_id", "charge_id"]
_OF_ONE_MINIMUM: Final = ["contract_id", "billing_date", "currency", "period_start", "period_end"]
COVERED: Final = frozenset({"usage", "licence", MINIMUM_SPEND_KIND})
"""What a minimum spend counts, and itself."""
_TOO_MUCH: Final = (
    pl.when(pl.col("allowed_minor") > 0)
    .then((pl.col("allowed_minor") - pl.col("now_minor")).clip(lower_bound=0))
    .otherwise(0)
)
"""By how much the credit taken off a line is more than it comes to."""
_CHARGED_IN_ALL: Final = pl.coalesce(
    pl.col("together_minor"),
    pl.max_horizontal(
        pl.col("now_minor") - pl.col("allowed_minor"), pl.col("given_back_minor") - pl.col("instead_minor")
    ),
)
_IS_LIMITED: Final = (pl.col("allowed_minor") > 0) | (pl.col("given_back_minor") > 0)
_PAID: Final = pl.col("of_minor") - pl.col("allowed_minor")
"""Of a fee whose credit was cut short, what was paid of it with the bill it is on."""
_ABSORBED: Final = (
    pl.when(pl.col("of_minor") > 0)
    .then(
        pl.min_horizontal(
            (pl.col("now_minor") - pl.col("of_minor")).clip(lower_bound=0),
            (pl.col("in_full_minor") - _PAID).clip(lower_bound=0),
        )
    )
    .otherwise(0)
)
"""What a fee comes to more that is left to what its credit was cut by."""
COUNTED: Final = pl.col("charged_minor") + pl.when(_IS_LIMITED).then(
    pl.col("now_minor") - _CHARGED_IN_ALL
).otherwise(0)
"""What was billed of each line as far as it counts, of charged_minor, allowed_minor, now_minor,
given_back_minor, instead_minor and together_minor: of a line in a period with a minimum, what it is charged
in all, null for others."""


def give_back_at_most(
    billed: pl.DataFrame,
    *,
    lines: pa.Table,
    credits_now: pa.Table,
    plan_versions: Sequence[PlanVersion],
    store: EventStore,
) -> pl.DataFrame:
    """``billed`` (of ``load_billed_lines``) with ``billed_minor``: what to compare with what each line comes
    to now, so that the difference is what is to be charged or given back.

    lines: RATED_LINE_SCHEMA, rated again, with the fee credits of earlier bills; credits_now: those of the
    bill that is made now. plan_versions: at least those of the lines.
    """
    rated = pl.DataFrame(
        {
            "line_id": pl.Series(lines["line_id"].cast(pa.binary()).combine_chunks()),
            "now_minor": pl.Series(lines["amount_minor"].combine_chunks()),
        }
    )
    gone = billed.join(rated, on="line_id", how="anti").filter(pl.col("allowed_minor") > 0)
    past = billed_again_as(store, gone.iter_rows(named=True)) if len(gone) else {}
    instead = _instead(past, lines)
    moved = instead.filter(pl.col("successor_minor").is_not_null())["line_id"].to_list()
    together = _together(billed, lines, past, set(moved), _taxed_apart(plan_versions))
    both = (
        billed.join(rated, on="line_id", how="left", maintain_order="left")
        .join(_given_back(lines, credits_now), on="line_id", how="left", maintain_order="left")
        .join(instead, on="line_id", how="left", maintain_order="left")
        .join(together, on="line_id", how="left", maintain_order="left")
        .with_columns(pl.coalesce("now_minor", "successor_minor").alias("now_minor"))
        .with_columns(
            pl.col("now_minor", "given_back_minor", "instead_minor", "in_full_minor", "of_minor").fill_null(0)
        )
        .with_columns(absorbed_minor=_ABSORBED)
        .with_columns(pl.col("now_minor") - pl.col("absorbed_minor"))
    )
    counted = both.with_columns(billed_minor=COUNTED + pl.col("absorbed_minor"))
    return counted.select(*billed.columns, "billed_minor")


def stands_instead(other: Mapping[str, Any], line: Mapping[str, Any]) -> bool:
    """Whether the other line bills days of a period of licences, ``line``, that is taken back."""
    if line["charge_kind"] != "licence" or purpose_of(other) == purpose_of(line):
        return False
    same = all(other[name] == line[name] for name in _OF_ONE_CUT)
    starts, ends = other["period_start"], other["period_end"]
    return bool(same and line["period_start"] <= starts and ends <= line["period_end"])


def _taxed_apart(plan_versions: Sequence[PlanVersion]) -> list[str]:
    """The plans whose usage bears tax of several classes: credit of a minimum is worth another tax there."""
    classes: dict[str, set[str]] = {}
    for entry in plan_versions:
        used = (charge.tax_class for charge in entry.plan.charges if charge.kind in COVERED)
        classes.setdefault(entry.plan.plan_id, set()).update(used)
    return sorted(plan_id for plan_id, found in classes.items() if len(found) > 1)


def _together(
    billed: pl.DataFrame,
    lines: pa.Table,
    past: Mapping[bytes, Mapping[str, Any]],
    moved: Collection[bytes],
    taxed_apart: Sequence[str],
) -> pl.DataFrame:
    """(line_id, together_minor) of the lines that credit was taken off in periods with a minimum: what each
    is charged in all. past: billed lines that are not rated any more, as they were. moved: those of them that
    are rated under another plan version; their periods are left out, and so are the plans ``taxed_apart``."""
    names = ["plan_id", *_OF_ONE_MINIMUM, "charge_kind", "line_id", "now_minor"]
    rated = _only([lines], COVERED, more=("currency", "charge_kind")).rename({"amount_minor": "now_minor"})
    were = [
        {
            **{name: line[name] for name in ("plan_id", *_OF_ONE_MINIMUM, "charge_kind")},
            "line_id": key,
            "now_minor": 0,
        }
        for key, line in past.items()
        if line["charge_kind"] in COVERED
    ]
    found = pl.concat([rated.select(names), pl.DataFrame(were, schema=rated.select(names).schema)])
    found = found.filter((pl.col("charge_kind") == MINIMUM_SPEND_KIND).any().over(_OF_ONE_MINIMUM))
    elsewhere = (pl.col("line_id").is_in(list(moved))).any().over(_OF_ONE_MINIMUM)
    found = found.filter(~pl.col("plan_id").is_in(taxed_apart) & ~elsewhere)
    found = found.join(billed.select("line_id", "allowed_minor"), on="line_id", how="left")
    found = found.with_columns(pl.col("allowed_minor").fill_null(0)).sort("line_id")
    spare = (pl.col("allowed_minor").sum() - pl.col("now_minor").sum()).clip(lower_bound=0)
    taken_before = _TOO_MUCH.cum_sum() - _TOO_MUCH
    kept_back = pl.min_horizontal(_TOO_MUCH, (spare - taken_before).clip(lower_bound=0))
    found = found.with_columns(kept_back=kept_back.over(_OF_ONE_MINIMUM))
    charged = pl.col("now_minor") - pl.col("allowed_minor") + pl.col("kept_back")
    return found.filter(pl.col("allowed_minor") > 0).select("line_id", together_minor=charged)


def _instead(past: Mapping[bytes, Mapping[str, Any]], lines: pa.Table) -> pl.DataFrame:
    """(line_id, successor_minor, instead_minor) of billed lines that are not rated under their id any more:
    what the same thing comes to under another plan version, null for none, and what stands instead. past:
    these lines as they were."""
    names = {"line_id": pl.Binary, "successor_minor": pl.Int64, "instead_minor": pl.Int64}
    found: list[tuple[bytes, int | None, int]] = []
    if past:
        ids = sorted({line["contract_id"] for line in past.values()})
        chosen = pc.is_in(lines["contract_id"], value_set=pa.array(ids, pa.string()))
        some = lines.filter(chosen)
        others = [line_to_python(some, row) for row in range(some.num_rows)]
        for line_id, line in past.items():
            purpose = purpose_of(line)
            alike = [one["amount_minor"] for one in others if purpose_of(one) == purpose]
            instead = [one["amount_minor"] for one in others if stands_instead(one, line)]
            found.append((line_id, alike[0] if alike else None, sum(instead)))
    return pl.DataFrame(found, schema=names, orient="row")


def _given_back(lines: pa.Table, credits_now: pa.Table) -> pl.DataFrame:
    """(line_id, given_back_minor, in_full_minor, of_minor): what fee credits give back of fees, above zero;
    what they would if none was cut short, and of what such ones are, 0 for none. A credit is of the fee of
    its charge that an earlier date billed for its days."""
    credits_found = _only([lines, credits_now], {FEE_CREDIT_KIND}, inputs=(IN_FULL, OF_BILLED))
    credits_found = credits_found.drop("line_id")
    fees = _only([lines], FEES).drop("amount_minor")
    return (
        fees.join(credits_found, on=_OF_ONE_FEE, suffix="_back")
        .filter(
            (pl.col("billing_date") < pl.col("billing_date_back"))
            & (pl.col("period_start") <= pl.col("period_start_back"))
            & (pl.col("period_end_back") <= pl.col("period_end"))
        )
        .group_by("line_id")
        .agg(
            given_back_minor=-pl.col("amount_minor").sum(),
            in_full_minor=pl.coalesce(IN_FULL, -pl.col("amount_minor")).sum(),
            of_minor=pl.col(OF_BILLED).max().fill_null(0),
        )
    )


def _only(
    tables: Sequence[pa.Table],
    kinds: frozenset[str] | set[str],
    *,
    more: Sequence[str] = (),
    inputs: Sequence[str] = (),
) -> pl.DataFrame:
    """inputs: of the lines, as whole numbers; null where a line has none."""
    names = [*_OF_ONE_FEE, "billing_date", "period_start", "period_end", "line_id", "amount_minor", *more]
    wanted = pa.array(sorted(kinds), pa.string())
    parts = []
    for table in tables:
        chosen = table.filter(pc.is_in(table["charge_kind"].cast(pa.string()), value_set=wanted))
        some = chosen.select(names)
        some = some.set_column(6, "line_id", some["line_id"].cast(pa.binary()))
        for name in inputs:
            found = pc.map_lookup(chosen["inputs"], name, "first")
            some = some.append_column(name, found.cast(pa.decimal128(38, 0)).cast(pa.int64()))
        frame: Any = pl.from_arrow(some)
        parts.append(frame.with_columns(pl.col(*_OF_ONE_FEE, *more).cast(pl.String)))
    both: pl.DataFrame = pl.concat(parts)
    return both
