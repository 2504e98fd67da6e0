"""Goal: giving up, claiming again and paying out are the same by command and over HTTP."""

from __future__ import annotations

from datetime import date

import httpx
import pytest

from api.state import Ratemill
from tests.api.conftest import NOW, Run
from tests.api.test_credits import october
from tests.invoicing.books import Books


@pytest.mark.requirement("PAY-08")
def test_a_bill_below_zero_is_set_off_by_command(run: Run, state: Ratemill) -> None:
    books = Books(state.ledger, NOW)
    below, invoice = books.issue(-1000), books.issue(2500)
    asked = ("payment", "set-off", below, invoice, "--on", "2026-02-02", "--id", "feb")
    done = run(*asked)
    assert "10.00" in done.out
    assert run(*asked).out == done.out
    assert "feb" in run("payment", "list").out
    refused = run("payment", "set-off", below, invoice, "--on", "2026-02-02")
    assert "leaves 0.00 EUR owed" in refused.err
    assert run("journal", "verify").status == 0


@pytest.mark.requirement("AUD-03")
def test_a_document_is_written_off_and_money_goes_back(run: Run, http: httpx.Client) -> None:
    october(http)
    lines = [{"description": "Lost badge", "amount": "100.00"}]
    body = {"kind": "miscellaneous", "contract_id": "big", "reason": "lost", "lines": lines}
    made = http.post("/v1/special-invoices", json=body).json()
    number, today = made["number"], made["issue_date"]
    none = run("invoice", "write-off", number)
    assert "Nothing was ever written off." in none.out
    part = run("invoice", "write-off", number, "--reason", "insolvent", "--amount", "60.00")
    assert f"{number}: 60.00 " in part.out
    path = f"/v1/documents/{number}/write-offs"
    assert http.get(path).json()["open_minor"] == 4000
    refused = http.post(path, json={"reason": "more", "amount": "50.00"})
    assert (refused.status_code, refused.json()["reason_code"]) == (409, "write_off_too_large")
    assert http.post(path, json={"reason": "the rest"}).status_code == 201
    (total,) = http.get("/v1/reports/outstanding").json()["totals"]
    assert (total["open_minor"], total["written_off_minor"]) == (0, 10000)
    back = run("invoice", "write-off", number, "--take-back", "--reason", "it pays", "--amount", "10.00")
    assert "90.00" in back.out
    currency = made["currency"]
    paid = run(
        "payment",
        "record",
        "130.00",
        currency,
        "--on",
        today,
        "--customer",
        made["customer_id"],
        "--text",
        number,
    )
    assert "30.00" in paid.out
    assert http.get(path).json()["written_off_minor"] == 0
    owed = (made["customer_id"], currency, "--on", date.today().isoformat(), "--reference", "wire 1")
    out = run("payment", "pay-out", *owed, "--id", "refund-1")
    assert "30.00" in out.out
    assert run("payment", "pay-out", *owed, "--id", "refund-1").out == out.out
    again = run("payment", "pay-out", *owed)
    assert "0.00" in again.err
    assert "refund-1" in run("payment", "pay-outs", "--customer", made["customer_id"]).out
    lost = run("payment", "record", "7.00", currency, "--on", today, "--id", "bank-9")
    assert "unknown" in lost.out
    assigned = run("payment", "assign", "bank-9", made["customer_id"], "--reason", "by phone")
    assert made["customer_id"] in assigned.out
    shown = run("payment", "show", "bank-9").out
    assert f"Returned on {today}: paid by {made['customer_id']}, recorded as pay-" in shown
    assert "7.00" in run("payment", "pay-out", *owed, "--id", "refund-2").out
    assert run("journal", "verify", "--documents").status == 0
    assert run("audit", "verify").status == 0
