"""Whom messages go to: what comes back, their onboarding, and what their webhooks are signed with."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request

from api.json import ExactJSON
from api.routes.deliveries import DELIVERY_EXAMPLE, DELIVERY_ID, delivery_answer
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import Document, read_document, validate_document
from ingest.errors import Conflict
from invoicing.customer_store import get_customer
from invoicing.delivery.again import onboarding_of, queue_onboarding
from invoicing.delivery.find import get_delivery
from invoicing.delivery.links import webhook_secret
from invoicing.delivery.returned import (
    Bounce,
    clear_address,
    read_bounces,
    read_reply,
    take_bounce,
    take_reply,
)

router = APIRouter()

MAIL: Final = "message/rfc822"
_REPLY: Final = (
    f"From: ap@united.example\r\nIn-Reply-To: <{DELIVERY_ID}@seller.example>\r\n\r\nThank you.\r\n"
)
_ITEM: Final = {"item": "sender_in_address_book", "recipient": "ap@united.example", "state": "open"}


class Address(Document):
    """An e-mail address."""

    email: str


class Told(Document):
    """A bounce as a mail provider's own hook tells it. message_id: of our message, if it is known."""

    email: str
    reason: str
    message_id: str = ""


@router.post(
    "/v1/delivery/bounces",
    **declared(
        "take_bounce",
        "bill",
        summary="Mail that came back",
        tag="delivery",
        example={"items": [{**DELIVERY_EXAMPLE, "state": "bounced"}]},
        problems=(400, 404, 422),
        body={"application/json": {"email": "ap@united.example", "reason": "550 5.1.1 user unknown"}},
    ),
)
def bounces(state: State, request: Request, body: DocumentBody, actor: Actor) -> ExactJSON:
    """As `message/rfc822` (a delivery status notification, RFC 3464, whole) or as JSON from a provider's
    hook. The address is marked, nothing more is sent there, and the owner of the contract is told."""
    if request.headers.get("content-type", "").startswith(MAIL):
        told = read_bounces(body)
    else:
        said = validate_document(Told, read_document(body), what="the bounce")
        told = [Bounce(said.email.casefold(), "failed", "", said.reason, said.message_id)]
    shelf, now = state.delivery.shelf, state.clock.now()
    items = [take_bounce(state.ledger, one, shelf=shelf, actor=actor, now=now) for one in told]
    return ExactJSON(
        {"items": [delivery_answer(get_delivery(state.ledger, one.delivery_id)) for one in items]}
    )


@router.post(
    "/v1/delivery/bounces/clear",
    **declared(
        "clear_bounce",
        "bill",
        summary="Send to an address again",
        tag="delivery",
        example={"email": "ap@united.example"},
        problems=(400, 404, 422),
        body={"application/json": {"email": "ap@united.example"}},
    ),
)
def clear(state: State, body: DocumentBody, actor: Actor) -> ExactJSON:
    """After it was put right at the other end. What was not sent meanwhile is sent by `retry`."""
    wanted = validate_document(Address, read_document(body), what="the address")
    clear_address(state.ledger, wanted.email, actor=actor, now=state.clock.now())
    return ExactJSON({"email": wanted.email})


@router.post(
    "/v1/delivery/replies",
    **declared(
        "take_reply",
        "bill",
        summary="A customer's answer to a message",
        tag="delivery",
        example=DELIVERY_EXAMPLE,
        problems=(400, 404, 422),
        body={MAIL: _REPLY},
    ),
)
def replies(state: State, body: DocumentBody, actor: Actor) -> ExactJSON:
    """The whole message. By In-Reply-To and References it is put on the record of the delivery it answers."""
    delivery = take_reply(state.ledger, read_reply(body), actor=actor, now=state.clock.now())
    return ExactJSON(delivery_answer(get_delivery(state.ledger, delivery.delivery_id)))


@router.post(
    "/v1/customers/{customer_id}/onboarding",
    **declared(
        "send_onboarding",
        "bill",
        summary="Ask a customer to add our address to its address book",
        tag="delivery",
        example={"customer_id": "united", "items": [_ITEM]},
        problems=(404, 409),
    ),
)
def onboard(state: State, customer_id: str, actor: Actor) -> ExactJSON:
    """One message an address that gets documents; again is no second one."""
    customer = get_customer(state.ledger, customer_id).customer
    queue_onboarding(state.ledger, customer, actor=actor, now=state.clock.now())
    return ExactJSON({"customer_id": customer_id, "items": onboarding_of(state.ledger, customer)})


@router.get(
    "/v1/customers/{customer_id}/onboarding",
    **declared(
        "get_onboarding",
        "read",
        summary="How far a customer's onboarding is",
        tag="delivery",
        example={"customer_id": "united", "items": [_ITEM]},
        problems=(404,),
    ),
)
def onboarding(state: State, customer_id: str) -> ExactJSON:
    """state: open, that of the message, or confirmed, which is done."""
    customer = get_customer(state.ledger, customer_id).customer
    return ExactJSON({"customer_id": customer_id, "items": onboarding_of(state.ledger, customer)})


@router.get(
    "/v1/customers/{customer_id}/webhook-secret",
    **declared(
        "get_webhook_secret",
        "admin",
        summary="What a customer's webhooks are signed with",
        tag="delivery",
        example={"customer_id": "united", "secret": "whsec_c2VjcmV0IG9mIHRoZSBleGFtcGxl"},
        problems=(404, 409),
    ),
)
def secret(state: State, customer_id: str) -> ExactJSON:
    """As Standard Webhooks writes secrets; give it to whoever verifies the webhooks."""
    get_customer(state.ledger, customer_id)
    if state.delivery.links is None:
        words = state.delivery.missing["webhook"]
        raise Conflict(f"webhooks are not set up: {words}.", reason_code="channel_not_set_up")
    value = webhook_secret(state.delivery.links.secret, customer_id)
    return ExactJSON({"customer_id": customer_id, "secret": value})
