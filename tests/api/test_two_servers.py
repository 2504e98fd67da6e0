"""Goal: two `ratemill serve` on one ClickHouse server never count an event twice: one writes, the other
answers questions, and takes over when the first has stopped or its lease has ended."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import orjson
import pytest

from api.auth import create_key
from ingest.clock import SystemClock
from ingest.ledger import open_ledger
from tests.api.test_client import event_line
from tests.api.test_serve import RATEMILL, environment
from tests.support.clickhouse_server import clickhouse_server

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings two processes have in common: a ClickHouse server and a ledger."""
    with clickhouse_server(tmp_path / "clickhouse") as url:
        ledger = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
        yield {"RATEMILL_EVENTS_URL": url, "RATEMILL_LEDGER_URL": ledger, "RATEMILL_ROLLUP_SECONDS": "1"}


@contextmanager
def served(folder: Path, shared: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    process = subprocess.Popen(
        [*RATEMILL, "serve", "--port", "0", "--json"],
        env=environment(folder) | shared,
        stdout=subprocess.PIPE,
    )
    try:
        if process.stdout is None:
            pytest.fail("the server has no output")
        yield process, orjson.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.communicate()


def admin_key(ledger_url: str) -> dict[str, str]:
    ledger = open_ledger(ledger_url)
    _, token = create_key(ledger, name="test", scopes=["admin"], now=SystemClock().now())
    ledger.dispose()
    return {"Authorization": f"Bearer {token}"}


def send(url: str, key: dict[str, str], body: bytes) -> httpx.Response:
    return httpx.post(f"{url}/v1/events", content=body, headers=key | NDJSON, timeout=60)


@pytest.mark.requirement("MET-09")
def test_one_of_two_servers_writes(tmp_path: Path, shared: dict[str, str]) -> None:
    key = admin_key(shared["RATEMILL_LEDGER_URL"])
    with served(tmp_path / "a", shared) as (first, url), served(tmp_path / "b", shared) as (_, other):
        assert send(url, key, event_line(1)).json()["accepted"] == 1
        refused = send(other, key, event_line(2))
        assert (refused.status_code, refused.json()["reason_code"]) == (503, "writer_elsewhere")
        assert f"process {first.pid} on " in refused.json()["detail"]
        assert httpx.get(f"{other}/v1/meters", headers=key, timeout=60).status_code == 200
        first.kill()
        first.wait()
        assert send(other, key, event_line(2)).status_code == 503
        _end_lease(tmp_path / "ledger.sqlite")
        # The same event again, at the process that did not take it: it reads what the other wrote.
        assert send(other, key, event_line(1)).json()["duplicates"] == 1
        assert send(other, key, event_line(2)).json()["accepted"] == 1


def _end_lease(ledger: Path) -> None:
    """What half a minute of waiting does."""
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("UPDATE writer_leases SET expires_at = '2020-01-01T00:00:00+00:00'")
        connection.commit()
