"""Goal: reports say the same over HTTP and on the command line, and account for what people really send."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from ingest.clock import FixedClock
from tests.api.conftest import Run
from tests.api.test_flow import CONTRACT, event, put_world, send


def correct(http: httpx.Client, name: str, corrects: str, **changes: str) -> None:
    kind = "amend" if changes else "cancel"
    record = {"source": "switch", "id": name, "kind": kind, "corrects": corrects, "reason": "r", **changes}
    answer = http.post("/v1/corrections", json=record)
    assert answer.json()["accepted"] == 1, answer.text


@pytest.mark.requirement("MET-08")
def test_every_event_is_accounted_for_from_the_door_to_the_invoice(
    http: httpx.Client, run: Run, clock: FixedClock
) -> None:
    put_world(http)
    send(http, [event(1, value="2.5"), event(2, value="4"), event(3, value="8"), event(4, value="16")])
    send(http, [event(5, subject="stranger", value="32")])
    http.post("/v1/events", json=[event(6, value="not a number"), event(7, value="64")])
    correct(http, "fix-2", "2")
    correct(http, "fix-3", "3", value="9")
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    assert http.post("/v1/billing-runs", json={"as_of": "2026-12-01"}).json()["report"]["issued"] == 1
    clock.move_to(datetime(2026, 12, 2, 12, tzinfo=UTC))
    send(http, [event(8, value="128")])
    correct(http, "fix-4", "4", value="17")
    answer = http.get("/v1/reports/completeness").json()
    assert [answer[name] for name in ("accepted", "billed", "not_billable", "unbilled")] == [7, 3, 2, 2]
    assert answer["types"] == [{"type": "call", "event_count": 7, "value_total": "256.5"}]
    parts = [(p["outcome"], p["reason_code"], p["event_count"], p["value_total"]) for p in answer["parts"]]
    assert parts == [
        ("billed", "", 3, "75.5"),
        ("not_billable", "cancelled", 1, "4"),
        ("not_billable", "subject_unmatched", 1, "32"),
        ("unbilled", "amended_later", 1, "17"),
        ("unbilled", "late", 1, "128"),
    ]
    assert answer["refused"] == [{"outcome": "rejected", "state": "open", "record_count": 1}]
    said = run("report", "completeness")
    assert "7 events accepted = 3 billed + 2 not billable + 2 unbilled." in said.out
    assert "amended_later" in said.out
    early = run("report", "completeness", "--to", "2026-11-02T00:02:00Z", "--json").json()
    assert (early["accepted"], early["billed"]) == (1, 1)


def test_a_report_over_no_time_is_refused(http: httpx.Client) -> None:
    window = {"time_from": "2026-11-02T00:00:00Z", "time_to": "2026-11-02T00:00:00Z"}
    assert http.get("/v1/reports/completeness", params=window).json()["reason_code"] == "empty_period"


@pytest.mark.requirement("MET-10")
def test_seats_beside_use_over_http_and_on_the_command_line(http: httpx.Client, run: Run) -> None:
    put_world(http)
    seats = {"event_type": "seat", "aggregation": "time_weighted", "reading": "peak", "unit": "seat"}
    assert http.put("/v1/meters/seats", json={"meter_id": "seats", **seats}).status_code == 201
    send(http, [event(1, value="12"), {**event(2, value="10"), "type": "seat"}])
    window = ("--from", "2026-11-01T00:00:00Z", "--to", "2026-12-01T00:00:00Z")
    arguments = ("report", "provisioned", "seats", "calls", *window, "--product", "region")
    answer = run(*arguments, "--threshold", "19.9", "--json").json()
    assert answer["items"] == [
        {
            "window_start": "2026-11-01T00:00:00Z",
            "window_end": "2026-12-01T00:00:00Z",
            "subject": "acme-eu",
            "dimensions": {"region": "eu"},
            "provisioned": "10",
            "consumed": "12",
            "difference": "-2",
            "flagged": True,
        }
    ]
    assert "0 of 1 differ by more than 20 percent." in run(*arguments, "--threshold", "20").out


@pytest.mark.requirement("REP-14")
def test_four_quantities_over_http_as_a_table_and_on_the_command_line(
    http: httpx.Client, run: Run, clock: FixedClock, tmp_path: Path
) -> None:
    put_world(http)
    limit = {"meter_id": "calls", "period": "billing_period", "mode": "hard", "limit": "50"}
    assert http.put("/v1/contracts/acme-1", json={**CONTRACT, "entitlements": [limit]}).status_code == 201
    send(http, [event(1, value="12"), event(2, value="30.5", subject="acme-us")])
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    assert http.post("/v1/billing-runs", json={"as_of": "2026-12-01"}).json()["report"]["issued"] == 1
    window = ("--from", "2026-10-31T23:00:00Z", "--to", "2026-11-30T23:00:00Z")
    (item,) = run("report", "quantities", *window, "--json").json()["items"]
    assert item == {
        "customer_id": "acme",
        "product": "calls",
        "sold": "50",
        "bought": "42.5",
        "provisioned": None,
        "consumed": "42.5",
        "sold_less_bought": "7.5",
        "bought_less_provisioned": None,
        "provisioned_less_consumed": None,
        "unusable_events": 0,
    }
    assert "42.5" in run("report", "quantities", *window).out
    out = tmp_path / "q.csv"
    assert run("report", "quantities", *window, "--customer", "acme", "--out", str(out)).status == 0
    assert out.read_text().splitlines()[1].startswith('"acme","calls",50.000000000000,42.500000000000,,')
    params = {"time_from": window[1], "time_to": window[3]}
    arrow = {"Accept": "application/vnd.apache.arrow.stream"}
    with pa.ipc.open_stream(
        http.get("/v1/reports/quantities", params=params, headers=arrow).content
    ) as stream:
        assert stream.read_all().num_rows == 1
    named = {**params, "charge_id": "calls", "consumed_meter_id": "nobody"}
    assert http.get("/v1/reports/quantities", params=named).status_code == 404
    assert run("report", "quantities", *window, "--out", "x.txt").status == 2
