"""What one benchmark process is asked to do, and what it answers before it is written down."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median

from benchmarks.canonical import MONTH_STARTS, SIZES, Workload


@dataclass(frozen=True, slots=True)
class CaseRequest:
    """stage, case, system, size: as reported. data: the dataset's folder, shared by all systems.
    work: this system's own folder (its stores). months: how many of the three months are billed.
    repeat: timed repetitions in one process, after one that does not count if ``warm_up``. fresh:
    time one job from ``started_at``, the wall time at which the process was started. events: events sent
    instead of the size's; None: as many as it has. contracts: the same of contracts, where a case says so.
    cloudkitty_python: an interpreter that has CloudKitty; None: no such peer runs."""

    stage: str
    case: str
    system: str
    size: str
    data: Path
    work: Path
    months: int
    repeat: int
    warm_up: bool
    fresh: bool
    started_at: float
    events: int | None
    contracts: int | None
    cloudkitty_python: Path | None

    @property
    def workload(self) -> Workload:
        workload = SIZES[self.size]
        return workload if self.events is None else replace(workload, events_sent=self.events)

    @property
    def time_from(self) -> datetime:
        return MONTH_STARTS[0]

    @property
    def time_to(self) -> datetime:
        """End of the last billed month, not included."""
        return MONTH_STARTS[self.months]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a system did. seconds: one figure a repetition; peak_mb: resident memory of this process
    at its highest, taken before the result was read back for the hash."""

    rows: int
    seconds: tuple[float, ...]
    peak_mb: float
    exact: bool
    result_hash: str

    @property
    def seconds_median(self) -> float:
        return median(self.seconds)


def measured(
    request: CaseRequest,
    seconds: tuple[float, ...],
    *,
    exact: bool,
    hash_result: Callable[[], str],
    rows: int | None = None,
) -> Measured:
    """Close a measurement: take the memory, then read the result back. rows: events sent if None."""
    peak_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    return Measured(
        rows=request.workload.events_sent if rows is None else rows,
        seconds=seconds,
        peak_mb=peak_mb,
        exact=exact,
        result_hash=hash_result(),
    )


def time_repeatedly(
    request: CaseRequest, job: Callable[[], object], reset: Callable[[], object]
) -> tuple[float, ...]:
    """Seconds of ``job`` for each repetition; ``reset`` undoes it in between, outside the clock.

    One repetition runs first and is not counted: it loads compiled kernels and fills the operating
    system's cache. Slow scripts, which have nothing to compile, go without. A fresh case does the
    opposite: the job once, timed from the moment the process was started.
    """
    if request.warm_up or request.fresh:
        reset()
        job()
    if request.fresh:
        return (time.time() - request.started_at,)
    seconds = []
    for _ in range(request.repeat):
        reset()
        started = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - started)
    return tuple(seconds)


def batch_records(request: CaseRequest) -> int:
    """Records of a body in the cases with batches: 10,000, or a sixteenth of a smaller workload."""
    return min(10_000, request.workload.events_sent // 16)


def single_events(request: CaseRequest) -> int:
    """Events sent one by one: the first 20,000, of a smaller workload a tenth."""
    return min(20_000, request.workload.events_sent // 10)
