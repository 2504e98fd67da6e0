"""All time of every contract, sorted by what has become of it: what the completeness report counts by.

A billing period is *billed* when its billing date is settled, for the subjects and up to the instant
its run counted, or up to the last later bill of the contract that adjusted for late usage. A contract that
ignores late usage has the reason ``late_ignored`` on its billed periods, for events that came after that.
Any other is *unbilled*, with the reason: the one the last billing run held it for, or, in this order,

    subject_added_later     the contract got the subject after that period was billed
    earlier_than_last_bill  later dates of the contract are settled, so it is never due again
    due                     its billing date has come
    open_period             it has begun and is not over
    period_not_begun        the contract runs on

Beneath lies the whole time of the contract, in which nothing is charged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import orjson
import polars as pl
import pyarrow as pa
from sqlalchemy import Connection, Engine, select

from ingest.clock import to_micros
from ingest.event import TIME_MAX
from ingest.meter import Meter
from ingest.meter_store import list_meters
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from invoicing.bulk import select_by_ids
from invoicing.open_usage import begun_periods
from invoicing.plan_schedule import ARREARS
from invoicing.run_record import FINISHED
from invoicing.tables import BILLING_RUNS, INVOICES, LATE_USAGE_SUFFIX, SETTLED_BILLING_DATES, contract_of
from rating.agreement import AgreedSegment
from rating.contract import Contract
from rating.late_usage_store import contracts_without_adjustments
from rating.tables import CONTRACT_VERSIONS
from rollup.completeness import LATE_IGNORED, NO_CHARGE
from rollup.coverage import CLASSED_PERIODS_SCHEMA, Outcome, PeriodClass
from rollup.period import local_midnights_micros

SUBJECT_ADDED_LATER: Final = "subject_added_later"
EARLIER_THAN_LAST_BILL: Final = "earlier_than_last_bill"
DUE: Final = "due"
OPEN_PERIOD: Final = "open_period"
PERIOD_NOT_BEGUN: Final = "period_not_begun"
PERIOD_REASONS: Final = {
    SUBJECT_ADDED_LATER: "The contract got the subject after the event's period was billed.",
    EARLIER_THAN_LAST_BILL: "Later dates of the contract are settled, so the period is never due again.",
    DUE: "The billing date of the event's period has come, and it is not billed.",
    OPEN_PERIOD: "The event's period has begun and is not over.",
    PERIOD_NOT_BEGUN: "The contract runs on, and the event's period has not begun.",
}

_FAR: Final = to_micros(TIME_MAX)
_CLASS: Final = ["reason", "plan_id", "plan_version", "billed_at"]
_ANY_VERSION: Final = 0
_FINAL_BILL: Final = -1
_CLASSED: Final = ["contract_id", "start", "end", *_CLASS]
"""Frames in here: [start, end) in microseconds; reason: empty or late_ignored when billed; plan_version:
_ANY_VERSION for all of them; billed_at: microseconds, null when not billed."""


@dataclass(frozen=True, slots=True)
class ClassedTime:
    """periods: CLASSED_PERIODS_SCHEMA, whose class numbers are places in ``classes``. meters: all."""

    periods: pa.Table
    classes: tuple[PeriodClass, ...]
    meters: tuple[Meter, ...]


def classed_time(ledger: Engine, *, now: datetime) -> ClassedTime:
    """Every contract's time as of ``now``."""
    catalogue = load_billing_catalogue(ledger)
    settled = _settled_dates(ledger)
    with ledger.connect() as connection:
        ignoring = sorted(contracts_without_adjustments(connection))
    subjects: Any = pl.from_arrow(catalogue.subjects)
    lives = _lives(catalogue)
    periods = _periods(catalogue, settled, _held_reasons(ledger), now=now)
    others = pl.concat([_classed(lives, NO_CHARGE), _not_begun(lives, periods)])
    then = _subjects_when_billed(ledger, catalogue, settled, periods)
    current = pl.concat([periods.select(_CLASSED), others]).join(subjects, on="contract_id")
    billed = current.filter(pl.col("billed_at").is_not_null())
    added = billed.join(then, on=["contract_id", "start", "subject"], how="anti").with_columns(
        reason=pl.lit(SUBJECT_ADDED_LATER), billed_at=pl.lit(None, pl.Int64)
    )
    rows = pl.concat(
        [
            current.filter(pl.col("billed_at").is_null()),
            billed.join(then, on=["contract_id", "start", "subject"], how="semi").with_columns(
                reason=pl.when(pl.col("contract_id").is_in(ignoring))
                .then(pl.lit(LATE_IGNORED))
                .otherwise(pl.col("reason"))
            ),
            added,
        ]
    ).filter(pl.col("start") < pl.col("end"))
    return _numbered(rows, catalogue, tuple(list_meters(ledger)))


def _numbered(rows: pl.DataFrame, catalogue: BillingCatalogue, meters: tuple[Meter, ...]) -> ClassedTime:
    kinds = rows.select(_CLASS).unique().sort(_CLASS, nulls_last=True).with_row_index("class_number")
    periods = rows.join(kinds, on=_CLASS, nulls_equal=True).sort("subject", "start", "class_number")
    micros = pl.Datetime("us", "UTC")
    columns = periods.select(
        "subject",
        pl.col("start").cast(micros).alias("period_start"),
        pl.col("end").cast(micros).alias("period_end"),
        pl.col("class_number").cast(pl.Int32),
    )
    priced = _meters_of_plans(catalogue)
    classes = tuple(_period_class(row, priced) for row in kinds.iter_rows(named=True))
    return ClassedTime(columns.to_arrow().cast(CLASSED_PERIODS_SCHEMA), classes, meters)


def _period_class(row: Mapping[str, Any], priced: Mapping[tuple[str, int], frozenset[str]]) -> PeriodClass:
    if row["reason"] == NO_CHARGE:
        return PeriodClass("not_billable", NO_CHARGE, frozenset(), None)
    meter_ids = priced.get((row["plan_id"], row["plan_version"]), frozenset())
    outcome: Outcome = "unbilled" if row["billed_at"] is None else "billed"
    return PeriodClass(outcome, row["reason"], meter_ids, row["billed_at"])


def _meters_of_plans(catalogue: BillingCatalogue) -> Mapping[tuple[str, int], frozenset[str]]:
    """The meters each version of a plan charges by, and under _ANY_VERSION those of all its versions."""
    found: defaultdict[tuple[str, int], frozenset[str]] = defaultdict(frozenset)
    for entry in catalogue.plan_versions:
        meter_ids = {meter_id for charge in entry.plan.charges for meter_id in charge.meter_ids()}
        found[entry.plan.plan_id, entry.version] |= meter_ids
        found[entry.plan.plan_id, _ANY_VERSION] |= meter_ids
    return found


def _periods(
    catalogue: BillingCatalogue, settled: pl.DataFrame, held: pl.DataFrame, *, now: datetime
) -> pl.DataFrame:
    """The arrears periods that have begun, with reason and billed_at; _CLASSED and billing_date."""
    nothing = catalogue.settled.slice(0, 0)
    tables = [
        table.select(
            ["contract_id", "plan_id", "plan_version", "timing", "billing_date", "period_start", "period_end"]
        )
        for table in begun_periods(catalogue, settled=nothing, now=now)
    ]
    rows: Any = pl.from_arrow(pa.concat_tables(tables).unify_dictionaries())
    billing_key = ["contract_id", "billing_date"]
    last = settled.group_by("contract_id").agg(last_settled=pl.col("billing_date").max())
    late = pl.col("billing_date") <= pl.col("last_settled")
    over = pl.col("end").max().over(billing_key) <= to_micros(now)
    periods: pl.DataFrame = (
        rows.filter(pl.col("timing").cast(pl.String) == ARREARS)
        .with_columns(
            pl.col("plan_id").cast(pl.String),
            pl.col("plan_version").cast(pl.Int64),
            start=pl.col("period_start").dt.epoch("us"),
            end=pl.col("period_end").dt.epoch("us"),
        )
        .join(settled, on=billing_key, how="left")
        .join(last, on="contract_id", how="left")
        .join(held, on=billing_key, how="left")
        .with_columns(
            reason=pl.when(pl.col("billed_at").is_not_null())
            .then(pl.lit(""))
            .when(late)
            .then(pl.lit(EARLIER_THAN_LAST_BILL))
            .when(over)
            .then(pl.col("held_reason").fill_null(DUE))
            .otherwise(pl.lit(OPEN_PERIOD))
        )
        .select([*_CLASSED, "billing_date"])
    )
    return periods


def _lives(catalogue: BillingCatalogue) -> pl.DataFrame:
    """(contract_id, plan_id, start, end) of every contract as a whole."""
    rows: Any = pl.from_arrow(
        catalogue.contracts.select(["contract_id", "plan_id", "time_zone", "start_date", "end_date"])
    )
    rows = _by_phase(rows, catalogue.segments)
    parts: list[pl.DataFrame] = [
        zone.with_columns(
            start=_midnights(zone["start_date"], name[0]),
            end=_midnights(zone["end_date"], name[0]),
        )
        for name, zone in rows.group_by("time_zone", maintain_order=True)
    ]
    empty = {"contract_id": pl.String, "plan_id": pl.String, "start": pl.Int64, "end": pl.Int64}
    nothing = pl.DataFrame(schema=empty)
    return pl.concat([nothing, *(part.select(list(empty)) for part in parts)])


def _by_phase(lives: pl.DataFrame, segments: Mapping[str, Sequence[AgreedSegment]]) -> pl.DataFrame:
    """The contracts that move to another plan once for each segment, on its plan and days."""
    moving = {key: track for key, track in segments.items() if len({part.plan_id for part in track}) > 1}
    if not moving:
        return lives
    kept = lives.filter(~pl.col("contract_id").is_in(list(moving)))
    rows = []
    for life in lives.filter(pl.col("contract_id").is_in(list(moving))).iter_rows(named=True):
        track = moving[life["contract_id"]]
        last = life["end_date"] or date.max
        ends = [*(part.effective_from for part in track[1:]), last]
        for part, end in zip(track, ends, strict=True):
            until = min(end, last)
            if part.effective_from < until:
                days = {"start_date": part.effective_from, "end_date": None if until == date.max else until}
                rows.append({**life, "plan_id": part.plan_id, **days})
    return pl.concat([kept, pl.DataFrame(rows, schema=lives.schema)])


def _midnights(dates: pl.Series, time_zone: str) -> pl.Series:
    """First instants of local days in microseconds; the end of time for no day."""
    days = dates.cast(pl.Date)
    known = days.drop_nulls().unique().to_list()
    marks = dict(zip(known, local_midnights_micros(known, time_zone).tolist(), strict=True))
    return pl.Series([marks.get(day, _FAR) for day in days.to_list()], dtype=pl.Int64)


def _classed(rows: pl.DataFrame, reason: str) -> pl.DataFrame:
    return rows.with_columns(
        plan_version=pl.lit(_ANY_VERSION, pl.Int64), reason=pl.lit(reason), billed_at=pl.lit(None, pl.Int64)
    ).select(_CLASSED)


def _not_begun(lives: pl.DataFrame, periods: pl.DataFrame) -> pl.DataFrame:
    """What lies after the last period that has begun."""
    last = periods.group_by("contract_id").agg(last=pl.col("end").max())
    rest = lives.join(last, on="contract_id", how="left").with_columns(
        start=pl.max_horizontal("start", pl.col("last"))
    )
    return _classed(rest.filter(pl.col("start") < pl.col("end")), PERIOD_NOT_BEGUN)


def _settled_dates(ledger: Engine) -> pl.DataFrame:
    """(contract_id, billing_date, contract_version, billed_at). Events count as billed when they came in
    before the run had finished, like the events behind a line; while it is at work, all do. A run that
    settled a later date of the contract and looked for late usage has billed what came in up to its end."""
    dates, runs = SETTLED_BILLING_DATES, BILLING_RUNS
    statement = select(
        dates.c.contract_id,
        dates.c.billing_date,
        dates.c.contract_version,
        runs.c.finished_at,
        dates.c.looked_through.is_not(None),
    ).select_from(dates.outerjoin(runs, dates.c.run_id == runs.c.run_id))
    with ledger.connect() as connection:
        rows = [tuple(row) for row in connection.execute(statement)]
        rows += _final_bills(connection)
    instants = {
        text: _FAR if text is None else to_micros(datetime.fromisoformat(text)) for _, _, _, text, _ in rows
    }
    frame = pl.DataFrame(
        [
            (contract_id, day, version, instants[text], instants[text] if looked else None)
            for contract_id, day, version, text, looked in rows
        ],
        schema={
            "contract_id": pl.String,
            "billing_date": pl.String,
            "contract_version": pl.Int64,
            "billed_at": pl.Int64,
            "looked_at": pl.Int64,
        },
        orient="row",
    )
    latest = frame.sort("contract_id", "billing_date").with_columns(
        pl.col("looked_at").cum_max(reverse=True).backward_fill().shift(-1).over("contract_id")
    )
    latest = latest.filter(pl.col("contract_version") != _FINAL_BILL)
    return latest.with_columns(
        pl.col("billing_date").str.to_date(), billed_at=pl.max_horizontal("billed_at", "looked_at")
    ).drop("looked_at")


def _final_bills(connection: Connection) -> list[tuple[str, str, int, str | None, bool]]:
    """Bills for late usage of ended contracts, as settled dates that looked for it."""
    statement = (
        select(INVOICES.c.contract_id, INVOICES.c.billing_date, BILLING_RUNS.c.finished_at)
        .select_from(INVOICES.outerjoin(BILLING_RUNS, INVOICES.c.run_id == BILLING_RUNS.c.run_id))
        .where(INVOICES.c.contract_id.endswith(LATE_USAGE_SUFFIX, autoescape=True))
    )
    return [
        (contract_of(owner), day, _FINAL_BILL, finished_at, True)
        for owner, day, finished_at in connection.execute(statement)
    ]


def _held_reasons(ledger: Engine) -> pl.DataFrame:
    """(contract_id, billing_date, held_reason): what the billing run that finished last held."""
    newest = (
        select(BILLING_RUNS.c.report)
        .where(BILLING_RUNS.c.state == FINISHED)
        .order_by(BILLING_RUNS.c.finished_at.desc(), BILLING_RUNS.c.run_id.desc())
        .limit(1)
    )
    with ledger.connect() as connection:
        text = connection.execute(newest).scalar_one_or_none()
    held = [] if text is None else orjson.loads(text)["held_dates"]
    return pl.DataFrame(
        [(one["contract_id"], one["billing_date"], one["reason_code"]) for one in held],
        schema={"contract_id": pl.String, "billing_date": pl.String, "held_reason": pl.String},
        orient="row",
    ).with_columns(pl.col("billing_date").str.to_date())


def _subjects_when_billed(
    ledger: Engine, catalogue: BillingCatalogue, settled: pl.DataFrame, periods: pl.DataFrame
) -> pl.DataFrame:
    """(contract_id, start, subject) of the billed periods: those of the contract's version then."""
    version = ["contract_id", "contract_version"]
    billed = periods.filter(pl.col("billed_at").is_not_null()).join(
        settled.select([*version, "billing_date"]), on=["contract_id", "billing_date"]
    )
    standing: Any = pl.from_arrow(catalogue.contracts.select(["contract_id", "version"]))
    standing = standing.select("contract_id", pl.col("version").cast(pl.Int64).alias("contract_version"))
    names = ["contract_id", "start", "subject"]
    subjects: Any = pl.from_arrow(catalogue.subjects)
    same = billed.join(standing, on=version).join(subjects, on="contract_id").select(names)
    earlier = billed.join(standing, on=version, how="anti")
    then = _subjects_of_versions(ledger, set(earlier.select(version).unique().rows()))
    return pl.concat([same, earlier.join(then, on=version).select(names)]).unique()


def _subjects_of_versions(ledger: Engine, wanted: set[tuple[str, int]]) -> pl.DataFrame:
    table = CONTRACT_VERSIONS
    statement = select(table.c.contract_id, table.c.version, table.c.document)
    ids = sorted({contract_id for contract_id, _ in wanted})
    with ledger.connect() as connection:
        rows = [
            (contract_id, version, subject)
            for contract_id, version, text in select_by_ids(connection, statement, table.c.contract_id, ids)
            if (contract_id, version) in wanted
            for subject in Contract.model_validate_json(text).subjects
        ]
    schema = {"contract_id": pl.String, "contract_version": pl.Int64, "subject": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")
