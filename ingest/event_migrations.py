"""Brings the tables of an event store up to date: numbered ``.sql`` files, each applied once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from ingest.cluster_schema import cluster_statements
from ingest.errors import BrokenState
from ingest.store_url import shown_url

if TYPE_CHECKING:
    from ingest.clickhouse import EventStore

_MIGRATIONS_TABLE: Final = """CREATE TABLE IF NOT EXISTS schema_migrations (
    number     UInt32,
    name       String,
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6)
) ENGINE = MergeTree ORDER BY number SETTINGS fsync_after_insert = 1"""
MIGRATIONS: Final = Path(__file__).parent / "migrations" / "events"


def migrate_event_store(store: EventStore) -> list[int]:
    """Apply the numbered ``.sql`` files not yet applied; returns their numbers."""
    _refuse_other_form(store)
    for statement in _as_here(store, _MIGRATIONS_TABLE):
        store.command(statement)
    applied = set(store.query("SELECT number FROM schema_migrations")["number"].to_pylist())
    files = {int(path.name.split("_")[0]): path for path in sorted(MIGRATIONS.glob("*.sql"))}
    unknown = applied - files.keys()
    if unknown:
        raise BrokenState(
            f"the event store at {shown_url(store.url)} has migrations {sorted(unknown)} that this "
            "version of Ratemill does not know. Install the newer version that wrote it."
        )
    done = []
    for number in sorted(files.keys() - applied):
        for statement in migration_statements(files[number]):
            for here in _as_here(store, statement):
                store.command(here)
        store.command(
            "INSERT INTO schema_migrations (number, name) VALUES ({number:UInt32}, {name:String})",
            {"number": number, "name": files[number].name},
        )
        done.append(number)
    return done


def migration_statements(path: Path) -> list[str]:
    """The statements of a migration, such that doing them again changes nothing: a kill between two
    repeats the file."""
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    parts = [part.strip() for part in "\n".join(lines).split(";") if part.strip()]
    return [part.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1) for part in parts]


def _refuse_other_form(store: EventStore) -> None:
    """Tables made for a server on its own are no cluster's, and the other way round."""
    engines = store.query(
        "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'schema_migrations'"
    )["engine"].to_pylist()
    if engines and (engines[0] == "Distributed") != (store.cluster is not None):
        made, asked = ("a cluster", "none") if store.cluster is None else ("no cluster", store.cluster.name)
        raise BrokenState(
            f"the tables of the event store at {shown_url(store.url)} were made for {made}, and "
            f"RATEMILL_EVENTS_CLUSTER names {asked}. Set it as it was, or move the data into a new database."
        )


def _as_here(store: EventStore, statement: str) -> list[str]:
    return [statement] if store.cluster is None else cluster_statements(statement, store.cluster)
