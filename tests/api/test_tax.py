"""Goal: a billing entity, its rates and the tax on a bill, over HTTP and by command, in the same words."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson
import pytest

from ingest.clock import FixedClock
from tests.api.conftest import Run
from tests.api.test_flow import event, put_world, send
from tests.invoicing.test_tax_billing import CUSTOMER, ENTITY


@pytest.mark.requirement("TAX-01")
def test_from_an_entity_to_a_taxed_bill(
    run: Run, http: httpx.Client, clock: FixedClock, tmp_path: Path
) -> None:
    put_world(http)
    http.put("/v1/customers/acme", json=CUSTOMER)
    (tmp_path / "entity.json").write_bytes(orjson.dumps(ENTITY))
    assert "No billing entities yet" in run("entity", "list").out
    assert run("entity", "put", "entity.json").status == 0
    assert http.put("/v1/billing-entities/de", json=ENTITY).status_code == 200  # this very document
    send(http, [event(1)])
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    held = run("bill", "--as-of", "2026-12-01")
    assert held.status == 1
    assert "tax_rates_missing" in held.out
    assert run("tax-rates", "load", "--example", "DE").status == 0
    billed = run("bill", "--as-of", "2026-12-01")
    assert (billed.status, "EUR net" in billed.out) == (0, True), billed.out
    [item] = http.get("/v1/invoices", params={"totals": "true"}).json()["items"]
    assert item["gross_minor"] == item["total_minor"] + item["tax_minor"] == item["due_minor"]
    invoice = http.get(f"/v1/invoices/{item['invoice_id']}").json()
    assert [(group["category"], group["rate_percent"]) for group in invoice["tax"]] == [("S", "19")]
    assert invoice["seller"]["tax_id"] == ENTITY["tax_id"]
    shown = run("invoice", "show", item["number"]).out
    assert "Tax S 19 % on" in shown
    assert "EUR tax in all" in run("invoice", "list").out
    bad = http.put("/v1/billing-entities/de", json=ENTITY | {"tax_id": "DE136695977"})
    assert (bad.status_code, bad.json()["issues"][0]["reason_code"]) == (422, "bad_check_digit")
