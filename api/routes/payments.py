"""Payments: recorded, listed, applied to documents, taken back, returned."""

from __future__ import annotations

from datetime import UTC, date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import Document, ExactDecimal, read_document, validate_document
from ingest.errors import InvalidInput
from invoicing.customer_credit import applies_credit, set_applies_credit
from invoicing.customer_store import get_customer
from invoicing.payment_file import FileTerms, import_payments
from invoicing.payment_payer import assign_payment
from invoicing.payment_store import allocate_payment, record_payment, return_payment, unapply_payment
from invoicing.payment_view import PaymentFilter, get_payment, list_payments
from rating.money import minor_digits

router = APIRouter()

_DOCUMENT: Final[dict[str, Any]] = {
    "payment_id": "bank-4711",
    "customer_id": "united",
    "currency": "USD",
    "amount": "25.00",
    "value_date": "2013-03-01",
    "text": "INV-2013-000001",
}
_PAYMENT: Final[dict[str, Any]] = {
    "payment_id": "bank-4711",
    "customer_id": "united",
    "currency": "USD",
    "amount_minor": 2500,
    "value_date": "2013-03-01",
    "reference": "",
    "text": "INV-2013-000001",
    "bank_reference": "",
    "source": "api",
    "applied_minor": 2000,
    "paid_out_minor": 0,
    "unapplied_minor": 500,
    "state": "unapplied",
    "recorded_at": "2013-03-01T09:00:00.000000+00:00",
    "recorded_by": "accounting",
}
_ALLOCATION: Final[dict[str, Any]] = {
    "number": "INV-2013-000001",
    "position": 1,
    "document_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
    "amount_minor": 2000,
    "net_minor": 2000,
    "entry_date": "2013-03-01",
    "rule": "number",
    "created_by": "accounting",
}
SHOWN_PAYMENT: Final[dict[str, Any]] = {**_PAYMENT, "allocations": [_ALLOCATION]}


class Allocate(Document):
    """The document (its id or printed number), and how much of the payment; left out: as much as possible."""

    document: str
    amount: ExactDecimal | None = None


class Unapply(Document):
    """The document that the payment pays no longer, and why."""

    document: str
    reason: str = ""


class Return(Document):
    """Why the payment went back, and on which day (left out: today, in UTC)."""

    reason: str
    dated_on: date | None = None


class Assign(Document):
    """Who paid, and how that is known."""

    customer_id: str
    reason: str = ""


class PaymentSettings(Document):
    """applies_credit: money on account pays the customer's next invoices as they are issued."""

    applies_credit: bool


@router.post(
    "/v1/payments",
    **declared(
        "record_payment",
        "bill",
        summary="Record a payment",
        tag="payments",
        status=201,
        example={**SHOWN_PAYMENT, "created": True},
        problems=(400, 404, 409, 422),
        body={"application/json": _DOCUMENT},
    ),
)
def record(state: State, actor: Actor, body: DocumentBody) -> ExactJSON:
    """It is applied where that is certain: one document named in `reference` or `text`, or several whose open
    amounts sum to it. What is not applied is the customer's credit. 200 when this very payment is on record
    already."""
    payment_id, is_new = record_payment(state.ledger, read_document(body), actor=actor, now=state.clock.now())
    answer = {**get_payment(state.ledger, payment_id), "created": is_new}
    return ExactJSON(answer, status_code=201 if is_new else 200)


@router.post(
    "/v1/payments/import",
    **declared(
        "import_payments",
        "bill",
        summary="Record the payments of a CSV file",
        tag="payments",
        example={"recorded": ["pay-000007"], "duplicates": 0, "issues": []},
        problems=(400, 422),
        body={
            "text/csv": "amount,currency,value_date,customer_id,text\n5.00,USD,2013-03-02,united,deposit\n"
        },
    ),
)
def import_file(
    state: State,
    actor: Actor,
    body: DocumentBody,
    column: Annotated[
        list[str] | None, Query(description="Which column is which, like `amount=Betrag`; may be repeated.")
    ] = None,
    currency: Annotated[str | None, Query(description="Of every row, where no column says it.")] = None,
    delimiter: str = ",",
    date_format: Annotated[str, Query(description="Of `value_date`, as strptime has it.")] = "%Y-%m-%d",
    decimal_comma: Annotated[bool, Query(description="1.234,56 rather than 1,234.56.")] = False,
) -> ExactJSON:
    """Each row once: the same file again, or another that covers the same days, records nothing twice. Rows
    that cannot be recorded are in `issues` with their line number; the others are recorded."""
    pairs = [entry.partition("=") for entry in column or ()]
    if any(not sign for _, sign, _ in pairs):
        raise InvalidInput(
            f"{column} does not say which column is which; write amount=Betrag.", reason_code="bad_mapping"
        )
    terms = FileTerms(
        {name: column_name for name, _, column_name in pairs}, currency, delimiter, date_format, decimal_comma
    )
    report = import_payments(state.ledger, body, terms=terms, actor=actor, now=state.clock.now())
    issues = [{"line": line, **issue.to_dict()} for line, issue in report.issues]
    return ExactJSON({"recorded": report.recorded, "duplicates": report.duplicates, "issues": issues})


@router.get(
    "/v1/payments",
    **declared(
        "list_payments",
        "read",
        summary="Payments",
        tag="payments",
        example={"items": [_PAYMENT], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State,
    customer_id: str | None = None,
    only_unapplied: Annotated[bool, Query(description="Only those of which something is left.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """By value date. applied + unapplied = amount; of a returned payment both are 0."""
    after = read_cursor(cursor, fields=2)
    items = list_payments(
        state.ledger,
        chosen=PaymentFilter(customer_id, only_unapplied),
        limit=limit + 1,
        after=None if after is None else (str(after[0]), str(after[1])),
    )
    return ExactJSON(page(items, limit=limit, position=lambda item: (item["value_date"], item["payment_id"])))


@router.get(
    "/v1/payments/{payment_id}",
    **declared(
        "get_payment",
        "read",
        summary="One payment and what it pays",
        tag="payments",
        example=SHOWN_PAYMENT,
        problems=(404,),
    ),
)
def get_one(state: State, payment_id: str) -> ExactJSON:
    """`allocations` are all rows that were entered; one below zero takes back. `rule` says why."""
    return ExactJSON(get_payment(state.ledger, payment_id))


@router.post(
    "/v1/payments/{payment_id}/allocate",
    **declared(
        "allocate_payment",
        "bill",
        summary="Apply a payment to a document",
        tag="payments",
        example=SHOWN_PAYMENT,
        problems=(400, 404, 409, 422),
        body={"application/json": {"document": "INV-2013-000001", "amount": "1.00"}},
    ),
)
def allocate(state: State, actor: Actor, payment_id: str, body: DocumentBody) -> ExactJSON:
    """Never for more than is unapplied of the payment or open of the document."""
    wanted = validate_document(Allocate, read_document(body), what="the allocation")
    minor = None
    if wanted.amount is not None:
        payment = get_payment(state.ledger, payment_id)
        exact = wanted.amount.scaleb(minor_digits(payment["currency"]))
        if exact != exact.to_integral_value():
            raise InvalidInput(
                f"{wanted.amount} {payment['currency']} is no whole number of minor units.",
                reason_code="payment_amount",
            )
        minor = int(exact)
    allocate_payment(
        state.ledger,
        payment_id,
        document=wanted.document,
        amount_minor=minor,
        actor=actor,
        now=state.clock.now(),
    )
    return ExactJSON(get_payment(state.ledger, payment_id))


@router.post(
    "/v1/payments/{payment_id}/unapply",
    **declared(
        "unapply_payment",
        "bill",
        summary="Take back what a payment pays of a document",
        tag="payments",
        example=SHOWN_PAYMENT,
        problems=(400, 404, 409, 422),
        body={"application/json": {"document": "INV-2013-000001", "reason": "meant for another invoice"}},
    ),
)
def unapply(state: State, actor: Actor, payment_id: str, body: DocumentBody) -> ExactJSON:
    """The payment stays and keeps its id; what was taken back is unapplied."""
    wanted = validate_document(Unapply, read_document(body), what="the request")
    unapply_payment(
        state.ledger,
        payment_id,
        document=wanted.document,
        reason=wanted.reason,
        actor=actor,
        now=state.clock.now(),
    )
    return ExactJSON(get_payment(state.ledger, payment_id))


@router.post(
    "/v1/payments/{payment_id}/return",
    **declared(
        "return_payment",
        "bill",
        summary="A payment went back",
        tag="payments",
        example={
            **SHOWN_PAYMENT,
            "state": "returned",
            "returned_on": "2013-03-05",
            "return_reason": "no funds",
        },
        problems=(400, 404, 409, 422),
        body={"application/json": {"reason": "no funds", "dated_on": "2013-03-05"}},
    ),
)
def give_back(state: State, actor: Actor, payment_id: str, body: DocumentBody) -> ExactJSON:
    """A bounced debit or a charge-back: what it paid is open again from that day on."""
    wanted = validate_document(Return, read_document(body), what="the return")
    now = state.clock.now()
    on = wanted.dated_on or now.astimezone(UTC).date()
    return_payment(state.ledger, payment_id, on=on, reason=wanted.reason, actor=actor, now=now)
    return ExactJSON(get_payment(state.ledger, payment_id))


@router.post(
    "/v1/payments/{payment_id}/assign",
    **declared(
        "assign_payment",
        "bill",
        summary="Say who paid",
        tag="payments",
        example=SHOWN_PAYMENT,
        problems=(400, 404, 409, 422),
        body={"application/json": {"customer_id": "united", "reason": "the bank says so"}},
    ),
)
def assign(state: State, actor: Actor, payment_id: str, body: DocumentBody) -> ExactJSON:
    """Of a payment whose payer was unknown. A payment never changes: the answer is the one recorded in its
    place, with the same value date and all that it pays; what it does not pay is the customer's credit."""
    wanted = validate_document(Assign, read_document(body), what="the request")
    new_id = assign_payment(
        state.ledger,
        payment_id,
        customer_id=wanted.customer_id,
        reason=wanted.reason,
        actor=actor,
        now=state.clock.now(),
    )
    return ExactJSON(get_payment(state.ledger, new_id))


@router.put(
    "/v1/customers/{customer_id}/payment-settings",
    **declared(
        "put_payment_settings",
        "bill",
        summary="How a customer's money is applied",
        tag="payments",
        example={"customer_id": "united", "applies_credit": True},
        problems=(400, 404, 422),
        body={"application/json": {"applies_credit": True}},
    ),
)
def put_settings(state: State, actor: Actor, customer_id: str, body: DocumentBody) -> ExactJSON:
    """Whether money on account (deposits, overpayments) pays the next invoices by itself."""
    wanted = validate_document(PaymentSettings, read_document(body), what="the settings")
    set_applies_credit(
        state.ledger,
        customer_id,
        applies_credit=wanted.applies_credit,
        actor=actor,
        now=state.clock.now(),
    )
    return ExactJSON({"customer_id": customer_id, "applies_credit": wanted.applies_credit})


@router.get(
    "/v1/customers/{customer_id}/payment-settings",
    **declared(
        "get_payment_settings",
        "read",
        summary="How a customer's money is applied",
        tag="payments",
        example={"customer_id": "united", "applies_credit": True},
        problems=(404,),
    ),
)
def get_settings(state: State, customer_id: str) -> ExactJSON:
    """No, unless somebody said so."""
    get_customer(state.ledger, customer_id)
    return ExactJSON(
        {"customer_id": customer_id, "applies_credit": applies_credit(state.ledger, customer_id)}
    )
