"""What was billed against what it would be now. Nothing is stored."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from api.routing import DocumentBody, State, declared
from api.table_answer import TABLE_MEDIA, table_answer
from ingest.document import Document, read_document, validate_document
from invoicing.history import BillingDates
from invoicing.rerate import rerate
from invoicing.rerate_answer import RERATED_SCHEMA

router = APIRouter()

_REQUEST: Final[dict[str, Any]] = {
    "date_from": "2013-01-01",
    "date_to": "2013-04-01",
    "contracts": ["united-2013"],
}
_TOTAL: Final[dict[str, Any]] = {
    "currency": "USD",
    "lines": 1,
    "unchanged": 0,
    "billed_minor": 2500,
    "now_minor": 3750,
    "difference_minor": 1250,
    "credit_minor": 0,
    "debit_minor": 1250,
}
_ITEM: Final[dict[str, Any]] = {
    "contract_id": "united-2013",
    "billing_date": "2013-02-01",
    "line_id": "0f6f6e4f4ef2b7c1d6a1f0f7a9a1c2d3",
    "charge_id": "landing",
    "period_start": "2013-01-01T05:00:00Z",
    "period_end": "2013-02-01T05:00:00Z",
    "dimensions": {},
    "change": "changed",
    "billed_quantity": "2",
    "quantity": "3",
    "currency": "USD",
    "billed_minor": 2500,
    "now_minor": 3750,
    "difference_minor": 1250,
    "implies": "debit",
}
_ANSWER: Final[dict[str, Any]] = {
    "date_from": "2013-01-01",
    "date_to": "2013-04-01",
    "compared": 1,
    "not_billed": 0,
    "totals": [_TOTAL],
    "contracts": [{"contract_id": "united-2013", "currency": "USD", "difference_minor": 1250}],
    "held": [],
    "items": [_ITEM],
}


class HistoryQuestion(Document):
    """``date_from``, ``date_to``: billing dates in [from, to). ``contracts``: left out, all of them."""

    date_from: date
    date_to: date
    contracts: tuple[str, ...] | None = None


@router.post(
    "/v1/rerate",
    **declared(
        "rerate",
        "read",
        summary="What was billed against what it would be now",
        tag="prices",
        example=_ANSWER,
        problems=(400, 404, 413, 422),
        body={"application/json": _REQUEST},
        media=TABLE_MEDIA,
    ),
)
def ask(state: State, request: Request, body: DocumentBody) -> Response:
    """Every settled billing date in the time asked about is rated again, with the usage and prices known
    now, and compared line by line with its invoice. `items` are the lines that differ, each with the credit
    or debit that would settle it; lines without a difference are counted. Nothing is stored or posted.

    `held` names dates that cannot be priced now and why; they are not compared. `Accept` chooses JSON, Arrow
    or CSV.
    """
    asked = validate_document(HistoryQuestion, read_document(body), what="the question")
    found = rerate(
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
        schema=RERATED_SCHEMA,
        row_count=found.row_count(),
        summary=found.to_dict,
    )
