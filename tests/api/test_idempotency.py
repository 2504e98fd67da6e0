"""Goal: a request sent again with its Idempotency-Key is answered word for word as the first time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from api.tables import IDEMPOTENT_ANSWERS
from ingest.clickhouse import EventStore
from ingest.clock import FixedClock
from tests.api.conftest import HttpFor
from tests.api.test_client import event_line
from tests.api.test_errors import check_problem


def send(http: httpx.Client, body: bytes, key: str, **changes: str) -> httpx.Response:
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key} | changes
    return http.post("/v1/events", content=body, headers=headers)


@pytest.mark.requirement("MET-09")
def test_the_same_request_again_is_answered_word_for_word(
    http: httpx.Client, event_store: EventStore
) -> None:
    body = event_line(1) + event_line(2) + b"broken\n"
    first = send(http, body, "a")
    assert first.json()["accepted"] == 2
    again = send(http, body, "a")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert send(http, body, "b").json()["duplicates"] == 2, "another key is another request"
    kept = event_store.query("SELECT count() AS rows FROM refused_events")["rows"].to_pylist()
    assert kept == [2], "the broken line was not judged a third time"


def test_a_refused_batch_is_answered_the_same_again(http: httpx.Client) -> None:
    first = send(http, b"broken\n", "a")
    check_problem(first, 422, "all_records_refused")
    again = send(http, b"broken\n", "a")
    assert (again.status_code, again.content) == (422, first.content)
    assert again.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("changes", [{"Content-Type": "application/json"}, {}])
def test_another_request_with_the_key_is_a_conflict(http: httpx.Client, changes: dict[str, str]) -> None:
    send(http, event_line(1), "a")
    body = event_line(1) if changes else event_line(2)
    check_problem(send(http, body, "a", **changes), 409, "idempotency_key_reused")
    assert len(http.get("/v1/events").json()["items"]) == 1


def test_keys_of_two_api_keys_are_two(http_for: HttpFor) -> None:
    first, second = http_for("ingest"), http_for("ingest")
    assert send(first, event_line(1), "a").json()["accepted"] == 1
    assert send(second, event_line(2), "a").json()["accepted"] == 1


def test_a_request_that_could_not_be_read_may_be_corrected(http: httpx.Client) -> None:
    check_problem(send(http, b"", "a"), 400, "empty_body")
    assert send(http, event_line(1), "a").json()["accepted"] == 1


def test_an_answer_expires(http: httpx.Client, clock: FixedClock, ledger: Engine) -> None:
    send(http, event_line(1), "a")
    clock.advance(timedelta(hours=24))
    other = send(http, event_line(2), "a")
    assert other.json()["accepted"] == 1
    with ledger.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(IDEMPOTENT_ANSWERS)).scalar() == 1


@pytest.mark.requirement("MET-09")
def test_at_the_same_time_it_is_done_once(http_for: HttpFor) -> None:
    key_holder = http_for("ingest")
    clients = [httpx.Client(transport=key_holder._transport, base_url="http://test") for _ in range(6)]
    for client in clients:
        client.headers.update(key_holder.headers)
    body = b"".join(event_line(number) for number in range(50))
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda client: send(client, body, "a"), clients))
    assert {answer.content for answer in answers} == {answers[0].content}
    assert answers[0].json()["accepted"] == 50
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 5


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
def test_a_key_that_is_none(http: httpx.Client, key: str) -> None:
    check_problem(send(http, event_line(1), key), 422, "bad_idempotency_key")
