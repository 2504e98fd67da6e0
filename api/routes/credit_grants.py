"""Prepaid credit: given, looked at, voided; and what it comes to on any day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from api.billing import seller_of
from api.documents import keyed_document
from api.examples import CREDIT, TOP_UP
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import Document, read_document, validate_document
from invoicing.credit import CreditEntry, StoredGrant
from invoicing.credit_balance import balance_on
from invoicing.credit_store import (
    entries_of,
    get_grant,
    grant_credit,
    grants_of_customer,
    list_grants,
    void_grant,
)
from invoicing.customer_store import get_customer
from invoicing.retainer_document import retainer_pdf
from invoicing.retainer_statement import retainer_statement
from invoicing.top_up import get_top_up, live_balance, save_top_up

router = APIRouter()

_GRANT: Final[dict[str, Any]] = {
    "grant_id": "united-2013",
    "customer_id": "united",
    "name": "Prepaid landings",
    "kind": "paid",
    "currency": "USD",
    "amount_minor": 10000,
    "cost_minor": 8000,
    "remaining_minor": 7500,
    "effective_from": "2013-01-01",
    "expires_on": "2014-01-01",
    "origin": "given",
    "origin_id": None,
    "document": CREDIT,
}
_ENTRY: Final[dict[str, Any]] = {
    "grant_id": "united-2013",
    "currency": "USD",
    "kind": "drawn",
    "entry_date": "2013-02-01",
    "amount_minor": -2500,
    "cost_minor": -2000,
    "invoice_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
    "lines": [{"line_id": "7c9e6679f7f1b5a4a1d90b31e6b0a9d2", "amount_minor": 2500}],
}
_BALANCE: Final[dict[str, Any]] = {
    "currency": "USD",
    "granted_minor": 10000,
    "granted_cost": 8000,
    "voided_minor": 0,
    "voided_cost": 0,
    "drawn_minor": 2500,
    "drawn_cost": 2000,
    "expired_minor": 0,
    "expired_cost": 0,
    "remaining_minor": 7500,
    "remaining_cost": 6000,
    "committed_cost": 8000,
    "recognised_cost": 2000,
}

_PDF: Final = "application/pdf"
_PERIOD: Final[dict[str, Any]] = {
    "contract_id": "united-2013",
    "retainer_id": "landings",
    "period_start": "2013-01-01",
    "period_end": "2013-02-01",
    "currency": "USD",
    "granted_minor": 10000,
    "carried_in_minor": 0,
    "used": [
        {
            "key": "landing",
            "quantity": "2",
            "unit": "landing",
            "amount_minor": 2500,
            "tax_minor": 0,
            "drawn_minor": 2500,
            "overage_minor": 0,
        }
    ],
    "used_minor": 2500,
    "tax_minor": 0,
    "drawn_minor": 2500,
    "overage_minor": 0,
    "remaining_minor": 7500,
    "carried_over_minor": 0,
    "lapsed_minor": 7500,
    "billed": True,
}

_LIVE: Final[dict[str, Any]] = {
    "currency": "USD",
    "credit_minor": 7500,
    "unbilled_minor": 2500,
    "balance_minor": 5000,
}


class Void(Document):
    """Why what is left is taken back, and the day it is dated (left out: today, in UTC)."""

    reason: str
    dated_on: date | None = None


@router.put(
    "/v1/credits/{grant_id}",
    **declared(
        "grant_credit",
        "bill",
        summary="Give a customer credit",
        tag="credits",
        status=201,
        example={**_GRANT, "created": True},
        problems=(400, 404, 409, 422),
        body={"application/json": CREDIT},
    ),
)
def grant(state: State, grant_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """201 for new credit, 200 when this very grant is on record already: sent again, it gives nothing twice.
    A grant never changes; another document under its id is refused with 409."""
    document = keyed_document(body, field="grant_id", key=grant_id, what="credit")
    saved = grant_credit(state.ledger, document, now=state.clock.now(), actor=actor)
    answer = {**_grant_answer(saved.stored), "created": saved.created}
    return ExactJSON(answer, status_code=201 if saved.created else 200)


@router.get(
    "/v1/credits",
    **declared(
        "list_credits",
        "read",
        summary="Credit given",
        tag="credits",
        example={"items": [_GRANT], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State,
    customer_id: str | None = None,
    only_open: Annotated[bool, Query(description="Only grants of which something is left.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """By id, each with what is left of it."""
    after = read_cursor(cursor, fields=1)
    found = list_grants(
        state.ledger,
        customer_id=customer_id,
        only_open=only_open,
        limit=limit + 1,
        after=None if after is None else str(after[0]),
    )
    items = [_grant_answer(stored) for stored in found]
    return ExactJSON(page(items, limit=limit, position=lambda item: (item["grant_id"],)))


@router.get(
    "/v1/credits/{grant_id}",
    **declared(
        "get_credit",
        "read",
        summary="One grant and all that was entered on it",
        tag="credits",
        example={**_GRANT, "entries": [_ENTRY]},
        problems=(404,),
    ),
)
def get_one(state: State, grant_id: str) -> ExactJSON:
    """Entries by date: what came is above zero, what went is below."""
    stored = get_grant(state.ledger, grant_id)
    entries = [_entry_answer(entry, stored.grant.currency) for entry in entries_of(state.ledger, [grant_id])]
    return ExactJSON({**_grant_answer(stored), "entries": entries})


@router.post(
    "/v1/credits/{grant_id}/void",
    **declared(
        "void_credit",
        "bill",
        summary="Take back what is left of a grant",
        tag="credits",
        example={**_GRANT, "remaining_minor": 0},
        problems=(400, 404, 409, 422),
        body={"application/json": {"reason": "the order was cancelled", "dated_on": "2013-03-01"}},
    ),
)
def void(state: State, grant_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """With a reason. What invoices drew stays drawn."""
    wanted = validate_document(Void, read_document(body), what="the voiding")
    now = state.clock.now()
    on = wanted.dated_on or now.astimezone(UTC).date()
    voided = void_grant(state.ledger, grant_id, reason=wanted.reason, on=on, now=now, actor=actor)
    return ExactJSON(_grant_answer(voided))


@router.get(
    "/v1/contracts/{contract_id}/retainers",
    **declared(
        "retainer_statement",
        "read",
        summary="How a contract's retainers were used, as JSON or PDF",
        tag="credits",
        example={"contract_id": "united-2013", "periods": [_PERIOD]},
        problems=(404, 422),
        media={_PDF: "%PDF-1.7 ..."},
    ),
)
def statement(
    state: State,
    contract_id: str,
    request: Request,
    period_start: Annotated[
        date | None, Query(description="Of the PDF: first day of the period. Left out: the newest billed.")
    ] = None,
    retainer_id: Annotated[str | None, Query(description="Of the PDF, for a contract with several.")] = None,
) -> Response:
    """One entry a period that was paid for: what was used by group key, what the retainer paid of it, what
    went beyond, and what is left, carried over or lapsed. used + tax = drawn + overage. `Accept:
    application/pdf` puts one period on paper, in the customer's language."""
    if _PDF not in request.headers.get("accept", ""):
        periods = retainer_statement(state.ledger, contract_id)
        return ExactJSON({"contract_id": contract_id, "periods": [period.to_dict() for period in periods]})
    made = retainer_pdf(
        state.printer,
        state.ledger,
        contract_id,
        period_start=period_start,
        retainer_id=retainer_id,
        seller=seller_of(state.settings),
    )
    headers = {"Content-Disposition": f'inline; filename="{contract_id}-retainer.pdf"'}
    return Response(made, media_type=_PDF, headers=headers)


@router.put(
    "/v1/contracts/{contract_id}/top-up",
    **declared(
        "put_top_up",
        "bill",
        summary="When a contract's credit is topped up",
        tag="credits",
        example=TOP_UP,
        problems=(400, 404, 422),
        body={"application/json": TOP_UP},
    ),
)
def put_top_up(state: State, contract_id: str, body: DocumentBody) -> ExactJSON:
    """In the place of what was wanted before. The server's scheduler looks every minute and sells at most one
    top-up a contract and day: an invoice, and the grant it pays for, in one step."""
    document = keyed_document(body, field="contract_id", key=contract_id, what="top-up")
    return ExactJSON(save_top_up(state.ledger, document, now=state.clock.now()).model_dump(mode="json"))


@router.get(
    "/v1/contracts/{contract_id}/top-up",
    **declared(
        "get_top_up",
        "read",
        summary="When a contract's credit is topped up, and its live balance",
        tag="credits",
        example={"top_up": TOP_UP, "balance": _LIVE},
        problems=(404, 409),
    ),
)
def show_top_up(state: State, contract_id: str) -> ExactJSON:
    """The live balance: what the contract's grants have left today, less what is used and not billed."""
    top_up = get_top_up(state.ledger, contract_id)
    found = live_balance(
        top_up=top_up, at=state.clock.now(), event_store=state.event_store, ledger=state.ledger
    )
    balance = {
        "currency": found.currency,
        "credit_minor": found.credit_minor,
        "unbilled_minor": found.unbilled_minor,
        "balance_minor": found.balance_minor,
    }
    return ExactJSON({"top_up": top_up.model_dump(mode="json"), "balance": balance})


@router.get(
    "/v1/customers/{customer_id}/credit-balance",
    **declared(
        "credit_balance",
        "read",
        sees="customer",
        summary="A customer's credit on a day",
        tag="credits",
        example={
            "customer_id": "united",
            "as_of": "2013-02-01",
            "balances": [_BALANCE],
            "entries": [_ENTRY],
        },
        problems=(404, 422),
    ),
)
def balance(
    state: State,
    customer_id: str,
    as_of: Annotated[
        date | None, Query(description="At the end of that day; left out: today, in UTC.")
    ] = None,
) -> ExactJSON:
    """One balance a currency, and the entries up to that day. committed_cost is what was paid for credit:
    recognised_cost of it is revenue, remaining_cost is still owed as service."""
    get_customer(state.ledger, customer_id)
    day = as_of or state.clock.now().astimezone(UTC).date()
    grants = grants_of_customer(state.ledger, customer_id)
    entries = entries_of(state.ledger, [stored.grant.grant_id for stored in grants])
    currency_of = {stored.grant.grant_id: stored.grant.currency for stored in grants}
    balances = balances_answer(entries, currency_of, day)
    shown = [
        _entry_answer(entry, currency_of[entry.grant_id]) for entry in entries if entry.entry_date <= day
    ]
    return ExactJSON({"customer_id": customer_id, "as_of": day, "balances": balances, "entries": shown})


def balances_answer(
    entries: Sequence[CreditEntry], currency_of: Mapping[str, str], day: date
) -> list[dict[str, Any]]:
    """What the entries come to at the end of a day, one balance a currency. currency_of: by grant."""
    return [
        {
            "currency": currency,
            **balance_on(
                (entry for entry in entries if currency_of[entry.grant_id] == currency), day
            ).to_dict(),
        }
        for currency in sorted(set(currency_of.values()))
    ]


def _grant_answer(stored: StoredGrant) -> dict[str, Any]:
    grant = stored.grant
    return {
        "grant_id": grant.grant_id,
        "customer_id": grant.customer_id,
        "name": grant.name,
        "kind": grant.kind,
        "currency": grant.currency,
        "amount_minor": stored.amount_minor,
        "cost_minor": stored.cost_minor,
        "remaining_minor": stored.remaining_minor,
        "effective_from": grant.effective_from,
        "expires_on": grant.expires_on,
        "origin": stored.origin,
        "origin_id": stored.origin_id,
        "document": grant,
    }


def _entry_answer(entry: CreditEntry, currency: str) -> dict[str, Any]:
    """What an entry has to say; a field it has not is left out."""
    said: dict[str, Any] = {
        "grant_id": entry.grant_id,
        "currency": currency,
        "kind": entry.kind,
        "entry_date": entry.entry_date,
        "amount_minor": entry.amount_minor,
        "cost_minor": entry.cost_minor,
    }
    if entry.reason:
        said["reason"] = entry.reason
    if entry.invoice_id is not None:
        said["invoice_id"] = entry.invoice_id
        said["lines"] = [{"line_id": line_id, "amount_minor": amount} for line_id, amount in entry.lines]
    return said
