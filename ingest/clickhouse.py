"""Opens the event store: chDB in a folder, or a ClickHouse server. The only driver import.

``EventStore`` is a thin face over clickhouse-connect: Arrow in, Arrow out, one client a thread.
A client is serialised by a lock inside the driver, so threads must not share one (measured: two
queries on two handles 2.8 s, on one 4.1 s).

chDB allows one engine a process and one process a folder. Who comes second gets
``StoreUnavailable`` with the way out, and nothing is touched.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.exceptions import ClickHouseError

from ingest.arrow_file import arrow_file
from ingest.asked_events import AskedEvents
from ingest.cluster_schema import CLUSTER_SETTINGS, Cluster, local_table
from ingest.errors import StoreUnavailable
from ingest.event_migrations import migrate_event_store
from ingest.inserts import Inserts
from ingest.lander import Lander
from ingest.store_url import EMBEDDED_SCHEME, lock_folder, log_folder, shown_url

_ARROW_SETTINGS: Final = {"output_format_arrow_compression_method": "none"}
"""LZ4, the default, costs a tenth of a roll-up's processor time and saves nothing on one machine."""
_EMBEDDED_ARROW_SETTINGS: Final = {**_ARROW_SETTINGS, "output_format_arrow_string_as_string": "1"}
"""Set once a connection: with a query, the driver sets and restores them, 3 ms of the 4 of a small one."""
_SERVER_INSERT_SETTINGS: Final = {
    "async_insert": "0",
    "min_insert_block_size_rows": "10000000",
    "min_insert_block_size_bytes": "0",
}
"""What keeps an insert over HTTP one block. A server would gather rows of several inserts, and cut one
of more than 256 MB in two, of which a crash can leave the first."""
_ONE_BLOCK: Final = {name: value for name, value in _SERVER_INSERT_SETTINGS.items() if "block" in name}
_WHOLE_TABLE: Final = {
    "max_threads": "1",
    "max_block_size": "10000000",
    "preferred_block_size_bytes": "10000000000",
}
"""What makes the engine take a table of ours in one piece, so that it need not put pieces together."""
_UNKNOWN_DATABASE: Final = 81
_KEYS_PER_DELETE: Final = 10_000


class Writing(Protocol):
    """What says whether this process may write to the store."""

    def claim(self) -> int:
        """The number of this process's turn at writing. Raises StoreUnavailable when it is another's."""
        ...


class OnlyWriter:
    """Writing where nobody else can: the folder is locked, or there is no other process."""

    def claim(self) -> int:
        return 0


class EventStore:
    """Events, rated lines and all that analysts read. Every method may be called from any thread.

    url: ``chdb:///absolute/folder`` for the embedded engine, or ``http(s)://user:password@host:port/database``.
    cluster: the name of the cluster whose machine the URL names; None for a server on its own.
    writing: asked before every write. Who shares a server with other processes puts a lease here.
    lander: what brings in the events of the log in front of the embedded engine; a server has none. Reads
    wait for what was acknowledged before them. reader: a thread for reading ahead, with a client of its own.
    """

    def __init__(self, url: str, cluster: str | None = None) -> None:
        self.url = url
        self.cluster = _cluster(url, cluster)
        self._per_thread = threading.local()
        self._clients: list[Any] = []
        self._clients_lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="event-store")
        self.reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-store-reader")
        self._folder_lock = lock_folder(url)
        self.writing: Writing = OnlyWriter()
        self.lander = Lander(self, log_folder(url)) if self.embedded else None

    @property
    def embedded(self) -> bool:
        """Whether the engine is in this process."""
        return self.url.startswith(EMBEDDED_SCHEME)

    def turn(self) -> int | None:
        """The number of this process's turn at writing; None when another process writes."""
        try:
            return self.writing.claim()
        except StoreUnavailable:
            return None

    def client(self) -> Any:
        """This thread's own driver client."""
        client = getattr(self._per_thread, "client", None)
        if client is None:
            client = _connect(self.url, CLUSTER_SETTINGS if self.cluster else None)
            self._per_thread.client = client
            with self._clients_lock:
                self._clients.append(client)
        return client

    def settle(self) -> None:
        """Wait until every acknowledged event is in the engine. Raises StoreUnavailable when it refuses."""
        if self.lander is not None:
            self.lander.settle()

    @contextmanager
    def one_question(self, asked: AskedEvents) -> Iterator[None]:
        """Statements of this thread inside the block see every event that is ``asked`` and was acknowledged
        before; of others, and of what comes in meanwhile, what is in the engine. Elsewhere each statement
        waits for all events that wait in the log.

        Raises StoreUnavailable when the engine refuses them.
        """
        before: AskedEvents | None = self._in_question
        if before is not None and before.covers(asked):
            yield
            return
        if self.lander is not None:
            self.lander.settle(asked)
        self._per_thread.asked = asked
        try:
            yield
        finally:
            self._per_thread.asked = before

    @property
    def _in_question(self) -> AskedEvents | None:
        return getattr(self._per_thread, "asked", None)

    def _settle_unasked(self) -> None:
        if self._in_question is None:
            self.settle()

    def last_sequence(self) -> int:
        """The number of the last event in the engine, 0 for none."""
        return int(self.client().command("SELECT max(sequence) FROM events"))

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Run a statement that answers at most one value."""
        self._settle_unasked()
        return self.client().command(sql, parameters=parameters)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run a SELECT; strings come back as Arrow strings, decimals as decimal128."""
        self._settle_unasked()
        if self.embedded:
            answer = self.client().raw_query(sql, parameters=dict(parameters or {}), fmt="Arrow")
            return pa.ipc.open_file(pa.BufferReader(answer)).read_all()
        return self.client().query_arrow(
            sql, parameters=parameters, use_strings=True, settings=_ARROW_SETTINGS
        )

    def insert(
        self,
        table: str,
        rows: pa.Table,
        *,
        token: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Append ``rows`` as one block: all of it or nothing, on disk when this returns.

        ``token`` makes a repeated insert of the same block a no-op (in tables with a deduplication window).
        ``rows``: under 500,000, to stay one block. Raises StoreUnavailable when another process writes.
        """
        self.writing.claim()
        chosen = {**(settings or {}), **({"insert_deduplication_token": token} if token else {})}
        if self.embedded:
            _insert_file(self.client(), table, rows, chosen)
        else:
            self.client().insert_arrow(table, rows, settings={**_SERVER_INSERT_SETTINGS, **chosen})

    def start_inserts(
        self, table: str, blocks: Iterable[pa.Table], *, settings: Mapping[str, str] | None = None
    ) -> Inserts:
        """Begin to append several blocks, two at a time; each is all or nothing. The caller goes on and
        must ``wait`` for them.

        blocks: no column may hold nulls, and rows as for ``insert``.
        """
        inserts = [self._pool.submit(self._append, table, block, settings) for block in blocks]
        return Inserts(tuple(inserts))

    def _append(self, table: str, rows: pa.Table, settings: Mapping[str, str] | None) -> None:
        if self.embedded:
            self.writing.claim()
            _insert_memory(self.client(), table, rows, settings or {})
        else:
            self.insert(table, rows, settings=settings)

    def export(self, sql: str, parameters: Mapping[str, Any] | None = None) -> bytes:
        """The answer of a SELECT in the engine's own format, whole in memory."""
        self._settle_unasked()
        rows: bytes = self.client().raw_query(sql, parameters=dict(parameters or {}), fmt="Native")
        return rows

    def insert_exported(self, table: str, columns: Sequence[str], rows: bytes) -> None:
        """Append what ``export`` gave of a table of the same shape, as ``insert`` does.

        A block like an earlier one is not dropped: it may have been deleted in between.
        """
        self.writing.claim()
        one_block = _ONE_BLOCK if self.embedded else _SERVER_INSERT_SETTINGS
        settings = {**one_block, "insert_deduplication_token": uuid4().hex}
        self.client().raw_insert(table, list(columns), rows, settings=settings, fmt="Native")

    def delete(self, table: str, condition: str, *, key: str) -> None:
        """Delete the rows that meet the condition, gone for every reader when this returns.

        key: a String expression that names a row. A cluster's machines do not all see what the condition
        asks, so there the keys are read first. Raises StoreUnavailable when another process writes.
        """
        self.writing.claim()
        if self.cluster is None:
            self.command(f"DELETE FROM {table} WHERE {condition}")
            return
        keys = self.query(f"SELECT DISTINCT {key} AS name FROM {table} WHERE {condition}")["name"].to_pylist()
        for start in range(0, len(keys), _KEYS_PER_DELETE):
            named = ", ".join(f"'{name}'" for name in keys[start : start + _KEYS_PER_DELETE])
            self.command(f"DELETE FROM {local_table(table, self.cluster)} WHERE {key} IN ({named})")

    @contextmanager
    def scratch_table(self, columns_sql: str, rows: pa.Table) -> Iterator[str]:
        """A table in memory holding ``rows`` while the block runs; yields its name."""
        name = f"scratch_{uuid4().hex}"
        self.command(f"CREATE TABLE {name} ({columns_sql}) ENGINE = Memory")
        try:
            settings = None if self.embedded else _SERVER_INSERT_SETTINGS
            self.client().insert_arrow(name, rows, settings=settings)
            yield name
        finally:
            self.command(f"DROP TABLE {name}")

    def close(self) -> None:
        """Insert what is in the log, then close every thread's client. The store is unusable afterwards."""
        if self.lander is not None:
            self.lander.close()
        self._pool.shutdown()
        self.reader.shutdown()
        with self._clients_lock:
            for client in self._clients:
                client.close()
            self._clients.clear()
        self._per_thread = threading.local()
        if self._folder_lock is not None:
            os.close(self._folder_lock)
            self._folder_lock = None


def open_event_store(url: str, cluster: str | None = None) -> EventStore:
    """Open (and on first use create) the event store and bring its tables up to date.

    Raises StoreUnavailable when the folder is in use by another process or the server does not
    answer, BrokenState when the store was written by a newer Ratemill.
    """
    store = EventStore(url, cluster)
    try:
        _create_database(store)
        _drop_scratch_tables(store)
        migrate_event_store(store)
        if store.lander is not None:
            store.lander.recover()
    except ClickHouseError as error:
        store.close()
        raise _explain(url, error) from error
    except BaseException:
        store.close()
        raise
    return store


def _cluster(url: str, name: str | None) -> Cluster | None:
    if name is None:
        return None
    database = urlsplit(url).path.strip("/")
    if url.startswith(EMBEDDED_SCHEME) or not re.fullmatch(r"\w+", database):
        raise StoreUnavailable(
            f"RATEMILL_EVENTS_CLUSTER is {name!r} and RATEMILL_EVENTS_URL is {shown_url(url)}; a cluster "
            "needs http(s)://HOST/DATABASE, the database named by letters, digits and _."
        )
    return Cluster(name, database)


def _connect(url: str, settings: Mapping[str, str] | None = None) -> Any:
    parts = urlsplit(url)
    try:
        if parts.scheme == EMBEDDED_SCHEME:
            client = clickhouse_connect.get_client(interface="chdb", path=parts.path)
            for name, value in _EMBEDDED_ARROW_SETTINGS.items():
                client.command(f"SET {name} = '{value}'")
            return client
        if parts.scheme in ("http", "https"):
            return clickhouse_connect.get_client(
                dsn=url, autogenerate_session_id=False, settings=dict(settings or {})
            )
    except ClickHouseError as error:
        raise _explain(url, error) from error
    except OSError as error:
        raise StoreUnavailable(f"the event store at {shown_url(url)} cannot be opened: {error}") from error
    raise StoreUnavailable(
        f"RATEMILL_EVENTS_URL is {shown_url(url)!r}; it must start with chdb:///FOLDER or http(s)://HOST."
    )


def _insert_memory(client: Any, table: str, rows: pa.Table, settings: Mapping[str, str]) -> None:
    # The engine finds the variable of that name in this frame and reads the rows where they are: 1.6 M rated
    # lines take 0.9 s of processor time, 1.15 s through a file. Nulls would not become defaults of columns.
    rows_of_this_insert = rows.combine_chunks()
    columns = ", ".join(f"`{name}`" for name in rows_of_this_insert.schema.names)
    chosen = {**_ONE_BLOCK, **_WHOLE_TABLE, **settings}
    clause = ", ".join(f"{name} = '{value}'" for name, value in chosen.items())
    client.command(
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM Python(rows_of_this_insert) SETTINGS {clause}"
    )


def _insert_file(client: Any, table: str, rows: pa.Table, settings: Mapping[str, str]) -> None:
    # The driver's insert_arrow does the same with two more copies of the block in memory, in twice the time.
    with arrow_file(rows) as path:
        columns = ", ".join(f"`{name}`" for name in rows.schema.names)
        clause = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
        client.command(
            f"INSERT INTO {table} ({columns}) FROM INFILE '{path}'"
            f"{' SETTINGS ' + clause if clause else ''} FORMAT Arrow"
        )


def _explain(url: str, error: Exception) -> StoreUnavailable:
    text = str(error)
    password = urlsplit(url).password
    if password:
        text = text.replace(password, "***")
    url = shown_url(url)
    if "already initialized" in text:
        return StoreUnavailable(
            f"this process has another event store open; chDB allows one folder a process ({url})."
        )
    return StoreUnavailable(f"the event store at {url} did not answer: {text[:500]}")


def _create_database(store: EventStore) -> None:
    """Make the database that a server's URL names when it is not there yet."""
    database = urlsplit(store.url).path.strip("/")
    if store.embedded or not database:
        return
    try:
        store.client()
    except StoreUnavailable as error:
        if getattr(error.__cause__, "code", None) != _UNKNOWN_DATABASE:
            raise
        client = _connect(urlsplit(store.url)._replace(path="").geturl())
        everywhere = f" ON CLUSTER '{store.cluster.name}'" if store.cluster else ""
        client.command(f"CREATE DATABASE IF NOT EXISTS {quote_identifier(database)}{everywhere}")
        client.close()


def _drop_scratch_tables(store: EventStore) -> None:
    """Forget the scratch tables of processes that were killed: those of a folder all are; on a server
    the others may belong to a run that is alive, which none is for a day."""
    names = store.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, 'scratch_') "
        f"AND {'1' if store.embedded else 'metadata_modification_time < now() - INTERVAL 1 DAY'}"
    )["name"].to_pylist()
    for name in names:
        store.command(f"DROP TABLE IF EXISTS {name}")


def default_events_url(data_folder: str | os.PathLike[str]) -> str:
    """The URL of the embedded event store inside a data folder."""
    return f"{EMBEDDED_SCHEME}://{Path(data_folder).resolve() / 'events'}"
