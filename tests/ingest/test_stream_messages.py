"""Goal: whatever a message holds, its records are taken once or refused and kept, and it stops nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from ingest.errors import StoreUnavailable
from ingest.load import IngestContext
from ingest.refused import list_refused
from ingest.settings import IngestSettings
from ingest.streams.batch import Send, take_messages
from ingest.streams.message import Message, records_of
from ingest.streams.pump import pump
from tests.ingest.support import context, event, ndjson, send, stored

SETTINGS = IngestSettings()


def sending(ingest: IngestContext) -> Send:
    def take(body: bytes, media_type: str) -> Mapping[str, Any]:
        report = send(ingest, body, content_type=media_type)
        return {
            **{
                name: getattr(report, name)
                for name in ("records", "accepted", "duplicates", "conflicts", "rejected")
            },
            "refusals": [{"line": one.line, "reason_code": one.reason_code} for one in report.refusals],
        }

    return take


def cloudevent(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "source": "gateway",
        "id": f"call-{number}",
        "type": "api.call",
        "subject": "acme",
        "time": "2026-02-03T04:05:06Z",
        "data": {"value": 2.5, "region": "eu"},
        **changes,
    }


def parquet(*numbers: int) -> bytes:
    rows = [{name: part for name, part in event(n).items() if name != "properties"} for n in numbers]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue().to_pybytes())


BINARY = (("id", "call-1"), ("source", "gateway"), ("type", "api.call"), ("subject", "acme"))
KINDS = {
    "one event, no header": Message(json.dumps(event()).encode()),
    "one event over several lines": Message(json.dumps(event(), indent=2).encode()),
    "NDJSON, no header": Message(ndjson(event(), event(2))),
    "an array": Message(
        json.dumps([event(), event(2)], indent=1).encode(), (("content-type", "application/json"),)
    ),
    "NDJSON, gzip": Message(
        gzip.compress(ndjson(event()), mtime=0),
        (("content-type", "application/x-ndjson"), ("content-encoding", "gzip")),
    ),
    "a CloudEvent, no header": Message(json.dumps(cloudevent(1)).encode()),
    "CloudEvents": Message(
        json.dumps([cloudevent(1), cloudevent(2)]).encode(),
        (("content-type", "application/cloudevents-batch+json"),),
    ),
    "binary CloudEvent of NATS": Message(
        b'{"value": "2.5"}',
        (
            ("ce-specversion", "1.0"),
            ("ce-time", "2026-02-03T04:05:06Z"),
            *((f"ce-{n}", v) for n, v in BINARY),
        ),
    ),
    "binary CloudEvent of Kafka": Message(
        b'{"value": "2.5"}',
        (
            ("ce_specversion", "1.0"),
            ("ce_time", "2026-02-03T04:05:06Z"),
            *((f"ce_{n}", v) for n, v in BINARY),
        ),
    ),
    "Parquet": Message(parquet(1, 2), (("content-type", "application/vnd.apache.parquet"),)),
    "a byte order mark": Message(b"\xef\xbb\xbf" + json.dumps(event()).encode()),
    "an unknown type": Message(json.dumps(event()).encode(), (("content-type", "text/plain"),)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_message_is_read(event_store: EventStore, kind: str) -> None:
    ingest = context(event_store)
    taken = take_messages([KINDS[kind]], send=sending(ingest), settings=SETTINGS)
    assert taken.counts["accepted"] == taken.counts["records"] > 0
    assert stored(event_store)[0]["id"] == "call-1"
    assert str(stored(event_store)[0]["value"]) == "2.500000000000"


POISON = {
    "no JSON": (Message(b"hello"), "malformed_json"),
    "cut short": (Message(b'{"source": "gateway", "id":'), "malformed_json"),
    "a broken array": (Message(b'[{"id": 1}, {', (("content-type", "application/json"),)), "malformed_json"),
    "bytes": (Message(b"\x00\xff\xfe"), "not_utf8"),
    "damaged gzip": (Message(b"\x1f\x8bxx", (("content-encoding", "gzip"),)), "not_utf8"),
    "no event": (Message(b"[1]"), "not_an_object"),
    "half a surrogate pair": (
        Message(
            b'{"value": 1, "x": "\\ud800"}', (("ce_specversion", "1.0"), *((f"ce_{n}", v) for n, v in BINARY))
        ),
        "not_utf8",
    ),
    "an attribute that is no UTF-8": (
        Message(b"{}", (("ce_specversion", "1.0"), ("ce_x", "\udcff"), *((f"ce_{n}", v) for n, v in BINARY))),
        "not_utf8",
    ),
    "a broken CloudEvent": (
        Message(b'{"specversion": "1.0",', (("content-type", "application/cloudevents+json"),)),
        "malformed_json",
    ),
    "an old CloudEvent": (
        Message(json.dumps(cloudevent(9, specversion="0.3")).encode()),
        "cloudevents_version",
    ),
    "no Parquet": (Message(b"PAR1", (("content-type", "application/vnd.apache.parquet"),)), "malformed_json"),
}


@pytest.mark.parametrize("kind", POISON)
def test_a_poison_message_is_kept_with_its_reason_and_costs_nobody_else(
    event_store: EventStore, kind: str
) -> None:
    message, reason_code = POISON[kind]
    messages = [Message(ndjson(event(1))), message, Message(json.dumps(cloudevent(2)).encode())]
    taken = take_messages(messages, send=sending(context(event_store)), settings=SETTINGS)
    assert (taken.counts["accepted"], taken.counts["rejected"]) == (2, 1)
    assert taken.none_taken == {1}
    kept = list_refused(event_store, limit=10)
    assert [one.reason_code for one in kept] == [reason_code]


def test_a_message_is_not_refused_whole_for_one_bad_record(event_store: EventStore) -> None:
    batch = Message(ndjson(event(1), "{}", event(2)))
    bad_cloudevents = Message(
        json.dumps([cloudevent(3), cloudevent(4, specversion="0.3"), cloudevent(5)]).encode()
    )
    taken = take_messages([batch, bad_cloudevents], send=sending(context(event_store)), settings=SETTINGS)
    assert (taken.counts["accepted"], taken.counts["rejected"]) == (4, 2)
    assert taken.none_taken == set()
    assert [refusal["message_number"] for refusal in taken.refusals] == [1, 0]


def test_an_empty_message_has_no_records(event_store: EventStore) -> None:
    taken = take_messages(
        [Message(b""), Message(b" \n"), Message(b"\n", (("content-encoding", "gzip"),))],
        send=sending(context(event_store)),
        settings=SETTINGS,
    )
    assert taken.counts["records"] == 0


@given(
    body=st.one_of(
        st.binary(max_size=60),
        st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2), max_size=3).map(
            lambda found: json.dumps(found).encode()
        ),
    ),
    content_type=st.sampled_from(["", "application/json", "application/cloudevents+json", "text/csv", "x/y"]),
)
@settings(max_examples=80)
def test_no_message_can_raise(body: bytes, content_type: str) -> None:
    records = records_of(Message(body, (("content-type", content_type),)), SETTINGS)
    assert all(b"\n" not in line for line in records.lines)
    if body.strip():
        assert records.lines or records.cloudevents or records.body or body.strip().startswith(b"[")


class Memory:
    """A source that gives its messages in batches of two until they are settled."""

    def __init__(self, *messages: Message) -> None:
        self.left = dict(enumerate(messages))
        self.held = 0
        self.terminated: set[int] = set()

    def take(self, **_: int) -> list[tuple[Message, int]]:
        return [(message, number) for number, message in self.left.items()][:2]

    def is_empty(self) -> bool:
        return not self.left

    def settle(self, handles: Any, *, none_taken: set[int]) -> None:
        self.terminated |= {handles[place] for place in none_taken}
        for number in handles:
            del self.left[number]

    def hold(self, _: Any) -> None:
        self.held += 1


class Waiting(Event):
    """Waits no time, and is stopped meanwhile or not."""

    def __init__(self, *, stopped: bool) -> None:
        super().__init__()
        self.stopped = stopped

    def wait(self, _: float | None = None) -> bool:
        return self.stopped


def run(source: Memory, take: Send, stop: Event) -> tuple[dict[str, int], list[str]]:
    heard: list[str] = []
    totals = pump(
        source,
        send=take,
        settings=SETTINGS,
        stop=stop,
        messages_max=2,
        wait_seconds=1,
        until_empty=True,
        heard=lambda words, _: heard.append(words),
    )
    return totals.to_dict(), heard


@pytest.mark.requirement("MET-09")
def test_messages_are_let_go_when_their_events_are_on_disk_and_not_before(event_store: EventStore) -> None:
    take, failures = sending(context(event_store)), iter([True, False, False])

    def unsure(body: bytes, media_type: str) -> Mapping[str, Any]:
        report = take(body, media_type)
        if next(failures, False):  # the answer is lost after the work was done
            raise StoreUnavailable("no answer.")
        return report

    source = Memory(*(Message(ndjson(event(number))) for number in range(4)), Message(b"poison"))
    totals, heard = run(source, unsure, Waiting(stopped=False))
    assert totals == {
        "messages": 5,
        "messages_refused": 1,
        "records": 5,
        "accepted": 2,
        "duplicates": 2,
        "conflicts": 0,
        "rejected": 1,
    }
    assert (source.left, source.held, source.terminated) == ({}, 1, {4})
    assert "Trying again" in heard[0]
    assert len(stored(event_store)) == 4


def test_a_stream_that_is_stopped_while_it_waits_lets_nothing_go() -> None:
    def down(body: bytes, media_type: str) -> Mapping[str, Any]:
        raise StoreUnavailable("no answer.")

    source = Memory(Message(ndjson(event())))
    totals, _ = run(source, down, Waiting(stopped=True))
    assert totals["messages"] == 0
    assert list(source.left) == [0]
