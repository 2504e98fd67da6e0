"""Goal: `ratemill stream nats` on a real JetStream server: nothing lost or twice, whatever is killed."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import nats
import orjson
import pytest
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from tests.api.conftest import Run
from tests.api.test_serve import RATEMILL, environment, ratemill

EVENTS_A_MESSAGE = 20
KILLS = max(1, int(os.environ.get("RATEMILL_KILLS", "4")) // 4)
"""As in tests/simulation/test_kill.py; a kill costs more here, so there are fewer."""


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """The address of a NATS server with JetStream and an empty stream called USAGE."""
    port = free_port()
    binary = Path(sys.executable).parent / "nats-server"
    process = subprocess.Popen(
        [str(binary), "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", str(tmp_path / "jetstream")],
        stderr=subprocess.DEVNULL,
    )
    url = f"nats://127.0.0.1:{port}"
    try:
        at_broker(url, lambda stream: stream.add_stream(name="USAGE", subjects=["usage.>"]))
        yield url
    finally:
        process.kill()
        process.wait()


Work = Callable[[JetStreamContext], Awaitable[Any]]


def at_broker(url: str, work: Work) -> Any:
    """Do something with a client of the broker; waits for a broker that is about to start."""

    async def go() -> Any:
        client = await nats.connect(url, max_reconnect_attempts=100, reconnect_time_wait=0.1)
        try:
            return await work(client.jetstream())
        finally:
            await client.close()
            await asyncio.sleep(0.01)  # the socket closes in the next turn of the loop

    return asyncio.run(go())


def publish(url: str, *messages: tuple[bytes, dict[str, str] | None]) -> None:
    async def work(stream: JetStreamContext) -> None:
        for body, headers in messages:
            await stream.publish("usage.calls", body, headers=headers)

    at_broker(url, work)


def consumer(url: str) -> Any:
    return at_broker(url, lambda stream: stream.consumer_info("USAGE", "ratemill"))


def event(number: int) -> dict[str, Any]:
    return {
        "source": "s",
        "id": f"e{number}",
        "type": "call",
        "subject": "acme",
        "time": "2026-03-01T10:00:00Z",
        "value": f"{number}.5",
    }


def batch(first: int) -> bytes:
    return b"\n".join(json.dumps(event(first + number)).encode() for number in range(EVENTS_A_MESSAGE))


def stored_ids(folder: Path) -> list[str]:
    listed = ratemill(folder, "events", "list", "--limit", "1000", "--json")
    return sorted(item["id"] for item in orjson.loads(listed.stdout)["items"])


def arguments(url: str, *more: str) -> list[str]:
    return [
        "stream",
        "nats",
        "--url",
        url,
        "--stream",
        "USAGE",
        "--until-empty",
        "--wait",
        "1",
        "--json",
        *more,
    ]


@pytest.mark.requirement("MET-01")
def test_messages_become_events_and_poison_passes_by(broker: str, run: Run) -> None:
    binary = {
        "ce-specversion": "1.0",
        "ce-id": "b1",
        "ce-source": "s",
        "ce-type": "call",
        "ce-subject": "acme",
        "ce-time": "2026-03-01T10:00:00Z",
    }
    publish(
        broker,
        (batch(0), {"Content-Type": "application/x-ndjson"}),
        (b"poison", None),
        (b'{"value": "7"}', binary),
        (json.dumps([event(100), {**event(101), "value": "x"}]).encode(), None),
    )
    ran = run(*arguments(broker))
    assert ran.status == 1, ran.err  # something was refused
    assert ran.json() == {
        "messages": 4,
        "messages_refused": 1,
        "records": 24,
        "accepted": 22,
        "duplicates": 0,
        "conflicts": 0,
        "rejected": 2,
    }
    refused = run("events", "refused", "--json").json()["items"]
    assert sorted(item["reason_code"] for item in refused) == ["malformed_json", "value_not_a_number"]
    left = consumer(broker)
    assert (left.num_pending, left.num_ack_pending) == (0, 0)


def test_what_is_not_there_is_said(broker: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.streams.nats._CONNECT_SECONDS_MAX", 0.5)
    nobody = run("stream", "nats", "--url", "nats://127.0.0.1:1", "--stream", "USAGE")
    assert (nobody.status, "no NATS server answers" in nobody.err) == (1, True), nobody.err
    no_stream = run("stream", "nats", "--url", broker, "--stream", "OTHER")
    assert (no_stream.status, "no stream 'OTHER'" in no_stream.err) == (1, True), no_stream.err


@pytest.mark.requirement("MET-09")
def test_killed_anywhere_every_event_counts_once(broker: str, tmp_path: Path) -> None:
    folder, random = tmp_path / "data", Random(20260301)
    messages = 40
    publish(broker, *((batch(number * EVENTS_A_MESSAGE), None) for number in range(messages)))
    command = [*RATEMILL, *arguments(broker, "--batch", "2", "--ack-wait", "2")]
    for _ in range(KILLS):
        process = subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE)
        while process.poll() is None and not taken_since_start(broker):
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.2))
        process.kill()
        process.communicate()
    ran = ratemill(folder, *arguments(broker, "--batch", "2"))
    assert ran.returncode == 0, ran.stderr
    report = orjson.loads(ran.stdout)
    assert report["records"] == report["accepted"] + report["duplicates"]
    assert stored_ids(folder) == sorted(f"e{number}" for number in range(messages * EVENTS_A_MESSAGE))
    left = consumer(broker)
    assert (left.num_pending, left.num_ack_pending) == (0, 0)


def taken_since_start(url: str) -> bool:
    """Whether the consumer is at work."""
    try:
        return bool(consumer(url).num_ack_pending)
    except NotFoundError:
        return False
