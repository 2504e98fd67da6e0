"""Goal: the commands and the API archive, refuse archived time in words that lead on, and put events back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx

from api.state import Ratemill
from ingest.clock import FixedClock
from tests.api.conftest import Run
from tests.api.test_flow import CONTRACT, event, put_world, send

BEFORE = "2026-11-30T23:00:00Z"


def test_archive_ask_and_restore(
    run: Run, http: httpx.Client, state: Ratemill, clock: FixedClock, tmp_path: Path
) -> None:
    put_world(http)
    send(http, [event(1, value="10"), event(2, value="5")])
    folder = tmp_path / "2026-11"
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    early = run("events", "archive", "--before", BEFORE, "--to", str(folder))
    assert (early.status, "2 events before that time are not billed: 2 of call (due)" in early.err) == (
        1,
        True,
    )
    assert "Nothing was archived." in run("events", "archives").out
    assert http.post("/v1/billing-runs", json={"as_of": "2026-12-01"}).json()["report"]["issued"] == 1
    assert (
        "2 events and versions of events before"
        in run("events", "archive", "--before", BEFORE, "--to", str(folder)).out
    )
    assert "removed" in run("events", "archives").out
    period = {
        "meter_id": "calls",
        "subject": "acme-eu",
        "time_from": "2026-10-31T23:00:00Z",
        "time_to": BEFORE,
    }
    assert [one["quantity"] for one in http.get("/v1/usage", params=period).json()["items"]] == ["15"]
    refused = http.get("/v1/usage", params={"meter_id": "calls"})
    assert (refused.status_code, refused.json()["reason_code"]) == (409, "time_is_archived")
    assert "ratemill events restore FOLDER" in refused.json()["detail"]
    window = {"time_from": "2026-10-31T23:00:00Z", "time_to": BEFORE}
    refused = http.get("/v1/reports/quantities", params=window)
    assert (refused.status_code, refused.json()["reason_code"]) == (409, "time_is_archived")
    limits = [
        {"meter_id": "calls", "period": period, "mode": "hard", "limit": "9"}
        for period in ("contract", "day")
    ]
    contract = {**CONTRACT, "entitlements": limits}
    assert http.put("/v1/contracts/acme-1", json=contract).status_code == 201
    assert state.entitlements.keep_ready() == 2
    asked = http.get("/v1/entitlements", params={"meter_id": "calls", "quantity": "1", "subject": "acme-eu"})
    assert (asked.status_code, asked.json()["reason_code"]) == (409, "time_is_archived")
    later = http.get("/v1/usage", params={"meter_id": "calls", "time_from": BEFORE})
    assert later.json()["items"] == []
    verified = run("rollup", "verify")
    assert (verified.status, "periods have archived events and cannot be counted again" in verified.out) == (
        0,
        True,
    )
    report = http.get("/v1/reports/completeness").json()
    assert (report["accepted"], [one["event_count"] for one in report["archived"]]) == (0, [2])
    whole = http.get("/v1/reports/completeness", params={"time_from": "2026-11-01T00:00:00Z"})
    assert whole.json()["reason_code"] == "time_is_archived"
    assert send(http, [event(1, value="10")])["duplicates"] == 1
    assert "2 events are in the store again." in run("events", "restore", str(folder)).out
    assert http.get("/v1/usage", params={"meter_id": "calls"}).status_code == 200
    assert (
        http.post("/v1/archives/restore", json={"folder": "x"}).json()["reason_code"] == "folder_not_absolute"
    )
    assert http.post("/v1/archives/restore", json={"folder": str(folder)}).status_code == 409
