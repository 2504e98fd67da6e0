"""Opens the ledger: SQLite (WAL) in a folder, or PostgreSQL. The only place that builds its engine.

The ledger holds what must be transactional and small: meters, price plans, contracts, customers,
invoices, number series, billing runs, API keys. Tables are declared beside the code that owns them
(``rating/tables.py``, ``invoicing/tables.py`` ...) on the one ``LEDGER`` metadata below; migrations
are Alembic scripts in ``ingest/migrations/ledger`` and are applied at start.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from ingest.errors import BrokenState, StoreUnavailable
from ingest.turnstile import turnstile

LEDGER: Final = MetaData()
MIGRATIONS: Final = Path(__file__).parent / "migrations" / "ledger"
BUSY_TIMEOUT_MS: Final = 30_000
_PRIMARY_CODE: Final = 0xFF
"""SQLite's further codes say more in the bits above."""
_SHORT_WAIT_SECONDS: Final = 1.0
"""Of which BUSY_TIMEOUT_MS takes no notice."""
PAGE_BYTES: Final = 8_192
"""Of a ledger made new: invoices of 8 kB and indexes of hashes take a sixth less processor time than with
SQLite's 4,096."""
_BULK_CACHE_KB: Final = 65_536
_CACHE_KB: Final = 2_000
"""SQLite's own. Every connection of the pool keeps what it may."""


def open_ledger(url: str) -> Engine:
    """Open (and on first use create) the ledger and bring its tables up to date.

    url: a SQLAlchemy URL, ``sqlite:////absolute/file`` or ``postgresql+psycopg://...``.
    Raises StoreUnavailable when it cannot be reached.
    """
    try:
        engine = _build_engine(url)
        migrate_ledger(engine)
    except (DBAPIError, OSError) as error:
        shown = make_url(url).render_as_string(hide_password=True)
        raise StoreUnavailable(f"the ledger at {shown} cannot be opened: {error}") from error
    return engine


def migrate_ledger(engine: Engine) -> None:
    """Apply the Alembic migrations that are missing, all of them or none; of processes that open a ledger at
    the same time one does. Raises BrokenState for a ledger of a newer version."""
    with engine.connect() as connection:
        if _is_current(connection):
            return
    with ledger_transaction(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7283004)"))
        if _is_current(connection):
            return
        config = _migrations()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _is_current(connection: Connection) -> bool:
    scripts = _scripts()
    heads = set(MigrationContext.configure(connection).get_current_heads())
    if heads == set(scripts.get_heads()):
        return True
    _refuse_newer(connection, scripts, heads)
    return False


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


@cache
def _scripts() -> ScriptDirectory:
    """Read once: to see that a ledger is up to date takes a question then, not all migrations."""
    return ScriptDirectory.from_config(_migrations())


def _refuse_newer(connection: Connection, scripts: ScriptDirectory, heads: set[str]) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    unknown = sorted(heads - known)
    if unknown:
        raise BrokenState(
            f"the ledger at {connection.engine.url.render_as_string(hide_password=True)} has migration "
            f"{', '.join(unknown)}, which this version of Ratemill does not know. Install the newer version "
            "that wrote it."
        )


@contextmanager
def ledger_transaction(engine: Engine) -> Iterator[Connection]:
    """One write transaction: all of it is on disk when the block ends, or nothing is.

    On SQLite it takes the write lock at once (BEGIN IMMEDIATE), so that two writers queue instead
    of failing half-way, and each begins in its turn. Raises StoreUnavailable (ledger_busy) when that has not
    come after BUSY_TIMEOUT_MS.
    """
    with engine.connect() as connection, _transaction(connection):
        yield connection


@contextmanager
def bulk_transaction(engine: Engine) -> Iterator[Connection]:
    """As ``ledger_transaction``, for one that writes thousands of rows: the pages of indexes it comes back to
    stay in memory until it ends, instead of being written and read again."""
    if engine.dialect.name != "sqlite":
        with ledger_transaction(engine) as connection:
            yield connection
        return
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA cache_size = -{_BULK_CACHE_KB}")
        try:
            with _transaction(connection):
                yield connection
        finally:
            connection.exec_driver_sql(f"PRAGMA cache_size = -{_CACHE_KB}")


@contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    if connection.dialect.name != "sqlite":
        with connection.begin():
            yield
        return
    _begin_in_turn(connection)
    try:
        yield
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def _begin_in_turn(connection: Connection) -> None:
    """Take SQLite's write lock after those who asked before.

    Who finds it taken asks again every tenth of a second, and a writer that commits and begins again at once
    takes it in between: beside one of 0.5 s a transaction another waited up to 20 s. So one waits inside
    BEGIN, the others in front of the turnstile, and who has committed stands behind them: 0.54 s. All of it
    takes BUSY_TIMEOUT_MS at most.
    """
    file = connection.engine.url.database
    if not file or file == ":memory:":  # nobody else can open it
        _begin(connection)
        return
    with turnstile(f"{file}.turn.lock") as waited_seconds:
        if waited_seconds < _SHORT_WAIT_SECONDS:
            _begin(connection)
            return
        left_ms = max(0, BUSY_TIMEOUT_MS - int(waited_seconds * 1000))
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {left_ms}")
        try:
            _begin(connection)
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def _begin(connection: Connection) -> None:
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
            raise
        raise StoreUnavailable(
            f"other transactions have been writing to the ledger for {BUSY_TIMEOUT_MS // 1000} s, so this "
            "one did not begin and nothing was changed. Send the same again.",
            reason_code="ledger_busy",
        ) from error


def lock_name(connection: Connection, name: str, *, shared: bool = False) -> None:
    """Until the transaction ends, nobody else gets past this with the same name: for what has no row yet that
    could be locked. shared: those who share it get past together, and keep out who does not. On SQLite
    writers queue anyway."""
    if connection.dialect.name != "postgresql":
        return
    digest = hashlib.blake2b(f"ratemill {name}".encode(), digest_size=8).digest()
    key = int.from_bytes(digest, "big", signed=True)
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    connection.execute(text(f"SELECT {function}(:key)"), {"key": key})


@contextmanager
def ledger_snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that reads the ledger as it was at one moment, however long the reading takes, and holds
    no writer up. Rows come as they are asked for (``yield_per``), not all at once."""
    with engine.connect() as plain:
        if engine.dialect.name == "sqlite":
            plain.exec_driver_sql("BEGIN")
            try:
                yield plain
            finally:
                plain.exec_driver_sql("ROLLBACK")
            return
        connection = plain.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def ledger_snapshots(engine: Engine, count: int) -> Iterator[tuple[Connection, ...]]:
    """As ``ledger_snapshot``, so many connections that all see the ledger as it was at the same moment, for
    threads that read it together."""
    with ExitStack() as opened:
        first = opened.enter_context(engine.connect())
        others = [opened.enter_context(engine.connect()) for _ in range(count - 1)]
        if engine.dialect.name == "sqlite":
            _begin_together(first, others)
            for connection in (first, *others):
                opened.callback(connection.exec_driver_sql, "ROLLBACK")
            yield (first, *others)
            return
        connections = [one.execution_options(isolation_level="REPEATABLE READ") for one in (first, *others)]
        for connection in connections:
            opened.enter_context(connection.begin())
        shared = connections[0].execute(text("SELECT pg_export_snapshot()")).scalar_one()
        for connection in connections[1:]:
            # No parameter can stand there; the name is PostgreSQL's own, of hexadecimal digits and dashes.
            connection.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{shared}'")
        yield tuple(connections)


def _begin_together(first: Connection, others: Sequence[Connection]) -> None:
    """Begin to read on SQLite connections, again until no commit came between the first and the last."""
    while True:
        before = first.exec_driver_sql("PRAGMA data_version").scalar_one()
        for connection in (*others, first):
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql(
                "SELECT 1 FROM sqlite_master LIMIT 1"
            ).all()  # from here on it is a snapshot
        if first.exec_driver_sql("PRAGMA data_version").scalar_one() == before:
            return
        for connection in (*others, first):
            connection.exec_driver_sql("ROLLBACK")


@contextmanager
def reading(ledger: Engine | Connection) -> Iterator[Connection]:
    """The connection that was given, to read in its transaction, or one for the time being."""
    if isinstance(ledger, Connection):
        yield ledger
        return
    with ledger.connect() as connection:
        yield connection


def default_ledger_url(data_folder: str | os.PathLike[str]) -> str:
    """The URL of the embedded ledger inside a data folder."""
    return f"sqlite:///{Path(data_folder).resolve() / 'ledger.sqlite'}"


def _build_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS // 1000})
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    return create_engine(url, pool_pre_ping=True)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are opened by hand, see ledger_transaction
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # a committed invoice survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.close()
