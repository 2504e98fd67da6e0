"""Instalments: an issued document paid in parts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter

from api.json import ExactJSON
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import read_document, validate_document
from invoicing.instalment import InstalmentPlan, agree_instalments, get_instalments

router = APIRouter()

INSTALMENTS: Final[dict[str, Any]] = {
    "document_id": "d1a8f2d95b7e41c8a6d2f09b1e4c7a85",
    "number": "DEP-2013-000001",
    "currency": "USD",
    "plan_number": 1,
    "agreed_at": "2013-02-02T09:00:00.000000+00:00",
    "agreed_by": "finance",
    "reason": "by phone",
    "open_minor": 300000,
    "instalments": [
        {"position": 1, "due_date": "2026-12-01", "amount_minor": 100000, "open_minor": 100000},
        {"position": 2, "due_date": "2027-01-01", "amount_minor": 200000, "open_minor": 200000},
    ],
}
_REQUEST: Final[dict[str, Any]] = {
    "instalments": [
        {"due_date": "2026-12-01", "amount": "1000.00"},
        {"due_date": "2027-01-01", "amount": "2000.00"},
    ],
    "reason": "by phone",
}


@router.put(
    "/v1/documents/{id_or_number}/instalments",
    **declared(
        "agree_instalments",
        "bill",
        summary="Let an issued document be paid in parts",
        tag="billing",
        example=INSTALMENTS,
        problems=(400, 404, 409, 422),
        body={"application/json": _REQUEST},
    ),
)
def agree(state: State, id_or_number: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """The parts sum to what is open, tax included; each is due and overdue by itself. Payments settle the
    earliest first. Sent again it is a new agreement in the place of the last, which stays on record."""
    plan = validate_document(InstalmentPlan, read_document(body), what="the instalments")
    return ExactJSON(
        asdict(agree_instalments(state.ledger, id_or_number, plan, actor=actor, now=state.clock.now()))
    )


@router.get(
    "/v1/documents/{id_or_number}/instalments",
    **declared(
        "get_instalments",
        "read",
        summary="The instalments of a document as they stand",
        tag="billing",
        example=INSTALMENTS,
        problems=(404,),
    ),
)
def get_one(state: State, id_or_number: str) -> ExactJSON:
    """`open_minor`: what is left of each part."""
    return ExactJSON(asdict(get_instalments(state.ledger, id_or_number)))
