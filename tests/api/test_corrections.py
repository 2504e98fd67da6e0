"""Goal: over HTTP and on the command line an event is amended and cancelled, every total follows at once,
and what was sent, by whom it was changed and why can be read for ever."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest.clock import FixedClock
from tests.api.conftest import NOW, HttpFor, Run
from tests.api.test_flow import event, put_world, send


def correction(name: str, corrects: str, **changes: Any) -> dict[str, Any]:
    kind = "amend" if changes else "cancel"
    return {"source": "switch", "id": name, "kind": kind, "corrects": corrects, "reason": "typo", **changes}


def used(http: httpx.Client, **params: str) -> list[tuple[str, int]]:
    answer = http.get("/v1/usage", params={"meter_id": "calls", "subject": "acme-eu", **params})
    assert answer.status_code == 200, answer.text
    return [(item["quantity"], item["event_count"]) for item in answer.json()["items"]]


@pytest.mark.requirement("MET-01")
def test_usage_follows_a_correction_at_once_and_can_be_asked_as_it_was(
    http: httpx.Client, clock: FixedClock
) -> None:
    put_world(http)
    send(http, [event(1, value="10"), event(2, value="5")])
    clock.advance(timedelta(hours=1))
    answer = http.post("/v1/corrections", json=[correction("fix-1", "1", value="4")])
    assert answer.status_code == 200, answer.text
    assert answer.json()["accepted"] == 1
    assert used(http) == [("9", 2)]
    clock.advance(timedelta(hours=1))
    again = http.post(
        "/v1/corrections", json=[correction("fix-1", "1", value="4.0"), correction("fix-2", "2")]
    )
    assert (again.json()["accepted"], again.json()["duplicates"]) == (1, 1)
    assert used(http) == [("4", 1)]
    assert used(http, known_at=NOW.isoformat()) == [("15", 2)]
    assert used(http, known_at=(NOW + timedelta(hours=1)).isoformat()) == [("9", 2)]
    early = http.get("/v1/usage", params={"meter_id": "calls", "known_at": "2027-01-01T00:00:00Z"})
    assert (early.status_code, early.json()["reason_code"]) == (422, "known_at_in_future")


@pytest.mark.requirement("AUD-09")
def test_the_original_and_every_reason_stay_readable(http: httpx.Client) -> None:
    odd = "a/b?c=1&d#é"
    send(http, [event(1) | {"id": odd}, event(2)])
    for number, change in enumerate(({"value": "7"}, {"time": "2026-11-03T00:00:00Z"}, {}), 1):
        sent = correction(f"fix-{number}", odd, **change) | {"reason": f"reason {number}"}
        assert http.post("/v1/corrections", json=sent).status_code == 200
    for name in (odd, "fix-1", "fix-3"):
        told = http.get("/v1/events/history", params={"source": "switch", "id": name}).json()
        assert (told["sent"]["id"], told["sent"]["value"], told["sent"]["state"]) == (odd, "1", "amended")
        assert told["in_force"] is None
        assert [(one["kind"], one["reason"]) for one in told["corrections"]] == [
            ("amend", "reason 1"),
            ("amend", "reason 2"),
            ("cancel", "reason 3"),
        ]
        assert [(one["id"], one["value"], one["time"], one["state"]) for one in told["versions"]] == [
            ("fix-1", "7", "2026-11-02T00:01:00Z", "amended"),
            ("fix-2", "7", "2026-11-03T00:00:00Z", "cancelled"),
        ]
    plain = http.get("/v1/events/history", params={"source": "switch", "id": "2"}).json()
    assert (plain["in_force"], plain["corrections"], plain["versions"]) == (plain["sent"], [], [])
    assert http.get("/v1/events/history", params={"source": "x", "id": "2"}).status_code == 404
    listed = http.get("/v1/events", params={"state": "in_force"}).json()["items"]
    assert [one["id"] for one in listed] == ["2"]
    first = http.get("/v1/corrections", params={"limit": 2}).json()
    rest = http.get("/v1/corrections", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [one["id"] for one in first["items"] + rest["items"]] == ["fix-3", "fix-2", "fix-1"]
    assert rest["next_cursor"] is None


def test_a_batch_of_which_nothing_was_taken_is_a_problem_with_its_report(http_for: HttpFor) -> None:
    answer = http_for("ingest").post("/v1/corrections", json=[correction("fix-1", "nobody")])
    assert answer.status_code == 422
    assert answer.json()["refusals"][0]["reason_code"] == "no_such_event"
    assert http_for("read").post("/v1/corrections", json=[]).status_code == 403
    listed = http_for("read").get("/v1/events/refused").json()["items"]
    assert json.loads(listed[0]["record"])["corrects"] == "nobody"


@pytest.mark.requirement("RAT-07")
@pytest.mark.parametrize("change", [{"value": "2"}, {}])
def test_a_contract_held_by_an_event_no_meter_can_count_is_released(
    http: httpx.Client, clock: FixedClock, change: dict[str, str]
) -> None:
    spoiled = event(1)
    spoiled.pop("value")
    send(http, [spoiled, event(2, value="30")])  # before the meter is there, which would ask for a value
    put_world(http)
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    report = http.post("/v1/billing-runs", json={"as_of": "2026-12-01"}).json()["report"]
    assert (report["issued"], report["held_by_reason"]) == (0, {"unusable_events": 1})
    assert http.post("/v1/corrections", json=correction("fix-1", "1", **change)).status_code == 200
    report = http.post("/v1/billing-runs", json={"as_of": "2026-12-01"}).json()["report"]
    assert (report["issued"], report["held"]) == (1, 0)
    (line,) = http.get(f"/v1/invoices/{_first_invoice(http)}").json()["lines"]
    assert line["quantity"] == ("32" if change else "30")
    behind = http.get(f"/v1/lines/{line['line_id']}/events").json()["items"]
    assert [one["id"] for one in behind] == (["fix-1", "2"] if change else ["2"])


@pytest.mark.requirement("AUD-02", "AUD-09")
def test_a_line_keeps_the_events_it_was_billed_by(http: httpx.Client, clock: FixedClock) -> None:
    put_world(http)
    send(http, [event(1, value="10"), event(2, value="20")])
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    http.post("/v1/billing-runs", json={"as_of": "2026-12-01"})
    (line,) = http.get(f"/v1/invoices/{_first_invoice(http)}").json()["lines"]
    clock.advance(timedelta(days=1))
    http.post("/v1/corrections", json=[correction("fix-1", "1", value="11"), correction("fix-2", "2")])
    send(http, [event(3, value="40")])
    behind = http.get(f"/v1/lines/{line['line_id']}/events").json()
    assert [(one["id"], one["number"]) for one in behind["items"]] == [("1", "10"), ("2", "20")]
    assert (behind["event_count"], behind["quantity"]) == (2, "30")
    assert [item["quantity"] for item in http.get("/v1/contracts/acme-1/usage").json()["items"]] == []
    params = {"meter_id": "calls", "subject": "acme-eu"}
    assert [item["quantity"] for item in http.get("/v1/usage", params=params).json()["items"]] == ["51"]


def _first_invoice(http: httpx.Client) -> str:
    return str(http.get("/v1/invoices").json()["items"][0]["invoice_id"])


def test_the_commands_say_what_the_api_says(run: Run, tmp_path: Path, http: httpx.Client) -> None:
    put_world(http)
    send(http, [event(number) for number in range(1, 5)])
    named = ("--source", "switch", "--reason", "typo")
    amended = run("events", "amend", "1", *named, "--id", "f1", "--value", "8", "--property", "region=eu")
    assert (amended.status, amended.out.strip()) == (
        0,
        "Corrections: 1 accepted, 0 duplicates, 0 conflicts, 0 rejected.",
    )
    assert run("events", "cancel", "2", *named, "--id", "f2").status == 0
    twice = run("events", "cancel", "2", *named, "--id", "f3")
    assert twice.status == 1
    assert "already_cancelled" in twice.out
    path = tmp_path / "fixes.ndjson"
    path.write_text("".join(json.dumps(correction(f"g{n}", str(n), value="2")) + "\n" for n in (3, 4)))
    assert run("events", "correct", str(path), "--json").json()["accepted"] == 2
    told = run("events", "history", "1", "--source", "switch")
    assert "Versions of 1" in told.out
    assert "typo" in told.out
    assert "g4" in run("events", "corrections").out
    assert [one["id"] for one in run("events", "list", "--state", "cancelled", "--json").json()["items"]] == [
        "2"
    ]
    usage = run("usage", "calls", "--subject", "acme-eu", "--json").json()
    assert [item["quantity"] for item in usage["items"]] == ["12"]
    then = run(
        "usage", "calls", "--subject", "acme-eu", "--known-at", "2026-01-01T00:00:00Z", "--json"
    ).json()
    assert then["items"] == []
    wrong = run("events", "amend", "1", *named, "--id", "f9", "--property", "region")
    assert wrong.status == 2
