"""Billable items: taken in, looked at, amended, closed; and invoices of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field

from api.examples import ITEM, ITEM_CSV, ITEM_INVOICE
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import Document, read_document, validate_document
from invoicing.billable_import import read_items
from invoicing.billable_item import ItemSource, ItemState, item_id_of
from invoicing.billable_read import ItemFilter, get_item, list_conflicts, list_items
from invoicing.billable_store import OUTCOMES, TakenItem, amend_item, import_items, settle_items
from invoicing.item_invoice import (
    ItemInvoiceRequest,
    cancel_item_invoice,
    get_item_invoice,
    list_item_invoices,
    plan_item_invoices,
)

router = APIRouter()

_ITEM_ID: Final = item_id_of("clock", "4711")
_STORED: Final[dict[str, Any]] = {
    "item_id": _ITEM_ID,
    "version": 1,
    "state": "open",
    "line_id": None,
    "invoice_id": None,
    "item_invoice_id": None,
    "reason": "",
    "created_at": "2026-11-26T08:00:00+00:00",
    "updated_at": "2026-11-26T08:00:00+00:00",
    "item": ITEM,
}
_TAKEN: Final[dict[str, Any]] = {
    "row": 1,
    "outcome": "accepted",
    "item_id": _ITEM_ID,
    "external_id": "4711",
    "issues": [],
}
_PLANNED: Final[dict[str, Any]] = {
    "item_invoice_id": "5b0c9d2f1e4a7c85",
    "contract_id": "united-2013",
    "invoice_on": "2013-03-15",
    "state": "scheduled",
    "as_draft": False,
    "invoice_id": None,
    "reason": "",
    "actor": "ann",
    "created_at": "2026-11-26T08:00:00+00:00",
    "items": 1,
}


class Settling(Document):
    """Which items, and why; the reason stays on record."""

    item_ids: tuple[str, ...] = Field(min_length=1, max_length=100_000)
    reason: str = Field(min_length=1, max_length=512)


class Reason(Document):
    """Why."""

    reason: str = Field(min_length=1, max_length=512)


class Amendment(Document):
    """The whole item as it shall be, and why."""

    item: dict[str, Any]
    reason: str = Field(min_length=1, max_length=512)


@router.post(
    "/v1/items",
    **declared(
        "import_items",
        "bill",
        summary="Take in billable items",
        tag="items",
        example={
            "items": [_TAKEN],
            **dict.fromkeys(OUTCOMES, 0),
            "accepted": 1,
            "waiting": [],
        },
        problems=(400, 413, 422),
        body={"application/json": {"items": [ITEM]}, "text/csv": ITEM_CSV},
    ),
)
def take_items(
    state: State,
    request: Request,
    actor: Actor,
    body: DocumentBody,
    amend: Annotated[
        bool, Query(description="Let another body replace an item that is not billed yet.")
    ] = False,
    source: Annotated[ItemSource | None, Query(description="Of items that do not say it.")] = None,
    source_system: Annotated[str | None, Query(description="Of items that do not say it.")] = None,
    contract_id: Annotated[str | None, Query(description="Of items that name no contract.")] = None,
    customer_id: Annotated[str | None, Query(description="Of items that name no customer.")] = None,
) -> ExactJSON:
    """JSON or YAML items, a CSV whose columns are their fields, or the export of a project. Each item stands
    for itself: accepted, duplicate (nothing changes), amended, conflict (what is on record stays, the other
    body is listed) or rejected with all that is wrong. `waiting` names work that cannot be billed yet."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    options = {
        "source": source,
        "source_system": source_system,
        "contract_id": contract_id,
        "customer_id": customer_id,
    }
    given = {name: str(value) for name, value in options.items() if value is not None}
    read = read_items(body, media_type=media_type, given=given)
    taken = import_items(state.ledger, read.documents, amend=amend, actor=actor, now=state.clock.now())
    counts = {outcome: sum(one.outcome == outcome for one in taken) for outcome in OUTCOMES}
    return ExactJSON({"items": [_taken(one) for one in taken], **counts, "waiting": list(read.waiting)})


@router.get(
    "/v1/items",
    **declared(
        "list_items",
        "read",
        summary="Billable items",
        tag="items",
        example={"items": [_STORED], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State,
    state_of: Annotated[ItemState | None, Query(alias="state")] = None,
    source: ItemSource | None = None,
    contract_id: str | None = None,
    customer_id: str | None = None,
    project: str | None = None,
    invoice_id: str | None = None,
    line_id: Annotated[str | None, Query(description="The items behind this invoice line.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """By date. Of an invoice line: the items that make its quantity."""
    chosen = ItemFilter(state_of, source, contract_id, customer_id, project, invoice_id, line_id)
    after = read_cursor(cursor, fields=2)
    items = [one.to_dict() for one in list_items(state.ledger, chosen=chosen, limit=limit + 1, after=after)]
    return ExactJSON(page(items, limit=limit, position=lambda one: (one["item"]["date"], one["item_id"])))


@router.get(
    "/v1/item-conflicts",
    **declared(
        "list_item_conflicts",
        "read",
        summary="Items that contradict those on record",
        tag="items",
        example={
            "items": [
                {
                    "item_id": _ITEM_ID,
                    "document_hash": "0" * 64,
                    "received_at": "2026-11-26T08:00:00+00:00",
                    "item": ITEM,
                }
            ],
            "next_cursor": None,
        },
        problems=(422,),
    ),
)
def conflicts(state: State, limit: Limit = 100, cursor: Cursor = None) -> ExactJSON:
    """Bodies that came under the id of an item on record and are not in force. Import one with `amend` to
    let it replace an unbilled item; what is billed is corrected by a credit note."""
    found = list_conflicts(state.ledger, limit=limit + 1, after=read_cursor(cursor, fields=2))
    return ExactJSON(page(found, limit=limit, position=lambda one: (one["item_id"], one["document_hash"])))


@router.get(
    "/v1/items/{item_id}",
    **declared(
        "get_item", "read", summary="One billable item", tag="items", example=_STORED, problems=(404,)
    ),
)
def get_one(state: State, item_id: str) -> ExactJSON:
    """With what became of it. What it was before each change is in the audit trail, under its id."""
    return ExactJSON(get_item(state.ledger, item_id).to_dict())


@router.put(
    "/v1/items/{item_id}",
    **declared(
        "amend_item",
        "bill",
        summary="Amend an item that is not billed",
        tag="items",
        example=_STORED,
        problems=(400, 404, 409, 422),
        body={"application/json": {"item": ITEM, "reason": "half an hour less"}},
    ),
)
def amend(state: State, item_id: str, actor: Actor, body: DocumentBody) -> ExactJSON:
    """The whole item, with a reason. An item that an invoice has billed cannot be amended."""
    wanted = validate_document(Amendment, read_document(body), what="the amendment")
    stored = amend_item(
        state.ledger, item_id, wanted.item, reason=wanted.reason, actor=actor, now=state.clock.now()
    )
    return ExactJSON(stored.to_dict())


@router.post(
    "/v1/items/close",
    **declared(
        "close_items",
        "bill",
        summary="Close items without billing them",
        tag="items",
        example={"items": [_STORED]},
        problems=(400, 404, 409, 422),
        body={"application/json": {"item_ids": [_ITEM_ID], "reason": "a favour"}},
    ),
)
def close(state: State, actor: Actor, body: DocumentBody) -> ExactJSON:
    """All of them or none, for good: no invoice bills them, and sent again they change nothing."""
    return _settle(state, actor, body, "closed")


@router.post(
    "/v1/items/cancel",
    **declared(
        "cancel_items",
        "bill",
        summary="Cancel items that never were",
        tag="items",
        example={"items": [_STORED]},
        problems=(400, 404, 409, 422),
        body={"application/json": {"item_ids": [item_id_of("clock", "4712")], "reason": "entered twice"}},
    ),
)
def cancel(state: State, actor: Actor, body: DocumentBody) -> ExactJSON:
    """As closing, for items that were entered by mistake."""
    return _settle(state, actor, body, "cancelled")


@router.post(
    "/v1/item-invoices",
    **declared(
        "plan_item_invoices",
        "bill",
        summary="Plan an invoice for open items",
        tag="items",
        status=201,
        example={"items": [_PLANNED]},
        problems=(400, 404, 409, 422),
        body={"application/json": ITEM_INVOICE},
    ),
)
def plan(state: State, actor: Actor, body: DocumentBody) -> ExactJSON:
    """Outside the billing dates, one a contract. It is issued on `invoice_on` (left out: today, so by the
    scheduler's next look or the next billing run), never before, and can be cancelled until then."""
    wanted = validate_document(ItemInvoiceRequest, read_document(body), what="the invoice for items")
    planned = plan_item_invoices(state.ledger, wanted, actor=actor, now=state.clock.now())
    return ExactJSON({"items": [one.to_dict() for one in planned]}, status_code=201)


@router.get(
    "/v1/item-invoices",
    **declared(
        "list_item_invoices",
        "read",
        summary="Invoices planned for items",
        tag="items",
        example={"items": [_PLANNED], "next_cursor": None},
        problems=(422,),
    ),
)
def list_planned(
    state: State,
    state_of: Annotated[Literal["scheduled", "invoiced", "cancelled"] | None, Query(alias="state")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """By the day they are planned for."""
    after: Sequence[Any] | None = read_cursor(cursor, fields=2)
    found = list_item_invoices(state.ledger, state=state_of, limit=limit + 1, after=after)
    answers = [one.to_dict() for one in found]
    position = ("invoice_on", "item_invoice_id")
    return ExactJSON(
        page(answers, limit=limit, position=lambda one: tuple(str(one[name]) for name in position))
    )


@router.get(
    "/v1/item-invoices/{item_invoice_id}",
    **declared(
        "get_item_invoice",
        "read",
        summary="One invoice planned for items",
        tag="items",
        example=_PLANNED,
        problems=(404,),
    ),
)
def get_planned(state: State, item_invoice_id: str) -> ExactJSON:
    """With its invoice, once there is one."""
    return ExactJSON(get_item_invoice(state.ledger, item_invoice_id).to_dict())


@router.post(
    "/v1/item-invoices/{item_invoice_id}/cancel",
    **declared(
        "cancel_item_invoice",
        "bill",
        summary="Cancel a planned invoice for items",
        tag="items",
        example={**_PLANNED, "state": "cancelled", "reason": "the customer asked for one bill"},
        problems=(400, 404, 409, 422),
        body={"application/json": {"reason": "the customer asked for one bill"}},
    ),
)
def cancel_planned(state: State, item_invoice_id: str, actor: Actor, body: DocumentBody) -> ExactJSON:
    """Before its day. Its items are billed with the contract's next invoice again."""
    wanted = validate_document(Reason, read_document(body), what="the cancellation")
    done = cancel_item_invoice(
        state.ledger, item_invoice_id, reason=wanted.reason, actor=actor, now=state.clock.now()
    )
    return ExactJSON(done.to_dict())


def _settle(state: State, actor: str, body: bytes, wanted_state: Literal["closed", "cancelled"]) -> ExactJSON:
    wanted = validate_document(Settling, read_document(body), what="the list of items")
    settled = settle_items(
        state.ledger,
        wanted.item_ids,
        state=wanted_state,
        reason=wanted.reason,
        actor=actor,
        now=state.clock.now(),
    )
    return ExactJSON({"items": [one.to_dict() for one in settled]})


def _taken(one: TakenItem) -> dict[str, Any]:
    return {
        "row": one.row,
        "outcome": one.outcome,
        "item_id": one.item_id,
        "external_id": one.external_id,
        "issues": [issue.to_dict() for issue in one.issues],
    }
