"""Goal: usage is the same in JSON, CSV and Arrow, exact in each, and never silently short."""

from __future__ import annotations

from typing import Any

import httpx
import pyarrow as pa
import pytest

from api.usage_table import asked_form
from ingest.media_type import ARROW_STREAM, CSV
from rollup.usage import LIVE_USAGE_SCHEMA
from tests.api.conftest import Run
from tests.api.test_flow import event, put_world, send

MINUTES = {"meter_id": "calls", "time_from": "2026-11-02T00:00:30Z", "window": "minute"}


def ask(http: httpx.Client, accept: str, **more: Any) -> httpx.Response:
    answer = http.get("/v1/usage", params={**MINUTES, **more}, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


def test_minutes_are_the_same_in_every_form(http: httpx.Client, run: Run) -> None:
    put_world(http)
    send(http, [event(1, value="0.000000000001"), event(1000, value="99"), event(2, value="2", region='a"b')])
    until = "2026-11-02T00:03:00Z"
    items = ask(http, "application/json", time_to=until).json()["items"]
    text = ask(http, CSV, time_to=until)
    assert text.headers["content-type"].split(";")[0] == CSV
    assert text.headers["ratemill-unusable-events"] == "0"
    assert text.text.splitlines() == [
        "window_start,window_end,dimensions.region,quantity,event_count",
        "2026-11-02T00:01:00Z,2026-11-02T00:02:00Z,eu,0.000000000001,1",
        '2026-11-02T00:02:00Z,2026-11-02T00:03:00Z,"a""b",2,1',
    ]
    stream = ask(http, ARROW_STREAM, time_to=until)
    table = pa.ipc.open_stream(stream.content).read_all()
    assert table.schema == LIVE_USAGE_SCHEMA
    assert [f"{row['quantity'].normalize():f}" for row in table.to_pylist()] == [
        item["quantity"] for item in items
    ]
    shown = run(
        "usage", "calls", "--window", "minute", "--from", MINUTES["time_from"], "--to", until, "--json"
    )
    assert shown.json()["items"] == items


def test_an_hour_needs_a_time_zone_and_a_minute_does_not(http: httpx.Client) -> None:
    put_world(http)
    answer = http.get("/v1/usage", params={**MINUTES, "window": "hour"})
    assert answer.json()["reason_code"] == "time_zone_missing"
    assert ask(http, CSV, time_to="2026-11-02T00:03:00Z").text == (
        "window_start,window_end,dimensions.region,quantity,event_count\n"
    )


def test_a_table_says_how_many_events_are_missing_from_it(http: httpx.Client) -> None:
    put_world(http)
    product = {
        "meter_id": "sizes",
        "event_type": "call",
        "aggregation": "sum",
        "factors": ["properties.size"],
    }
    http.put("/v1/meters/sizes", json={**product, "unit": "GB"})
    send(http, [event(1), event(2)])
    answer = ask(http, CSV, meter_id="sizes", time_to="2026-11-02T00:03:00Z")
    assert answer.headers["ratemill-unusable-events"] == "2"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", None),
        ("*/*", None),
        ("text/html, application/json, text/csv", None),
        ("Text/CSV; q=0.9", CSV),
        (f"text/html, {ARROW_STREAM}", ARROW_STREAM),
    ],
)
def test_the_first_form_we_speak_is_taken(accept: str, form: str | None) -> None:
    assert asked_form(accept) == form
