"""Service periods to rated lines: the one way usage becomes money, for runs, previews, benchmarks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from ingest.clickhouse import EventStore
from ingest.event import TIMESTAMP
from ingest.meter import Meter
from ingest.read_ahead import one_ahead
from invoicing.due import calendar_of
from invoicing.run_blocks import subjects_of
from invoicing.seats_in_advance import SeatsKnown, seat_usage, with_seats
from invoicing.wider_periods import WiderPeriods
from rating.compile import PriceBook
from rating.needed_meters import needed_meters
from rating.rate import rate_usage
from rollup.roll_up import RolledUp, roll_up_in_blocks, roll_up_usage
from rollup.stored_usage import StoredUsage

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is in all."""


@dataclass(frozen=True, slots=True)
class PricedPeriods:
    """lines: RATED_LINE_SCHEMA. unrated: usage no price fits. unusable: events that cannot count."""

    lines: pa.Table
    unrated: pa.Table
    unusable: pa.Table


@dataclass(slots=True)
class Stages:
    """How long each stage of a run took and how much went through it, in the order first met."""

    progress: Callable[[str, int, int], None] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def passed(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self.started

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0) + time.perf_counter() - started

    def count(self, name: str, done: int, *, total: int) -> None:
        """``done`` more of ``name`` are through."""
        self.counts[name] = self.counts.get(name, 0) + done
        if self.progress is not None:
            self.progress(name, self.counts[name], max(total, self.counts[name]))


def price_periods(
    *,
    event_store: EventStore,
    periods: pa.Table,
    subjects: pa.Table,
    meters: Sequence[Meter],
    price_book: PriceBook,
    run_id: str,
    stored_usage: StoredUsage | None = None,
    usage_until: datetime | None = None,
    wider: WiderPeriods | None = None,
    seats: SeatsKnown | None = None,
    stages: Stages | None = None,
) -> PricedPeriods:
    """Count what was used in ``periods`` and price it, with whatever else is due on them.

    periods: SERVICE_PERIOD_SCHEMA, ``period_key`` 0, 1, 2 ... in row order. subjects: (contract_id,
    subject). meters: those the plans price. stored_usage: read where it has the period, with the same
    result; None counts events. usage_until: count only events before that instant (a
    preview); levels such as seats are taken to stay as they are to the end of their period. None
    counts whole periods. wider: what charges count beyond the periods. seats: what is known of licences
    billed in advance, needed where there are some. Nothing is written.
    """
    timer = stages or Stages()
    with timer.stage("roll up"):

        def roll_up(calendar: pa.Table, counted: Sequence[Meter]) -> RolledUp:
            if usage_until is None:
                return roll_up_usage(event_store, calendar=calendar, meters=counted, stored=stored_usage)
            return roll_up_until(event_store, calendar, counted, usage_until)

        calendar = calendar_of(periods=periods, contract_subjects=subjects)
        needed = needed_meters(price_book, periods, meters)
        ahead = seat_usage(
            event_store,
            periods=periods,
            subjects=subjects,
            price_book=price_book,
            meters=needed,
            known=seats,
        )
        rolled = with_seats(roll_up(calendar, needed), ahead)
        beyond, unusable = (None, rolled.unusable) if wider is None else wider.count(roll_up, rolled.unusable)
    with timer.stage("rate"):
        rated = rate_usage(
            periods=periods, usage=rolled.usage, price_book=price_book, run_id=run_id, wider=beyond
        )
    return PricedPeriods(rated.lines, rated.unrated, unusable)


def price_blocks(
    *,
    event_store: EventStore,
    blocks: Iterable[pa.Table],
    subjects: pa.Table,
    meters: Sequence[Meter],
    price_book: PriceBook,
    run_id: str,
    stored_usage: StoredUsage | None,
    seats: SeatsKnown | None = None,
) -> Iterator[PricedPeriods]:
    """The same of several tables of periods, each taken and its usage read while the one before is priced;
    meanwhile the caller may write what came out.

    blocks: SERVICE_PERIOD_SCHEMA by contract, ``period_key`` 0, 1, 2 ... in each. subjects: by contract_id.
    """
    taken: deque[pa.Table] = deque()

    def asked() -> Iterator[tuple[pa.Table, list[Meter]]]:
        for block in blocks:
            taken.append(block)
            calendar = calendar_of(periods=block, contract_subjects=subjects_of(block, subjects))
            yield calendar, needed_meters(price_book, block, meters)

    rolled = roll_up_in_blocks(event_store, blocks=asked(), meters=meters, stored=stored_usage)
    for found in one_ahead(rolled, event_store.reader):
        block = taken.popleft()
        ahead = seat_usage(
            event_store, periods=block, subjects=subjects, price_book=price_book, meters=meters, known=seats
        )
        counted = with_seats(found, ahead)
        rated = rate_usage(periods=block, usage=counted.usage, price_book=price_book, run_id=run_id)
        yield PricedPeriods(rated.lines, rated.unrated, counted.unusable)


def roll_up_until(
    event_store: EventStore, calendar: pa.Table, meters: Sequence[Meter], until: datetime
) -> RolledUp:
    """Count events before an instant; levels such as seats are taken to stay as they are to the end."""
    instant = pa.scalar(until, TIMESTAMP)
    begun = calendar.filter(pc.less(calendar["period_start"], instant))
    cut = begun.set_column(
        begun.schema.get_field_index("period_end"),
        begun.schema.field("period_end"),
        pc.if_else(pc.less(begun["period_end"], instant), begun["period_end"], instant),
    )
    levels = [meter for meter in meters if meter.aggregation == "time_weighted"]
    counts = [meter for meter in meters if meter.aggregation != "time_weighted"]
    parts = [
        roll_up_usage(event_store, calendar=cut, meters=counts),
        roll_up_usage(event_store, calendar=begun, meters=levels),
    ]
    return RolledUp(
        usage=pa.concat_tables([part.usage for part in parts]).unify_dictionaries().combine_chunks(),
        unusable=pa.concat_tables([part.unusable for part in parts]),
    )
