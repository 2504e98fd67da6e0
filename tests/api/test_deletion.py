"""Goal: the routes and commands that delete customers and billing entities."""

from __future__ import annotations

import httpx
import pytest

from tests.api.conftest import HttpFor, Run
from tests.api.test_flow import put_world

SELLER = {"legal_name": "Mistaken GmbH", "country": "DE"}


def test_a_customer_is_deleted_by_command_and_one_in_use_says_by_what(http: httpx.Client, run: Run) -> None:
    put_world(http)
    refused = run("customer", "delete", "acme", "--reason", "saved twice")
    assert refused.status != 0
    assert "contracts: 1 (acme-1)" in refused.err
    http.put("/v1/customers/acme-2", json={"name": "Acme", "external_ids": {"crm": "4711"}})
    wanted = {"name": "portal", "scopes": ["read"], "customer_id": "acme-2"}
    key_id = http.post("/v1/api-keys", json=wanted).json()["key_id"]
    held = http.delete("/v1/customers/acme-2", params={"reason": "saved twice"})
    assert (held.status_code, held.json()["reason_code"]) == (409, "customer_in_use")
    assert f"API keys: 1 ({key_id})" in held.json()["detail"]
    http.delete(f"/v1/api-keys/{key_id}")
    done = run("customer", "delete", "acme-2", "--reason", "saved twice & again")
    assert (done.status, done.out.split(";")[0]) == (0, "Customer acme-2 is deleted")
    assert http.get("/v1/customers/acme-2").status_code == 404
    assert http.delete("/v1/customers/acme-2", params={"reason": "again"}).status_code == 404
    [entry] = http.get("/v1/audit", params={"object_id": "acme-2", "action": "deleted"}).json()["items"]
    assert entry["reason"] == "saved twice & again"
    assert entry["before"]["document"]["external_ids"] == {"crm": "4711"}
    listed = run("audit", "list", "--object", "acme-2", "--action", "deleted").out
    assert "document: (in --json) -> -" in " ".join(listed.split())


def test_an_entity_is_deleted_by_command_and_one_in_use_stays(http: httpx.Client, run: Run) -> None:
    put_world(http)
    for key in ("seller", "mistake"):
        http.put(f"/v1/billing-entities/{key}", json=SELLER | {"default": key == "seller"})
    held = run("entity", "delete", "seller", "--reason", "wrong")
    assert held.status != 0
    assert "contracts by default: 1 (acme-1)" in held.err
    gone = run("entity", "delete", "mistake", "--reason", "wrong", "--json").json()
    assert gone == {"entity_id": "mistake", "version": 1, "deleted": True}
    assert http.get("/v1/billing-entities/mistake").status_code == 404
    assert run("entity", "delete", "mistake", "--reason", "wrong").status != 0


@pytest.mark.parametrize("path", ["/v1/customers/acme", "/v1/billing-entities/seller"])
def test_deleting_wants_the_scope_of_saving_and_a_reason(
    http: httpx.Client, http_for: HttpFor, path: str
) -> None:
    http.put(path, json={"name": "Acme"} if "customers" in path else SELLER)
    assert http_for("read").delete(path, params={"reason": "r"}).status_code == 403
    assert http.delete(path).status_code == 422
    blank = http.delete(path, params={"reason": " "})
    assert (blank.status_code, blank.json()["reason_code"]) == (422, "reason_missing")
    assert http.get(path).status_code == 200
