"""Goal: the sender of the HTTP benchmarks sends the whole file, over all its connections, and measures it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from api.state import Ratemill
from benchmarks.http_load import bodies_of, send_all
from tests.api.test_client import event_line


@pytest.mark.requirement("MET-09")
@pytest.mark.parametrize(("records", "connections", "requests"), [(1, 16, 200), (25, 4, 8)])
def test_every_record_is_sent_once_and_counted_once(
    server_url: str, state: Ratemill, tmp_path: Path, records: int, connections: int, requests: int
) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"".join(event_line(number + 100) for number in range(200)))
    key = state.keys.grant_in_memory("sender", ["ingest", "read"])
    port = int(server_url.rsplit(":", 1)[1])
    done = asyncio.run(send_all(port, key, bodies_of(path, records, 200), connections))
    assert (done.requests, done.records, done.accepted) == (requests, 200, 200)
    assert 0 < done.p50_ms <= done.p99_ms
    again = asyncio.run(send_all(port, key, bodies_of(path, records, 200), connections))
    assert (again.records, again.accepted) == (200, 0)


def test_an_answer_that_is_a_problem_ends_the_measurement(server_url: str, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(event_line(1))
    port = int(server_url.rsplit(":", 1)[1])
    with pytest.raises(RuntimeError, match="key_unknown"):
        asyncio.run(send_all(port, "rm_wrong_key", bodies_of(path, 1, 1), 1))
