"""Goal: a backfill over HTTP and on the command line changes usage at once, is listed with its reason, is put
back, and every event is still accounted for."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import HttpFor, Run
from tests.api.test_corrections import used
from tests.api.test_flow import event, put_world, send

WINDOW = {"time_from": "2026-11-02T00:00:00Z", "time_to": "2026-11-03T00:00:00Z"}


def scope(name: str, **more: str) -> dict[str, str]:
    return {"type": "call", "subject": "acme-eu", "reason": "ticket", "id": name, **WINDOW, **more}


@pytest.mark.requirement("MET-08")
def test_usage_follows_and_every_event_is_accounted_for(http: httpx.Client) -> None:
    put_world(http)
    send(http, [event(1, value="10"), event(2, value="20")])
    file = [event(2, value="21"), event(3, value="4")]
    told = http.post("/v1/backfills", params=scope("b1", dry_run="true"), json=file).json()
    assert (told["applied"], used(http)) == (False, [("30", 2)])
    made = http.post("/v1/backfills", params=scope("b1"), json=file).json()
    assert [made[name] for name in ("kept", "amended", "added", "withdrawn")] == [0, 1, 1, 1]
    assert (
        made["sums"]
        == told["sums"]
        == [
            {
                "subject": "acme-eu",
                "count_before": 2,
                "count_after": 2,
                "value_before": "30",
                "value_after": "25",
            }
        ]
    )
    assert used(http) == [("25", 2)]
    report = http.get("/v1/reports/completeness").json()
    assert [report[name] for name in ("accepted", "unbilled", "not_billable")] == [3, 2, 1]
    assert http.post("/v1/backfills/b1/undo", json={"reason": "wrong"}).json()["applied"] is True
    assert used(http) == [("30", 2)]
    report = http.get("/v1/reports/completeness").json()
    assert [report[name] for name in ("accepted", "unbilled", "not_billable")] == [3, 2, 1]
    states = [
        (one["id"], one["state"])
        for one in http.get("/v1/events", params={"source": "switch"}).json()["items"]
    ]
    assert ("3", "cancelled") in states
    assert sum(state == "in_force" for _, state in states) == 2


def test_what_is_wrong_is_said_of_every_record(http: httpx.Client, http_for: HttpFor) -> None:
    late: dict[str, Any] = event(2) | {"time": "2026-11-03T00:00:00Z"}
    refused = http.post("/v1/backfills", params=scope("b1"), json=[event(1), late, event(3, subject="x")])
    assert (refused.status_code, refused.json()["reason_code"]) == (422, "backfill_refused")
    assert [one["pointer"] for one in refused.json()["issues"]] == ["line 2: time", "line 3: subject"]
    assert http.get("/v1/events").json()["items"] == []
    no_zone = scope("b1", time_from=datetime(2026, 11, 1).isoformat())
    assert http.post("/v1/backfills", params=no_zone, json=[]).json()["reason_code"] == "time_without_zone"
    assert http.post("/v1/backfills/nobody/undo", json={"reason": "r"}).status_code == 404
    assert http_for("read").post("/v1/backfills", params=scope("b1"), json=[]).status_code == 403


def test_the_commands_say_what_the_api_says(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    put_world(http)
    send(http, [event(1, value="10")])
    assert "No backfill was made." in run("events", "backfills").out
    path = tmp_path / "right.ndjson"
    path.write_text(json.dumps(event(1, value="12")) + "\n")
    arguments = ["events", "backfill", str(path), "--type", "call", "--subject", "acme-eu", "--reason", "r"]
    arguments += ["--from", WINDOW["time_from"], "--to", WINDOW["time_to"], "--id", "b1"]
    assert "Nothing was written. It would be: 0 kept, 1 amended" in run(*arguments, "--dry-run").out
    made = run(*arguments)
    assert (made.status, made.out.split("\n")[0].strip()) == (
        0,
        "Backfill b1: 0 kept, 1 amended, 0 added, 0 withdrawn.",
    )
    assert "was made before" in run(*arguments).out
    assert "b1" in run("events", "backfills").out
    assert run("events", "undo-backfill", "b1", "--reason", "r", "--json").json()["amended"] == 1
    assert used(http) == [("10", 1)]
