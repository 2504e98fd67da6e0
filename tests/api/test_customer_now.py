"""Goal: a customer sees where it stands now, by the very figures of the other endpoints, and a key made for
one customer reaches nothing of another."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from api.auth import KeyRing, create_key
from api.state import Ratemill
from ingest.clock import FixedClock
from ingest.errors import InvalidInput
from tests.api.conftest import NOW, HttpFor, Run
from tests.api.test_auth import operations
from tests.api.test_entitlements import SEATS, change, limit
from tests.api.test_flow import CONTRACT, CUSTOMER, PLAN, event, put_world, send

LIMITS: list[dict[str, Any]] = [
    {"meter_id": "calls", "period": "billing_period", "mode": "hard", "limit": "100"},
    {"meter_id": "seats", "period": "contract", "mode": "soft", "limit": "5"},
]
CREDIT = {
    "grant_id": "acme-2026",
    "customer_id": "acme",
    "name": "Prepaid",
    "kind": "paid",
    "currency": "EUR",
    "amount": "50.00",
    "cost_basis": "40.00",
    "effective_from": "2026-11-01",
}


def put_story(http: httpx.Client) -> None:
    """Acme with usage, licences, limits and credit; a contract of it that has ended; and a stranger."""
    put_world(http)
    limit(http, *LIMITS)
    at_end = {**SEATS, "meter_id": "seats-at-end", "reading": "end"}
    for path, document in (
        ("/v1/meters/seats-at-end", at_end),
        ("/v1/contracts/acme-0", {**CONTRACT, "contract_id": "acme-0", "end_date": "2026-11-02"}),
        ("/v1/customers/globex", {**CUSTOMER, "customer_id": "globex"}),
        ("/v1/contracts/globex-1", {**CONTRACT, "contract_id": "globex-1", "customer_id": "globex"}),
    ):
        subjects = {"subjects": [document["contract_id"]]} if "contract_id" in document else {}
        answer = http.put(path, json={**document, **subjects})
        assert answer.status_code == 201, answer.text
    assert http.put("/v1/credits/acme-2026", json=CREDIT).status_code == 201
    licences = [
        change(50, "set", "4", datetime(2026, 11, 3, tzinfo=UTC)),
        change(51, "remove", "1", datetime(2026, 11, 9, tzinfo=UTC)),
        change(52, "add", "9", datetime(2026, 11, 28, tzinfo=UTC)),  # agreed for later: not there yet
    ]
    send(http, [event(1, value="60"), event(2, value="35.5", subject="acme-us", region="us"), *licences])


@pytest.mark.requirement("POR-02")
def test_every_figure_is_the_one_of_its_own_endpoint(http: httpx.Client) -> None:
    put_story(http)
    shown = http.get("/v1/customers/acme/now").json()
    assert (shown["customer_id"], shown["name"], shown["as_of_sequence"]) == ("acme", "Acme Ltd", 5)
    assert shown["as_of"] == "2026-11-22T12:00:00Z"
    ended, running = shown["contracts"]
    usage = http.get("/v1/contracts/acme-1/usage").json()
    assert (running["period_start"], running["period_end"]) == (usage["period_start"], usage["period_end"])
    assert (running["usage"], running["unusable"]) == (usage["items"], usage["unusable"])
    assert [item["quantity"] for item in running["usage"]] == ["60", "35.5"]
    standing = http.get("/v1/contracts/acme-1/entitlements").json()
    assert (running["entitlements"], shown["as_of_sequence"]) == (
        standing["items"],
        standing["as_of_sequence"],
    )
    assert [(one["used"], one["remaining"]) for one in running["entitlements"]] == [
        ("95.5", "4.5"),
        ("3", "2"),
    ]
    asked = {"meter_id": "seats", "contract_id": "acme-1", "quantity": "0"}
    at_end = {"meter_id": "seats-at-end", "subject": "acme-eu", "time_to": NOW.isoformat()}
    levels = (
        http.get("/v1/entitlements", params=asked).json()["used"],
        http.get("/v1/usage", params=at_end).json()["items"][0]["quantity"],
    )
    assert [(one["meter_id"], one["level"]) for one in running["licences"]] == [("seats", "3")]
    assert levels == ("3", "3")
    dates = http.get("/v1/contracts/acme-1/billing-dates", params={"count": 3}).json()["items"]
    assert running["next_billing_dates"] == dates
    balance = http.get("/v1/customers/acme/credit-balance").json()
    assert shown["credit"] == balance["balances"]
    assert [one["remaining_minor"] for one in shown["credit"]] == [5000]
    assert (ended["contract_id"], ended["running"], ended["usage"]) == ("acme-0", False, [])


@pytest.mark.requirement("POR-02")
def test_a_customer_sees_what_was_sent_a_moment_ago(http: httpx.Client, run: Run) -> None:
    put_story(http)
    send(http, [event(3, value="4")])
    shown = http.get("/v1/customers/acme/now").json()
    assert shown["as_of_sequence"] == 6
    assert shown["contracts"][1]["entitlements"][0]["remaining"] == "0.5"
    printed = run("customer", "now", "acme").out
    assert "Acme Ltd (acme) as of 2026-11-22T12:00:00Z, event number 6" in printed
    assert re.search(r"calls +billing_period +hard +99.5 +100 +0.5", printed)
    assert re.search(r"seats +3 ", printed)
    assert "Next invoices: 2026-12-01" in printed
    assert http.get("/v1/customers/nobody/now").status_code == 404
    http.put("/v1/customers/new", json={"name": "New"})
    assert "No contract yet" in run("customer", "now", "new").out


@pytest.mark.requirement("POR-02")
def test_a_plan_that_began_inside_the_period_is_seen(http: httpx.Client) -> None:
    """From the 10th on another plan, which prices other things: of both is counted what was used, and each
    contract's own endpoint says the same."""
    put_world(http)
    texts = {"meter_id": "texts", "event_type": "text", "aggregation": "count", "unit": "text"}
    charge = {**PLAN["charges"][0], "charge_id": "texts", "meter_id": "texts", "unit": "text"}
    assert http.put("/v1/meters/texts", json=texts).status_code == 201
    other = {**PLAN, "plan_id": "texting", "charges": [charge]}
    assert http.put("/v1/price-plans/texting", json=other).status_code == 201
    phases = [{"plan_id": "texting", "effective_from": "2026-11-10"}]
    assert http.put("/v1/contracts/acme-1", json={**CONTRACT, "phases": phases}).status_code == 201
    text = event(9) | {"type": "text", "time": "2026-11-12T00:00:00Z"}
    send(http, [event(1, value="60"), text])
    [contract] = http.get("/v1/customers/acme/now").json()["contracts"]
    assert contract["plan_id"] == "texting"
    assert {item["meter_id"]: item["quantity"] for item in contract["usage"]} == {"calls": "60", "texts": "1"}
    assert contract["usage"] == http.get("/v1/contracts/acme-1/usage").json()["items"]
    before = {"at": "2026-11-05T00:00:00Z"}
    items = http.get("/v1/contracts/acme-1/usage", params=before).json()["items"]
    assert [item["meter_id"] for item in items] == ["calls"]
    asked = {"contract_id": "acme-1", "quantity": "1"}
    answers = {
        meter: http.get("/v1/entitlements", params={**asked, "meter_id": meter}).json()["reason"]
        for meter in ("calls", "texts")
    }
    assert answers == {"calls": "not_in_contract", "texts": "not_limited"}


# What a key of acme may name on each route that it reaches, and what is globex's.
REACHED: dict[str, tuple[str, str]] = {
    "customer": ("acme", "globex"),
    "contract": ("acme-1", "globex-1"),
}


@pytest.fixture
def of_acme(state: Ratemill, http_for: HttpFor, http: httpx.Client, clock: FixedClock) -> httpx.Client:
    """A client whose key sees acme only, in a world where acme and globex have an issued invoice each."""
    put_story(http)
    send(http, [event(7, subject="globex-1", value="3")])
    clock.move_to(datetime(2026, 12, 1, 12, tzinfo=UTC))
    assert http.post("/v1/billing-runs", json={"as_of": "2026-12-01"}).json()["report"]["issued"] >= 2
    client = http_for()
    token = state.keys.grant_in_memory("acme", ["read"], customer_id="acme")
    client.headers["Authorization"] = f"Bearer {token}"
    return client


@pytest.mark.requirement("POR-02")
def test_a_customers_key_reaches_its_own_and_nothing_else(
    state: Ratemill, http: httpx.Client, of_acme: httpx.Client
) -> None:
    """Every route of the API: open ones answer for acme, and for globex as for what is not there."""
    invoices = {
        customer: http.get("/v1/invoices", params={"customer_id": customer}).json()["items"][0]
        for customer in ("acme", "globex")
    }
    described = http.get("/openapi.json").json()["paths"]
    reached = set()
    for method, path, scope in operations(state):
        sees = described[path][method.lower()].get("x-customer-key")
        if scope is None:
            continue
        if sees is None:
            # Acme's own keys in the path do not open a route that is not meant for it.
            answer = of_acme.request(method, re.sub(r"\{[^}]+\}", "acme", path), content=b"{}")
            reason = "customer_key" if scope in ("read", "current_bill") else "scope_missing"
            assert (answer.status_code, answer.json()["reason_code"]) == (403, reason), (method, path)
            continue
        reached.add(path)
        if sees == "issued_invoices":
            continue
        own, other = REACHED.get(sees) or (invoices["acme"]["number"], invoices["globex"]["number"])
        places = [re.sub(r"\{[^}]+\}", name, path) for name in (own, other, "nobody")]
        mine, theirs, nothing = (of_acme.request(method, place) for place in places)
        # An invoice that states no tax cannot be an e-invoice, which only its own customer hears.
        if mine.status_code == 422:
            assert mine.json()["reason_code"] == "einvoice_incomplete", (path, mine.text)
        else:
            assert mine.status_code == 200, (path, mine.text)
        assert (theirs.status_code, nothing.status_code) == (404, 404), path
        words = [
            answer.json()["detail"].replace(name, "?")
            for answer, name in ((theirs, other), (nothing, "nobody"))
        ]
        assert words[0] == words[1], "what is another's looks like what is not there"
    assert reached == {
        "/v1/customers/{customer_id}",
        "/v1/customers/{customer_id}/now",
        "/v1/customers/{customer_id}/current-bill",
        "/v1/customers/{customer_id}/credit-balance",
        "/v1/contracts/{contract_id}/usage",
        "/v1/contracts/{contract_id}/entitlements",
        "/v1/contracts/{contract_id}/preview",
        "/v1/contracts/{contract_id}/billing-dates",
        "/v1/invoices",
        "/v1/invoices/{id_or_number}",
        "/v1/invoices/{id_or_number}/pdf",
        "/v1/invoices/{id_or_number}/ubl",
        "/v1/invoices/{id_or_number}/cii",
    }


@pytest.mark.requirement("POR-02")
def test_a_customers_key_lists_its_own_issued_invoices_only(
    http: httpx.Client, of_acme: httpx.Client, clock: FixedClock
) -> None:
    own = {"customer_id": "acme", "state": "issued"}
    listed = of_acme.get("/v1/invoices", params={**own, "totals": "true"}).json()
    assert {item["customer_id"] for item in listed["items"] + listed["totals"]} == {"acme"}
    for params in (
        {},
        {"customer_id": "acme"},
        {**own, "customer_id": "globex"},
        {"state": "issued"},
        {**own, "customer_id": ["acme", "globex"]},
        {**own, "customer_id": ["globex", "acme"]},
        {**own, "state": "draft"},
        {**own, "state": ["issued", "draft"]},
    ):
        refused = of_acme.get("/v1/invoices", params=params)
        assert (refused.status_code, refused.json()["reason_code"]) == (403, "customer_key"), params
    assert of_acme.get("/v1/invoices", params={**own, "contract_id": "globex-1"}).json()["items"] == []
    clock.move_to(datetime(2027, 1, 1, 12, tzinfo=UTC))
    december = event(8) | {"time": "2026-12-10T00:00:00Z"}
    send(http, [december])
    http.post("/v1/billing-runs", json={"as_of": "2027-01-01", "issue": False})
    drafts = http.get("/v1/invoices", params={"customer_id": "acme", "state": "draft"}).json()["items"]
    assert drafts
    assert of_acme.get(f"/v1/invoices/{drafts[0]['invoice_id']}").status_code == 404


def test_keys_of_one_customer_are_made_with_the_scope_read_and_dead_when_revoked(
    http: httpx.Client, run: Run, http_for: HttpFor
) -> None:
    put_world(http)
    token = run("keys", "create", "--scope", "read", "--customer", "acme").out.strip()
    client = http_for()
    client.headers["Authorization"] = f"Bearer {token}"
    assert client.get("/v1/customers/acme/now").status_code == 200
    assert client.get("/v1/customers").status_code == 403
    [key] = http.get("/v1/api-keys").json()["items"]
    assert (key["customer_id"], key["scopes"]) == ("acme", ["read"])
    assert "acme" in run("keys", "list").out
    assert http.delete(f"/v1/api-keys/{key['key_id']}").status_code == 200
    assert client.get("/v1/customers/acme/now").json()["reason_code"] == "key_revoked"
    for body, reason_code in (
        ({"scopes": ["read", "bill"], "customer_id": "acme"}, "customer_key_scope"),
        ({"scopes": ["admin"], "customer_id": "acme"}, "customer_key_scope"),
        ({"scopes": ["read"], "customer_id": "nobody"}, "unknown_customer"),
    ):
        refused = http.post("/v1/api-keys", json={"name": "x", **body})
        assert refused.status_code == 422
        assert [issue["reason_code"] for issue in refused.json()["issues"]] == [reason_code]


def test_a_key_read_from_the_ledger_keeps_its_customer(ledger: Engine, clock: FixedClock) -> None:
    with pytest.raises(InvalidInput, match="no customer"):
        create_key(ledger, name="x", scopes=["read"], now=NOW, customer_id="acme")
    _, token = create_key(ledger, name="x", scopes=["read"], now=NOW)
    assert KeyRing(ledger, clock).verify(f"Bearer {token}").customer_id is None
