"""Both stores open, migrate once, refuse a second owner clearly and keep what was acknowledged."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, event

from ingest.clickhouse import EventStore, open_event_store
from ingest.errors import BrokenState, StoreUnavailable
from ingest.event_migrations import MIGRATIONS, migrate_event_store
from ingest.ledger import LEDGER, default_ledger_url, ledger_transaction, migrate_ledger, open_ledger

ROOT = Path(__file__).parent.parent.parent


def test_event_store_migrations_are_applied_once(event_store: EventStore) -> None:
    numbers = event_store.query("SELECT number FROM schema_migrations ORDER BY number")["number"].to_pylist()
    assert numbers == [int(path.name[:4]) for path in sorted(MIGRATIONS.glob("*.sql"))]
    assert migrate_event_store(event_store) == []


def test_a_newer_event_store_is_left_alone(event_store: EventStore) -> None:
    event_store.command("INSERT INTO schema_migrations (number, name) VALUES (9999, 'from the future')")
    try:
        with pytest.raises(BrokenState, match="9999"):
            migrate_event_store(event_store)
    finally:
        event_store.command(
            "ALTER TABLE schema_migrations DELETE WHERE number = 9999 SETTINGS mutations_sync = 1"
        )


@pytest.mark.embedded_store
def test_a_second_process_is_told_who_has_the_folder(event_store: EventStore) -> None:
    program = f"from ingest.clickhouse import open_event_store; open_event_store({event_store.url!r})"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "is in use by process" in result.stderr
    assert "--server" in result.stderr


def test_an_unknown_url_names_the_right_ones() -> None:
    with pytest.raises(StoreUnavailable, match="chdb:///FOLDER"):
        open_event_store("postgres://somewhere")


def test_scratch_tables_are_dropped(event_store: EventStore) -> None:
    rows = pa.table({"number": pa.array([1, 2], pa.uint32())})
    with event_store.scratch_table("number UInt32", rows) as name:
        assert event_store.command(f"SELECT sum(number) FROM {name}") == 3
    assert not event_store.query("SELECT name FROM system.tables WHERE startsWith(name, 'scratch_')").num_rows


def test_a_repeated_token_inserts_nothing(event_store: EventStore) -> None:
    rows = pa.table({"number": pa.array([1], pa.uint32()), "name": ["x"]})
    event_store.command(
        "CREATE TABLE IF NOT EXISTS token_probe (number UInt32, name String) "
        "ENGINE = MergeTree ORDER BY number SETTINGS non_replicated_deduplication_window = 10"
    )
    event_store.insert("token_probe", rows, token="batch-1")
    event_store.insert("token_probe", rows, token="batch-1")
    assert event_store.command("SELECT count() FROM token_probe") == 1
    event_store.command("DROP TABLE token_probe")


def test_rows_of_one_insert_are_one_block(event_store: EventStore) -> None:
    """Only a block is all or nothing; a table of several chunks must not become several."""
    event_store.command(
        "CREATE TABLE IF NOT EXISTS chunk_probe (number UInt32) ENGINE = MergeTree ORDER BY number"
    )
    chunks = [pa.table({"number": pa.array([number], pa.uint32())}) for number in range(3)]
    event_store.insert("chunk_probe", pa.concat_tables(chunks))
    parts = event_store.query("SELECT rows FROM system.parts WHERE table = 'chunk_probe'")
    assert parts["rows"].to_pylist() == [3]
    event_store.command("DROP TABLE chunk_probe")


def test_the_ledger_tables_are_what_the_code_declares(ledger: Engine) -> None:
    from api import app  # every module that declares tables is behind it

    del app
    with ledger.connect() as connection:
        # The index of words is no table of the metadata: each database has its own kind of it.
        known = {"include_name": lambda name, *_: not str(name).startswith("document_words")}
        differences = compare_metadata(MigrationContext.configure(connection, opts=known), LEDGER)
    assert not differences, differences


def test_a_failed_transaction_leaves_nothing(ledger: Engine) -> None:
    def insert_and_fail() -> None:
        with ledger_transaction(ledger) as connection:
            connection.exec_driver_sql("INSERT INTO number_series (series, next_number) VALUES ('INV', 1)")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        insert_and_fail()
    with ledger_transaction(ledger) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM number_series").scalar() == 0


def test_a_newer_ledger_is_left_alone(ledger: Engine) -> None:
    with ledger.begin() as connection:
        before = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    try:
        with pytest.raises(BrokenState, match="9999"):
            migrate_ledger(ledger)
    finally:
        with ledger.begin() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{before}'")


def test_a_ledger_that_could_not_be_made_whole_is_not_made(data_folder: Path) -> None:
    """A process may die in the middle of its migrations; the next one begins with none."""
    engine = create_engine(default_ledger_url(data_folder), isolation_level="AUTOCOMMIT")
    statements = itertools.count()

    @event.listens_for(engine, "before_cursor_execute")
    def _(*_: object) -> None:
        if next(statements) == 60:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        migrate_ledger(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar() == 0
    engine.dispose()
    open_ledger(default_ledger_url(data_folder)).dispose()


def test_of_several_who_open_a_new_ledger_one_makes_it(data_folder: Path) -> None:
    program = f"from ingest.ledger import open_ledger; open_ledger({default_ledger_url(data_folder)!r})"
    command = [sys.executable, "-c", program]
    opening = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(3)]
    answers = [process.communicate()[1] for process in opening]
    assert [process.returncode for process in opening] == [0, 0, 0], answers


def test_opening_the_ledger_again_changes_nothing(ledger: Engine) -> None:
    again = open_ledger(str(ledger.url))
    with again.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "0265"
    again.dispose()


def test_a_password_is_never_shown() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_event_store("http://billing:s3cret@127.0.0.1:9/ratemill")
    assert "s3cret" not in str(caught.value)
    assert "billing:***@127.0.0.1:9" in str(caught.value)


def test_a_block_that_fails_leaves_no_other_running(event_store: EventStore) -> None:
    event_store.command(
        "CREATE TABLE IF NOT EXISTS block_probe (number UInt32) ENGINE = MergeTree ORDER BY ()"
    )
    good = [pa.table({"number": pa.array([number], pa.uint32())}) for number in range(5)]
    bad = pa.table({"unknown": pa.array([1], pa.uint32())})
    with pytest.raises(Exception, match="unknown"):
        event_store.start_inserts("block_probe", [bad, *good]).wait()
    assert event_store.command("SELECT count() FROM block_probe") == len(good)
    event_store.command("DROP TABLE block_probe")
