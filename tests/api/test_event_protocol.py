"""Goal: the short way of requests with events answers what uvicorn's way answers, byte for byte, and
takes exactly what it may."""

from __future__ import annotations

import gzip
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from api import private
from api.auth import create_key
from api.event_head import Head, read_head
from api.event_protocol import EventDoor, Taking
from api.private import listening, serving
from api.state import Ratemill
from ingest import waiting
from tests.api.conftest import NOW
from tests.api.test_client import event_line

MASKED = re.compile(rb'(?<=date: )[^\r]*|(?<="batch_id":")\w+|(?<=reference":")\w+|(?<=reference )\w+')
NDJSON = "application/x-ndjson"


@dataclass(slots=True)
class Server:
    """One application on two sockets: with the short way, and with uvicorn's alone. taken: requests that took
    the short way."""

    state: Ratemill
    short: Path
    long: Path
    taken: list[Taking]

    def key(self, *scopes: str) -> str:
        return self.state.keys.grant_in_memory("test", scopes or ("ingest",))  # type: ignore[arg-type]

    @contextmanager
    def connected(self, path: Path | None = None) -> Iterator[socket.socket]:
        with closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(30)
            connection.connect(str(path or self.short))
            yield connection

    def both(self, *pieces: bytes, answers: int = 1) -> tuple[bytes, bytes]:
        """What the two answer to the same bytes, without what differs between any two requests."""
        found = []
        for path in (self.short, self.long):
            with self.connected(path) as connection:
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.002 if len(pieces) > 1 else 0)
                found.append(b"".join(read_answer(connection) for _ in range(answers)))
        return MASKED.sub(b"-", found[0]), MASKED.sub(b"-", found[1])

    def await_held(self, requests: int) -> None:
        deadline = time.monotonic() + 30
        while self.state.group_commit.room.requests_held != requests:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        if not requests:
            assert self.state.group_commit.room.bytes_held == 0


@pytest.fixture
def server(
    state: Ratemill, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    folder, taken = tmp_path_factory.mktemp("s"), []
    take = EventDoor.take

    def note(door: EventDoor, taking: Taking) -> None:
        taken.append(taking)
        take(door, taking)

    monkeypatch.setattr(EventDoor, "take", note)
    with ExitStack() as running:
        running.enter_context(serving(state, running.enter_context(listening(folder / "short"))))
        monkeypatch.setattr(private, "event_protocol", lambda _: "httptools")
        running.enter_context(serving(state, running.enter_context(listening(folder / "long"))))
        yield Server(state, folder / "short", folder / "long", taken)


def read_answer(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(connection, 1)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
    while len(body) < length:
        body += received(connection, length - len(body))
    return head + b"\r\n\r\n" + body


def received(connection: socket.socket, bytes_max: int) -> bytes:
    """Not more than that, so that nothing of the next answer is read."""
    data = connection.recv(bytes_max)
    assert data, "the connection was closed in the middle of an answer"
    return data


def request(
    key: str,
    body: bytes,
    *more: str,
    line: str = "POST /v1/events HTTP/1.1",
    content_type: str = NDJSON,
    chunked: bool = False,
) -> bytes:
    """A request's bytes."""
    lines = [line, "Host: test", f"Authorization: Bearer {key}", f"Content-Type: {content_type}", *more]
    lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


ONE = event_line(1)
REFUSED = event_line(2, time="2026-11-01T00:00:00")
CLOUD = (
    b'{"specversion": "1.0", "source": "till", "id": "7", "type": "call", "subject": "acme", '
    b'"time": "2026-11-01T00:00:00Z", "data": {"value": "2"}}'
)
ORDINARY: dict[str, tuple[int, Callable[[str], bytes]]] = {
    "one event": (200, lambda key: request(key, ONE)),
    "three events": (200, lambda key: request(key, ONE + event_line(3) + event_line(4))),
    "an array": (200, lambda key: request(key, b"[" + ONE + b"]", content_type="application/json")),
    "a CloudEvent": (200, lambda key: request(key, CLOUD, content_type="application/cloudevents+json")),
    "gzip": (200, lambda key: request(key, gzip.compress(ONE), "Content-Encoding: gzip")),
    "one refused": (200, lambda key: request(key, ONE + REFUSED)),
    "all refused": (422, lambda key: request(key, REFUSED)),
    "not JSON": (400, lambda key: request(key, b"[nothing", content_type="application/json")),
    "unknown type": (415, lambda key: request(key, ONE, content_type="image/png")),
    "unknown coding": (415, lambda key: request(key, ONE, "Content-Encoding: br")),
    "a field twice": (200, lambda key: request(key, ONE, "X-Trace: 1", "x-trace: 2")),
    "a thousand events": (200, lambda key: request(key, ONE * 1000)),
    "many refused": (200, lambda key: request(key, ONE + REFUSED * 1500)),
    "64 KiB": (422, lambda key: request(key, b" " * (64 * 1024 - 1) + b"x")),
}
UNUSUAL: dict[str, tuple[int, Callable[[str], bytes]]] = {
    "no key": (401, lambda _: request("", ONE)),
    "a wrong key": (401, lambda _: request("rm_0_0", ONE)),
    "a query": (200, lambda key: request(key, ONE, line="POST /v1/events?results=all HTTP/1.1")),
    "a wrong query": (422, lambda key: request(key, ONE, line="POST /v1/events?results=x HTTP/1.1")),
    "HTTP/1.0": (200, lambda key: request(key, ONE, line="POST /v1/events HTTP/1.0")),
    "close": (200, lambda key: request(key, ONE, "Connection: close")),
    "chunked": (
        200,
        lambda key: request(key, b"%x\r\n%s\r\n0\r\n\r\n" % (len(ONE), ONE), chunked=True),
    ),
    "no body": (400, lambda key: request(key, b"")),
    "a huge field": (200, lambda key: request(key, ONE, "X-Trace: " + "x" * 3000)),
    "another method": (404, lambda key: request(key, ONE, line="PUT /v1/events/none HTTP/1.1")),
    "two lengths": (400, lambda key: request(key, ONE, "Content-Length: 3")),
}


def test_an_ordinary_request_has_the_same_answer(server: Server) -> None:
    key = server.key()
    for _, make in ORDINARY.values():
        server.both(make(key))  # so that its events are duplicates to both
    server.taken.clear()
    for case, (status, make) in ORDINARY.items():
        sent = make(key)
        head_end = sent.index(b"\r\n\r\n") + 4
        mine, theirs = server.both(sent)
        assert mine.startswith(b"HTTP/1.1 %d " % status), (case, mine)
        assert mine == theirs, case
        assert server.both(sent[:head_end], sent[head_end:-1], sent[-1:]) == (theirs, theirs), case
        assert len(server.taken) == 2, case
        # When not even the head is in one piece, it goes the long way (or the short one, if the socket joins
        # the pieces again).
        assert server.both(sent[:50], sent[50:-1], sent[-1:]) == (theirs, theirs), case
        server.taken.clear()
    server.await_held(0)


def test_anything_else_goes_the_long_way(server: Server) -> None:
    key = server.key("admin")
    server.both(request(key, ONE))
    server.taken.clear()
    for case, (status, make) in UNUSUAL.items():
        mine, theirs = server.both(make(key))
        assert re.match(rb"HTTP/1.1 %d " % status, mine), (case, mine)
        assert mine == theirs, case
        assert server.taken == [], case
    server.await_held(0)


def test_a_key_without_the_scope_goes_the_long_way(server: Server) -> None:
    mine, theirs = server.both(request(server.key("read"), ONE))
    assert mine == theirs
    assert mine.startswith(b"HTTP/1.1 403 ")
    assert server.taken == []


def test_a_client_that_waits_for_100_is_told_to_go_on(server: Server) -> None:
    sent = request(server.key(), ONE, "Expect: 100-continue")
    head = sent.index(b"\r\n\r\n") + 4
    with server.connected() as connection:
        connection.sendall(sent[:head])
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(sent[head:])
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
    assert server.taken == []


def test_a_key_that_is_looked_up_once_is_remembered(server: Server, http: httpx.Client) -> None:
    key, token = create_key(server.state.ledger, name="till", scopes=["ingest"], now=NOW)
    with server.connected() as connection:
        for expected in (0, 1, 2):
            connection.sendall(request(token, ONE))
            assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
            assert len(server.taken) == expected
        assert http.delete(f"/v1/api-keys/{key.key_id}").is_success
        connection.sendall(request(token, ONE))
        assert read_answer(connection).startswith(b"HTTP/1.1 401 ")


def test_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    key = server.key("admin")
    pieces = [
        request(key, event_line(1)),
        request(key, REFUSED),
        request(key, event_line(2), line="POST /v1/events?results=all HTTP/1.1"),
        b"GET /v1/health HTTP/1.1\r\nHost: test\r\n\r\n",
        request(key, event_line(1)),
    ]
    mine, theirs = server.both(b"".join(pieces), answers=len(pieces))
    # The second server is sent what the first has taken.
    assert MASKED.sub(b"-", mine).count(b'"accepted":1') == 2
    assert [int(found) for found in re.findall(rb"HTTP/1.1 (\d+)", mine)] == [
        int(found) for found in re.findall(rb"HTTP/1.1 (\d+)", theirs)
    ]
    again, theirs = server.both(b"".join(pieces), answers=len(pieces))
    assert again == theirs
    assert len(server.taken) == 2  # the first of each time


def test_a_request_may_come_while_another_waits(server: Server) -> None:
    with server.connected() as connection:
        with server.state.ingest.alone():
            connection.sendall(request(server.key(), event_line(1)))
            server.await_held(1)
            connection.sendall(request(server.key(), event_line(1)))
            time.sleep(0.05)
        answers = [read_answer(connection), read_answer(connection)]
    assert [b'"accepted":1' in answer for answer in answers] == [True, False]
    assert [b'"duplicates":1' in answer for answer in answers] == [False, True]
    assert len(server.taken) == 1


def test_without_room_at_the_head_or_in_the_body_the_answer_is_429(server: Server) -> None:
    sent = request(server.key(), ONE * 100)
    limit = server.state.ingest.settings.queue_bytes_max
    for before in (0, len(sent) - 5_000):
        with server.connected() as connection:
            if before:
                connection.sendall(sent[:before])
                server.await_held(1)
            with server.state.group_commit.room.enter() as crowd:
                crowd.more(limit - server.state.group_commit.room.bytes_held - 100)
                connection.sendall(sent[before:])
                refused = read_answer(connection)
            assert refused.startswith(b"HTTP/1.1 429 ")
            assert b"retry-after: 1\r\n" in refused
            assert server.taken == []
            connection.sendall(sent)
            assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
            server.taken.clear()
    server.await_held(0)


def test_a_client_that_goes_away_leaves_nothing_held(server: Server) -> None:
    sent = request(server.key(), event_line(1))
    with server.connected() as connection:
        connection.sendall(sent[:-10])
        server.await_held(1)
    server.await_held(0)
    with server.state.ingest.alone(), server.connected() as connection:
        connection.sendall(sent)
        server.await_held(1)
    server.await_held(0)
    with server.connected() as connection:
        connection.sendall(sent)
        assert b'"duplicates":1' in read_answer(connection)  # it was taken all the same


def test_a_server_that_stops_answers_what_is_under_way(
    state: Ratemill, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    server = Server(state, path, path, [])
    sent = request(server.key(), event_line(1))
    with listening(path) as listener, ExitStack() as running:
        running.enter_context(serving(state, listener))
        stopping = threading.Thread(target=running.close)
        with server.connected() as whole, server.connected() as half:
            half.sendall(sent[:-10])
            server.await_held(1)
            with state.ingest.alone():
                whole.sendall(sent)
                server.await_held(2)
                stopping.start()
                time.sleep(0.3)  # the server looks every 0.1 s whether it is to stop
            answers = [read_answer(whole)]
            half.sendall(sent[-10:])
            answers.append(read_answer(half))
            assert [whole.recv(1), half.recv(1)] == [b"", b""]
        stopping.join()
    assert all(b"connection: close\r\n" in answer for answer in answers)
    assert [b'"accepted":1' in answer for answer in answers] == [True, False]
    server.await_held(0)


def test_a_group_commit_that_was_closed_answers_503(server: Server) -> None:
    sent = request(server.key(), event_line(1))
    with server.connected() as connection:
        connection.sendall(sent[:-10])
        server.await_held(1)
        server.state.group_commit.close()
        connection.sendall(sent[-10:])
        assert read_answer(connection).startswith(b"HTTP/1.1 503 ")
    mine, theirs = server.both(sent)
    assert mine == theirs
    assert mine.startswith(b"HTTP/1.1 503 ")
    server.await_held(0)


def test_what_nobody_foresaw_has_the_same_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(waiting, "prepare_batch", fail)
    mine, theirs = server.both(request(server.key(), ONE))
    assert mine == theirs
    assert mine.startswith(b"HTTP/1.1 500 ")
    server.await_held(0)


def test_requests_are_counted_whichever_way_they_go(server: Server, http: httpx.Client) -> None:
    for body in (ONE, REFUSED):
        server.both(request(server.key(), body))
    metrics = http.get("/metrics").text
    for status in (200, 422):
        counted = f'ratemill_http_requests_total{{method="POST",route="/v1/events",status="{status}"}} 2.0'
        assert counted in metrics
    assert 'ratemill_http_request_seconds_count{method="POST",route="/v1/events"} 4.0' in metrics
    assert 'ratemill_events_total{outcome="rejected"} 2.0' in metrics
    assert len(server.taken) == 2


def test_a_reader_who_is_slow_holds_back_what_he_sends(server: Server) -> None:
    """A connection whose answers pile up goes uvicorn's way, which waits until they are read."""
    with server.connected() as connection:
        connection.sendall(request(server.key(), ONE))
        read_answer(connection)
        protocol = server.taken[0].protocol
        protocol.flow.pause_writing()
        connection.sendall(request(server.key(), ONE))
        server.await_held(0)
        assert len(server.taken) == 1
        protocol.loop.call_soon_threadsafe(protocol.flow.resume_writing)
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: 9\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_a_head_that_is_not_whole_or_not_one_is_not_read(head: bytes) -> None:
    assert read_head(head) is None


def test_the_last_of_two_fields_counts() -> None:
    head = request("k", b"12", "Authorization: Bearer other", "Content-Encoding: gzip")[:-2]
    assert read_head(head) == Head("Bearer other", NDJSON, "gzip", 2)
