"""Goal: nothing that was refused vanishes: it is open until an event came of it or somebody said why not,
and repairing it twice counts it once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from ingest.clickhouse import EventStore
from ingest.errors import Conflict, InvalidInput, NotFound
from ingest.load import IngestContext
from ingest.refused import list_refused
from ingest.replay import dismiss_refused, replay_refused
from tests.ingest.support import NDJSON, NOW, context, event, ndjson, send, stored
from tests.ingest.test_correct import correct, correction, in_force

LATER = NOW + timedelta(hours=1)


def replay(ingest: IngestContext, *items: dict[str, Any] | str) -> list[tuple[str, str]]:
    """(outcome, reason code) of each item."""
    replayed = replay_refused(
        ndjson(*items), content_type=NDJSON, content_encoding=None, received_at=LATER, ingest=ingest
    )
    return [(one.outcome, one.reason_code) for one in replayed]


def states(store: EventStore) -> dict[str, str]:
    """State of every refusal by its reason code; a replay's own refusal stands with a star."""
    found = {}
    for one in list_refused(store, limit=99):
        star = "*" if one.settled_reason.startswith("a replay of") else ""
        found[one.reason_code + star] = one.state
    return found


def refusal(store: EventStore, reason_code: str) -> str:
    (one,) = list_refused(store, limit=9, reason_code=reason_code, state="open")
    return one.refusal_id


@pytest.mark.requirement("MET-09")
def test_a_mended_record_counts_once_and_the_refusal_names_it(event_store: EventStore) -> None:
    ingest = context(event_store)
    report = send(ingest, ndjson(event(1), event(2, time="2026-02-03"), event(3, value="x")))
    name = refusal(event_store, "time_unreadable")
    assert name == f"{report.batch_id}-2"
    mended = {"refusal_id": name, "record": event(2, value=12345678901234.5)}
    assert replay(ingest, mended) == [("repaired", "")]
    assert replay(context(event_store), mended) == [("already_repaired", "")]
    assert states(event_store) == {"time_unreadable": "repaired", "value_not_a_number": "open"}
    (one,) = list_refused(event_store, limit=9, state="repaired")
    assert (one.repaired_source, one.repaired_id) == ("gateway", "call-2")
    assert json.loads(one.record)["time"] == "2026-02-03", "as it was sent"
    assert [str(row["value"]) for row in stored(event_store)] == [
        "2.500000000000",
        "12345678901234.500000000000",
    ]


def test_digits_of_a_mended_record_are_kept(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(event(1, value="x")))
    name = refusal(event_store, "value_not_a_number")
    text = json.dumps(event(1, value="V", properties={"é": "\n"})).replace(
        '"V"', "12345678901234.123456789012"
    )
    assert replay(ingest, f'{{"refusal_id": "{name}", "record": {text}}}') == [("repaired", "")]
    (row,) = stored(event_store)
    assert (str(row["value"]), row["properties"]) == ("12345678901234.123456789012", [("é", "\n")])


def test_what_is_refused_again_stays_open_and_is_not_listed_twice(event_store: EventStore) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(event(1), event(2, time="2026-02-03")))
    name = refusal(event_store, "time_unreadable")
    assert replay(ingest, {"refusal_id": name, "record": event(2, value="x")}) == [
        ("refused", "value_not_a_number")
    ]
    assert replay(ingest, {"refusal_id": name, "record": event(1, value="9")}) == [
        ("refused", "identity_conflict")
    ]
    assert states(event_store) == {
        "time_unreadable": "open",
        "value_not_a_number*": "dismissed",
        "identity_conflict*": "dismissed",
    }
    assert [one.refusal_id for one in list_refused(event_store, limit=9, state="open")] == [name]


def test_a_record_is_sent_as_it_was_once_its_event_is_there(event_store: EventStore) -> None:
    """A correction came before its event, and a broken event stands beside it."""
    ingest = context(event_store)
    correct(ingest, correction(1, 1))
    send(ingest, ndjson(event(1, value="x")))
    early, broken = refusal(event_store, "no_such_event"), refusal(event_store, "value_not_a_number")
    assert replay(ingest, {"refusal_id": early}) == [("refused", "no_such_event")]
    outcomes = replay(ingest, {"refusal_id": early}, {"refusal_id": broken, "record": event(1)})
    assert outcomes == [("repaired", ""), ("repaired", "")]
    assert in_force(event_store) == []
    assert len(stored(event_store)) == 1


def test_cloudevents_are_repaired_as_cloudevents(event_store: EventStore) -> None:
    cloud = {"specversion": "1.0", "source": "s", "id": "1", "type": "t", "subject": "a", "time": "soon"}
    ingest = context(event_store)
    send(ingest, json.dumps(cloud).encode(), content_type="application/cloudevents+json")
    name = refusal(event_store, "time_unreadable")
    assert replay(ingest, {"refusal_id": name}) == [("refused", "time_unreadable")]
    mended = cloud | {"time": "2026-02-03T00:00:00Z", "data": {"value": 3}}
    assert replay(ingest, {"refusal_id": name, "record": mended}) == [("repaired", "")]
    assert [row["id"] for row in stored(event_store)] == ["1"]


@pytest.mark.parametrize(
    ("item", "reason_code"),
    [
        ("{", "malformed_json"),
        ({"record": {}}, "field_missing"),
        ({"refusal_id": 7}, "wrong_type"),
        ({"refusal_id": "NAME", "records": {}}, "unknown_field"),
        ({"refusal_id": "NAME", "record": "text"}, "wrong_type"),
        ({"refusal_id": "nothing-1"}, "no_such_refusal"),
        ({"refusal_id": "nothing"}, "no_such_refusal"),
        ({"refusal_id": "NAME"}, "record_not_kept"),
        ({"refusal_id": "NAME", "record": {}}, "field_missing"),
    ],
)
def test_a_bad_item_costs_only_itself(
    event_store: EventStore, item: dict[str, Any] | str, reason_code: str
) -> None:
    ingest = context(event_store)
    send(ingest, ndjson("no json", event(2, value="x")))
    name, other = refusal(event_store, "malformed_json"), refusal(event_store, "value_not_a_number")
    bad = item if isinstance(item, str) else {k: name if v == "NAME" else v for k, v in item.items()}
    good = {"refusal_id": other, "record": event(2)}
    assert replay(ingest, bad, good, good) == [
        ("refused", reason_code),
        ("repaired", ""),
        ("refused", "refusal_twice"),
    ]
    assert states(event_store)["malformed_json"] == "open"


def test_a_dismissed_record_says_why_and_may_still_be_repaired(event_store: EventStore) -> None:
    ingest = context(event_store)
    report = send(ingest, ndjson("a", "b", event(3, value="x")))
    first, second, third = (f"{report.batch_id}-{line}" for line in (1, 2, 3))

    def dismiss(*names: str, reason: str = "test traffic") -> list[str]:
        return dismiss_refused(list(names), reason=reason, dismissed_at=LATER, ingest=ingest)

    with pytest.raises(NotFound, match="nothing was dismissed"):
        dismiss(first, "nobody-1")
    with pytest.raises(InvalidInput):
        dismiss(first, reason="")
    assert len(list_refused(event_store, limit=9, state="open")) == 3
    assert sorted(dismiss(first, third, first)) == [first, third]
    assert dismiss(first, second) == [second]
    assert {one.settled_reason for one in list_refused(event_store, limit=9)} == {"test traffic"}
    assert replay(ingest, {"refusal_id": third, "record": event(3)}) == [("repaired", "")]
    with pytest.raises(Conflict, match="'call-3'"):
        dismiss(second, third)


def test_a_kill_before_the_refusal_is_settled_counts_nothing_twice(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = context(event_store)
    send(ingest, ndjson(event(1, value="x")))
    item = {"refusal_id": refusal(event_store, "value_not_a_number"), "record": event(1)}
    insert = event_store.insert

    def breaking(table: str, *arguments: Any, **named: Any) -> None:
        if table == "settled_refusals":
            raise ConnectionError("the connection broke")
        insert(table, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(event_store, "insert", breaking)
        with pytest.raises(ConnectionError):
            replay(ingest, item)
    assert replay(context(event_store), item) == [("repaired", "")]
    assert len(stored(event_store)) == 1
