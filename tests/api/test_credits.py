"""Goal: credit over HTTP and by command: given, drawn, shown, voided, topped up; the same words in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pypdf import PdfReader

from api.billing import tick_once
from api.state import Ratemill
from tests.api.conftest import Run
from tests.api.test_flow import CONTRACT, event, put_world, send

CREDIT = {
    "grant_id": "prepaid",
    "customer_id": "acme",
    "name": "Prepaid calls",
    "kind": "paid",
    "currency": "EUR",
    "amount": "10.00",
    "cost_basis": "8.00",
    "effective_from": "2026-10-01",
    "expires_on": "2027-10-01",
}


def october(http: httpx.Client, **contract: Any) -> None:
    """60 calls at 0.10 in October."""
    put_world(http)
    document = CONTRACT | {"contract_id": "big", "subjects": ["big"], "start_date": "2026-10-01", **contract}
    assert http.put("/v1/contracts/big", json=document).status_code == 201
    send(http, [event(1, subject="big", value="60") | {"time": "2026-10-05T00:00:00Z"}])


def lines_of(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_credit_is_given_drawn_and_voided_by_command(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    october(http)
    (tmp_path / "prepaid.json").write_bytes(orjson.dumps(CREDIT))
    assert "No credit here." in run("credits", "list").out
    assert run("credits", "grant", "prepaid.json").status == 0
    assert run("credits", "grant", "prepaid.json").status == 0  # again: nothing more
    assert run("bill", "--as-of", "2026-11-01").status == 0
    shown = lines_of(run("credits", "list", "--customer", "acme").out)
    assert "prepaid acme Prepaid calls paid 2026-10-01 2027-10-01 10.00 4.00 EUR" in shown
    (invoice,) = http.get("/v1/invoices").json()["items"]
    assert (invoice["total_minor"], invoice["credit_minor"], invoice["due_minor"]) == (600, 600, 0)
    printed = run("invoice", "show", invoice["number"]).out
    assert "Credit Prepaid calls (prepaid): -6.00, 4.00 left" in printed
    assert "Amount due 0.00 EUR." in printed
    balance = lines_of(run("credits", "balance", "acme", "--as-of", "2026-11-01").out)
    assert "EUR 10.00 0.00 6.00 0.00 4.00 8.00 4.80 3.20" in balance
    refused = run("credits", "void", "prepaid", "--reason", " ")
    assert refused.status == 1
    assert "say why" in refused.err
    assert run("credits", "void", "prepaid", "--reason", "cancelled").status == 0
    entries = lines_of(run("credits", "show", "prepaid").out)
    assert any(line.startswith("2026-11-22 prepaid voided -4.00 -3.20 cancelled") for line in entries)
    assert "No credit here." in run("credits", "list", "--open").out


def test_a_grant_in_the_place_of_another_is_refused(http: httpx.Client) -> None:
    october(http)
    assert http.put("/v1/credits/prepaid", json=CREDIT).status_code == 201
    assert http.put("/v1/credits/prepaid", json=CREDIT).status_code == 200
    changed = http.put("/v1/credits/prepaid", json=CREDIT | {"amount": "11"})
    assert (changed.status_code, changed.json()["reason_code"]) == (409, "grant_id_taken")
    assert http.put("/v1/credits/x", json=CREDIT).status_code == 422
    nobody = http.put("/v1/credits/y", json=CREDIT | {"grant_id": "y", "customer_id": "nobody"})
    assert nobody.status_code == 404
    assert http.get("/v1/customers/nobody/credit-balance").status_code == 404


def test_a_retainer_has_a_statement(run: Run, http: httpx.Client) -> None:
    retainer = {"retainer_id": "care", "amount": "5.00", "charge_ids": ["calls"], "statement_by": "region"}
    october(http, retainers=[retainer])
    assert "was not billed a retainer yet" in run("credits", "statement", "big").out
    assert run("bill", "--as-of", "2026-11-01").status == 0
    shown = lines_of(run("credits", "statement", "big").out)
    assert "care 2026-10-01 2026-11-01 5.00 0.00 6.00 0.00 5.00 1.00 0.00 0.00 0.00 EUR" in shown
    assert "2026-10-01 eu 60 call 6.00 0.00 5.00 1.00" in shown


def test_the_scheduler_tops_up(run: Run, http: httpx.Client, state: Ratemill) -> None:
    october(http)
    send(http, [event(2, subject="big", value="70") | {"time": "2026-11-05T00:00:00Z"}])
    http.put("/v1/credits/prepaid", json=CREDIT)
    terms = ("--threshold", "5.00", "--amount", "20.00", "--price", "16.00")
    assert run("credits", "top-up", "big").status == 1  # nothing is agreed yet
    shown = run("credits", "top-up", "big", *terms).out
    assert "big: below 5 EUR, 20 of credit are sold for 16." in shown
    assert "Live balance -3.00: 10.00 of credit less 13.00 used and not billed." in shown
    for _ in range(2):
        tick_once(state)
    assert "Live balance 17.00: 24.00 of credit less 7.00 used" in run("credits", "top-up", "big").out
    assert "(off)" in run("credits", "top-up", "big", "--off").out
    invoices = http.get("/v1/invoices", params={"contract_id": "big"}).json()["items"]
    assert sorted(invoice["total_minor"] for invoice in invoices) == [600, 1600]


@pytest.mark.requirement("GEN-11")
def test_a_retainer_statement_is_written_as_pdf(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    october(http, retainers=[{"retainer_id": "calls", "name": "Calls paid before", "amount": "10.00"}])
    assert "no retainer for a period." in run("credits", "statement", "big", "--pdf", "x.pdf").err
    for day in ("2026-10-01", "2026-11-01"):
        assert run("bill", "--as-of", day).status == 0
    path = tmp_path / "statement.pdf"
    assert run("credits", "statement", "big", "--pdf", str(path), "--period", "2026-10-01").status == 0
    text = " ".join(PdfReader(path).pages[0].extract_text().split())
    for words in ("Retainer: Calls paid before", "60 call 6.00", "Left of the retainer 4.00 EUR"):
        assert words in text, (words, text)
    headers = {"Accept": "application/pdf"}
    assert http.get("/v1/contracts/big/retainers", headers=headers).content == path.read_bytes()
    none = http.get("/v1/contracts/big/retainers", params={"period_start": "2020-01-01"}, headers=headers)
    assert none.status_code == 404
