"""Writers of one SQLite ledger take turns: who has just committed stands behind those who wait."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from ingest import ledger as ledger_module
from ingest.errors import StoreUnavailable
from ingest.ledger import ledger_transaction, open_ledger
from ingest.turnstile import turnstile
from tests.ingest import child_writer

ROOT = Path(__file__).parent.parent.parent
_TRIES = 5


@contextmanager
def _child(ledger: Engine, *, hold_ms: int) -> Iterator[subprocess.Popen[str]]:
    """A process that writes one transaction after the other, and is killed at the end."""
    command = [sys.executable, "-m", child_writer.__name__, str(ledger.url), str(hold_ms)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "begins\n"
            yield child
        finally:
            child.kill()


def _written(connection: Connection) -> int:
    count: int = connection.exec_driver_sql(child_writer.COUNT).scalar_one()
    return count


def test_a_writer_waits_for_one_transaction_of_another_not_for_many(ledger: Engine) -> None:
    """The other begins again as soon as it has committed, for as long as it lives."""
    with _child(ledger, hold_ms=20):
        for _ in range(_TRIES):
            with ledger_transaction(ledger) as connection:
                written = _written(connection)
            time.sleep(0.03)  # the other is in the middle of one again
    assert (
        0 < written <= _TRIES * 12
    )  # two or three each on an idle machine; without turns some hundreds each


def test_a_process_killed_while_it_was_next_holds_nobody_up(ledger: Engine) -> None:
    with ledger_transaction(ledger), _child(ledger, hold_ms=0) as child:
        _wait_until_taken(ledger)
        child.send_signal(signal.SIGKILL)
        child.wait()
    asked_at = time.monotonic()
    with ledger_transaction(ledger) as connection:
        assert _written(connection) == 0
    assert time.monotonic() - asked_at < 5


def _wait_until_taken(ledger: Engine) -> None:
    """Until somebody stands inside the turnstile."""
    passed = threading.Event()

    def stand() -> None:
        with turnstile(_turn_file(ledger)):
            passed.set()

    while True:
        passed.clear()
        standing = threading.Thread(target=stand, daemon=True)
        standing.start()
        if not passed.wait(0.2):
            return
        standing.join()


def _turn_file(ledger: Engine) -> str:
    return f"{ledger.url.database}.turn.lock"


def test_threads_of_one_process_pass_one_by_one_in_their_order(tmp_path: Path) -> None:
    file, came = str(tmp_path / "turn.lock"), list[int]()

    def stand(number: int) -> None:
        with turnstile(file) as waited_seconds:
            assert waited_seconds > 0
            came.append(number)

    with turnstile(file):
        threads = [threading.Thread(target=stand, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
            time.sleep(0.02)
        assert came == []
    for thread in threads:
        thread.join()
    assert came == [0, 1, 2, 3, 4]


def test_waiting_in_front_and_inside_ends_after_one_time_limit(
    ledger_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "BUSY_TIMEOUT_MS", 600)
    monkeypatch.setattr(ledger_module, "_SHORT_WAIT_SECONDS", 0.1)
    engine = open_ledger(ledger_module.default_ledger_url(ledger_folder))
    waited = list[float]()

    def write() -> None:
        asked_at = time.monotonic()
        with (
            pytest.raises(StoreUnavailable, match="nothing was changed") as caught,
            ledger_transaction(engine),
        ):
            pass
        assert caught.value.reason_code == "ledger_busy"
        waited.append(time.monotonic() - asked_at)

    with ledger_transaction(engine):
        writers = [threading.Thread(target=write) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    assert len(waited) == len(writers)
    assert max(waited) < 2 * 0.6  # one after the other they would take four times as long
    with ledger_transaction(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 600
    engine.dispose()


def test_where_no_file_can_be_locked_everybody_passes(tmp_path: Path) -> None:
    nowhere = tmp_path / "missing" / "turn.lock"
    with turnstile(str(nowhere)), turnstile(str(nowhere)):
        assert not nowhere.parent.exists()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_ledger_in_memory_has_no_turnstile(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = open_ledger(url)
    with ledger_transaction(engine) as connection:
        connection.exec_driver_sql("INSERT INTO number_series (series, next_number) VALUES ('INV', 1)")
    engine.dispose()
    assert list(tmp_path.glob("**/*.lock")) == []


def test_another_program_that_writes_is_waited_for(ledger: Engine) -> None:
    """Such as the sqlite3 shell, which knows of no turnstile."""
    assert ledger.url.database is not None
    other = sqlite3.connect(ledger.url.database, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.15, other.execute, args=("COMMIT",))
    timer.start()
    with ledger_transaction(ledger):
        assert not other.in_transaction
    timer.join()
    other.close()
