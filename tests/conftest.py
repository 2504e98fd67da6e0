"""Fixtures every room's tests share: real stores, made once and emptied between tests.

chDB allows one engine a process, so the whole test session has one event store folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from ingest.clickhouse import EventStore, default_events_url, open_event_store
from ingest.ledger import default_ledger_url, open_ledger

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
)


@pytest.fixture(scope="session")
def _session_event_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventStore]:
    store = open_event_store(default_events_url(tmp_path_factory.mktemp("store")))
    yield store
    store.close()


@pytest.fixture
def event_store(_session_event_store: EventStore) -> EventStore:
    """The event store with no events, refused events or rated lines in it."""
    for table in EMPTIED_TABLES:
        _session_event_store.command(f"TRUNCATE TABLE {table}")
    return _session_event_store


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ratemill-data"
    folder.mkdir()
    return folder


@pytest.fixture
def ledger(data_folder: Path) -> Iterator[Engine]:
    """A new, empty ledger in a SQLite file."""
    engine = open_ledger(default_ledger_url(data_folder))
    yield engine
    engine.dispose()
