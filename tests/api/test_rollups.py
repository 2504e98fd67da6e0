"""Goal: stored usage is shown, added up and proved through HTTP and the command line, and a server adds
it up by itself."""

from __future__ import annotations

import time
from dataclasses import replace

import httpx
import orjson

from api.scheduler import scheduling
from api.state import Ratemill
from tests.api.conftest import Run
from tests.api.test_flow import event, put_world

EMPTY = {"sequence": 0, "behind": 0, "periods": 0, "meters": 0}


def send(http: httpx.Client, *numbers: int) -> None:
    body = b"\n".join(orjson.dumps(event(number)) for number in numbers)
    answer = http.post("/v1/events", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.json()["accepted"] == len(numbers)


def test_usage_of_the_open_period_is_added_up_and_proved(http: httpx.Client) -> None:
    assert http.get("/v1/rollups").json() == EMPTY
    put_world(http)
    send(http, 1, 2)
    assert http.get("/v1/rollups").json() == {**EMPTY, "behind": 2}
    assert http.post("/v1/rollups/refresh").json() == {"sequence": 2, "behind": 0, "periods": 2, "meters": 1}
    send(http, 3)
    verified = http.post("/v1/rollups/verify").json()
    assert verified == {
        "sequence": 3,
        "periods": 2,
        "archived": 0,
        "rows": 1,
        "differences": 0,
        "shown": [],
    }


def test_the_command_line_says_how_far_it_is_and_fails_when_a_figure_is_wrong(
    run: Run, http: httpx.Client, state: Ratemill
) -> None:
    assert "No usage is kept yet. `ratemill rollup refresh`" in run("rollup", "status").out
    assert "no contract has a period that has begun" in run("rollup", "refresh").out
    put_world(http)
    send(http, 1, 2)
    assert "Usage of 1 meters in 2 periods, with events up to number 2, all there are." in (
        run("rollup", "refresh").out
    )
    send(http, 3)
    assert "up to number 2, 1 behind." in run("rollup", "status").out
    proved = run("rollup", "verify")
    assert (proved.status, "all are equal" in proved.out) == (0, True)
    state.event_store.command("DELETE FROM usage_rollups WHERE rollup_id > 0")
    wrong = run("rollup", "verify")
    assert wrong.status == 1
    assert "1 differ." in wrong.out
    assert "acme-eu" in wrong.out


def test_a_server_adds_usage_up_by_itself(http: httpx.Client, state: Ratemill) -> None:
    put_world(http)
    send(http, 1, 2)
    with scheduling(replace(state, settings=state.settings.model_copy(update={"rollup_seconds": 1}))):
        for _ in range(200):
            if state.stored_usage.freshness().periods:
                break
            time.sleep(0.05)
    assert http.get("/v1/rollups").json() == {"sequence": 2, "behind": 0, "periods": 2, "meters": 1}
