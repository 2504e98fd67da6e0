"""The time before a period that its charges count from: the contract year or the contract so far, or the
earlier parts of the same billing period.

A contract year begins with the first billing period on or after the anniversary of the contract's start, so
that no period is cut; with the usual anchor day that is the anniversary itself. A start on 29 February
has its anniversary on the 28th in other years.

Earlier periods count with their usage as it is known now, whatever was billed for them. So a bill is a
function of the usage there is; what late usage of an earlier period itself comes to is an adjustment, and
with that the lines of a year sum to the price of the year's quantity. Subjects count as in the bill of
their period: one that came later brings nothing to dates before it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Engine

from invoicing.billing_catalogue import BillingCatalogue
from invoicing.due import due_service_periods
from invoicing.history import NOTHING_SETTLED, BillingDates, late_subjects
from invoicing.plan_schedule import ARREARS
from rating.plan_version import PlanVersion
from rollup.schema import CALENDAR_SCHEMA

Version = tuple[str, int]
"""(plan_id, version)."""
_PERIOD: Final = ["contract_id", "billing_date", "period_start", "period_end"]
_BEGINS_LATER: Final = pl.col("period_start").dt.replace_time_zone(None) > pl.col("period_first_day").cast(
    pl.Datetime("us")
) + timedelta(hours=9)
"""Rows that do not begin with their billing period (of far western time zones all): the next local midnight
is at least 10 hours after 00:00 UTC of the first day."""


@dataclass(frozen=True, slots=True)
class EarlierTime:
    """calendar: CALENDAR_SCHEMA, by the key of the period it comes before. begun: one entry a period,
    whether there is any such time."""

    calendar: pa.Table
    begun: NDArray[np.bool_]


def earlier_time(
    *,
    ledger: Engine,
    catalogue: BillingCatalogue,
    versions: Sequence[PlanVersion],
    periods: pa.Table,
    counting: Collection[Version],
    span: str,
) -> EarlierTime:
    """What lies before those of ``periods`` that are priced by one of ``counting``, in their contract, its
    ``year`` or the ``whole_period``, as ``span`` says. versions: by which the periods were made."""
    begun = np.zeros(periods.num_rows, np.bool_)
    mine = arrears_rows(periods, counting)
    if span == "whole_period":
        mine = mine.filter(_BEGINS_LATER)
    if not len(mine):
        return EarlierTime(CALENDAR_SCHEMA.empty_table(), begun)
    ids = pa.array(mine["contract_id"].unique().sort().to_list(), pa.string())
    known = pa.concat_tables([catalogue.contracts, catalogue.companions])
    contracts = known.filter(pc.is_in(known["contract_id"], value_set=ids))
    every = rows_from_the_start(catalogue, contracts, versions, periods)
    keys = ["contract_id"]
    if span == "whole_period":
        keys.append("period_number")
    if span == "year":
        mine, every = with_contract_year(mine, contracts), with_contract_year(every, contracts)
        keys.append("year")
    pairs = mine.select("period_key", *keys, starts="period_start").join(every, on=keys)
    pairs = pairs.filter(pl.col("period_start") < pl.col("starts"))
    begun[pairs["period_key"].to_numpy()] = True
    return EarlierTime(calendar_of_rows(pairs, catalogue, ledger), begun)


def arrears_rows(periods: pa.Table, counting: Collection[Version]) -> pl.DataFrame:
    """The arrears rows on some plan versions: SERVICE_PERIOD_SCHEMA with plain texts."""
    texts = ("contract_id", "plan_id", "agreement", "timing")
    rows = pl.DataFrame(periods).with_columns(pl.col(name).cast(pl.String) for name in texts)
    schema = {"plan_id": pl.String, "plan_version": pl.UInt32}
    chosen = pl.DataFrame(sorted(counting), schema=schema, orient="row")
    arrears = rows.filter(pl.col("timing") == ARREARS)
    return arrears.join(chosen, on=list(schema), how="semi", maintain_order="left")


def rows_from_the_start(
    catalogue: BillingCatalogue, contracts: pa.Table, versions: Sequence[PlanVersion], periods: pa.Table
) -> pl.DataFrame:
    """Every arrears period of the contracts from their first day to the last billing date of ``periods``."""
    ids = set(contracts["contract_id"].to_pylist())
    every = due_service_periods(
        contracts=contracts,
        plan_versions=versions,
        segments={key: track for key, track in catalogue.segments.items() if key in ids},
        agreements=catalogue.agreements,
        settled=NOTHING_SETTLED,
        as_of=pc.max(periods["billing_date"]).as_py(),
    )
    return arrears_rows(every, {(entry.plan.plan_id, entry.version) for entry in versions})


def with_contract_year(rows: pl.DataFrame, contracts: pa.Table) -> pl.DataFrame:
    """The number of the contract year of each row, by the first day of its billing period."""
    starts = pl.DataFrame(contracts.select(["contract_id", "start_date"]))
    start, day = pl.col("start_date"), pl.col("period_first_day")
    years = (day.dt.year() - start.dt.year()).cast(pl.Int64)
    anniversary = start.dt.offset_by(pl.concat_str(years.cast(pl.String), pl.lit("y")))
    return rows.join(starts, on="contract_id").with_columns(year=years - (day < anniversary).cast(pl.Int64))


def calendar_of_rows(rows: pl.DataFrame, catalogue: BillingCatalogue, ledger: Engine) -> pa.Table:
    """CALENDAR_SCHEMA of period rows, each for the subjects its contract had when it was billed; of one not
    billed yet, for those it has."""
    if not len(rows):
        return CALENDAR_SCHEMA.empty_table()
    first: Any = rows["billing_date"].min()
    last: Any = rows["billing_date"].max()
    with ledger.connect() as connection:
        dates = BillingDates(first, last + timedelta(days=1))
        late = late_subjects(connection, rows["contract_id"].unique().sort().to_list(), dates)
    subjects = pl.DataFrame(catalogue.subjects.select(["contract_id", "subject"]))
    named = rows.select("period_key", *_PERIOD).join(subjects, on="contract_id")
    named = named.join(late.rows, on=["contract_id", "billing_date", "subject"], how="anti")
    calendar = named.select(CALENDAR_SCHEMA.names).sort(CALENDAR_SCHEMA.names)
    return calendar.to_arrow().cast(CALENDAR_SCHEMA).combine_chunks()
