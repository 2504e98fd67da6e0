"""From an invoice line down: how its amount came about, and the events behind it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from api.json import ExactJSON, rows_of
from api.lines import LineEvents, events_of_line, explain
from api.page import Cursor, Limit, read_cursor, write_cursor
from api.routing import State, declared

router = APIRouter()

TEXT: Final = "text/plain"

_EXPLANATION: Final[dict[str, Any]] = {
    "line_id": "7c9e6679f7f1b5a4a1d90b31e6b0a9d2",
    "contract_id": "united-2013",
    "plan": "airport-2013 version 1",
    "charge": "Landing charge",
    "period": "2013-01-01T05:00:00Z to 2013-02-01T05:00:00Z",
    "dimensions": {},
    "event_count": 2,
    "steps": [{"step": "quantity", "text": "2 landings were metered", "result": "2"}],
    "tiers": [{"number": 1, "units": "2", "amount": "25"}],
    "amount": "25",
    "amount_minor": 2500,
    "billed": "25.00",
    "input_hash": "a1d90b31e6b0a9d27c9e6679f7f1b5a4",
    "inputs": {
        "quantity": "2",
        "days": 31,
        "full_days": 31,
        "currency": "USD",
        "minor_digits": 2,
        "rounding": "half_up",
        "event_count": 2,
        "unit_conversion": None,
        "free_units": None,
        "zero_usage": "skip",
        "price": {"model": "per_unit", "unit_price": "12.5"},
        "prorated": False,
        "minimum_amount": None,
        "maximum_amount": None,
        "discounts": [],
    },
    "invoice": {"invoice_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85", "position": 1},
}
_EVENTS: Final[dict[str, Any]] = {
    "line_id": "7c9e6679f7f1b5a4a1d90b31e6b0a9d2",
    "meter_id": "landings",
    "event_count": 2,
    "quantity": "2",
    "items": [
        {
            "source": "tower/jfk",
            "id": "2013-01-01-UA1545",
            "type": "landing",
            "subject": "UA",
            "time": "2013-01-01T10:15:00Z",
            "value": "1400",
            "properties": {"origin": "EWR"},
        }
    ],
    "next_cursor": None,
}


@router.get(
    "/v1/lines/{line_id}",
    **declared(
        "explain_line",
        "read",
        summary="How a line's amount came about",
        tag="lines",
        example=_EXPLANATION,
        problems=(404, 422),
        media={TEXT: "Landing charge ...\n"},
    ),
)
def explain_one(
    state: State,
    line_id: str,
    request: Request,
    form: Annotated[Literal["json", "text"] | None, Query(alias="format")] = None,
) -> Response:
    """Step by step, from the metered quantity over the tiers to the rounded amount, recomputed from
    the plan version on the line: a difference would be an error, not an answer. `inputs` is all it was
    computed from; `python -m rating.verify` checks the answer with that alone."""
    explanation, invoice = explain(state, line_id)
    if form == "text" or (form is None and TEXT in request.headers.get("accept", "")):
        return Response(explanation.to_text(), media_type=TEXT)
    return ExactJSON({**explanation.to_dict(), "invoice": invoice})


@router.get(
    "/v1/lines/{line_id}/events",
    **declared(
        "list_events_of_line",
        "read",
        summary="The events behind a line",
        tag="lines",
        example=_EVENTS,
        problems=(404, 409, 422),
    ),
)
def list_line_events(state: State, line_id: str, limit: Limit = 100, cursor: Cursor = None) -> ExactJSON:
    """Oldest first, as they were known when the line was billed: what came in or was corrected since is not
    among them. Over all pages their number is the line's `event_count`, and what they add up to is its
    `quantity`; behind a formula are the events of its meters, one meter after the other."""
    found: LineEvents = events_of_line(state, line_id, limit=limit, after=read_cursor(cursor, fields=3))
    return ExactJSON(
        {
            "line_id": line_id,
            "meter_id": found.meter_id,
            "event_count": found.event_count,
            "quantity": found.quantity,
            "items": rows_of(found.events),
            "next_cursor": None if found.after is None else write_cursor(*found.after),
        }
    )
