"""Goal: from the report of late payers one request, or one command, switches the customer."""

from __future__ import annotations

import httpx
import pytest

from tests.api.conftest import Run
from tests.api.test_credits import october


@pytest.mark.requirement("CON-20")
@pytest.mark.requirement("REP-10")
def test_the_report_leads_to_the_switch_and_the_trail_says_why(run: Run, http: httpx.Client) -> None:
    assert "No document was due" in run("report", "payers").out
    october(http, terms={"payment_days": 5})
    assert run("bill", "--as-of", "2026-11-01").status == 0
    [invoice] = http.get("/v1/invoices").json()["items"]
    card = {"payment_id": "p1", "customer_id": "acme", "currency": "EUR", "amount": "6.00"}
    paid = http.post("/v1/payments", json={**card, "value_date": "2026-12-01", "text": invoice["number"]})
    assert paid.json()["state"] == "applied"
    shown = run("report", "payers", "--as-of", "2026-12-05").out
    assert "fewer than 3 documents say too little" in shown
    [habit] = http.get("/v1/reports/payers", params={"as_of": "2026-12-05"}).json()["items"]
    assert (habit["documents"], habit["late"]) == (1, 1)
    assert int(habit["median_days_late"]) == habit["longest_days_late"] > 0
    switched = run("customer", "switch-billing", "acme", "--to", "advance", "--reason", "pays late",
                   "--contract", "big")  # fmt: skip
    assert "2026-12-01" in switched.out
    body = {"mode": "advance", "reason": "pays late", "contract_ids": ["big"]}
    again = http.post("/v1/customers/acme/billing-structure", json=body).json()["items"]
    assert [(one["changed"], one["amount"]) for one in again] == [(False, "6")]
    trail = http.get("/v1/audit", params={"object_kind": "customer"}).json()["items"]
    assert [(one["action"], one["reason"]) for one in trail if one["action"] == "billing_switched"] == [
        ("billing_switched", "pays late")
    ]
    refused = run("customer", "switch-billing", "acme", "--to", "shorter_terms", "--reason", "x")
    assert refused.status == 1
