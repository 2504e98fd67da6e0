"""Delivery of documents: what is sent to whom, what became of it, and once more."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from api.delivery import status_words
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routing import Actor, DocumentBody, State, declared
from api.state import Ratemill
from ingest.document import Document, read_document, validate_document
from ingest.errors import Conflict
from invoicing.credit_note_store import get_credit_note
from invoicing.customer_store import get_customer
from invoicing.delivery.again import resend, retry_delivery
from invoicing.delivery.delivery import Delivery
from invoicing.delivery.find import events_of, get_delivery, list_deliveries
from invoicing.delivery.links import revoke_link
from invoicing.delivery.status import delivery_status
from invoicing.special_invoice_store import get_special_invoice
from invoicing.store import get_invoice

router = APIRouter()

DELIVERY_ID: Final = "5f1c0d9be27a4c3f8a6b1d20e94c7f35"
DELIVERY_EXAMPLE: Final[dict[str, Any]] = {
    "delivery_id": DELIVERY_ID,
    "document_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
    "customer_id": "united",
    "channel": "email",
    "purpose": "resend",
    "recipient": "ap@united.example",
    "role": "payer",
    "state": "sent",
    "reason_code": "",
    "reason": "",
    "attempts": 1,
    "due_at": "2013-02-01T08:00:00.000000+00:00",
    "next_attempt_at": None,
    "message_id": f"<{DELIVERY_ID}@seller.example>",
    "content_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "message_hash": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
    "provider_id": "250 OK",
    "confirm_wanted": False,
    "follow_up_at": None,
    "queued_at": "2013-02-01T08:00:00.000000+00:00",
    "sent_at": "2013-02-01T08:00:01.000000+00:00",
}
_EVENT: Final[dict[str, Any]] = {
    "at": "2013-02-01T08:00:00.000000+00:00",
    "kind": "queued",
    "actor": "system",
    "detail": {},
}
_REPORT: Final[dict[str, Any]] = {
    "queued": 1,
    "follow_ups": 0,
    "taken_over": 0,
    "held": 0,
    "attempts": {"sent": 1},
}
_STATUS: Final[dict[str, Any]] = {
    "channels": [{"channel": "print", "set_up": False, "missing": "RATEMILL_PRINT_FOLDER not set"}],
    "states": [{"channel": "email", "state": "sent", "deliveries": 1}],
    "waiting": {},
    "late_count": 0,
    "late": [],
    "bounced_addresses": [],
}
_SHOWN: Final = tuple(DELIVERY_EXAMPLE)


class Resend(Document):
    """recipient: one e-mail address instead of those the customer's preferences name."""

    recipient: str | None = None


@router.post(
    "/v1/delivery/run",
    **declared(
        "run_delivery", "bill", summary="Send what is issued and due", tag="delivery", example=_REPORT
    ),
)
def run(state: State) -> ExactJSON:
    """What the server's scheduler does by itself twice a minute. Again is safe: nothing is sent twice.
    attempts: what each attempt led to."""
    return ExactJSON(state.delivery.deliver(state.ledger, state.clock).to_dict())


@router.get(
    "/v1/delivery/status",
    **declared(
        "delivery_status",
        "read",
        summary="Whether what was due is delivered",
        tag="delivery",
        example=_STATUS,
    ),
)
def status(state: State) -> ExactJSON:
    """late: due and not out, the longest first, with the reason. waiting: how many wait for a channel that is
    not set up. channels: what is missing for each."""
    found = delivery_status(state.ledger, channels=state.delivery.channels, now=state.clock.now())
    return ExactJSON(
        {
            "channels": status_words(state.delivery),
            "states": [
                {"channel": channel, "state": name, "deliveries": count}
                for channel, name, count in found.states
            ],
            "waiting": found.waiting,
            "late_count": found.late_count,
            "late": [delivery_answer(one) for one in found.late],
            "bounced_addresses": [
                {"email": address, "bounced_at": at, "reason": reason}
                for address, at, reason in found.bounced_addresses
            ],
        }
    )


@router.get(
    "/v1/deliveries",
    **declared(
        "list_deliveries",
        "read",
        summary="Deliveries",
        tag="delivery",
        example={"items": [DELIVERY_EXAMPLE], "next_cursor": None},
        problems=(404, 422),
    ),
)
def list_all(
    state: State,
    delivery_state: Annotated[str | None, Query(alias="state", description="Like sent or failed.")] = None,
    customer_id: str | None = None,
    invoice: Annotated[str | None, Query(description="Id or printed number.")] = None,
    channel: str | None = None,
    purpose: str | None = None,
    reason_code: str | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Newest first."""
    after = read_cursor(cursor, fields=2)
    found = list_deliveries(
        state.ledger,
        limit=limit + 1,
        after=None if after is None else (str(after[0]), str(after[1])),
        state=delivery_state,
        customer_id=customer_id,
        document_id=get_invoice(state.ledger, invoice).summary.invoice_id if invoice else None,
        channel=channel,
        purpose=purpose,
        reason_code=reason_code,
    )
    items = [delivery_answer(one) for one in found]
    position = page(items, limit=limit, position=lambda item: (item["queued_at"], item["delivery_id"]))
    return ExactJSON(position)


@router.get(
    "/v1/deliveries/{delivery_id}",
    **declared(
        "get_delivery",
        "read",
        summary="One delivery and all that happened to it",
        tag="delivery",
        example={**DELIVERY_EXAMPLE, "events": [_EVENT]},
        problems=(404,),
    ),
)
def get_one(state: State, delivery_id: str) -> ExactJSON:
    """Attempts with the hash of the exact bytes, answers of the other side, bounces, openings, replies."""
    delivery = get_delivery(state.ledger, delivery_id)
    return ExactJSON({**delivery_answer(delivery), "events": events_of(state.ledger, delivery_id)})


@router.get(
    "/v1/deliveries/{delivery_id}/preview",
    **declared(
        "preview_delivery",
        "read",
        summary="The words of a message",
        tag="delivery",
        example={"subject": "Invoice INV-2013-000001", "plain": "Dear ...", "html": "<!doctype html> ..."},
        problems=(404, 409, 422),
    ),
)
def preview(state: State, delivery_id: str) -> ExactJSON:
    """As it is or would be worded now. 422 tells what is wrong with wording of your own; a message itself
    then takes the shipped wording."""
    delivery = get_delivery(state.ledger, delivery_id)
    if delivery.document_id is None:
        raise Conflict("this message is about no document, so it has no preview.", reason_code="no_document")
    text = state.delivery.mail.preview(state.delivery.shelf.get(delivery.document_id), delivery)
    return ExactJSON({"subject": text.subject, "plain": text.plain, "html": text.html})


@router.post(
    "/v1/deliveries/{delivery_id}/retry",
    **declared(
        "retry_delivery",
        "bill",
        summary="Try again what failed",
        tag="delivery",
        example=DELIVERY_EXAMPLE,
        problems=(404, 409),
    ),
)
def try_again(state: State, delivery_id: str, actor: Actor) -> ExactJSON:
    """What failed, bounced, is held, or of which it is unknown whether it arrived."""
    retried = retry_delivery(state.ledger, delivery_id, actor=actor, now=state.clock.now())
    return ExactJSON(delivery_answer(retried))


@router.post(
    "/v1/deliveries/{delivery_id}/revoke-link",
    **declared(
        "revoke_delivery_link",
        "bill",
        summary="Take back the link of a message",
        tag="delivery",
        example=DELIVERY_EXAMPLE,
        problems=(404,),
    ),
)
def revoke(state: State, delivery_id: str, actor: Actor) -> ExactJSON:
    """From now on it opens nothing."""
    revoke_link(state.ledger, delivery_id, actor=actor, now=state.clock.now())
    return ExactJSON(delivery_answer(get_delivery(state.ledger, delivery_id)))


@router.post(
    "/v1/invoices/{id_or_number}/resend",
    **declared(
        "resend_invoice",
        "bill",
        summary="Send an invoice once more",
        tag="delivery",
        example={"items": [DELIVERY_EXAMPLE]},
        problems=(400, 404, 409, 422),
        body={"application/json": {"recipient": "ap@united.example"}},
    ),
)
def resend_one(state: State, id_or_number: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """The very bytes that went out first, at once; on record with who asked for it. An empty body sends it to
    those whom the customer's preferences name."""
    return _resent(state, get_invoice(state.ledger, id_or_number).summary.invoice_id, body, actor)


@router.post(
    "/v1/credit-notes/{id_or_number}/resend",
    **declared(
        "resend_credit_note",
        "bill",
        summary="Send a credit note once more",
        tag="delivery",
        example={"items": [DELIVERY_EXAMPLE]},
        problems=(400, 404, 409, 422),
        body={"application/json": {"recipient": "ap@united.example"}},
    ),
)
def resend_credit_note(state: State, id_or_number: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """As an invoice is."""
    return _resent(state, get_credit_note(state.ledger, id_or_number).summary.credit_note_id, body, actor)


@router.post(
    "/v1/special-invoices/{id_or_number}/resend",
    **declared(
        "resend_special_invoice",
        "bill",
        summary="Send a special invoice once more",
        tag="delivery",
        example={"items": [DELIVERY_EXAMPLE]},
        problems=(400, 404, 409, 422),
        body={"application/json": {"recipient": "ap@united.example"}},
    ),
)
def resend_special_invoice(state: State, id_or_number: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """As an invoice is."""
    return _resent(state, get_special_invoice(state.ledger, id_or_number).summary.document_id, body, actor)


def _resent(state: Ratemill, document_id: str, body: bytes, actor: str) -> ExactJSON:
    wanted = validate_document(Resend, read_document(body) if body.strip() else {}, what="the resending")
    document = state.delivery.shelf.get(document_id)
    customer = get_customer(state.ledger, document.customer_id).customer
    queued = resend(
        state.ledger,
        document,
        customer,
        recipient=wanted.recipient,
        actor=actor,
        now=state.clock.now(),
    )
    state.delivery.deliver(state.ledger, state.clock)
    return ExactJSON(
        {"items": [delivery_answer(get_delivery(state.ledger, one.delivery_id)) for one in queued]}
    )


def delivery_answer(delivery: Delivery) -> dict[str, Any]:
    """A delivery as answers show it."""
    values = asdict(delivery)
    return {name: values[name] for name in _SHOWN}
