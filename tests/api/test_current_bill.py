"""Goal: whoever is asked for the bill gets the right one in one call: all that was had, at menu prices, with
the promotion that was promised, and nobody else is asked."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pypdf import PdfReader

from api.billing import tick_once
from api.state import Ratemill
from ingest.clock import FixedClock
from tests.api.conftest import HttpFor, Run
from tests.api.test_flow import CONTRACT, CUSTOMER, event, put_world, send

MENU = {"soup": "6.50", "trout": "21.00", "wine": "7.20"}
ORDERED = [("soup", 2), ("trout", 2), ("wine", 3), ("wine", 2)]
GUEST = {
    "customer_id": "table-12",
    "name": "Ada Lovelace",
    "country": "GB",
    "external_ids": {"reservations": "R-1815"},
    "bill_to": {"name": "Analytical Engines Ltd", "email": "ap@engines.example"},
}


def open_restaurant(http: httpx.Client) -> None:
    cells = [
        {"match": {"dish": dish}, "price": {"model": "per_unit", "unit_price": price}}
        for dish, price in MENU.items()
    ]
    charge = {
        "charge_id": "menu",
        "name": "Menu",
        "kind": "usage",
        "meter_id": "dishes",
        "unit": "portion",
        "price": {"model": "matrix", "dimensions": ["dish"], "cells": cells},
    }
    promised = {"discount_id": "early", "name": "Early bird", "percent": "10", "first_periods": 1}
    for path, document in (
        (
            "/v1/meters/dishes",
            {"meter_id": "dishes", "event_type": "dish", "aggregation": "sum", "group_by": ["dish"]},
        ),
        (
            "/v1/price-plans/menu",
            {
                "plan_id": "menu",
                "name": "Menu",
                "currency": "GBP",
                "effective_from": "2026-01-01",
                "charges": [charge],
            },
        ),
        ("/v1/customers/table-12", GUEST),
        (
            "/v1/contracts/evening",
            {
                "contract_id": "evening",
                "customer_id": "table-12",
                "plan_id": "menu",
                "subjects": ["t12"],
                "start_date": "2026-11-22",
                "time_zone": "Europe/London",
                "end_date": "2026-11-23",
                "terms": {"payment_days": 0},
                "discounts": [promised],
            },
        ),
    ):
        answer = http.put(path, json=document)
        assert answer.status_code == 201, answer.text


def orders(http: httpx.Client) -> None:
    """What the kitchen's till sends, with a key that may do nothing else."""
    sent = [
        {
            "source": "till",
            "id": f"order-{number}",
            "type": "dish",
            "subject": "t12",
            "time": f"2026-11-22T11:{number:02}:00Z",
            "value": str(count),
            "properties": {"dish": dish},
        }
        for number, (dish, count) in enumerate(ORDERED, start=1)
    ]
    assert send(http, sent)["accepted"] == len(ORDERED)


@pytest.mark.requirement("AUD-12")
@pytest.mark.requirement("RAT-09")
@pytest.mark.requirement("CON-06")
@pytest.mark.requirement("CON-07")
@pytest.mark.requirement("MET-11")
def test_could_i_have_my_check(
    state: Ratemill, http: httpx.Client, http_for: HttpFor, clock: FixedClock
) -> None:
    open_restaurant(http)
    orders(http_for("ingest"))
    before = len(http.get("/v1/audit").json()["items"])
    waiter = http_for("current_bill")
    # In the middle of the period, by the guest's name: one call.
    answer = waiter.get("/v1/current-bill", params={"customer": "ada lovelace"})
    assert answer.status_code == 200, answer.text
    check = answer.json()
    assert (check["customer_id"], check["matched_by"], check["held"]) == ("table-12", "exact", [])
    [bill] = check["bills"]
    had = {line["dimensions"]["dish"]: line for line in bill["lines"]}
    assert {dish: line["quantity"] for dish, line in had.items()} == {"soup": "2", "trout": "2", "wine": "5"}
    # Menu prices: each line names the version of the menu, and that version's price is the one on the bill.
    menu = http.get("/v1/price-plans/menu").json()
    for cell in menu["document"]["charges"][0]["price"]["cells"]:
        line = had[cell["match"]["dish"]]
        assert line["tiers"][0]["unit_price"] == cell["price"]["unit_price"]
        assert line["plan_version"] == 1
    # The promotion, by its name, on every line, and nobody asked for it: 91.00 less 10 %.
    assert {line["discounts"][0]["name"] for line in had.values()} == {"Early bird"}
    assert check["totals"] == [{"currency": "GBP", "bills_minor": 8190, "open_minor": 0, "total_minor": 8190}]
    # The waiter sees that bill and nothing else.
    for path in ("/v1/invoices", "/v1/customers/table-12", "/v1/contracts/evening/preview", "/v1/journal"):
        assert waiter.get(path).status_code in (403, 404)
    assert waiter.get("/v1/invoices").json()["reason_code"] == "scope_missing"
    # At the end of the day it is issued by itself, as it was shown.
    clock.move_to(datetime(2026, 11, 23, 6, tzinfo=UTC))
    tick_once(state)
    [issued] = http.get("/v1/invoices").json()["items"]
    invoice = http.get(f"/v1/invoices/{issued['number']}").json()
    shown = [(line["line_id"], line["amount_minor"]) for line in invoice["lines"]]
    assert shown == [(line["line_id"], line["amount_minor"]) for line in bill["lines"]]
    [owed] = waiter.get("/v1/customers/table-12/current-bill").json()["open_documents"]
    assert (owed["number"], owed["open_minor"]) == (issued["number"], 8190)
    # The card terminal reports the payment, with the number it was asked for: applied without a question.
    card = {
        "payment_id": "terminal-1",
        "customer_id": "table-12",
        "currency": "GBP",
        "amount": "81.90",
        "value_date": "2026-11-23",
        "reference": issued["number"],
    }
    assert http_for("bill").post("/v1/payments", json=card).json()["state"] == "applied"
    assert waiter.get("/v1/current-bill", params={"customer": "R-1815"}).json()["open_documents"] == []
    actors = {entry["actor"] for entry in http.get("/v1/audit").json()["items"][before:]}
    assert actors <= {"system", "scheduler", "test"}
    report = http.get("/v1/billing-runs").json()["items"][0]["report"]
    assert report["human_touches"]["total"] == 0


@pytest.mark.requirement("AUD-12")
def test_the_customer_is_found_by_whatever_is_known_and_never_guessed(
    http: httpx.Client, http_for: HttpFor
) -> None:
    open_restaurant(http)
    for key, name in (("t-1", "Ada Byron"), ("t-2", "Ärzte & Söhne"), ("t-3", 'The "Grill"')):
        assert http.put(f"/v1/customers/{key}", json={"customer_id": key, "name": name}).status_code == 201
    waiter = http_for("current_bill")

    def found(text: str) -> tuple[Any, ...]:
        answer = waiter.get("/v1/current-bill", params={"customer": text}).json()
        return answer.get("customer_id", answer.get("reason_code")), answer.get("matched_by")

    assert found("table-12") == ("table-12", "customer_id")
    assert found("R-1815") == ("table-12", "external_id")
    assert found("AP@ENGINES.example") == ("table-12", "exact")
    assert found("lovelace") == ("table-12", "part")
    assert found("ärzte") == ("t-2", "part")
    assert found('the "grill"') == ("t-3", "exact")
    assert found("ada") == ("customer_ambiguous", None)
    assert found("nobody") == ("not_found", None)
    assert found(" ") == ("not_found", None)
    words = waiter.get("/v1/current-bill", params={"customer": "ada"}).json()["detail"]
    assert "t-1 (Ada Byron)" in words
    assert "table-12 (Ada Lovelace)" in words


def test_several_contracts_a_held_one_and_the_document(http: httpx.Client, run: Run, tmp_path: Path) -> None:
    assert "no customer has" in run("bill-now", "acme").err
    put_world(http)
    assert http.put("/v1/customers/idle", json={**CUSTOMER, "customer_id": "idle"}).status_code == 201
    assert "Nothing to bill" in run("bill-now", "idle").out
    second = {**CONTRACT, "contract_id": "acme-2", "subjects": ["acme-two"]}
    assert http.put("/v1/contracts/acme-2", json=second).status_code == 201
    send(http, [event(1, value="60"), event(2, subject="acme-two", value="not a number")])
    send(http, [event(3, subject="acme-two", value="5")])
    answer = run("bill-now", "acme", "--json").json()
    assert [bill["contract_id"] for bill in answer["bills"]] == ["acme-1", "acme-2"]
    refused = run("bill-now", "acme", "--pdf", "bill.pdf")
    assert "acme-1, acme-2" in refused.err
    wrong = run("bill-now", "acme", "--contract", "other")
    assert "has no contract 'other'" in wrong.err
    assert run("bill-now", "acme", "--contract", "acme-1", "--pdf", "bill.pdf").status == 0
    pages = PdfReader(io.BytesIO((tmp_path / "bill.pdf").read_bytes())).pages
    assert "6.00" in pages[0].extract_text()
    shown = run("bill-now", "acme").out
    assert "Contract acme-1" in shown
    assert "6.50" in shown  # both bills together
