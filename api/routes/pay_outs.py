"""Pay-outs: money that went back to customers."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter

from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routes.payments import SHOWN_PAYMENT
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import read_document, validate_document
from invoicing.pay_out import PayOut, get_pay_out, list_pay_outs, record_pay_out
from invoicing.payment_view import get_payment
from invoicing.set_off import SetOff, record_set_off

router = APIRouter()

_SUMMARY: Final[dict[str, Any]] = {
    "pay_out_id": "refund-1",
    "customer_id": "united",
    "currency": "USD",
    "amount_minor": 500,
    "value_date": "2013-03-31",
    "reference": "wire 4711",
    "reason": "paid twice",
    "recorded_at": "2013-03-31T09:00:00.000000+00:00",
    "recorded_by": "accounting",
}
_PART: Final[dict[str, Any]] = {
    "payment_id": "bank-4711",
    "document_id": None,
    "number": None,
    "amount_minor": 500,
    "net_minor": 0,
}
_PAY_OUT: Final[dict[str, Any]] = {**_SUMMARY, "parts": [_PART]}
_REQUEST: Final[dict[str, Any]] = {
    "pay_out_id": "refund-1",
    "customer_id": "united",
    "currency": "USD",
    "amount": "1.00",
    "value_date": "2013-03-31",
    "reference": "wire 4711",
    "reason": "paid twice",
}


@router.post(
    "/v1/pay-outs",
    **declared(
        "pay_out",
        "bill",
        summary="Record money that went back to a customer",
        tag="payments",
        status=201,
        example={**_PAY_OUT, "created": True},
        problems=(400, 404, 409, 422),
        body={"application/json": _REQUEST},
    ),
)
def record(state: State, actor: Actor, body: DocumentBody) -> ExactJSON:
    """The transfer is made at the bank; here it is recorded. It takes money on account, the oldest first,
    then what bills below zero left owed; `document` names one of these. 200 when this very pay-out is on
    record."""
    wanted = validate_document(PayOut, read_document(body), what="the pay-out")
    pay_out_id, is_new = record_pay_out(state.ledger, wanted, actor=actor, now=state.clock.now())
    answer = {**get_pay_out(state.ledger, pay_out_id), "created": is_new}
    return ExactJSON(answer, status_code=201 if is_new else 200)


_SET_OFF: Final[dict[str, Any]] = {
    "set_off_id": "april",
    "document": "CN-2013-000001",
    "against": "INV-2013-000003",
    "value_date": "2013-03-31",
    "reason": "agreed by mail",
}


@router.post(
    "/v1/set-offs",
    **declared(
        "set_off",
        "bill",
        summary="Set a bill below zero off against an invoice",
        tag="payments",
        status=201,
        example={"set_off_id": "april", "pay_out": _PAY_OUT, "payment": SHOWN_PAYMENT, "created": True},
        problems=(400, 404, 409, 422),
        body={"application/json": _SET_OFF},
    ),
)
def set_off(state: State, actor: Actor, body: DocumentBody) -> ExactJSON:
    """What the bill left owed to the customer pays the invoice: a pay-out and a payment of that id, and no
    money moves. Left out, `amount` is as much as is open of both. 200 when this very set-off is on record."""
    wanted = validate_document(SetOff, read_document(body), what="the set-off")
    set_off_id, is_new = record_set_off(state.ledger, wanted, actor=actor, now=state.clock.now())
    answer = {
        "set_off_id": set_off_id,
        "pay_out": get_pay_out(state.ledger, set_off_id),
        "payment": get_payment(state.ledger, set_off_id),
        "created": is_new,
    }
    return ExactJSON(answer, status_code=201 if is_new else 200)


@router.get(
    "/v1/pay-outs",
    **declared(
        "list_pay_outs",
        "read",
        summary="Money that went back to customers",
        tag="payments",
        example={"items": [_SUMMARY], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State, customer_id: str | None = None, limit: Limit = 100, cursor: Cursor = None
) -> ExactJSON:
    """By value date and id."""
    position = read_cursor(cursor, fields=2)
    after = None if position is None else (str(position[0]), str(position[1]))
    items = list_pay_outs(state.ledger, customer_id=customer_id, limit=limit + 1, after=after)
    answer = page(items, limit=limit, position=lambda item: (item["value_date"], item["pay_out_id"]))
    return ExactJSON(answer)


@router.get(
    "/v1/pay-outs/{pay_out_id}",
    **declared(
        "get_pay_out",
        "read",
        summary="One pay-out with what it gave back",
        tag="payments",
        example=_PAY_OUT,
        problems=(404,),
    ),
)
def get_one(state: State, pay_out_id: str) -> ExactJSON:
    """`parts`: payments of which nothing else took it, or bills below zero."""
    return ExactJSON(get_pay_out(state.ledger, pay_out_id))
