"""Goal: a CRM's webhook and a file say the same through HTTP and by command."""

from __future__ import annotations

from pathlib import Path

import httpx
import orjson
import pytest

from invoicing.crm.adapter import crm_secret
from tests.api.conftest import NOW, HttpFor, Run
from tests.api.test_flow import put_world
from tests.invoicing.fake_crms import StandardCrm

PRODUCT = {"name": "Storage", "kind": "product", "billed": "recurring", "prices": {"EUR": "10.00"}}
CHANGED = "2026-11-20T08:00:00+00:00"
DEAL = {"name": "Safe data", "customer_external_id": "001-7"}


@pytest.mark.requirement("CRM-01")
def test_a_signed_webhook_is_taken_and_an_unsigned_one_is_not(http_for: HttpFor, http: httpx.Client) -> None:
    secret = http.get("/v1/crm/crm/secret").json()["secret"]
    assert secret == crm_secret("a secret of tests, long enough", "crm")
    said = [
        ("opportunity", "006-1", CHANGED, DEAL),
        ("customer", "001-7", CHANGED, {"name": "Acme"}),
    ]
    headers, body = StandardCrm().delivery(said, secret=secret, now=NOW)
    without_key = http_for()
    forged = without_key.post("/v1/crm/crm/webhook", content=body + b" ", headers=headers)
    assert (forged.status_code, forged.json()["reason_code"]) == (401, "crm_signature")
    assert http.get("/v1/crm/objects").json()["items"] == []
    taken = without_key.post("/v1/crm/crm/webhook", content=body, headers=headers).json()
    # The deal came before its customer, and both are in force with one delivery.
    assert [one["outcome"] for one in taken["items"]] == ["applied", "applied"]
    again = without_key.post("/v1/crm/crm/webhook", content=body, headers=headers).json()
    assert (again["unchanged"], again["applied"]) == (2, 0)
    first = http.get("/v1/crm/objects", params={"limit": 1}).json()
    second = http.get("/v1/crm/objects", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [page["items"][0]["key"] for page in (first, second)] == ["crm-001-7", "crm-006-1"]
    assert http.get("/v1/customers/crm-001-7").json()["document"]["name"] == "Acme"


@pytest.mark.requirement("CRM-01")
@pytest.mark.requirement("CON-10")
def test_files_become_a_quote_a_contract_and_a_report(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    put_world(http)
    assert "Nothing here." in run("crm", "list").out
    (tmp_path / "products.csv").write_text(
        f"external_id,changed_at,name,data.kind,billed,prices.EUR\np-1,{CHANGED},Storage,product,recurring,10\n"
    )
    wrong = run("crm", "sync", "products.csv", "--system", "crm")
    assert wrong.status == 1
    offer = {
        "customer_external_id": "001-7",
        "title": "Safe data",
        "contract": {"plan_id": "basic", "start_date": "2026-11-01", "time_zone": "UTC"},
        "outcomes": [
            {
                "outcome_id": "safe",
                "description": "No data is ever lost",
                "product_external_id": "p-1",
                "quantity": "3",
            }
        ],
        "acceptance": {"name": "Ada"},
    }
    lines = [
        {"kind": kind, "external_id": external_id, "changed_at": CHANGED, "data": data}
        for kind, external_id, data in (("quote", "q-9", offer), ("customer", "001-7", {"name": "Acme"}))
    ]
    (tmp_path / "deals.ndjson").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    waits = run("crm", "sync", "deals.ndjson", "--system", "crm")
    assert "1 applied, 0 unchanged" in waits.out
    assert "1 wait" in waits.out
    assert "product 'p-1'" in run("crm", "list", "--state", "waiting").out
    synced = run("crm", "sync", "products.csv", "--system", "crm", "--kind", "product")
    assert "1 applied" in synced.out
    assert http.get("/v1/quotes/crm-q-9").json()["state"] == "accepted"
    report = run("report", "sold-ordered")
    assert "as quoted" in report.out
    assert "30" in report.out
    assert "Nothing to compare" in run("report", "sold-ordered", "--differences").out
    assert "0 applied." in run("crm", "retry", "--system", "crm").out
    assert "No two changes" in run("crm", "conflicts").out
    assert run("crm", "secret", "crm").out.startswith("whsec_")
    assert run("product", "list").out.count("Storage") == 1
    assert run("audit", "verify").status == 0
