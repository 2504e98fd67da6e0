"""Fixtures every room's tests share: real stores, made once and emptied between tests.

chDB allows one engine a process, so the whole test session has one event store folder. Tests of the
modules in ON_BOTH run a second time on a ClickHouse server (``tests/support/clickhouse_server.py``), and
those in ON_CLUSTER on the tables of a cluster of one shard. RATEMILL_TEST_STORES=server runs every test
with an event store on the server, and ``both`` here and there.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from sqlalchemy import Dialect, Engine, event

from ingest.clickhouse import EventStore, default_events_url, open_event_store
from ingest.cluster_schema import local_table
from ingest.ledger import default_ledger_url, open_ledger
from tests.support.clickhouse_server import CLUSTER, clickhouse_server

# Processes that tests start, and the migrations that each ledger reads, would be compiled again every time.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("ratemill", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ratemill")

EMPTIED_TABLES = (
    "events",
    "refused_events",
    "settled_refusals",
    "superseded_events",
    "rated_lines",
    "usage_rollups",
    "rollup_periods",
    "rollup_meters",
    "entitlement_checks",
    "backfills",
    "archives",
    "archived_events",
    "event_identities",
    "journal_postings",
    "revenue_parts",
)


ON_BOTH = {
    "tests.ingest.test_stores",
    "tests.ingest.test_gate",
    "tests.ingest.test_load",
    "tests.rating.test_store",
    "tests.rollup.test_roll_up",
    "tests.rollup.test_verify",
}
ON_CLUSTER = {"tests.ingest.test_load", "tests.rating.test_store"}
"""Few, so that a test run stays short; RATEMILL_TEST_STORES runs the others."""


def pytest_collection_finish() -> None:
    """What is loaded stays to the end, so no search for garbage need look at it again."""
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "event_store" not in metafunc.fixturenames:
        return
    if metafunc.definition.get_closest_marker("embedded_store"):
        kinds = ["embedded"]
    else:
        some = ["embedded", "server"] if metafunc.module.__name__ in ON_BOTH else ["embedded"]
        some += ["cluster"] if metafunc.module.__name__ in ON_CLUSTER else []
        kinds = {"server": ["server"], "both": ["embedded", "server"]}.get(
            os.environ.get("RATEMILL_TEST_STORES", ""), some
        )
    if kinds != ["embedded"]:
        metafunc.parametrize("event_store", kinds, indirect=True)


@pytest.fixture(scope="session")
def embedded_events(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStore]:
    store = open_event_store(default_events_url(tmp_path_factory.mktemp("store")))
    yield store
    store.close()


@pytest.fixture(scope="session")
def server_events(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStore]:
    with clickhouse_server(tmp_path_factory.mktemp("server") / "data") as url:
        store = open_event_store(url)
        yield store
        store.close()


@pytest.fixture(scope="session")
def cluster_events(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStore]:
    with clickhouse_server(tmp_path_factory.mktemp("cluster") / "data", as_cluster=True) as url:
        store = open_event_store(url, CLUSTER)
        yield store
        store.close()


@pytest.fixture
def event_store(request: Any) -> EventStore:
    """The event store with no events, refused events or rated lines in it."""
    kind = getattr(request, "param", "embedded")
    store: EventStore = request.getfixturevalue(f"{kind}_events")
    for table in EMPTIED_TABLES:
        store.command(f"TRUNCATE TABLE {local_table(table, store.cluster) if store.cluster else table}")
    return store


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ratemill-data"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def _ledger_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite ledger, made once: to migrate one takes 0.2 s, to copy it nothing."""
    folder = tmp_path_factory.mktemp("ledger")
    open_ledger(default_ledger_url(folder)).dispose()
    (file,) = folder.glob("*.sqlite")
    return file


@pytest.fixture
def ledger_folder(data_folder: Path, _ledger_file: Path) -> Path:
    """A data folder with a new, empty ledger in it."""
    shutil.copy(_ledger_file, data_folder / _ledger_file.name)
    return data_folder


_COMPILED: dict[Any, Any] = {}
_DIALECTS: dict[str, Dialect] = {}


def made_quick(engine: Engine) -> None:
    """The ledger of one test: it finds the statements that other tests compiled, which are kept by dialect,
    and on SQLite no commit waits for the disk, because a test does not outlive its machine. Processes that
    are killed have ledgers of their own."""
    engine.dialect = _DIALECTS.setdefault(engine.dialect.name, engine.dialect)
    engine.update_execution_options(compiled_cache=_COMPILED)
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    engine.dispose()  # what is open has not heard of it


@pytest.fixture
def ledger(ledger_folder: Path) -> Iterator[Engine]:
    """A new, empty ledger in a SQLite file."""
    engine = open_ledger(default_ledger_url(ledger_folder))
    made_quick(engine)
    yield engine
    engine.dispose()
