"""Goal: what was changed, and that nothing issued was altered, over HTTP and by command."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import text

from api.examples import CALENDAR
from api.state import Ratemill
from ingest.ledger import ledger_transaction
from tests.api.conftest import Run
from tests.api.test_credits import lines_of, october


def test_issues_are_in_the_trail_and_the_books_are_proved(
    run: Run, http: httpx.Client, state: Ratemill
) -> None:
    october(http)
    assert "Nothing was changed yet" in run("audit", "list", "--kind", "invoice").out
    assert run("bill", "--as-of", "2026-11-01").status == 0
    (entry,) = http.get("/v1/audit", params={"action": "issued"}).json()["items"]
    (invoice,) = http.get("/v1/invoices").json()["items"]
    assert (entry["object_id"], entry["actor"]) == (invoice["invoice_id"], "test")
    assert entry["after"]["number"] == "INV-2026-000001"
    assert "number: - -> INV-2026-000001" in run("audit", "list", "--kind", "invoice").out
    proved = run("audit", "verify")
    assert proved.status == 0
    assert "Proved: 1 documents, " in proved.out
    with ledger_transaction(state.ledger) as connection:
        connection.execute(text("DROP TRIGGER issued_documents_never_update"))
        connection.execute(text("UPDATE issued_documents SET net_minor = 1"))
    found = run("audit", "verify")
    assert found.status == 1
    assert "INV-2026-000001 the register has net_minor 1, the document 600. register_differs" in lines_of(
        found.out
    )
    assert http.get("/v1/audit/verify").json()["proved"] is False


@pytest.mark.requirement("AUD-01")
def test_who_saved_what_is_in_the_trail(http: httpx.Client) -> None:
    """Plans, contracts, customers, credit, entities, rates and keys: each once, the same again not at all."""
    october(http)
    entity = {"legal_name": "Northwind GmbH", "country": "DE", "address_lines": ["Speicherstr. 1"]}
    for name in ("Northwind GmbH", "Northwind GmbH", "Northwind AG"):
        document = {**entity, "legal_name": name}
        assert http.put("/v1/billing-entities/north", json=document).status_code in (200, 201)
    assert http.post("/v1/tax-rates/examples", json={"examples": ["DE"]}).status_code == 200
    key = http.post("/v1/api-keys", json={"name": "reader", "scopes": ["read"]}).json()
    for _ in range(2):
        assert http.delete(f"/v1/api-keys/{key['key_id']}").status_code == 200
    entries = [one for one in http.get("/v1/audit").json()["items"] if one["actor"] == "test"]
    told = [(one["object_kind"], one["object_id"], one["action"]) for one in reversed(entries)]
    assert told[-5:] == [
        ("billing_entity", "north", "saved"),
        ("billing_entity", "north", "saved"),
        ("tax_rates", "DE", "saved"),
        ("api_key", key["key_id"], "created"),
        ("api_key", key["key_id"], "revoked"),
    ]
    assert {kind for kind, _, _ in told} >= {"price_plan", "contract", "customer"}
    saved = [one for one in reversed(entries) if one["object_kind"] == "billing_entity"]
    assert [(one["before"], one["after"]) for one in saved] == [
        (None, {"version": 1}),
        ({"version": 1}, {"version": 2}),
    ]
    assert "token" not in str(entries)
    assert http.get("/v1/audit/verify").json()["proved"] is True


@pytest.mark.requirement("AUD-01")
def test_what_was_done_to_events_and_catalogue_is_in_the_trail(http: httpx.Client) -> None:
    """Meters, calendars, templates, corrections, a backfill and its undoing, dismissed records: each
    once, a repeat and a dry run not at all."""
    october(http)
    begun = len(http.get("/v1/audit", params={"limit": 1000}).json()["items"])
    meter = {"meter_id": "calls-again", "name": "", "event_type": "visit", "aggregation": "count"}
    for _ in range(2):
        assert http.put("/v1/meters/calls-again", json=meter).status_code in (200, 201)
    assert http.put("/v1/calendars/us-banks", json=CALENDAR).status_code == 201
    assert http.put("/v1/templates/plain", json={"template_id": "plain", "name": "Plain"}).status_code == 201
    event = {"source": "s", "id": "e1", "type": "visit", "subject": "nobody", "time": "2026-10-05T00:00:00Z"}
    assert http.post("/v1/events", json=[event, {**event, "id": "e2", "time": "never"}]).status_code == 200
    fix = {"source": "s", "id": "f1", "corrects": "e1", "kind": "cancel", "reason": "test"}
    for _ in range(2):
        assert http.post("/v1/corrections", json=fix).status_code == 200
    span = {"type": "visit", "time_from": "2026-10-05T00:00:00Z", "time_to": "2026-10-06T00:00:00Z"}
    wanted = {**span, "subject": "nobody", "reason": "lost", "id": "back"}
    for dry_run in (True, False, False):
        asked = {**wanted, "dry_run": dry_run}
        sent = http.post("/v1/backfills", params=asked, json=[{**event, "id": "e3"}])
        assert sent.status_code == 200, sent.text
    for _ in range(2):
        put_back = http.post("/v1/backfills/back/undo", json={"reason": "found", "id": "undo-back"})
        assert put_back.status_code == 200, put_back.text
    (refused,) = http.get("/v1/events/refused").json()["items"]
    dismissal = {"refusal_ids": [refused["refusal_id"]], "reason": "a test"}
    for _ in range(2):
        assert http.post("/v1/events/refused/dismiss", json=dismissal).status_code == 200
    entries = http.get("/v1/audit", params={"limit": 1000}).json()["items"]
    new = list(reversed(entries))[begun:]
    assert {one["actor"] for one in new} == {"test"}
    assert [(one["object_kind"], one["action"], one["reason"]) for one in new] == [
        ("meter", "saved", ""),
        ("calendar", "saved", ""),
        ("template", "saved", ""),
        ("corrections", "corrected", ""),
        ("backfill", "replaced", "lost"),
        ("backfill", "put_back", "found"),
        ("refused_event", "dismissed", "a test"),
    ]
    assert http.get("/v1/audit/verify").json()["proved"] is True
