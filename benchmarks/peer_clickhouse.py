"""The plain ClickHouse peer: what a good team writes with the same engine and SQL alone.

Events go into a ReplacingMergeTree ordered by (subject, type, hash of the id) and are read WITH
FINAL, so a resend counts once. Tiers are arrays, priced by arrayMap in Decimal256 (Decimal128
products wrap without an error), and lines go into a MergeTree. Its tables keep ClickHouse's
default of no fsync; Ratemill's have it on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.dataset import CONTRACTS_PARQUET, EVENTS_NDJSON, EVENTS_PARQUET, TIERS_PARQUET
from benchmarks.request import (
    CaseRequest,
    Measured,
    batch_records,
    measured,
    single_events,
    time_repeatedly,
)
from benchmarks.result import lines_hash, usage_hash
from ingest.clickhouse import EventStore, default_events_url

SINGLES_SHARE: Final = 20
"""Inserting events one by one is so slow that a twentieth of them shows it."""
_BODY_BYTES: Final = 32 * 1024 * 1024

_EVENT_COLUMNS: Final = """
    source     LowCardinality(String),
    id         String CODEC(ZSTD(1)),
    type       LowCardinality(String),
    subject    LowCardinality(String),
    time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    value      Decimal(38, 12) CODEC(ZSTD(1)),
    properties Map(LowCardinality(String), LowCardinality(String))
"""

_PLAIN_TABLE: Final = "ENGINE = MergeTree ORDER BY (type, subject, time)"
"""The order of Ratemill's events table."""

_SETUP: Final = f"""
CREATE TABLE events (
    {_EVENT_COLUMNS},
    identity UInt128 MATERIALIZED reinterpretAsUInt128(sipHash128(source, id))
) ENGINE = ReplacingMergeTree ORDER BY (subject, type, identity);
CREATE TABLE contracts (
    contract_id String, subject LowCardinality(String), plan_id LowCardinality(String)
) ENGINE = MergeTree ORDER BY subject;
CREATE TABLE tiers (
    plan_id LowCardinality(String), meter_id LowCardinality(String), minor_digits UInt8, tier UInt8,
    lower Decimal(18, 6), upper Nullable(Decimal(18, 6)), unit_price Decimal(18, 8)
) ENGINE = MergeTree ORDER BY (plan_id, meter_id, tier);
CREATE TABLE lines (
    contract_id String, meter_id LowCardinality(String), period_start DateTime64(6, 'UTC'),
    quantity Decimal(38, 12) CODEC(ZSTD(1)), event_count UInt64,
    amount Decimal(76, 20) CODEC(ZSTD(1)), amount_minor Int64
) ENGINE = MergeTree ORDER BY (contract_id, meter_id, period_start)
"""

USAGE: Final = """
SELECT subject, type AS meter_id, toStartOfMonth(time, 'UTC') AS period_start,
       sum(value) AS quantity, count() AS event_count
FROM events FINAL
WHERE time >= '{time_from}' AND time < '{time_to}'
GROUP BY subject, type, period_start
"""

TIER_ARRAYS: Final = """
SELECT plan_id, meter_id, any(minor_digits) AS minor_digits,
       groupArray(toDecimal128(lower, 12)) AS lowers,
       groupArray(ifNull(toDecimal128(upper, 12), toDecimal128('99999999999999999999', 12))) AS uppers,
       groupArray(toDecimal256(unit_price, 8)) AS prices
FROM (SELECT * FROM tiers ORDER BY plan_id, meter_id, tier) GROUP BY plan_id, meter_id
"""

AMOUNT: Final = """
arraySum(arrayMap(
    (low, high, price) -> greatest(least(u.quantity, high) - low, toDecimal128(0, 12)) * price,
    t.lowers, t.uppers, t.prices))
"""
AMOUNT_MINOR: Final = "toInt64(round(amount * toDecimal256(intExp10(minor_digits), 0), 0))"

_LINES: Final = f"""
INSERT INTO lines
SELECT contract_id, meter_id, period_start, quantity, event_count, amount, {AMOUNT_MINOR} AS amount_minor
FROM (
    SELECT c.contract_id AS contract_id, u.meter_id AS meter_id, u.period_start AS period_start,
           u.quantity AS quantity, u.event_count AS event_count, t.minor_digits AS minor_digits,
           {AMOUNT} AS amount
    FROM ({USAGE}) AS u
    INNER JOIN contracts AS c ON c.subject = u.subject
    INNER JOIN ({TIER_ARRAYS}) AS t ON t.plan_id = c.plan_id AND t.meter_id = u.meter_id
)
"""


def load_job(request: CaseRequest) -> None:
    """Fill the tables in blocks of the file's row groups, then let running merges end. Not timed."""
    with peer_store(request) as store:
        for statement in _SETUP.split(";"):
            store.command(statement)
        _insert_parquet(store, request)
        store.insert("contracts", pq.read_table(request.data / CONTRACTS_PARQUET))
        store.insert("tiers", pq.read_table(request.data / TIERS_PARQUET))
        wait_for_merges(store)


def run_bare_job(request: CaseRequest) -> Measured:
    """Stored events to stored lines of seven columns."""
    with peer_store(request) as store:
        seconds = time_repeatedly(
            request,
            lambda: store.command(with_span(_LINES, request)),
            lambda: store.command("TRUNCATE TABLE lines"),
        )
        lines = "SELECT contract_id, meter_id, period_start, amount_minor FROM lines"
        return measured(request, seconds, exact=True, hash_result=lambda: lines_hash(store.query(lines)))


def load_once(request: CaseRequest) -> None:
    """The same events in a plain table in the order of Ratemill's, each once: resends are dropped here and
    not in the query. Not timed."""
    load_job(request)
    with peer_store(request) as store:
        store.command(f"CREATE TABLE events_once ({_EVENT_COLUMNS}) {_PLAIN_TABLE}")
        columns = "source, id, type, subject, time, value, properties"
        store.command(f"INSERT INTO events_once SELECT {columns} FROM events FINAL")
        wait_for_merges(store)


def run_rollup(request: CaseRequest) -> Measured:
    """Stored events to an Arrow table of usage in this process."""
    return _run_rollup(request, USAGE)


def run_rollup_once(request: CaseRequest) -> Measured:
    """The same of rows that are there once: a scan and a GROUP BY."""
    return _run_rollup(request, USAGE.replace("events FINAL", "events_once"))


def _run_rollup(request: CaseRequest, usage: str) -> Measured:
    found: dict[str, pa.Table] = {}
    with peer_store(request) as store:

        def job() -> None:
            found["usage"] = store.query(with_span(usage, request))

        seconds = time_repeatedly(request, job, found.clear)
        return measured(request, seconds, exact=True, hash_result=lambda: usage_hash(found["usage"]))


def load_ingest(request: CaseRequest) -> None:
    """An empty MergeTree in the order of Ratemill's events table, without ids hashed. Not timed."""
    with peer_store(request) as store:
        store.command(f"CREATE TABLE events ({_EVENT_COLUMNS}) {_PLAIN_TABLE}")


def run_parquet(request: CaseRequest) -> Measured:
    """Parquet row groups straight in: no check, no identity, no answer per record."""
    return _run_ingest(request, _insert_parquet)


def run_ndjson(request: CaseRequest) -> Measured:
    """NDJSON straight in as JSONEachRow, in bodies of about 32 MiB."""
    return _run_ingest(request, _insert_ndjson)


def run_batches(request: CaseRequest) -> Measured:
    """The same bodies, one insert each, from two threads and without HTTP."""
    return _run_ingest(request, lambda store, _: _insert_bodies(store, request, batch_records(request), None))


def run_singles(request: CaseRequest) -> Measured:
    """One insert an event, without HTTP: what a table costs that nothing gathers events for."""
    events = single_events(request) // SINGLES_SHARE
    return _run_ingest(request, lambda store, _: _insert_bodies(store, request, 1, events), rows=events)


def _run_ingest(
    request: CaseRequest, insert: Callable[[EventStore, CaseRequest], None], *, rows: int | None = None
) -> Measured:
    with peer_store(request) as store:
        seconds = time_repeatedly(
            request, lambda: insert(store, request), lambda: store.command("TRUNCATE TABLE events")
        )
        return measured(
            request,
            seconds,
            exact=False,
            hash_result=lambda: lines_hash(store.query(EVENT_COUNTS)),
            rows=rows,
        )


EVENT_COUNTS: Final = """
SELECT '' AS contract_id, type AS meter_id, toDate32('2025-01-01') AS period_start,
       toInt64(count()) AS amount_minor
FROM events GROUP BY type
"""


def wait_for_merges(store: EventStore, *, seconds_max: float = 60.0) -> None:
    """Wait until the background merges that inserts started have ended, so that none is timed."""
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        if store.command("SELECT count() FROM system.merges") == 0:
            return
        time.sleep(0.2)


def _insert_parquet(store: EventStore, request: CaseRequest) -> None:
    file = pq.ParquetFile(request.data / EVENTS_PARQUET)
    for group in range(file.num_row_groups):
        store.insert("events", file.read_row_group(group))


def _insert_ndjson(store: EventStore, request: CaseRequest) -> None:
    with (request.data / EVENTS_NDJSON).open("rb") as file:
        while lines := file.readlines(_BODY_BYTES):
            _insert_body(store, b"".join(lines))


def _insert_bodies(store: EventStore, request: CaseRequest, records: int, records_max: int | None) -> None:
    with (request.data / EVENTS_NDJSON).open("rb") as file, ThreadPoolExecutor(2) as pool:
        lines = islice(file, records_max)
        bodies = iter(lambda: b"".join(islice(lines, records)), b"")
        for inserts in iter(lambda: list(islice(bodies, 8)), []):
            list(pool.map(lambda body: _insert_body(store, body), inserts))


def _insert_body(store: EventStore, body: bytes) -> None:
    columns = ["source", "id", "type", "subject", "time", "value", "properties"]
    settings = {"date_time_input_format": "best_effort"}
    store.client().raw_insert("events", columns, insert_block=body, settings=settings, fmt="JSONEachRow")


@contextmanager
def peer_store(request: CaseRequest) -> Iterator[EventStore]:
    """The peer's tables, open; the engine is the same as Ratemill's, the tables are not."""
    store = EventStore(default_events_url(request.work))
    try:
        yield store
    finally:
        store.close()


def with_span(sql: str, request: CaseRequest) -> str:
    """The statement with the billed months put in."""
    return sql.format(
        time_from=f"{request.time_from:%Y-%m-%d %H:%M:%S}", time_to=f"{request.time_to:%Y-%m-%d %H:%M:%S}"
    )
