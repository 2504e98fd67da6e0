"""What something would cost: prices without a store."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter

from api.examples import PRICE_PLAN
from api.json import ExactJSON
from api.routing import DocumentBody, State, declared
from ingest.document import read_document
from rating.price import price_request

router = APIRouter()

_REQUEST: Final[dict[str, Any]] = {
    "charge": PRICE_PLAN["charges"][0],
    "quantity": "120",
    "currency": "USD",
}


@router.post(
    "/v1/price",
    **declared(
        "price",
        "read",
        summary="Rate a quantity or events by one charge",
        tag="prices",
        example={"amount": "1445", "amount_minor": 144500, "currency": "USD"},
        problems=(400, 422),
        body={"application/json": _REQUEST},
    ),
)
def price(_state: State, body: DocumentBody) -> ExactJSON:
    """The same function that rates invoices, on what the request holds. Nothing is stored."""
    return ExactJSON(price_request(read_document(body)))
