"""Billing dates that have come, billed or not, with their periods and usage: what what-if and re-rating read.

A date is taken whole, with everything on its invoice: a discount of an amount is shared out over all lines
of one. Usage counts as it is known now, for the subjects the contract had when the date was billed: a
subject that came later brings no usage to dates before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from ingest.clickhouse import EventStore
from ingest.errors import InvalidInput, NotFound
from ingest.meter import Meter
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.bulk import select_by_ids
from invoicing.due import calendar_of, due_service_periods
from invoicing.plan_schedule import ARREARS
from invoicing.tables import SETTLED_BILLING_DATES
from rating.contract import Contract
from rating.plan_version import PlanVersion
from rating.tables import CONTRACT_VERSIONS, CONTRACTS
from rollup.roll_up import RolledUp, roll_up_usage
from rollup.stored_usage import StoredUsage

CONTRACTS_AT_ONCE: Final = 12_500
NOTHING_SETTLED: Final = pa.schema(
    [("contract_id", pa.string()), ("billing_date", pa.date32())]
).empty_table()
_SPAN: Final = ["contract_id", "billing_date", "period_start", "period_end"]


@dataclass(frozen=True, slots=True)
class BillingDates:
    """Billing dates in [first, end), local to each contract."""

    first: date
    end: date

    def __post_init__(self) -> None:
        if self.first >= self.end:
            raise InvalidInput(
                f"no billing date lies from {self.first} on and before {self.end}; the second day must be "
                "later than the first.",
                reason_code="empty_period",
            )


@dataclass(frozen=True, slots=True)
class LateSubjects:
    """(contract_id, billing_date, subject) of the subjects that a contract has now and had not when that
    date was billed."""

    rows: pl.DataFrame


def refuse_unknown_contracts(catalogue: BillingCatalogue, contract_ids: Sequence[str] | None) -> None:
    """Raises NotFound with the first id that names no contract."""
    known = set(catalogue.contracts["contract_id"].to_pylist())
    for contract_id in contract_ids or ():
        if contract_id not in known:
            raise NotFound(
                f"contract {contract_id!r} is not on record. `ratemill contract list` shows what is."
            )


def periods_of_dates(
    catalogue: BillingCatalogue,
    contracts: pa.Table,
    plan_versions: Sequence[PlanVersion],
    dates: BillingDates,
    *,
    now: datetime,
) -> pa.Table:
    """SERVICE_PERIOD_SCHEMA of the dates that have come by ``now``, settled or not, under these plan
    versions. contracts: some of the catalogue's."""
    ids = contracts["contract_id"].to_pylist()
    periods = due_service_periods(
        contracts=contracts,
        plan_versions=plan_versions,
        segments={key: catalogue.segments[key] for key in ids if key in catalogue.segments},
        agreements=catalogue.agreements,
        settled=NOTHING_SETTLED,
        as_of=dates.end - timedelta(days=1),
        now=now,
    )
    chosen = periods.filter(pc.greater_equal(periods["billing_date"], pa.scalar(dates.first, pa.date32())))
    return numbered(chosen)


def numbered(periods: pa.Table) -> pa.Table:
    """The periods with their keys counted from 0 again."""
    keys = pa.array(np.arange(periods.num_rows, dtype=np.uint32))
    return periods.set_column(0, periods.schema.field("period_key"), keys).combine_chunks()


def late_subjects(connection: Connection, contract_ids: Sequence[str], dates: BillingDates) -> LateSubjects:
    """Read from the versions of the contracts by which the dates were billed."""
    settled = SETTLED_BILLING_DATES
    statement = (
        select(settled.c.contract_id, settled.c.billing_date, settled.c.contract_version)
        .join(CONTRACTS, CONTRACTS.c.contract_id == settled.c.contract_id)
        .where(
            settled.c.contract_version != CONTRACTS.c.version,
            settled.c.billing_date >= dates.first.isoformat(),
            settled.c.billing_date < dates.end.isoformat(),
        )
    )
    rows = [tuple(row) for row in select_by_ids(connection, statement, settled.c.contract_id, contract_ids)]
    missing = _missing_subjects(connection, sorted({row[0] for row in rows}))
    found = [
        (contract_id, date.fromisoformat(day), subject)
        for contract_id, day, version in rows
        for subject in missing.get((contract_id, version), ())
    ]
    schema = {"contract_id": pl.String, "billing_date": pl.Date, "subject": pl.String}
    return LateSubjects(pl.DataFrame(found, schema=schema, orient="row"))


def _missing_subjects(
    connection: Connection, contract_ids: Sequence[str]
) -> Mapping[tuple[str, int], Sequence[str]]:
    """By contract and version: the subjects of its newest version that this one has not."""
    table = CONTRACT_VERSIONS
    statement = select(table.c.contract_id, table.c.version, table.c.document)
    subjects = {
        (contract_id, version): Contract.model_validate_json(text).subjects
        for contract_id, version, text in select_by_ids(
            connection, statement, table.c.contract_id, contract_ids
        )
    }
    newest: dict[str, int] = {}
    for contract_id, version in subjects:
        newest[contract_id] = max(version, newest.get(contract_id, 0))
    return {
        (contract_id, version): [
            subject for subject in subjects[contract_id, newest[contract_id]] if subject not in held
        ]
        for (contract_id, version), held in subjects.items()
    }


def spans_of(tables: Iterable[pa.Table]) -> pa.Table:
    """Every stretch of time in which some of the period tables count usage, once: period_key from 0,
    contract_id, billing_date, period_start, period_end, timing."""
    arrears = [_arrears(periods).select(_SPAN) for periods in tables]
    spans = pl.concat(arrears).unique().sort(_SPAN)
    keys = pa.array(np.arange(len(spans), dtype=np.uint32))
    table = spans.to_arrow()
    columns = [keys, table["contract_id"].cast(pa.string()), *table.columns[1:]]
    return pa.table(
        [*columns, pa.array([ARREARS] * len(spans), pa.string())], names=["period_key", *_SPAN, "timing"]
    )


def roll_up_spans(
    event_store: EventStore,
    *,
    spans: pa.Table,
    subjects: pa.Table,
    late: LateSubjects,
    meters: Sequence[Meter],
    stored_usage: StoredUsage | None,
) -> RolledUp:
    """The usage of every span, keyed by it. subjects: (contract_id, subject)."""
    calendar = calendar_of(periods=spans, contract_subjects=subjects)
    if len(late.rows):
        owners = pl.DataFrame(spans.select(["period_key", "contract_id", "billing_date"]))
        gone = owners.join(late.rows, on=["contract_id", "billing_date"]).select("period_key", "subject")
        kept = pl.DataFrame(calendar.select(["period_key", "subject"])).with_row_index()
        kept = kept.join(gone, on=["period_key", "subject"], how="anti", maintain_order="left")
        calendar = calendar.take(kept["index"].to_arrow()).combine_chunks()
    return roll_up_usage(event_store, calendar=calendar, meters=meters, stored=stored_usage)


def usage_of_periods(periods: pa.Table, spans: pa.Table, rolled: RolledUp) -> RolledUp:
    """What was rolled up for spans, keyed by the periods they are; usage of other spans is left out."""
    keys = pl.DataFrame(spans.select(["period_key", *_SPAN])).rename({"period_key": "span_key"})
    pairs = _arrears(periods).join(keys, on=_SPAN)
    period_of = np.full(spans.num_rows, -1, np.int64)
    period_of[pairs["span_key"].to_numpy()] = pairs["period_key"].to_numpy()
    return RolledUp(usage=_rekeyed(rolled.usage, period_of), unusable=_rekeyed(rolled.unusable, period_of))


def _arrears(periods: pa.Table) -> pl.DataFrame:
    timing = pc.cast(periods["timing"], pa.string())
    return pl.DataFrame(periods.filter(pc.equal(timing, ARREARS)).select(["period_key", *_SPAN]))


def _rekeyed(table: pa.Table, period_of: NDArray[np.int64]) -> pa.Table:
    keys = period_of[table["period_key"].combine_chunks().to_numpy()]
    kept = np.flatnonzero(keys >= 0)
    order = kept[np.argsort(keys[kept], kind="stable")]
    field = table.schema.field("period_key")
    return (
        table.take(pa.array(order))
        .set_column(0, field, pa.array(keys[order].astype(np.uint32)))
        .combine_chunks()
    )
