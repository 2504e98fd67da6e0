"""Goal: requests share commits over HTTP, and a server with too much to do says so instead of growing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer

import httpx
import pytest

from api.client import RatemillClient
from api.state import Ratemill
from ingest.queue_room import Held
from tests.api.conftest import HttpFor
from tests.api.test_client import event_line
from tests.api.test_errors import check_problem

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def crowd(state: Ratemill) -> Iterator[Held]:
    """Another request that holds all the room there is."""
    with state.group_commit.room.enter() as held:
        held.more(state.ingest.settings.queue_bytes_max - 8192)
        yield held


def test_many_requests_at_once_are_answered_each_with_its_own(http_for: HttpFor) -> None:
    clients = [http_for("ingest") for _ in range(8)]

    def send(number: int) -> dict[str, int]:
        body = b"".join(event_line(part) for part in range(number, number + 3))
        answer: dict[str, int] = clients[number % 8].post("/v1/events", content=body, headers=NDJSON).json()
        return answer

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(40)))
    assert {answer["records"] for answer in answers} == {3}
    assert sum(answer["accepted"] for answer in answers) == 42
    assert sum(answer["duplicates"] for answer in answers) == 3 * 40 - 42
    assert len({answer["batch_id"] for answer in answers}) == 40
    metrics = http_for("read").get("/metrics").text
    assert "ratemill_ingest_commit_records_sum 120.0" in metrics
    assert "ratemill_ingest_commit_requests_total 40.0" in metrics
    assert "ratemill_ingest_queue_requests 0.0" in metrics
    assert "ratemill_ingest_queue_bytes 0.0" in metrics
    assert "ratemill_ingest_queue_records 0.0" in metrics
    assert "ratemill_event_identities 42.0" in metrics


def test_a_body_there_is_no_room_for_answers_429(http: httpx.Client, crowd: Held) -> None:
    for body in (event_line(1) * 100, iter([event_line(1) * 50, event_line(1) * 50])):
        refused = http.post("/v1/events", content=body, headers=NDJSON)
        check_problem(refused, 429, "queue_full")
        assert refused.headers["retry-after"] == "1"
    assert http.get("/v1/events").json()["items"] == []
    crowd.release()
    assert http.post("/v1/events", content=event_line(1), headers=NDJSON).json()["accepted"] == 1


def test_a_stopping_server_answers_503(http: httpx.Client, state: Ratemill) -> None:
    state.group_commit.close()
    refused = http.post("/v1/events", content=event_line(1), headers=NDJSON)
    check_problem(refused, 503, "shutting_down")
    assert refused.headers["retry-after"] == "1"


def test_a_command_waits_for_room(client: RatemillClient, crowd: Held, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(event_line(1) * 200)
    timer = Timer(0.3, crowd.release)
    timer.start()
    assert client.post_file(path).records == 200
    timer.join()
