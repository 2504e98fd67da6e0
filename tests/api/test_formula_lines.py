"""Goal: behind a line of a formula stand the events of all of its meters, page by page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx

from ingest.clock import FixedClock
from tests.api.conftest import Run
from tests.api.test_flow import CONTRACT, event, put_world, send

PLAN = {
    "name": "By a formula",
    "currency": "EUR",
    "effective_from": "2026-01-01",
    "charges": [
        {
            "charge_id": "over",
            "name": "Calls beyond",
            "kind": "usage",
            "formula": "max(0, units - 2 * seats)",
            "price": {"model": "per_unit", "unit_price": "0.50"},
        }
    ],
}


def test_the_events_of_all_meters_of_a_formula(http: httpx.Client, clock: FixedClock, run: Run) -> None:
    put_world(http)
    for name, event_type in (("units", "call"), ("seats", "seats")):
        meter = {"event_type": event_type, "aggregation": "sum"}
        assert http.put(f"/v1/meters/{name}", json=meter).status_code == 201
    assert http.put("/v1/price-plans/formula", json=PLAN).status_code == 201
    kept = {name: CONTRACT[name] for name in ("customer_id", "start_date", "time_zone")}
    changed = {**kept, "plan_id": "formula", "subjects": ["new"]}
    assert http.put("/v1/contracts/by-formula", json=changed).status_code == 201
    calls = [event(number, subject="new", value="5") for number in (1, 2, 3)]
    seats = [event(number, subject="new", value="2") | {"type": "seats"} for number in (4, 5)]
    send(http, [*calls, *seats])
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    http.post("/v1/billing-runs", json={"as_of": "2026-12-01"})
    invoices = http.get("/v1/invoices", params={"contract_id": "by-formula"}).json()["items"]
    (line,) = http.get(f"/v1/invoices/{invoices[0]['invoice_id']}").json()["lines"]
    assert (line["quantity"], line["amount_minor"], line["event_count"]) == ("7", 350, 5)
    for limit in (1, 2, 3, 4, 5, 6):
        assert pages(http, line["line_id"], limit) == ["1", "2", "3", "4", "5"]
    assert "max(0, units - 2 * seats), with units 15, seats 4" in run("explain", line["line_id"]).out


def pages(http: httpx.Client, line_id: str, limit: int) -> list[str]:
    found: list[str] = []
    params: dict[str, Any] = {"limit": limit}
    while True:
        page = http.get(f"/v1/lines/{line_id}/events", params=params).json()
        assert (page["meter_id"], page["event_count"], page["quantity"]) == (None, 5, "7")
        found += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            return found
        assert len(page["items"]) == limit
        params["cursor"] = page["next_cursor"]
