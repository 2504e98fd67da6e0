"""Goal: what people did - tickets, hours - comes in by feed, is counted and billed once, and nobody has to
type."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.billing import tick_once
from api.state import Ratemill
from ingest.clock import FixedClock
from tests.api.conftest import HttpFor, Run
from tests.api.test_flow import CONTRACT, CUSTOMER, METER, PLAN, put_world

TICKETS = """\
source,id,type,subject,time,value,priority,channel
desk,T-1,ticket,acme-eu,2026-11-02T09:00:00+01:00,30,high,phone
desk,T-2,ticket,acme-eu,2026-11-03T09:00:00+01:00,12.5,low,mail
desk,T-3,ticket,acme-us,2026-11-04T09:00:00-05:00,45,high,portal
desk,T-4,ticket,acme-us,2026-11-30T23:30:00+01:00,7,low,portal
desk,T-5,ticket,acme-us,2026-12-01T00:00:00+01:00,100,low,portal
"""
TIMESHEET = """\
source,id,type,subject,time,value,person,task
sheets,2026-11-02/ann/1,work,acme-eu,2026-11-02T08:00:00Z,3.25,ann,migration
sheets,2026-11-02/bob/1,work,acme-eu,2026-11-02T08:00:00Z,1.5,bob,migration
sheets,2026-11-03/ann/1,work,acme-eu,2026-11-03T08:00:00Z,8,ann,training
"""
CSV = {"Content-Type": "text/csv"}


def charge(name: str, meter_id: str, price: str) -> dict[str, Any]:
    priced = {"model": "per_unit", "unit_price": price}
    return {"charge_id": name, "name": name, "kind": "usage", "meter_id": meter_id, "price": priced}


def put_meter(http: httpx.Client, meter_id: str, **document: Any) -> None:
    assert http.put(f"/v1/meters/{meter_id}", json={"meter_id": meter_id, **document}).status_code == 201


def put_plan(http: httpx.Client, *charges: dict[str, Any]) -> None:
    put_meter(http, "calls", **{name: part for name, part in METER.items() if name != "meter_id"})
    for path, document in (
        ("/v1/price-plans/basic", {**PLAN, "charges": list(charges)}),
        ("/v1/customers/acme", CUSTOMER),
        ("/v1/contracts/acme-1", CONTRACT),
    ):
        assert http.put(path, json=document).status_code == 201


def lines(http: httpx.Client) -> list[dict[str, Any]]:
    (listed,) = http.get("/v1/invoices").json()["items"]
    found: list[dict[str, Any]] = http.get(f"/v1/invoices/{listed['invoice_id']}").json()["lines"]
    return found


@pytest.mark.requirement("MET-04")
def test_support_tickets_are_counted_and_summed_by_priority_and_billed(
    http: httpx.Client, clock: FixedClock
) -> None:
    priority: dict[str, Any] = {"event_type": "ticket", "group_by": ["priority"]}
    put_meter(http, "tickets", aggregation="count", unit="ticket", **priority)
    put_meter(http, "minutes", aggregation="sum", unit="minute", **priority)
    put_meter(http, "self-service", event_type="ticket", aggregation="count",
              filters=[{"property": "channel", "values": ["portal"]}])  # fmt: skip
    put_plan(http, charge("tickets", "tickets", "5"), charge("minutes", "minutes", "0.50"))
    assert http.post("/v1/events", content=TICKETS, headers=CSV).json()["accepted"] == 5
    month = {"time_from": "2026-10-31T23:00:00Z", "time_to": "2026-11-30T23:00:00Z"}
    for meter_id, expected in (
        ("tickets", {"high": "2", "low": "2"}),
        ("minutes", {"high": "75", "low": "19.5"}),
    ):
        items = http.get("/v1/usage", params={"meter_id": meter_id, **month}).json()["items"]
        assert {item["dimensions"]["priority"]: item["quantity"] for item in items} == expected
    portal = http.get("/v1/usage", params={"meter_id": "self-service", **month}).json()["items"]
    assert [item["quantity"] for item in portal] == ["2"]
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    http.post("/v1/billing-runs", json={"as_of": "2026-12-01"})
    billed = [
        (one["charge_id"], one["dimensions"], one["quantity"], one["amount_minor"]) for one in lines(http)
    ]
    assert billed == [
        ("tickets", {"priority": "high"}, "2", 1000),
        ("tickets", {"priority": "low"}, "2", 1000),
        ("minutes", {"priority": "high"}, "75", 3750),
        ("minutes", {"priority": "low"}, "19.5", 975),
    ]


@pytest.mark.requirement("MET-05")
def test_a_timesheet_is_imported_once_and_every_entry_is_billed_once(
    run: Run, http: httpx.Client, clock: FixedClock, tmp_path: Path
) -> None:
    put_meter(http, "hours", event_type="work", aggregation="sum", unit="hour", group_by=["person", "task"])
    put_plan(http, charge("hours", "hours", "100"))
    sheet = tmp_path / "november.csv"
    sheet.write_text(TIMESHEET)
    for accepted, duplicates in ((3, 0), (0, 3)):
        (report,) = run("ingest", str(sheet), "--json").json()["files"]
        assert (report["accepted"], report["duplicates"], report["conflicts"]) == (accepted, duplicates, 0)
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    http.post("/v1/billing-runs", json={"as_of": "2026-12-01"})
    billed = lines(http)
    assert [(one["dimensions"]["person"], one["quantity"], one["amount_minor"]) for one in billed] == [
        ("ann", "3.25", 32500),
        ("ann", "8", 80000),
        ("bob", "1.5", 15000),
    ]
    behind = [
        one for line in billed for one in http.get(f"/v1/lines/{line['line_id']}/events").json()["items"]
    ]
    entries = [row.split(",")[1] for row in TIMESHEET.splitlines()[1:]]
    assert sorted(one["id"] for one in behind) == sorted(entries)
    run("ingest", str(sheet))
    assert http.post("/v1/billing-runs", json={"as_of": "2026-12-01"}).json()["report"]["due"] == 0


@pytest.mark.requirement("MET-11")
def test_an_invoice_comes_of_feeds_alone(
    http: httpx.Client, http_for: HttpFor, state: Ratemill, clock: FixedClock
) -> None:
    """Once the contract is there, a feed with a key that may only send, and the scheduler: nothing else is
    called until the invoice is issued."""
    put_world(http)
    before = calls(http)
    feed = http_for("ingest")
    named = {"source": "switch", "type": "call", "subject": "acme-eu", "properties": {"region": "eu"}}
    for number in range(3):
        sent = {**named, "id": str(number), "time": f"2026-11-0{number + 1}T12:00:00Z", "value": "50"}
        assert feed.post("/v1/events", json=sent).status_code == 200
    clock.move_to(datetime(2026, 12, 1, 0, 5, tzinfo=UTC))
    tick_once(state)
    state.runs.wait()
    made = {key: count - before.get(key, 0) for key, count in calls(http).items()}
    assert {key for key, count in made.items() if count and "/metrics" not in key} == {"POST /v1/events"}
    (invoice,) = http.get("/v1/invoices").json()["items"]
    assert (invoice["state"], invoice["total_minor"]) == ("issued", 1250)


def calls(http: httpx.Client) -> dict[str, int]:
    """Requests so far by method and route."""
    found: dict[str, int] = {}
    for line in http.get("/metrics").text.splitlines():
        labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
        if line.startswith("ratemill_http_requests_total") and "route" in labels:
            key = f"{labels['method']} {labels['route']}"
            found[key] = found.get(key, 0) + int(line.rpartition(" ")[2].split(".")[0])
    return found
