"""Write-offs: receivables that are given up, and claimed again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter

from api.json import ExactJSON
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import read_document, validate_document
from invoicing.write_off import TakeBack, WriteOff, WriteOffs, get_write_offs, take_back_write_off, write_off

router = APIRouter()

_WRITE_OFFS: Final[dict[str, Any]] = {
    "document_id": "d1a8f2d95b7e41c8a6d2f09b1e4c7a85",
    "number": "DEP-2013-000001",
    "currency": "USD",
    "written_off_minor": 10000,
    "open_minor": 290000,
    "steps": [
        {
            "position": 1,
            "recovers": None,
            "amount_minor": 10000,
            "net_minor": 10000,
            "entry_date": "2013-06-01",
            "rule": "written_off",
            "reason": "the administrator has no money",
            "tax_relief": "",
            "created_at": "2013-06-01T09:00:00.000000+00:00",
            "created_by": "finance",
        }
    ],
}
_REQUEST: Final[dict[str, Any]] = {"reason": "the administrator has no money", "amount": "100.00"}


@router.post(
    "/v1/documents/{id_or_number}/write-offs",
    **declared(
        "write_off",
        "bill",
        summary="Write off what is open of an issued document",
        tag="payments",
        status=201,
        example=_WRITE_OFFS,
        problems=(400, 404, 409, 422),
        body={"application/json": _REQUEST},
    ),
)
def post_write_off(state: State, id_or_number: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """All that is open, or `amount` of it, tax included, goes to bad debt; `reason` says why. `tax_relief`
    says why the state gives the tax back; left out, the tax is lost too. A payment that comes after all takes
    so much of it back first."""
    wanted = validate_document(WriteOff, read_document(body), what="the write-off")
    found = write_off(state.ledger, id_or_number, wanted, actor=actor, now=state.clock.now())
    return _answer(found, status_code=201)


@router.post(
    "/v1/documents/{id_or_number}/write-offs/take-back",
    **declared(
        "take_back_write_off",
        "bill",
        summary="Claim again what was written off",
        tag="payments",
        example=_WRITE_OFFS,
        problems=(400, 404, 409, 422),
        body={"application/json": {"reason": "written off by mistake"}},
    ),
)
def post_take_back(state: State, id_or_number: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """All of it, or `amount`, tax included. Payments and credit notes do this by themselves."""
    wanted = validate_document(TakeBack, read_document(body), what="the claim")
    found = take_back_write_off(state.ledger, id_or_number, wanted, actor=actor, now=state.clock.now())
    return _answer(found)


@router.get(
    "/v1/documents/{id_or_number}/write-offs",
    **declared(
        "get_write_offs",
        "read",
        summary="What is written off of a document",
        tag="payments",
        example=_WRITE_OFFS,
        problems=(404,),
    ),
)
def get_one(state: State, id_or_number: str) -> ExactJSON:
    """`written_off_minor` stands now; `steps` is all that was entered, below zero where it was owed again."""
    return _answer(get_write_offs(state.ledger, id_or_number))


def _answer(found: WriteOffs, status_code: int = 200) -> ExactJSON:
    return ExactJSON(asdict(found), status_code=status_code)
