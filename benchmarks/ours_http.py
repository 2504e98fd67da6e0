"""Ratemill over HTTP: the whole server in this process, the sender in another, on the same machine.

Every answer comes after its events are on disk; duplicates are found, records checked and answered for.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import orjson

from api.private import serving
from api.settings import Settings
from api.state import Ratemill, compose
from api.warm_up import keep_for_good
from benchmarks.dataset import EVENTS_NDJSON
from benchmarks.http_load import LoadResult
from benchmarks.ours_stores import open_stores
from benchmarks.peer_clickhouse import EVENT_COUNTS
from benchmarks.request import CaseRequest, Measured, batch_records, measured, single_events
from benchmarks.result import lines_hash
from ingest.clock import SystemClock

ROOT: Final = Path(__file__).resolve().parent.parent
BATCH_CONNECTIONS: Final = 8
SINGLE_CONNECTIONS: Final = 64


def run_http_batches(request: CaseRequest) -> Measured:
    """Bodies of 10,000 NDJSON records over 8 connections."""
    return _run(request, BATCH_CONNECTIONS, batch_records(request), request.workload.events_sent)


def run_http_singles(request: CaseRequest) -> Measured:
    """One event a request over 64 connections, the first 20,000."""
    return _run(request, SINGLE_CONNECTIONS, 1, single_events(request))


def _run(request: CaseRequest, connections: int, records_a_request: int, records_max: int) -> Measured:
    seconds = []
    with open_stores(request.work) as stores:
        for repetition in range(request.repeat + 1):
            stores.events.command("TRUNCATE TABLE events")
            state = compose(Settings(data=request.work), SystemClock(), stores.events, stores.ledger)
            keep_for_good()  # as the server does
            try:
                done = _load(state, request, connections, records_a_request, records_max)
            finally:
                state.group_commit.close()
            if repetition:  # the first fills caches and does not count
                seconds.append(done.seconds)
                print(
                    f"{request.case}: {done.records / done.seconds:,.0f} events/s over {connections} "
                    f"connections, {records_a_request:,} a request: p50 {done.p50_ms} ms, p99 {done.p99_ms} "
                    f"ms; a usage query meanwhile: p50 {done.query_p50_ms} ms, p99 {done.query_p99_ms} ms",
                    flush=True,
                )
        return measured(
            request,
            tuple(seconds),
            exact=True,
            hash_result=lambda: lines_hash(stores.events.query(EVENT_COUNTS)),
            rows=records_max,
        )


def _load(
    state: Ratemill, request: CaseRequest, connections: int, records_a_request: int, records_max: int
) -> LoadResult:
    key = state.keys.grant_in_memory("benchmark", ["ingest", "read"])
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener, serving(state, listener):
        port = listener.getsockname()[1]
        path = request.data / EVENTS_NDJSON
        arguments = [port, key, path, connections, records_a_request, records_max]
        command = [sys.executable, "-m", "benchmarks.http_load", *map(str, arguments)]
        sent = subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return LoadResult(**orjson.loads(sent.stdout))
