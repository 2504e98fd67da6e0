"""Goal: nobody does anything without a key that allows it, and a revoked key is dead at once."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select

from api.app import create_app
from api.auth import SCOPES, KeyRing, create_key, list_keys, revoke_key
from api.state import Ratemill
from api.tables import API_KEYS
from ingest.clock import FixedClock
from ingest.errors import Forbidden, InvalidInput, NotFound
from tests.api.conftest import HttpFor

OPEN_PATHS = {
    "/health",
    *(f"/i/{{token}}{rest}" for rest in ("", "/pdf", "/confirm")),
    *(f"/q/{{quote_token}}{rest}" for rest in ("", "/pdf", "/accept")),
    "/v1/crm/{system}/webhook",
}


def operations(state: Ratemill) -> list[tuple[str, str, str | None]]:
    """(method, path, declared scope) of everything the API describes."""
    paths = create_app(state).openapi()["paths"]
    return [
        (method.upper(), path, operation.get("x-scope"))
        for path, described in paths.items()
        for method, operation in described.items()
    ]


def test_a_key_opens_what_its_scope_says(state: Ratemill, ledger: Engine, clock: FixedClock) -> None:
    key, token = create_key(ledger, name="till", scopes=["ingest"], now=clock.now())
    verified = state.keys.verify(f"Bearer {token}")
    assert verified.key_id == key.key_id
    assert verified.allows("ingest")
    assert not verified.allows("read")
    assert not verified.allows("admin")


def test_admin_implies_every_scope(ledger: Engine, clock: FixedClock) -> None:
    key, _ = create_key(ledger, name="root", scopes=["admin"], now=clock.now())
    assert [scope for scope in SCOPES if key.allows(scope)] == list(SCOPES)


def test_every_route_refuses_a_missing_key_and_a_wrong_scope(state: Ratemill, http_for: HttpFor) -> None:
    without = http_for()
    seen = 0
    for method, path, scope in operations(state):
        address = re.sub(r"\{[^}]+\}", "x", path)
        if scope is None:
            assert path in OPEN_PATHS
            continue
        seen += 1
        refused = without.request(method, address, content=b"{}")
        assert (refused.status_code, refused.json()["reason_code"]) == (401, "key_missing"), (method, path)
        assert refused.headers["www-authenticate"] == "Bearer"
        implying = {"admin", scope} | {"send": {"bill"}, "current_bill": {"read"}}.get(scope, set())
        others = [other for other in SCOPES if other not in implying]
        narrow = http_for(*others).request(method, address, content=b"{}")
        assert (narrow.status_code, narrow.json()["reason_code"]) == (403, "scope_missing"), (method, path)
    assert seen > 20


def test_every_registered_route_is_described(state: Ratemill) -> None:
    """A route that the description leaves out would escape the test above."""
    described = {(method, path) for method, path, _ in operations(state)}
    registered = set()
    pending: list[Any] = list(create_app(state).router.routes)
    while pending:
        route = pending.pop()
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None:
            pending.extend(inner.routes)
            continue
        for method in getattr(route, "methods", None) or ():
            if method not in ("HEAD", "OPTIONS"):
                registered.add((method, route.path))
    assert registered - {("GET", "/openapi.json")} == described


def test_a_revoked_key_is_refused_at_once(http: httpx.Client, http_for: HttpFor) -> None:
    made = http.post("/v1/api-keys", json={"name": "till", "scopes": ["admin"]}).json()
    other = http_for()
    other.headers["Authorization"] = f"Bearer {made['token']}"
    assert other.get("/v1/api-keys").status_code == 200
    assert http.delete(f"/v1/api-keys/{made['key_id']}").json()["revoked_at"]
    refused = other.get("/v1/api-keys")
    assert (refused.status_code, refused.json()["reason_code"]) == (401, "key_revoked")


def test_a_key_revoked_elsewhere_is_refused_when_the_memory_ends(ledger: Engine, clock: FixedClock) -> None:
    ring = KeyRing(ledger, clock)
    key, token = create_key(ledger, name="till", scopes=["read"], now=clock.now())
    ring.verify(f"Bearer {token}")
    revoke_key(ledger, key.key_id, now=clock.now())
    clock.advance(timedelta(seconds=11))
    with pytest.raises(Forbidden, match="was revoked"):
        ring.verify(f"Bearer {token}")


@pytest.mark.parametrize(
    "header",
    [None, "", "Basic abc", "Bearer ", "Bearer rm_x", "Bearer rm_000000000000_guess", "Bearer \u00e9"],
)
def test_what_is_no_key_is_refused(state: Ratemill, header: str | None) -> None:
    with pytest.raises(Forbidden):
        state.keys.verify(header)


def test_the_secret_is_not_stored(ledger: Engine, clock: FixedClock) -> None:
    _, token = create_key(ledger, name="till", scopes=["read"], now=clock.now())
    with ledger.connect() as connection:
        stored = " ".join(str(value) for value in connection.execute(select(API_KEYS)).one())
    assert token.split("_", 2)[2] not in stored


def test_bad_wishes_are_refused_and_nothing_is_made(ledger: Engine, clock: FixedClock) -> None:
    for name, scopes in (("x", ["everything"]), ("x", []), (" ", ["read"])):
        with pytest.raises(InvalidInput):
            create_key(ledger, name=name, scopes=scopes, now=clock.now())
    assert list_keys(ledger) == []
    with pytest.raises(NotFound):
        revoke_key(ledger, "nothing", now=clock.now())
