"""Goal: OpenMeter's meter query over our events: windows, zones, subjects, filters, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.compatible.unix_time import rfc3339_of_unix
from api.state import Ratemill

METER = {"meter_id": "calls", "event_type": "call", "aggregation": "sum"}

LATER = {
    "specversion": "1.0",
    "id": "later",
    "source": "s",
    "type": "call",
    "subject": "acme",
    "data": {"value": 1},
}

# Berlin puts its clocks forward on 2026-03-29 at 01:00 UTC, so that day has 23 hours there.
CALLS = (
    # id, subject, time, value, region
    ("1", "acme", "2026-03-28T22:59:59.999999Z", "0.000000000001", "eu"),
    ("2", "acme", "2026-03-28T23:00:00Z", "2", "eu"),
    ("3", "acme", "2026-03-29T21:59:59Z", "3", "us"),
    ("4", "acme", "2026-03-29T22:00:00Z", "4", "us"),
    ("5", "bolt", "2026-03-29T12:00:30Z", "999999999999999.999999999999", "eu"),
)


@pytest.fixture
def asked(http: httpx.Client) -> httpx.Client:
    """The server with one meter and those calls."""
    http.put("/v1/meters/calls", json=METER).raise_for_status()
    events = [
        {
            "specversion": "1.0",
            "id": name,
            "source": "s",
            "type": "call",
            "subject": subject,
            "time": time,
            "data": {"value": value, "region": region},
        }
        for name, subject, time, value, region in CALLS
    ]
    assert http.post("/api/v1/events", json=events).status_code == 204
    return http


def rows(http: httpx.Client, **parameters: Any) -> list[tuple[str, str, str]]:
    """(window start, subject or nothing, the value as it was written) of a query."""
    answer = http.get("/api/v1/meters/calls/query", params=parameters)
    assert answer.status_code == 200, answer.text
    values = [part.split(",")[0] for part in answer.text.split('"value":')[1:]]
    found = answer.json()["data"]
    return [
        (row["windowStart"], row["subject"] or "", value) for row, value in zip(found, values, strict=True)
    ]


def test_an_answer_holds_every_event_sent_before_and_waits_for_no_others(
    asked: httpx.Client, state: Ratemill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other types; and, where both ends are given, of other subjects."""
    lander = state.event_store.lander
    if lander is None:
        pytest.skip("a server has no log in front of it")
    state.event_store.settle()
    monkeypatch.setattr("ingest.lander.LANDING_SECONDS", 3600.0)

    def send(number: int, **parts: Any) -> None:
        sent = LATER | {"id": f"later {number}", "time": f"2026-03-30T12:{number:02}:00Z"} | parts
        assert asked.post("/api/v1/events", json=[sent]).status_code == 204

    ends = {"from": "2026-03-30T00:00:00Z", "to": "2026-03-31T00:00:00Z"}
    send(1, type="other")
    send(2, subject="bolt")
    assert rows(asked, subject="acme", **ends) == []
    assert lander.rows_waiting == 2
    send(3)
    assert [value for _, _, value in rows(asked, subject="acme", **ends)] == ["1"]
    send(4, subject="bolt")
    assert [value for _, _, value in rows(asked, **ends)] == ["3"], "of all subjects"
    send(5, subject="bolt")
    rows(asked, subject="acme", to=ends["to"])
    assert lander.rows_waiting == 0, "it begins with the first event of any subject"
    send(6, type="other")
    assert [value for _, _, value in rows(asked, **ends)] == ["4"]
    assert lander.rows_waiting == 1


def test_days_of_a_time_zone_begin_at_its_midnights(asked: httpx.Client) -> None:
    berlin = {"windowSize": "DAY", "windowTimeZone": "Europe/Berlin", "subject": "acme"}
    assert rows(asked, **berlin) == [
        ("2026-03-27T23:00:00Z", "acme", "0.000000000001"),
        ("2026-03-28T23:00:00Z", "acme", "5"),
        ("2026-03-29T22:00:00Z", "acme", "4"),
    ]


def test_windows_are_reported_whole_and_counted_as_asked(asked: httpx.Client) -> None:
    part = {"from": "2026-03-28T23:00:00Z", "to": "2026-03-29T22:00:00Z", "subject": "acme"}
    assert rows(asked, windowSize="MONTH", **part) == [("2026-03-01T00:00:00Z", "acme", "5")]
    assert rows(asked, windowSize="HOUR", **part) == [
        ("2026-03-28T23:00:00Z", "acme", "2"),
        ("2026-03-29T21:00:00Z", "acme", "3"),
    ]


def test_minutes(asked: httpx.Client) -> None:
    part = {"from": "2026-03-29T12:00:10Z", "to": "2026-03-29T12:00:31Z", "windowSize": "MINUTE"}
    assert rows(asked, **part) == [("2026-03-29T12:00:00Z", "", "999999999999999.999999999999")]
    assert rows(asked, **part | {"to": "2026-03-29T12:00:30Z"}) == []


def test_subjects_together_and_apart(asked: httpx.Client) -> None:
    start = "2026-03-29T00:00:00Z"
    both = {"from": start, "subject": ["acme", "bolt"]}
    assert rows(asked, **both) == [(start, "", "1000000000000006.999999999999")]
    assert rows(asked, groupBy="subject", **both) == [
        (start, "acme", "7"),
        (start, "bolt", "999999999999999.999999999999"),
    ]


@pytest.mark.parametrize(
    "parameters",
    [{"filterGroupBy[region]": "us"}, {"filterGroupBy": "{'region': 'us'}"}],
    ids=["as documented", "as the Python client writes it"],
)
def test_filters_by_a_property(asked: httpx.Client, parameters: dict[str, str]) -> None:
    assert [value for _, _, value in rows(asked, **parameters)] == ["7"]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"windowSize": "WEEK"}, "windowSize"),
        ({"from": "2026-03-29T00:00:00"}, "from"),
        ({"to": "tomorrow"}, "to"),
        ({"filterCustomerId": "c1"}, "filterCustomerId"),
        ({"advancedMeterGroupByFilters": "{}"}, "advancedMeterGroupByFilters"),
        ({"subject": [f"s{number}" for number in range(101)]}, "subject"),
        ({"groupBy": ""}, "groupBy"),
    ],
)
def test_a_question_without_an_answer_is_refused_by_name(
    asked: httpx.Client, parameters: dict[str, Any], field: str
) -> None:
    refused = asked.get("/api/v1/meters/calls/query", params=parameters)
    assert refused.status_code == 400
    assert [issue["pointer"] for issue in refused.json()["issues"]] == [field]


def test_empty_or_unknown(asked: httpx.Client) -> None:
    same = {"from": "2026-03-29T00:00:00Z", "to": "2026-03-29T00:00:00Z"}
    assert asked.get("/api/v1/meters/calls/query", params=same).json()["reason_code"] == "empty_period"
    assert asked.get("/api/v1/meters/other/query").status_code == 404
    ages = {"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T00:00:00Z", "windowSize": "MINUTE"}
    assert len(rows(asked, **ages)) == 5
    asked.post("/api/v1/events", json={**LATER, "time": "2026-05-01T00:00:00Z"})
    assert asked.get("/api/v1/meters/calls/query", params=ages).json()["reason_code"] == "too_many_windows"
    for text in ("{[]: 'x'}", "{'a': 1}", "(" * 900, "{"):
        unread = asked.get("/api/v1/meters/calls/query", params={"filterGroupBy": text})
        assert unread.json()["reason_code"] == "invalid_query"


def test_a_count_of_nothing_is_zero(http: httpx.Client) -> None:
    http.put("/v1/meters/calls", json={**METER, "aggregation": "count"}).raise_for_status()
    assert rows(http) == []
    time = {"from": "2026-03-01T00:00:00Z", "to": "2026-04-01T00:00:00Z"}
    assert rows(http, **time) == [("2026-03-01T00:00:00Z", "", "0")]
    http.post("/api/v1/events", json={**LATER, "time": "2026-05-01T00:00:00Z"})
    assert rows(http, **time) == [("2026-03-01T00:00:00Z", "", "0")]
    assert rows(http, windowSize="DAY", **time) == []


def test_half_a_surrogate_pair_is_refused_and_not_an_error_of_ours(http: httpx.Client) -> None:
    event = b'{"event": {"transaction_id": "\\ud800", "external_subscription_id": "s", "code": "c"}}'
    answer = http.post("/api/v1/events", content=event, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error_details"]) == (422, {"base": ["not_utf8"]})


def test_events_that_cannot_count_are_named(http: httpx.Client) -> None:
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "s",
        "type": "call",
        "subject": "acme",
        "data": {"n": "x"},
    }
    http.post("/api/v1/events", json=event)
    http.put("/v1/meters/calls", json={**METER, "factors": ["properties.n"]}).raise_for_status()
    answer = http.get("/api/v1/meters/calls/query").json()
    assert answer["data"] == []
    assert answer["unusable"][0]["reason_code"] == "factor_not_a_number"


def test_a_conflict_is_counted_and_kept(asked: httpx.Client) -> None:
    other = {
        "specversion": "1.0",
        "id": "1",
        "source": "s",
        "type": "call",
        "subject": "acme",
        "data": {"value": 7},
    }
    answer = asked.post("/api/v1/events", json=other)
    assert (answer.status_code, answer.headers["ratemill-conflicts"]) == (204, "1")
    listed = asked.get("/v1/events/refused", params={"reason_code": "identity_conflict"}).json()["items"]
    assert len(listed) == 1


@pytest.mark.parametrize(
    ("headers", "body", "reason_code"),
    [
        ({"content-type": "text/plain"}, b"{}", "unknown_content_type"),
        ({"content-type": "application/json"}, b"", "empty_body"),
        ({"content-type": "application/json"}, b'{"event": 1}', "not_an_object"),
        ({"content-type": "application/cloudevents-batch+json"}, b"{}", "not_an_array"),
        ({"ce-specversion": "1.0", "ce-id": "1", "content-type": "text/plain"}, b"7", "unknown_content_type"),
        (
            {"ce-specversion": "1.0", "ce-id": "1", "content-type": "application/json"},
            b"[7]",
            "not_an_object",
        ),
    ],
)
def test_bodies_that_cannot_be_read(
    http: httpx.Client, headers: dict[str, str], body: bytes, reason_code: str
) -> None:
    refused = http.post("/api/v1/events", headers=headers, content=body)
    assert (refused.status_code, refused.json()["reason_code"]) == (400, reason_code)


@given(seconds=st.integers(0, 7_000_000_000), digits=st.text("0123456789", max_size=12))
@settings(max_examples=50)
def test_unix_seconds_keep_every_digit(seconds: int, digits: str) -> None:
    sent = f"{seconds}.{digits}" if digits else str(seconds)
    made = rfc3339_of_unix(sent)
    assert made is not None
    whole, _, fraction = made.removesuffix("Z").partition(".")
    instant = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    passed = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    assert Decimal(f"{passed}.{fraction or 0}") == Decimal(sent)


@pytest.mark.parametrize("text", ["", "-1", "1e9", "soon", "1.", "123456789012", "٣", "1\n"])
def test_other_texts_are_no_unix_seconds(text: str) -> None:
    assert rfc3339_of_unix(text) is None


def test_a_query_as_csv_has_openmeters_columns_and_all_digits(asked: httpx.Client) -> None:
    """Columns: openmeter/meter/httphandler/query_csv.go of OpenMeter."""
    part = {"from": "2026-03-29T00:00:00Z", "to": "2026-03-30T00:00:00Z", "windowSize": "DAY"}
    grouped: dict[str, Any] = {**part, "groupBy": ["subject", "region"]}
    answer = asked.get("/api/v1/meters/calls/query", params=grouped, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["ratemill-unusable-events"] == "0"
    assert answer.text.splitlines() == [
        "window_start,window_end,subject,customer_name,customer_email,region,value",
        "2026-03-29T00:00:00Z,2026-03-30T00:00:00Z,acme,,,us,7",
        "2026-03-29T00:00:00Z,2026-03-30T00:00:00Z,bolt,,,eu,999999999999999.999999999999",
    ]
    posted = asked.post("/api/v1/meters/calls/query", json=part, headers={"Accept": "text/csv"})
    assert (
        posted.text.splitlines()[1]
        == "2026-03-29T00:00:00Z,2026-03-30T00:00:00Z,,,,1000000000000006.999999999999"
    )


def test_events_are_listed_as_they_were_sent(asked: httpx.Client) -> None:
    fix = {"source": "s", "id": "f", "kind": "amend", "corrects": "3", "value": "9", "reason": "r"}
    assert asked.post("/v1/corrections", json=fix).json()["accepted"] == 1
    assert asked.post("/api/v1/events", json=LATER | {"type": "nobody", "id": "x"}).status_code == 204
    listed = asked.get("/api/v1/events", params={"from": "2026-03-01T00:00:00Z", "subject": "acme"}).json()
    assert [(one["event"]["id"], str(one["event"]["data"]["value"])) for one in listed][1:] == [
        ("4", "4"),
        ("3", "3"),
        ("2", "2"),
        ("1", "1e-12"),
    ]
    assert listed[0]["validationError"] == "no meter counts events of type nobody"
    assert "validationError" not in listed[1]
    recent = asked.get("/api/v1/events").json()
    assert [one["event"]["id"] for one in recent] == ["x"], "the last 72 hours"
    assert [one["event"]["id"] for one in asked.get("/api/v1/events", params={"id": "5"}).json()] == ["5"]
    came: dict[str, Any] = {"ingestedAtFrom": "2026-11-22T00:00:00Z", "limit": 2}
    assert len(asked.get("/api/v1/events", params=came).json()) == 2
    assert asked.get("/api/v1/events", params={"ingestedAtFrom": "2026-11-23T00:00:00Z"}).json() == []
    assert asked.get("/api/v1/events", params={"customerId": "c"}).status_code == 400
