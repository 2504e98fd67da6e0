"""Goal: the routes and commands about where customer data comes from, and that an issued invoice keeps the
address it was sent to whatever systems say later."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest.clock import FixedClock
from tests.api.conftest import Run
from tests.api.test_flow import event, put_world, send

CRM = """\
external_id,customer_id,name,address_lines,email,more.owner
4711,acme,ACME GmbH,"Hafen 1|20457 Hamburg",crm@acme.example,Jo
4712,globex,Globex,,,
"""


@pytest.mark.requirement("AUD-04")
def test_a_file_of_a_system_is_taken_in_and_its_conflicts_are_listed(
    http: httpx.Client, run: Run, tmp_path: Path
) -> None:
    put_world(http)
    file = tmp_path / "crm.csv"
    file.write_text(CRM, encoding="utf-8")
    made = run("customer", "sync", str(file), "--system", "crm")
    assert (made.status, made.err.count("error")) == (0, 0)
    assert "2 records of crm: 2 new, 0 changed, 0 unchanged." in made.out
    assert "Systems differ on 1 of them" in made.out
    again = run("customer", "sync", str(file), "--system", "crm", "--json").json()
    assert (again["created"], again["changed"], again["unchanged"]) == (0, 0, 2)
    listed = run("customer", "conflicts").out
    assert "Acme Ltd" in listed
    assert "crm: ACME GmbH since 2026-11-22" in listed
    assert "entered directly" in listed
    item = http.get("/v1/customers/conflicts").json()["items"][0]
    assert (item["customer_id"], item["field"], item["system"], item["why"]) == (
        "acme",
        "name",
        "direct",
        "entered_directly",
    )
    sources = tmp_path / "sources.yaml"
    sources.write_text("fields:\n  name: [crm]\n", encoding="utf-8")
    assert run("customer", "sources", str(sources)).out == "Version 1 is in force.\n"
    assert "name:\n  - crm" in run("customer", "sources").out
    assert http.get("/v1/customers/acme").json()["document"]["name"] == "ACME GmbH"
    shown = run("customer", "records", "acme").out
    assert "source of truth" in shown
    record = http.get("/v1/customers/by-external-id/crm/4711").json()
    assert record["document"]["more"] == {"owner": "Jo"}
    assert record["document"]["address_lines"] == ["Hafen 1", "20457 Hamburg"]
    assert run("customer", "forget", "crm", "4711").status == 0
    assert run("customer", "conflicts").out.startswith("No conflicts")


@pytest.mark.requirement("AUD-04")
def test_what_a_system_says_later_never_changes_an_issued_invoice(
    http: httpx.Client, clock: FixedClock
) -> None:
    put_world(http)
    send(http, [event(1)])
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    http.post("/v1/billing-runs", json={"as_of": "2026-12-01"})
    path = "/v1/customers/by-external-id/crm/4711"
    http.put("/v1/customers/sources", json={"default": ["crm"]})
    made = http.put(path, json={"customer_id": "acme", "name": "Another name"})
    assert (made.status_code, made.json()["outcome"]) == (201, "created")
    assert http.put(path, json={"name": "Another name"}).status_code == 200
    assert http.get("/v1/customers/acme").json()["document"]["name"] == "Another name"
    invoices = http.get("/v1/invoices", params={"customer_id": "acme"}).json()["items"]
    assert invoices
    for invoice in invoices:
        customer = http.get(f"/v1/invoices/{invoice['invoice_id']}").json()["customer"]
        assert customer["name"] == "Acme Ltd"


def test_refusals_say_what_to_do(http: httpx.Client, run: Run, tmp_path: Path) -> None:
    put_world(http)
    path = "/v1/customers/by-external-id/crm/4711"
    refused = http.put(path, json={"name": "Who?"})
    assert (refused.status_code, refused.json()["issues"][0]["reason_code"]) == (422, "customer_not_named")
    assert http.put(path, json={"external_id": "1", "customer_id": "acme"}).status_code == 422
    assert http.put("/v1/customers/conflicts", json={"name": "x"}).status_code in (405, 422)
    taken = http.put("/v1/customers/globex", json={"name": "G", "external_ids": {"crm": "4711"}})
    assert taken.status_code == 201
    clash = http.put(path, json={"customer_id": "acme"})
    assert (clash.status_code, clash.json()["reason_code"]) == (409, "external_id_taken")
    file = tmp_path / "bad.csv"
    file.write_text("external_id,name\n1,A,B\n", encoding="utf-8")
    failed = run("customer", "sync", str(file), "--system", "crm")
    assert failed.status == 1
    assert "record 1 has another number of cells" in failed.err
    assert http.delete("/v1/customers/by-external-id/crm/nobody").status_code == 404


def test_customers_are_found_and_exported(http: httpx.Client, run: Run, tmp_path: Path) -> None:
    assert "No customers yet" in run("customer", "list").out
    for number in range(3):
        document = {"name": f"Größe {number}", "address_lines": ["Hafen 1", "Hamburg"]}
        external = {"external_ids": {"crm": f"A-{number}"}} if number else {}
        http.put(f"/v1/customers/c{number}", json={**document, **external})
    for search, found in (("GRÖSSE 1", ["c1"]), ("a-", ["c1", "c2"]), ("C0", ["c0"]), ("hafen", [])):
        items = http.get("/v1/customers", params={"search": search}).json()["items"]
        assert [item["customer_id"] for item in items] == found, search
    first = http.get("/v1/customers", params={"search": "größe", "limit": 2}).json()
    rest = {"search": "größe", "limit": 2, "cursor": first["next_cursor"]}
    assert [item["customer_id"] for item in http.get("/v1/customers", params=rest).json()["items"]] == ["c2"]
    assert "No customer has 'hafen'" in run("customer", "list", "--search", "hafen").out
    table, file = tmp_path / "all.csv", tmp_path / "all.json"
    assert "3 customers in" in run("customer", "export", str(table)).out
    head, first_row = table.read_text(encoding="utf-8").splitlines()[:2]
    assert head.startswith(
        "customer_id,name,legal_name,email,address_lines,country,tax_id,language,tax_status,"
    )
    assert "bill_to.country,notify.name,notify.email,notify.address_lines,notify.country" in head
    assert head.endswith("delivery.follow_up_days,delivery.recipients,external_ids.crm")
    assert first_row.startswith("c0,Größe 0,,,Hafen 1|Hamburg,,,en,,")
    assert "3 customers: 0 new or changed, 3 unchanged" in run("customer", "import", str(table)).out
    assert run("customer", "export", str(file)).status == 0
    assert run("customer", "put", str(file)).out.count("unchanged") == 3
    assert run("customer", "export", str(tmp_path / "all.txt")).status == 1


def test_a_file_that_was_exported_changes_nothing_when_it_is_read(
    http: httpx.Client, run: Run, tmp_path: Path
) -> None:
    document: dict[str, Any] = {
        "customer_id": "whole",
        "name": "Whole Ltd",
        "account_owner": "ada",
        "delivery": {
            "channel": "email",
            "weekday": "tuesday",
            "hour": 9,
            "time_zone": "Europe/Berlin",
            "confirm_above_minor": 1000000,
            "recipients": [
                {"email": "payer@acme.example", "role": "payer"},
                {"email": "jane@seller.example", "role": "owner"},
            ],
        },
    }
    bare = {"customer_id": "bare", "name": "Bare Ltd"}
    assert http.post("/v1/customers", json=[document, bare]).is_success
    table = tmp_path / "all.csv"
    run("customer", "export", str(table))
    assert "owner:jane@seller.example" in table.read_text()
    assert " 0 new or changed" in run("customer", "import", str(table)).out
    kept = http.get("/v1/customers/whole").json()["document"]
    assert (kept["account_owner"], kept["delivery"]["recipients"]) == (
        "ada",
        document["delivery"]["recipients"],
    )


def test_all_that_is_wrong_in_a_file_is_said_at_once(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "bad.csv"
    table.write_text("customer_id,name,country\ngood,Good,DE\nblank, ,DE\nfar,Far,XX\n")
    refused = run("customer", "import", str(table))
    assert refused.status == 1
    assert "[1].name: customer 'blank': ' ' says nothing." in refused.out + refused.err
    assert "[2].country: customer 'far': 'XX' is not a country code." in refused.out + refused.err
    table.write_text("customer_id;name\ngood;Good\n")
    refused = run("customer", "import", str(table))
    assert "columns divided by ';'" in refused.out + refused.err
