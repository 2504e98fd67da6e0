"""What customers would have paid under other prices. Nothing is stored."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from api.examples import PRICE_PLAN
from api.routing import DocumentBody, State, declared
from api.table_answer import TABLE_MEDIA, table_answer
from ingest.document import Document, read_document, validate_document
from invoicing.history import BillingDates
from invoicing.what_if import what_if
from invoicing.what_if_answer import WHAT_IF_SCHEMA
from invoicing.what_if_variant import VariantDocument, read_variants

router = APIRouter()

_REQUEST: Final[dict[str, Any]] = {
    "date_from": "2013-01-01",
    "date_to": "2013-04-01",
    "contracts": ["united-2013"],
    "variants": [{"name": "as-it-is", "plans": [PRICE_PLAN]}],
}
_TOTAL: Final[dict[str, Any]] = {
    "currency": "USD",
    "contracts": 1,
    "winners": 0,
    "losers": 0,
    "unchanged": 1,
    "now_minor": 2500,
    "variant_minor": 2500,
    "difference_minor": 0,
}
_ITEM: Final[dict[str, Any]] = {
    "variant": "as-it-is",
    "contract_id": "united-2013",
    "customer_id": "united",
    "plan_id": "airport-2013",
    "currency": "USD",
    "now_minor": 2500,
    "variant_minor": 2500,
    "difference_minor": 0,
    "reason_code": "",
}
_ANSWER: Final[dict[str, Any]] = {
    "date_from": "2013-01-01",
    "date_to": "2013-04-01",
    "variants": [{"name": "as-it-is", "held": 0, "totals": [_TOTAL]}],
    "held": [],
    "items": [_ITEM],
}


class Question(Document):
    """``date_from``, ``date_to``: billing dates in [from, to). ``contracts``: left out, all of them."""

    date_from: date
    date_to: date
    contracts: tuple[str, ...] | None = None
    variants: tuple[VariantDocument, ...]


@router.post(
    "/v1/what-if",
    **declared(
        "what_if",
        "read",
        summary="Past usage under other prices",
        tag="prices",
        example=_ANSWER,
        problems=(400, 404, 413, 422),
        body={"application/json": _REQUEST},
        media=TABLE_MEDIA,
    ),
)
def ask(state: State, request: Request, body: DocumentBody) -> Response:
    """Every contract on a plan of a variant, for all billing dates in the time asked about that have come:
    what it comes to as prices are, under the variant, and the difference. A variant's plans stand in for
    every version of the plans with their ids. The function that rates invoices does it; nothing is stored.

    `held` names who cannot be priced and why; they are in no sum. `Accept` chooses JSON, Arrow or CSV.
    """
    asked = validate_document(Question, read_document(body), what="the question")
    found = what_if(
        variants=read_variants(state.ledger, asked.variants),
        dates=BillingDates(asked.date_from, asked.date_to),
        contract_ids=asked.contracts,
        event_store=state.event_store,
        stored_usage=state.stored_usage,
        ledger=state.ledger,
        now=state.clock.now(),
        progress=lambda *_: None,
    )
    return table_answer(
        request.headers.get("accept", ""),
        tables=found.tables(),
        schema=WHAT_IF_SCHEMA,
        row_count=found.row_count(),
        summary=found.to_dict,
    )
