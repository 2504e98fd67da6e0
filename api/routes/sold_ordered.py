"""The report of what was sold beside what was ordered."""

from __future__ import annotations

from datetime import UTC, date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from api.json import ExactJSON
from api.page import Cursor, Limit, read_cursor, write_cursor
from api.routing import State, declared
from invoicing.sales.sold_ordered import sold_ordered

router = APIRouter()

_ROW: Final[dict[str, Any]] = {
    "quote_id": "gate-13",
    "version": 1,
    "quote_state": "accepted",
    "customer_id": "united",
    "contract_id": "united-gate-13",
    "outcome_id": "boarding",
    "outcome": "Boarding in all weather",
    "product_id": "jet-bridge",
    "name": "Jet bridge",
    "billed": "recurring",
    "currency": "USD",
    "quoted_quantity": "1",
    "ordered_quantity": "1",
    "quoted_amount": "900",
    "ordered_amount": "900",
    "difference": "0",
    "state": "as_quoted",
}


@router.get(
    "/v1/reports/sold-ordered",
    **declared(
        "report_sold_ordered",
        "read",
        summary="What was sold beside what was ordered",
        tag="sales",
        example={"on": "2013-02-01", "items": [_ROW], "next_cursor": None},
        problems=(422,),
    ),
)
def report(
    state: State,
    on: Annotated[date | None, Query(description="Whose fees are ordered. Left out: today (UTC).")] = None,
    customer_id: str | None = None,
    only_differences: Annotated[
        bool, Query(description="Leave out what was ordered as it was quoted.")
    ] = False,
    limit: Annotated[Limit, Query(description="Quotes, not rows.")] = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """By quote, outcome and part: quantity and amount as quoted, and of the fee or item that stands for it
    now. `state`: `offered` (not accepted yet), `as_quoted`, `changed`, `not_ordered` (ended, closed or
    cancelled), or `not_quoted` (a fee of the contract or an order that no outcome has)."""
    position = read_cursor(cursor, fields=1)
    now = state.clock.now()
    day = on or now.astimezone(UTC).date()
    rows, last = sold_ordered(
        state.ledger,
        on=day,
        customer_id=customer_id,
        now=now,
        limit=limit,
        after=None if position is None else str(position[0]),
    )
    shown = [row.to_dict() for row in rows if not (only_differences and row.state == "as_quoted")]
    return ExactJSON({"on": day, "items": shown, "next_cursor": None if last is None else write_cursor(last)})
