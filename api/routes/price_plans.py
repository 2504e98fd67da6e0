"""Price plans: versioned by the day their prices take effect."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Final

from fastapi import APIRouter, Query

from api.documents import keyed_document, saved_answer
from api.examples import PRICE_PLAN, PRICE_PLAN_YAML, SAVED_VERSION
from api.json import ExactJSON
from api.routing import Actor, DocumentBody, State, declared
from ingest.errors import NotFound
from invoicing.audit_saved import entered_by
from invoicing.plan_change import plan_change_issues
from rating.catalogue import get_plan_version, list_plan_versions, save_price_plan

router = APIRouter()

_ENTRY: Final = {
    "plan_id": "airport-2013",
    "version": 1,
    "effective_from": "2013-01-01",
    "document_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "created_at": "2026-11-22T18:00:00+00:00",
}


@router.put(
    "/v1/price-plans/{plan_id}",
    **declared(
        "put_price_plan",
        "admin",
        summary="Save a price plan",
        tag="catalogue",
        status=201,
        example={"plan_id": "airport-2013", **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": PRICE_PLAN, "application/yaml": PRICE_PLAN_YAML},
    ),
)
def put_price_plan(state: State, plan_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """201 makes a new version, 200 says the newest one is this very document.

    Prices change from `effective_from` on, for every contract on the plan, and for no day before.
    Days that are billed already keep their prices; the refusal names the first day that can change.
    A plan that breaks a rule is refused whole, with every rule it breaks. What is allowed but seldom
    meant, like a volume tier past which one more unit lowers the bill, is saved and said in `warnings`.
    """
    document = keyed_document(body, field="plan_id", key=plan_id, what="price plan")
    now = state.clock.now()
    entered = entered_by(actor, "price_plan", now=now)
    saved = save_price_plan(
        state.ledger, document, now=now, further_rules=plan_change_issues, entered=entered
    )
    state.entitlements.forget()
    return saved_answer("plan_id", saved)


@router.get(
    "/v1/price-plans",
    **declared(
        "list_price_plans",
        "read",
        summary="All price plans",
        tag="catalogue",
        example={"items": [_ENTRY]},
    ),
)
def list_price_plans(state: State) -> ExactJSON:
    """The newest version of each, without the documents."""
    newest = {entry.plan_id: asdict(entry) for entry in list_plan_versions(state.ledger)}
    return ExactJSON({"items": list(newest.values())})


@router.get(
    "/v1/price-plans/{plan_id}",
    **declared(
        "get_price_plan",
        "read",
        summary="One price plan",
        tag="catalogue",
        example={"plan_id": "airport-2013", "version": 1, "document": PRICE_PLAN},
        problems=(404, 422),
    ),
)
def get_price_plan(
    state: State,
    plan_id: str,
    version: Annotated[int | None, Query(ge=1, description="Left out: the newest.")] = None,
) -> ExactJSON:
    """The document of one version."""
    found = get_plan_version(state.ledger, plan_id, version)
    return ExactJSON({"plan_id": plan_id, "version": found.version, "document": found.plan})


@router.get(
    "/v1/price-plans/{plan_id}/versions",
    **declared(
        "list_price_plan_versions",
        "read",
        summary="The history of a price plan",
        tag="catalogue",
        example={"items": [_ENTRY]},
        problems=(404,),
    ),
)
def list_versions(state: State, plan_id: str) -> ExactJSON:
    """Oldest first, without the documents."""
    entries = list_plan_versions(state.ledger, plan_id)
    if not entries:
        raise NotFound(f"there is no price plan {plan_id!r}. GET /v1/price-plans lists those there are.")
    return ExactJSON({"items": [asdict(entry) for entry in entries]})
