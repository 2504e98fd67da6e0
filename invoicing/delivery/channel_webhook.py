"""Documents as webhooks, signed as Standard Webhooks says (standardwebhooks.com); a repeat keeps its id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx
import orjson
from standardwebhooks import Webhook

from invoicing.delivery.channel import Parcel
from invoicing.delivery.delivery import Delivery, Outcome, Refused, Sent, TryAgain
from invoicing.delivery.documents import PDF, Document, DocumentShelf
from invoicing.delivery.links import LinkMaker, webhook_secret
from invoicing.delivery.preferences import may_call

TIMEOUT_SECONDS: Final = 20
_AGAIN: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """One POST a document. Tried again on time-outs, 408, 425, 429 and 5xx; what else is no 2xx ends it."""

    shelf: DocumentShelf
    links: LinkMaker
    name: str = "webhook"
    idempotent: bool = True

    def compose(self, delivery: Delivery, document: Document | None, *, now: datetime) -> Parcel | Refused:
        """The JSON body: what the document says, the hash of its PDF, and the link to it."""
        if document is None:
            return Refused("no_document", "This channel carries documents only.")
        if not may_call(delivery.recipient):
            return Refused("bad_webhook_url", f"{delivery.recipient!r} is not an https address.")
        file = self.shelf.file(document, PDF, now=now)
        body: dict[str, Any] = {
            "type": f"{document.kind}.issued",
            "timestamp": document.issued_at.isoformat(),
            "data": {
                "document_id": document.document_id,
                "number": document.number,
                "customer_id": document.customer_id,
                "contract_id": document.contract_id,
                "currency": document.currency,
                "issue_date": document.issue_date.isoformat(),
                "due_date": None if document.due_date is None else document.due_date.isoformat(),
                "net_minor": document.net_minor,
                "tax_minor": document.tax_minor,
                "credit_minor": document.credit_minor,
                "due_minor": document.due_minor,
                "document_hash": document.document_hash,
                "pdf_sha256": file.content_hash,
                "url": self.links.url(delivery),
                "document": orjson.loads(document.text),
            },
        }
        message = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        secret = webhook_secret(self.links.secret, document.customer_id)
        envelope = {"url": delivery.recipient, "secret": secret}
        return Parcel(f"msg_{delivery.delivery_id}", file.content_hash, message, envelope)

    def send(self, parcel: Parcel, *, now: datetime) -> Outcome:
        """POST it; redirects are not followed."""
        signature = Webhook(parcel.envelope["secret"]).sign(parcel.message_id, now, parcel.message.decode())
        headers = {
            "content-type": "application/json",
            "webhook-id": parcel.message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signature,
        }
        try:
            with httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False) as client:
                answer = client.post(parcel.envelope["url"], content=parcel.message, headers=headers)
        except httpx.HTTPError as error:
            return TryAgain("webhook_unreachable", f"No answer: {type(error).__name__}.")
        except ValueError as error:
            return Refused("bad_webhook_url", f"The address cannot be called: {error}.")
        return _outcome(answer.status_code)


def _outcome(status: int) -> Outcome:
    if 200 <= status < 300:
        return Sent(str(status))
    if status >= 500 or status in _AGAIN:
        return TryAgain("webhook_failed", f"The receiver answered {status}.")
    if status == httpx.codes.GONE:
        return Refused("webhook_gone", "The receiver answered 410: it wants no more of these.")
    return Refused("webhook_refused", f"The receiver answered {status}.")
