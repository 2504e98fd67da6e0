"""Ratemill: files and tables through the gate, each record checked, identified and answered for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.dataset import EVENTS_NDJSON, EVENTS_PARQUET
from benchmarks.ours_stores import NOW, Stores, ingest_context, open_stores, save_meters
from benchmarks.peer_clickhouse import EVENT_COUNTS
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from benchmarks.result import lines_hash
from ingest.load import ingest_table
from ingest.load_file import ingest_file
from ingest.settings import GateKind


def load_ingest(request: CaseRequest) -> None:
    """Empty stores with the meters. Not timed."""
    with open_stores(request.work) as stores:
        save_meters(stores)


def run_parquet(request: CaseRequest) -> Measured:
    """``ingest_file`` of the Parquet file."""
    return _run(request, lambda stores: _file(stores, request.data / EVENTS_PARQUET))


def run_ndjson(request: CaseRequest) -> Measured:
    """``ingest_file`` of the NDJSON file."""
    return _run(request, lambda stores: _file(stores, request.data / EVENTS_NDJSON))


def run_arrow(request: CaseRequest) -> Measured:
    """``ingest_table`` of Arrow tables of a row group each."""
    return _run_arrow(request, "memory")


def run_gate_bounded(request: CaseRequest) -> Measured:
    """The same through the gate with bounded memory."""
    return _run_arrow(request, "bounded")


def _run_arrow(request: CaseRequest, gate: GateKind) -> Measured:
    def job(stores: Stores) -> None:
        ingest = ingest_context(stores, gate)
        file = pq.ParquetFile(request.data / EVENTS_PARQUET)
        for group in range(file.num_row_groups):
            ingest_table(file.read_row_group(group), received_at=NOW, ingest=ingest)

    return _run(request, job)


def _file(stores: Stores, path: Path) -> None:
    ingest_file(path, received_at=NOW, ingest=ingest_context(stores), progress=lambda _done, _all: None)


def _run(request: CaseRequest, job: Callable[[Stores], None]) -> Measured:
    with open_stores(request.work) as stores:
        seconds = time_repeatedly(
            request, lambda: job(stores), lambda: stores.events.command("TRUNCATE TABLE events")
        )
        return measured(
            request, seconds, exact=True, hash_result=lambda: lines_hash(stores.events.query(EVENT_COUNTS))
        )
