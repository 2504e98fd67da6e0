"""What licences billed in advance count: the level of each period as far as it is known when it is billed.

On a billing date the coming period is billed for the level that holds at its beginning, as if nothing would
change in it. On the next date the same reading knows all that happened in the period, and what it comes to
more or less is an adjustment of that line (``adjustments_due.py``). So a bill and its adjustments sum to what
the same charge in arrears would have billed, and events that come late are taken up once, by the same way.

How changes in a period count is the reading of the meter and, for ``average``, the plan's ``proration``:

    average     the seats by the time they stood: to the microsecond with ``by_second``; otherwise by the day,
                each change from the beginning of the local day it is made on, as the plan counts days
    peak        the high-water mark: a seat once had is paid for the whole period
    unit_days   seats x 86,400 s
    proration: none holds the level at the beginning for the whole period, whatever the reading.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.errors import BrokenState
from ingest.meter import Meter
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.plan_schedule import ADVANCE, ARREARS
from invoicing.seat_changes import RowKey
from rating.compile import PriceBook
from rating.period_columns import plan_rows_of
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan, is_licence_in_advance
from rating.proration import Method, method_of, units_between
from rollup.held_levels import roll_up_held_levels
from rollup.holding import CountedDays, Holding
from rollup.period import find_time_zone, local_midnight, local_midnights_micros
from rollup.roll_up import RolledUp
from rollup.schema import CALENDAR_SCHEMA

_ROW: Final = ["period_key", "contract_id", "billing_date", "period_start", "period_end"]
_CUT: Final = ["contract_id", "billing_date", "period_start", "agreement"]
_KEY: Final = ["contract_id", "billing_date", "subject"]


@dataclass(frozen=True, slots=True)
class SeatsKnown:
    """until: by contract_id, the instant of the last billing date that is billed, in microseconds: changes
    before it count. zones: by contract_id, its time zone. Both are empty while no plan bills licences in
    advance."""

    until: Mapping[str, int] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)


NO_SEATS: Final = SeatsKnown()


def prices_seats(versions: Sequence[PlanVersion]) -> frozenset[str]:
    """The plans of which some version bills a licence in advance."""
    return frozenset(
        entry.plan.plan_id for entry in versions if any(map(is_licence_in_advance, entry.plan.charges))
    )


def seat_meters(catalogue: BillingCatalogue) -> frozenset[str]:
    """The meters that read licences billed in advance."""
    charges = (charge for entry in catalogue.plan_versions for charge in entry.plan.charges)
    return frozenset(
        meter_id for charge in charges if is_licence_in_advance(charge) for meter_id in charge.meter_ids()
    )


def _zones(catalogue: BillingCatalogue) -> dict[str, str]:
    """contract_id -> time zone, of all contracts; none when no plan bills a licence in advance."""
    if not prices_seats(catalogue.plan_versions):
        return {}
    columns = (catalogue.contracts[name].to_pylist() for name in ("contract_id", "time_zone"))
    return dict(zip(*columns, strict=True))


def seats_known(catalogue: BillingCatalogue, periods: pa.Table) -> SeatsKnown:
    """What is known of levels when the periods (SERVICE_PERIOD_SCHEMA) are billed together: all up to the
    last of each contract's billing dates. On a contract's first date that is where its period begins."""
    zones = _zones(catalogue)
    if not zones:
        return NO_SEATS
    rows = _plain(periods)
    ends = pl.col("period_end").filter(pl.col("timing") == ARREARS).max()
    starts = pl.col("period_start").filter(pl.col("timing") == ADVANCE).min()
    found = rows.group_by("contract_id").agg(pl.coalesce(ends, starts).dt.epoch("us"))
    return SeatsKnown(dict(found.iter_rows()), zones)


def seat_usage(
    store: EventStore,
    *,
    periods: pa.Table,
    subjects: pa.Table,
    price_book: PriceBook,
    meters: Sequence[Meter],
    known: SeatsKnown | None,
    without: pl.DataFrame | None = None,
    cut: Collection[RowKey] = (),
    only_added: bool = False,
) -> RolledUp | None:
    """The readings of licences in advance in their periods, keyed by them; None where nothing is billed so.

    periods: SERVICE_PERIOD_SCHEMA. subjects: (contract_id, subject). meters: at least those that are priced.
    without: (contract_id, billing_date, subject) that do not count; cut: periods that do not.
    only_added: see ``Holding``. Raises BrokenState when licences are billed in advance and ``known`` does not
    say what is known of them.
    """
    index = price_book.index
    if not index.is_licence_in_advance.any():
        return None
    plan_row = plan_rows_of(periods, price_book)
    seated = np.isin(plan_row, index.plan_row[index.is_licence_in_advance])
    rows = _plain(periods).with_columns(plan_row=pl.Series(plan_row))
    rows = rows.filter(pl.Series(seated) & (pl.col("timing") == ADVANCE))
    if cut:
        gone = pl.DataFrame(list(cut), schema=rows.select(_CUT).schema, orient="row")
        rows = rows.join(gone, on=_CUT, how="anti", maintain_order="left")
    if not len(rows):
        return None
    if known is None:
        raise BrokenState(
            "licences are billed in advance, and nobody said up to when their levels are known; "
            "ask with invoicing.seats_in_advance.seats_known."
        )
    owned: Any = pl.from_arrow(subjects.select(["contract_id", "subject"]))
    calendar = rows.join(owned, on="contract_id")
    if without is not None:
        calendar = calendar.join(without, on=_KEY, how="anti")
    calendar = calendar.sort("period_key", "subject")
    plans = {row: price_book.versions[row].plan for row in set(rows["plan_row"].to_list())}
    return roll_up_held_levels(
        store,
        calendar=calendar.select(CALENDAR_SCHEMA.names).to_arrow().cast(CALENDAR_SCHEMA),
        meters=_seat_meters(price_book, meters),
        holding=Holding(_known_until(calendar, plans, known), _counted_days(rows, plans, known), only_added),
    )


def with_seats(rolled: RolledUp, seats: RolledUp | None) -> RolledUp:
    """Usage with that of licences in advance."""
    if seats is None:
        return rolled
    return RolledUp(
        usage=pa.concat_tables([rolled.usage, seats.usage]).unify_dictionaries().combine_chunks(),
        unusable=pa.concat_tables([rolled.unusable, seats.unusable]),
    )


def _plain(periods: pa.Table) -> pl.DataFrame:
    frame: Any = pl.from_arrow(periods.select([*_ROW, "timing", "agreement"]))
    plain: pl.DataFrame = frame.with_columns(pl.col("timing", "agreement").cast(pl.String))
    return plain


def _seat_meters(price_book: PriceBook, meters: Sequence[Meter]) -> list[Meter]:
    """What reads the licences in advance, and the parts of their levels in tiers."""
    wanted: set[str] = set()
    for row, entry in enumerate(price_book.charges):
        if price_book.index.is_licence_in_advance[row]:
            wanted |= {*entry.charge.meter_ids(), *price_book.level_meters.get(entry.price_row, ())}
    return [meter for meter in meters if meter.meter_id in wanted]


def _known_until(
    calendar: pl.DataFrame, plans: Mapping[int, PricePlan], known: SeatsKnown
) -> NDArray[np.int64]:
    """Of each row: at least what holds where it begins."""
    starts = calendar["period_start"].dt.epoch("us").to_numpy()
    fixed = [row for row, plan in plans.items() if plan.proration == "none"]
    until = np.array([known.until.get(one, 0) for one in calendar["contract_id"].to_list()], np.int64)
    until[np.isin(calendar["plan_row"].to_numpy(), fixed)] = 0
    return np.asarray(np.maximum(until, starts + 1), np.int64)


def _counted_days(
    rows: pl.DataFrame, plans: Mapping[int, PricePlan], known: SeatsKnown
) -> dict[int, CountedDays]:
    """By period_key, of the periods whose plan counts days."""
    made: dict[tuple[int, int, str, Method], CountedDays] = {}
    found = {}
    spans = rows.select(
        "period_key",
        "contract_id",
        "plan_row",
        pl.col("period_start").dt.epoch("us").alias("start"),
        pl.col("period_end").dt.epoch("us").alias("end"),
    )
    for period_key, contract_id, plan_row, start, end in spans.iter_rows():
        method = method_of(plans[plan_row])
        if method == "by_second":
            continue
        key = (start, end, known.zones[contract_id], method)
        if key not in made:
            made[key] = _days_between(*key)
        found[period_key] = made[key]
    return found


def _days_between(start: int, end: int, zone: str, method: Method) -> CountedDays:
    """The local days of [start, end), which begins and ends at local midnight."""
    first, past = (
        datetime.fromtimestamp(0, UTC) + timedelta(microseconds=instant) for instant in (start, end)
    )
    place = find_time_zone(zone)
    first_day, past_day = first.astimezone(place).date(), past.astimezone(place).date()
    days = [first_day + timedelta(days=number) for number in range((past_day - first_day).days + 1)]
    starts = np.asarray(local_midnights_micros(days, zone), np.int64)
    starts[0], starts[-1] = start, end
    units = [units_between(method, first_day, day) for day in days]
    return CountedDays(starts, np.array(units, np.int64))


def settled_until(catalogue: BillingCatalogue, billed_now: Mapping[str, int]) -> SeatsKnown:
    """What is known of levels on billed dates: all up to the last of them, or up to the instant of the date
    that is billed now. billed_now: by contract_id, as in ``SeatsKnown``."""
    zones = _zones(catalogue)
    if not zones:
        return NO_SEATS
    columns = (catalogue.settled[name].to_pylist() for name in ("contract_id", "billing_date"))
    settled = {
        contract_id: to_micros(local_midnight(date.fromisoformat(day), zones[contract_id]))
        for contract_id, day in zip(*columns, strict=True)
    }
    return SeatsKnown({**settled, **billed_now}, zones)
