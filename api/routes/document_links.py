"""What customers reach without an account: the document behind a signed link."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from api.routing import State, declared, documented_content
from api.state import Ratemill
from ingest.errors import NotFound
from invoicing.delivery.channel_email import find_customer
from invoicing.delivery.documents import PDF
from invoicing.delivery.find import get_delivery
from invoicing.delivery.link_page import Closed, closed_page, link_page
from invoicing.delivery.links import Link, find_link, mark_seen
from invoicing.delivery.wording import LANGUAGES, Letter

router = APIRouter()

HTML: Final = "text/html"
_PAGE: Final = {HTML: "<!doctype html> ..."}
PAGE_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
}


def of_link(
    operation_id: str, summary: str, media: dict[str, Any], *, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """As ``declared``; a link that opens nothing is answered with a page for people."""
    arguments = declared(operation_id, None, summary=summary, tag="delivery", media=media, body=body)
    for status, words in ((404, "No such link."), (410, "The link has expired or was taken back.")):
        arguments["responses"][status] = {"description": words, "content": documented_content(_PAGE)}
    return arguments


@router.get("/i/{token}", **of_link("view_document", "The page behind a link", _PAGE))
def view(state: State, token: str, request: Request) -> Response:
    """What the document says, its PDF and how to pay it. Needs no key: the link is signed, ends, and can be
    taken back. Opening it marks the delivery as opened. 404 and 410 are pages too."""
    link = _find(state, token)
    if not isinstance(link, Link):
        return closed(link, request)
    mark_seen(state.ledger, link.delivery_id, "opened", now=state.clock.now())
    return _page(state, link, request.url.path)


@router.get("/i/{token}/pdf", **of_link("view_document_pdf", "The PDF behind a link", {PDF: "%PDF-1.7 ..."}))
def pdf(state: State, token: str, request: Request) -> Response:
    """The same bytes as in the message."""
    link = _find(state, token)
    if not isinstance(link, Link):
        return closed(link, request)
    if link.document_id is None:
        return closed("unknown", request)
    mark_seen(state.ledger, link.delivery_id, "opened", now=state.clock.now())
    document = state.delivery.shelf.get(link.document_id)
    file = state.delivery.shelf.file(document, PDF, now=state.clock.now())
    headers = {**PAGE_HEADERS, "Content-Disposition": f'inline; filename="{document.file_name}"'}
    return Response(file.content, media_type=PDF, headers=headers)


@router.post(
    "/i/{token}/confirm", **of_link("confirm_document", "Confirm that a document was received", _PAGE)
)
def confirm(state: State, token: str, request: Request) -> Response:
    """The button on the page: the delivery is confirmed, and nobody asks again."""
    link = _find(state, token)
    if not isinstance(link, Link):
        return closed(link, request)
    mark_seen(state.ledger, link.delivery_id, "confirmed", now=state.clock.now())
    return _page(state, link, request.url.path.removesuffix("/confirm"))


def _find(state: Ratemill, token: str) -> Link | Closed:
    if state.delivery.links is None:
        return "unknown"
    try:
        link = find_link(state.ledger, token, secret=state.delivery.links.secret, now=state.clock.now())
    except NotFound:
        return "unknown"
    if link.state == "open":
        return link
    return "revoked" if link.state == "revoked" else "expired"


def _page(state: Ratemill, link: Link, path: str) -> Response:
    delivery = get_delivery(state.ledger, link.delivery_id)
    document = None if link.document_id is None else state.delivery.shelf.get(link.document_id)
    customer = find_customer(state.ledger, delivery.customer_id)
    mail = state.delivery.channels.get("email")
    address: Any = getattr(mail, "settings", None)
    letter = Letter(
        purpose=delivery.purpose,
        language=customer.language if customer else "en",
        customer_name=customer.name if customer else "",
        sender_name=str(document.seller.get("name", "")) if document else state.settings.seller_name,
        sender_address=address.mail_from if address else "",
        link="",
        document=document,
    )
    page = link_page(letter, path=path, confirmed=delivery.state == "confirmed")
    return Response(page, media_type=f"{HTML}; charset=utf-8", headers=PAGE_HEADERS)


def closed(why: Closed, request: Request) -> Response:
    wanted = request.headers.get("accept-language", "")[:2].casefold()
    page = closed_page(why, language=wanted if wanted in LANGUAGES else "en")
    status = 404 if why == "unknown" else 410
    return Response(page, status_code=status, media_type=f"{HTML}; charset=utf-8", headers=PAGE_HEADERS)
