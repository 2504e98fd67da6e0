"""Issued documents of all kinds: listed, searched by the words on them, and the index of those words."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from api.json import ExactJSON
from api.page import Cursor, Limit, read_cursor, write_cursor
from api.routing import State, declared
from invoicing.document_list import DocumentFilter, list_documents
from invoicing.search_index import catch_up, documents_behind

router = APIRouter()

_SUMMARY: Final[dict[str, Any]] = {
    "document_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
    "kind": "invoice",
    "number": "INV-2013-000001",
    "customer_id": "united",
    "contract_id": "united-2013",
    "entity_id": None,
    "issue_date": "2013-02-01",
    "due_date": "2013-03-03",
    "currency": "USD",
    "net_minor": 2500,
    "tax_minor": 0,
    "credit_minor": 0,
    "refers_to": None,
    "document_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}


@router.get(
    "/v1/documents",
    **declared(
        "list_documents",
        "read",
        summary="Issued documents of all kinds",
        tag="billing",
        example={"items": [_SUMMARY], "next_cursor": None},
        problems=(409, 422),
    ),
)
def list_all(
    state: State,
    search: Annotated[
        str | None,
        Query(
            description="A printed number, or words on it, all of them; `freig*` for beginnings.",
            max_length=512,
        ),
    ] = None,
    kind: Annotated[str | None, Query(description="invoice, credit_note, deposit ...")] = None,
    customer_id: str | None = None,
    contract_id: str | None = None,
    entity_id: str | None = None,
    issued_from: Annotated[date | None, Query(description="First issue date.")] = None,
    issued_to: Annotated[date | None, Query(description="Issue dates before this one.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Newest first. `search` looks at numbers, customers, references, notes and the texts of lines; it takes
    what was issued just now into its index before it answers."""
    chosen = DocumentFilter(
        kind=kind,
        customer_id=customer_id,
        contract_id=contract_id,
        entity_id=entity_id,
        issued_from=issued_from,
        issued_to=issued_to,
        search=search,
    )
    worded = search is not None and cursor is not None
    position = read_cursor(cursor, fields=1 if worded else 3)
    after = None if position is None else tuple(position)
    found = list_documents(state.ledger, chosen=chosen, limit=limit, after=after)
    following = found.next_position
    return ExactJSON(
        {
            "items": [document.to_dict() for document in found.documents],
            "next_cursor": None if following is None else write_cursor(*following),
        }
    )


@router.post(
    "/v1/documents/index",
    **declared(
        "index_documents",
        "bill",
        summary="Take issued documents into the search index",
        tag="billing",
        example={"taken_in": 120, "behind": 0},
        problems=(),
    ),
)
def index(
    state: State,
    most: Annotated[int, Query(ge=1, description="About how many at most.")] = 20_000,
) -> ExactJSON:
    """Needed only after many documents were issued with no scheduler at work. `behind`: how many are left;
    ask again until it is 0."""
    taken = catch_up(state.ledger, most=most)
    with state.ledger.connect() as connection:
        behind = documents_behind(connection)
    return ExactJSON({"taken_in": taken, "behind": behind})
