"""API keys: made once, listed without their secrets, revoked for good."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from pydantic import Field

from api.auth import create_key, list_keys, revoke_key
from api.json import ExactJSON
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import Document, read_document, validate_document

router = APIRouter()

_KEY: Final[dict[str, Any]] = {
    "key_id": "5f2c9a01bd34",
    "name": "provisioning",
    "scopes": ["ingest", "read"],
    "created_at": "2026-11-22T18:00:00+00:00",
    "revoked_at": None,
    "customer_id": None,
}


class NewKey(Document):
    """What a key is asked for with."""

    name: str = Field(min_length=1, max_length=128)
    scopes: tuple[str, ...]
    customer_id: str | None = None


@router.post(
    "/v1/api-keys",
    **declared(
        "create_api_key",
        "admin",
        summary="Make an API key",
        tag="keys",
        status=201,
        example={**_KEY, "token": "rm_5f2c9a01bd34_...shown once..."},
        problems=(400, 422),
        body={"application/json": {"name": "provisioning", "scopes": ["ingest", "read"]}},
    ),
)
def create(state: State, body: DocumentBody, actor: Actor) -> ExactJSON:
    """The answer holds the token, this once: only its hash is kept. `customer_id`: a key of scope `read` that
    sees that customer only, by the routes that docs/customers.md names."""
    wanted = validate_document(NewKey, read_document(body), what="the API key")
    key, token = create_key(
        state.ledger,
        name=wanted.name,
        scopes=wanted.scopes,
        customer_id=wanted.customer_id,
        now=state.clock.now(),
        actor=actor,
    )
    return ExactJSON({**key.to_dict(), "token": token}, status_code=201)


@router.get(
    "/v1/api-keys",
    **declared("list_api_keys", "admin", summary="All API keys", tag="keys", example={"items": [_KEY]}),
)
def list_all(state: State) -> ExactJSON:
    """Revoked ones too, oldest first."""
    return ExactJSON({"items": [key.to_dict() for key in list_keys(state.ledger)]})


@router.delete(
    "/v1/api-keys/{key_id}",
    **declared(
        "revoke_api_key", "admin", summary="Revoke an API key", tag="keys", example=_KEY, problems=(404,)
    ),
)
def revoke(state: State, key_id: str, actor: Actor) -> ExactJSON:
    """Refused from the next request on. Revoking again changes nothing."""
    key = revoke_key(state.ledger, key_id, now=state.clock.now(), actor=actor)
    state.keys.forget_verified()
    return ExactJSON(key.to_dict())
