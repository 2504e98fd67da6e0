"""Recognised, billed, collected out of the event store, whole columns at a time: the compiled twin of
``revenue_report``, which the tests hold it to, row by row.

Sums are 64-bit and exact: where that many lines of the largest amount could overflow, or a row does not tie,
the plain report answers instead (and says what is wrong).
"""

from __future__ import annotations

from typing import Any, Final

import polars as pl
import pyarrow as pa

from ingest.clickhouse import EventStore
from invoicing.revenue import (
    NO_KEY,
    PAID_FLOWS,
    REVENUE_SCHEMA,
    WRITE_OFF,
    RevenueQuestion,
    key_column,
    mirror_conditions,
    period_of,
    quoted_documents,
    revenue_report,
    sums_from_mirror,
)

_INT64_MAX: Final = (1 << 63) - 1
SUM_NAMES: Final = (
    *("revenue", "unbilled", "deferred", "prepaid_credit", "suspense", "receivable"),
    *("billed", "tax", "collected", "collected_net", "written_off"),
)
_BALANCES: Final = ("unbilled", "deferred", "prepaid_credit", "suspense", "receivable")


def revenue_from_mirror(event_store: EventStore, question: RevenueQuestion) -> pa.Table:
    """The rows by month, REVENUE_SCHEMA, of the copy as far as it goes. Raises BrokenState when a row does
    not tie."""
    changes = _changes_by_month(event_store, question)
    rows = None if changes is None else rows_of_changes(changes, question)
    return revenue_report(question, sums_from_mirror(event_store, question)) if rows is None else rows


def rows_of_changes(changes: pl.DataFrame, question: RevenueQuestion) -> pa.Table | None:
    """The rows, REVENUE_SCHEMA, of all changes of some keys; None where one does not tie. changes: a row each
    period (as text), key and currency, signed as they are shown."""
    by_product = question.group == "product"
    if not _ties(changes, by_product=by_product):
        return None
    group = ["currency", "key"]
    # Numbers in the order of the names are sorted and grouped faster than names.
    names = pl.Enum(changes["key"].unique().sort())
    changes = changes.with_columns(pl.col("key").cast(names))
    ends = [pl.col(name).cum_sum().over(group).alias(f"{name}_minor") for name in _BALANCES]
    rows = changes.sort(*group, "period").with_columns(
        pl.col("revenue").alias("recognised_minor"),
        pl.col("billed").alias("billed_minor"),
        *(pl.col(name).alias(f"{name}_minor") for name in PAID_FLOWS),
        *ends,
    )
    if by_product:  # receivable has no product: what a document billed is what its other lines come to
        nothing = (*(f"{name}_minor" for name in PAID_FLOWS), "receivable_minor")
        rows = rows.with_columns(
            (pl.col("revenue") - _between()).alias("billed_minor"),
            *(pl.lit(None, pl.Int64).alias(name) for name in nothing),
        )
    if question.date_from is not None:
        rows = rows.filter(pl.col("period") >= period_of(question.date_from, question.by))
    rows = rows.with_columns(pl.col("key").cast(pl.String))
    return rows.select(REVENUE_SCHEMA.names).to_arrow().cast(REVENUE_SCHEMA)


def _between() -> pl.Expr:
    """What changed between recognised and billed."""
    return pl.col("unbilled") - pl.col("deferred") - pl.col("prepaid_credit") + pl.col("suspense")


def _ties(changes: pl.DataFrame, *, by_product: bool) -> bool:
    """Whether both bridges hold in every row; by product there is nothing to hold them to."""
    if by_product:
        return True
    recognised = pl.col("revenue") - pl.col("billed") == _between()
    settled = pl.col("collected") + pl.col("written_off")
    collected = pl.col("billed") + pl.col("tax") - settled == pl.col("receivable")
    return bool(changes.select((recognised & collected).all()).item())


def _changes_by_month(event_store: EventStore, question: RevenueQuestion) -> pl.DataFrame | None:
    """The sums of each month, key and currency, signed as they are shown; None where 64 bits may not hold
    them."""
    where, parameters = mirror_conditions(question)
    if not fits_64_bits(event_store, bounds_of(where), parameters):
        return None
    # Numbers are grouped faster than texts; toStartOfMonth ends in 2149, so a month is 202601.
    key = key_column(question.group) or NO_KEY
    found = event_store.query(
        f"SELECT toYYYYMM(entry_date) AS period, {key} AS key, currency, {posted_sums()}\n"
        f"FROM journal_postings WHERE {where} GROUP BY period, key, currency",
        parameters,
    )
    digits = pl.col("period").cast(pl.String)
    return typed_changes(found, digits.str.head(4) + "-" + digits.str.tail(2))


def typed_changes(found: pa.Table, period: pl.Expr) -> pl.DataFrame:
    """period, key, currency as texts, and sums as 64-bit numbers."""
    frame: Any = pl.from_arrow(found)
    sums = [name for name in frame.columns if name not in ("period", "key", "currency")]
    return pl.DataFrame(frame).with_columns(
        period.alias("period"),
        pl.col("key", "currency").cast(pl.String),
        pl.col(sums).cast(pl.Int64),
    )


def bounds_of(where: str) -> str:
    """SQL of the least and the largest amount of rows of the journal, and how many they are."""
    return (
        "SELECT min(amount_minor) AS least, max(amount_minor) AS most, count() AS lines "
        f"FROM journal_postings WHERE {where}"
    )


def fits_64_bits(event_store: EventStore, bounds: str, parameters: dict[str, Any]) -> bool:
    """Whether no sum of so many such amounts can overflow. bounds: as of ``bounds_of``."""
    found = event_store.query(bounds, parameters).to_pylist()[0]
    return bool(max(-found["least"], found["most"]) * found["lines"] <= _INT64_MAX)


def posted_sums() -> str:
    """SQL of the sums of rows of the journal, named as SUM_NAMES."""
    document = f"kind IN ({quoted_documents()})"
    settling = f"({document} OR kind = '{WRITE_OFF}')"
    wanted = {
        "revenue": ("-", "account = 'revenue'"),
        "unbilled": ("", "account = 'unbilled'"),
        "deferred": ("-", "account = 'deferred'"),
        "prepaid_credit": ("-", "account = 'prepaid_credit'"),
        "suspense": ("", "account = 'suspense'"),
        "receivable": ("", "account = 'receivable'"),
        "billed": ("", f"account = 'receivable' AND {document} AND part != 'tax'"),
        "tax": ("", f"account = 'receivable' AND {document} AND part = 'tax'"),
        "collected": ("-", f"account = 'receivable' AND NOT {settling}"),
        "collected_net": ("-", f"account = 'receivable' AND NOT {settling} AND part = 'net'"),
        "written_off": ("-", f"account = 'receivable' AND kind = '{WRITE_OFF}'"),
    }
    return ", ".join(
        f"{sign}sumIf(amount_minor, {condition}) AS {name}" for name, (sign, condition) in wanted.items()
    )
