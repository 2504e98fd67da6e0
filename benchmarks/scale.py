"""How what is asked every day grows with the number of events: ``scale`` with ``--events N``.

Its events come in slices that are made when they are sent, so memory does not grow with N; three in a hundred
are resends of earlier ones. They pass the bounded gate, and usage of every contract and month is added up
while they come, as a server does. Contracts need no documents here: usage is asked by subject.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.canonical import (
    EVENT_TYPES,
    MONTH_STARTS,
    SLICE_ROWS,
    Int64s,
    Workload,
    draw,
    event_table,
    subject_names,
)
from benchmarks.ours_stores import NOW, Stores, open_stores, save_meters
from benchmarks.peer_clickhouse import wait_for_merges
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from ingest.arrow_buffers import Words
from ingest.clock import to_micros
from ingest.gate import CONFLICT, DUPLICATE, NEW
from ingest.identity import hash_events, identity_key
from ingest.load import IngestContext, ingest_table, open_gate, open_ingest
from ingest.meter import Meter
from ingest.meter_store import list_meters
from ingest.settings import GateKind, IngestSettings
from rollup.live_usage import LiveKey, LiveUsage
from rollup.roll_up import roll_up_usage
from rollup.schema import CALENDAR_SCHEMA
from rollup.stored_usage import StoredUsage

METERS: Final = 8
ASKED_CONTRACTS: Final = 200
LOOKED_UP_ROWS: Final = 100_000
_RESENT: Final = 71


def sent_slices(workload: Workload) -> Iterator[Int64s]:
    """Numbers of the events sent, slice by slice: the new ones, and behind them resends of any before."""
    for start in range(0, workload.events, SLICE_ROWS):
        new = np.arange(start, min(start + SLICE_ROWS, workload.events), dtype=np.int64)
        resends = np.arange(start, start + len(new) * 3 // 97, dtype=np.uint64)
        earlier = draw(workload.seed, _RESENT, resends) % np.uint64(start + len(new))
        yield np.concatenate([new, earlier.astype(np.int64)])


def load(request: CaseRequest) -> None:
    """Send all events through the bounded gate and keep usage of all months; says how long that took."""
    workload = request.workload
    with open_stores(request.work) as stores:
        save_meters(stores)
        ingest = _open(stores, "bounded")
        stored = StoredUsage(stores.events)
        stored.refresh(calendar=_calendar(workload), meters=_meters(stores))
        took_in = added_up = 0.0
        accepted = 0
        for numbers in sent_slices(workload):
            began = time.perf_counter()
            accepted += ingest_table(event_table(workload, numbers), received_at=NOW, ingest=ingest).accepted
            landed = time.perf_counter()
            stored.catch_up()
            took_in, added_up = took_in + landed - began, added_up + time.perf_counter() - landed
        if accepted != workload.events:
            raise RuntimeError(f"the bounded gate accepted {accepted} of {workload.events} different events.")
        wait_for_merges(stores.events)
        # As the engine does by itself when nothing comes in: parts of the same sum are put together.
        stores.events.command("OPTIMIZE TABLE usage_rollups FINAL")
        print(f"scale load: {accepted:,} events in {took_in:.1f} s, added up in {added_up:.1f} s", flush=True)


def run_closing(request: CaseRequest) -> Measured:
    """Usage of every contract in the last month by eight meters, from what was added up. rows: events.

    The more events, the more contracts have used all meters, so the rows of usage are printed, and the time
    of one: that is what must not grow with events.
    """
    found: dict[str, pa.Table] = {}
    with open_stores(request.work) as stores:
        calendar, meters = _calendar(request.workload, month=2), _meters(stores)
        stored = StoredUsage(stores.events)

        def job() -> None:
            rolled = roll_up_usage(stores.events, calendar=calendar, meters=meters, stored=stored)
            found["usage"] = rolled.usage.select(["period_key", "meter_id", "quantity"])

        seconds = time_repeatedly(request, job, found.clear)
        rows = found["usage"].num_rows
        each = 1e6 * float(np.median(seconds)) / max(rows, 1)
        print(f"{request.case}: {rows:,} rows of usage, {each:.2f} us each", flush=True)
        return measured(
            request,
            seconds,
            exact=True,
            hash_result=lambda: _hash_texts([str(row) for row in found["usage"].to_pylist()]),
            rows=request.workload.events,
        )


def run_live_usage(request: CaseRequest) -> Measured:
    """What one contract used in the last month by one meter, asked one after the other: first asked, when it
    is counted from events, and asked again. rows: questions of the first kind, which are what is timed."""
    with open_stores(request.work) as stores:
        meter = _meters(stores)[0]
        live = LiveUsage(_open(stores, "bounded"))
        names = subject_names(_asked(request.workload)).to_pylist()
        start, end = to_micros(MONTH_STARTS[2]), to_micros(MONTH_STARTS[3])
        keys = [LiveKey(meter, (name,), start, end) for name in names]
        live.read([LiveKey(meter, (names[0],), start, end - 1)], at_micros=end - 1)
        first, again, read = [], [], []
        for key in keys:
            began = time.perf_counter()
            live.read([key], at_micros=end - 1)
            counted = time.perf_counter()
            readings, _ = live.read([key], at_micros=end - 1)
            first.append(counted - began)
            again.append(time.perf_counter() - counted)
            read.append(str(readings[0]))
        for kind, seconds in (("first asked", first), ("asked again", again)):
            p50, p99 = (1000 * float(np.quantile(seconds, part)) for part in (0.5, 0.99))
            figures = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"
            print(f"{request.case}: usage of one contract, {kind}: {figures}", flush=True)
        return measured(
            request, (sum(first),), exact=True, hash_result=lambda: _hash_texts(read), rows=len(keys)
        )


def run_gate_memory(request: CaseRequest) -> Measured:
    """The gate with all identities in memory: see ``_run_gate``."""
    return _run_gate(request, "memory")


def run_gate_bounded(request: CaseRequest) -> Measured:
    """The gate with bounded memory: see ``_run_gate``."""
    return _run_gate(request, "bounded")


def _run_gate(request: CaseRequest, kind: GateKind) -> Measured:
    """Read the gate from a store with all events, which is what is timed; then classify 100,000 identities,
    of which 3 % are known, and say what that takes and how much memory the gate has. rows: identities."""
    workload = request.workload
    with open_stores(request.work) as stores:
        key = identity_key(stores.events)
        settings = IngestSettings(gate=kind)
        began = time.perf_counter()
        gate = open_gate(stores.events, settings)
        seconds = time.perf_counter() - began
        identities, body_hashes = _looked_up(workload, key)
        gate.classify(identities, body_hashes)
        began = time.perf_counter()
        outcomes = gate.classify(identities, body_hashes)
        classified = time.perf_counter() - began
        held = f"{gate.bytes_held / 1e6:,.1f} MB, {gate.bytes_held / gate.count:.1f} bytes each"
        print(
            f"{request.case}: the {kind} gate of {gate.count:,} identities holds {held}; "
            f"{len(outcomes):,} looked up in {1000 * classified:.1f} ms",
            flush=True,
        )
        counts = [int((outcomes == outcome).sum()) for outcome in (NEW, DUPLICATE, CONFLICT)]
        return measured(
            request,
            (seconds,),
            exact=True,
            hash_result=lambda: gate_hash(gate.count, counts),
            rows=gate.count,
        )


def gate_hash(identities: int, counts: list[int]) -> str:
    """The result of a ``gate`` case. counts: how many of those looked up are NEW, DUPLICATE and CONFLICT."""
    return _hash_texts([f"{identities} identities", f"{counts} new, duplicate, conflict"])


def _looked_up(workload: Workload, key: bytes) -> tuple[Words, Words]:
    """Identities of events that were never sent, and of 3 % that were."""
    unknown = np.arange(workload.events, workload.events + LOOKED_UP_ROWS * 97 // 100, dtype=np.int64)
    resends = np.arange(LOOKED_UP_ROWS * 3 // 100, dtype=np.uint64)
    known = draw(workload.seed, _RESENT, resends) % np.uint64(workload.events)
    events = event_table(workload, np.concatenate([unknown, known.astype(np.int64)]))
    return hash_events(events, time_given=np.ones(events.num_rows, np.bool_), key=key)


def _open(stores: Stores, kind: GateKind) -> IngestContext:
    meters = _meters(stores)
    return open_ingest(stores.events, meters=lambda: meters, settings=IngestSettings(gate=kind))


def _meters(stores: Stores) -> tuple[Meter, ...]:
    """The meters of the first eight event types."""
    chosen = set(EVENT_TYPES[:METERS])
    return tuple(meter for meter in list_meters(stores.ledger) if meter.event_type in chosen)


def _calendar(workload: Workload, month: int | None = None) -> pa.Table:
    """Every contract's subject in one month, or in all three."""
    months = range(len(MONTH_STARTS) - 1) if month is None else [month]
    subjects = subject_names(np.arange(workload.contracts, dtype=np.int64))
    tables = []
    for place, number in enumerate(months):
        keys = np.arange(workload.contracts, dtype=np.uint32) + np.uint32(place * workload.contracts)
        bounds: list[Any] = [
            pa.array([MONTH_STARTS[at]] * workload.contracts, CALENDAR_SCHEMA.field(name).type)
            for at, name in ((number, "period_start"), (number + 1, "period_end"))
        ]
        named = {"period_key": pa.array(keys), "subject": subjects}
        named |= {"period_start": bounds[0], "period_end": bounds[1]}
        tables.append(pa.table([named[name] for name in CALENDAR_SCHEMA.names], schema=CALENDAR_SCHEMA))
    return pa.concat_tables(tables)


def _asked(workload: Workload) -> Int64s:
    """Contracts spread over all sizes, the same for every N."""
    asked: Int64s = np.linspace(0, workload.contracts - 1, ASKED_CONTRACTS).astype(np.int64)
    return np.unique(asked)


def _hash_texts(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
