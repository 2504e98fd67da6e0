"""What customers reach without an account: a quote behind a signed link, and its acceptance."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from api.billing import seller_of
from api.json import ExactJSON
from api.routes.document_links import HTML, PAGE_HEADERS, closed, of_link
from api.routing import DocumentBody, State, declared
from api.state import Ratemill
from ingest.document import validate_document
from ingest.errors import Conflict, InvalidDocument, InvalidInput, NotFound
from invoicing.delivery.links import LinkMaker
from invoicing.quote import Acceptance
from invoicing.quote_accept import accept_quote
from invoicing.quote_document import quote_parties, quote_pdf
from invoicing.quote_link import quote_url, read_quote_link
from invoicing.quote_page import Trouble, quote_page
from invoicing.quote_store import StoredQuote, get_quote, today_of

router = APIRouter()

PORTAL_ACTOR: Final = "portal"
"""Who recorded an acceptance that a customer made on the page."""
_PDF: Final = "application/pdf"
_PAGE: Final = {HTML: "<!doctype html> ..."}
_HASH: Final = "0f8fad5bd9cb469fa1657086772895ec0f8fad5bd9cb469fa1657086772895ec"
_FORM: Final = {
    "application/x-www-form-urlencoded": f"name=Ada+Miller&document_hash={_HASH}&terms_version=2013-01"
}
_TROUBLE: Final[dict[str, Trouble]] = {
    "quote_changed": "changed",
    "quote_expired": "expired",
    "quote_accepted": "other",
    "terms_not_acknowledged": "terms",
}


@router.get(
    "/v1/quotes/{quote_id}/link",
    **declared(
        "get_quote_link",
        "bill",
        summary="A link on which a customer accepts a quote",
        tag="contracts",
        example={
            "quote_id": "gate-13",
            "url": "https://bill.seller.example/q/WyJnYXRlLTEzIl0.4fXk",
            "last_day": "2027-02-20",
        },
        problems=(404, 409),
    ),
)
def get_link(state: State, quote_id: str) -> ExactJSON:
    """Who has it sees the newest version and may accept it, without a key: give it to who signs. It opens
    through `last_day`; a quote saved with an earlier `valid_until` cannot be accepted after that."""
    now = state.clock.now()
    url, last_day = quote_url(_links(state), get_quote(state.ledger, quote_id, now=now), now=now)
    return ExactJSON({"quote_id": quote_id, "url": url, "last_day": last_day})


@router.get("/q/{quote_token}", **of_link("view_quote", "The page of a quote behind a link", _PAGE))
def view(state: State, quote_token: str, request: Request) -> Response:
    """What is offered now, word for word as its PDF has it, and a form to accept it. Needs no key: the link
    is signed and ends. 404 and 410 are pages too."""
    stored = _quote(state, quote_token, request)
    return stored if isinstance(stored, Response) else _page(state, stored, request.url.path)


@router.get("/q/{quote_token}/pdf", **of_link("view_quote_pdf", "The PDF of a quote", {_PDF: "%PDF-1.7 ..."}))
def pdf(state: State, quote_token: str, request: Request) -> Response:
    """The newest version."""
    stored = _quote(state, quote_token, request)
    if isinstance(stored, Response):
        return stored
    parties = quote_parties(state.ledger, stored, seller=seller_of(state.settings))
    headers = {**PAGE_HEADERS, "Content-Disposition": f'inline; filename="{stored.quote.quote_id}.pdf"'}
    return Response(quote_pdf(state.printer, stored, parties), media_type=_PDF, headers=headers)


@router.post(
    "/q/{quote_token}/accept",
    **of_link("accept_quote_on_page", "Accept a quote on its page", _PAGE, body=_FORM),
)
def accept(state: State, quote_token: str, body: DocumentBody, request: Request) -> Response:
    """The button on the page: keeps name, time, IP address, document hash and terms, and the quote is the
    contract. Otherwise the page says why not (409, 422), and nothing is accepted."""
    stored = _quote(state, quote_token, request)
    if isinstance(stored, Response):
        return stored
    path = request.url.path.removesuffix("/accept")
    form = {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    try:
        stored = accept_quote(
            state.ledger,
            stored.quote.quote_id,
            _acceptance(form, request),
            seller=seller_of(state.settings),
            actor=PORTAL_ACTOR,
            now=state.clock.now(),
        )
    except InvalidDocument as refused:
        named = all(issue.pointer == "name" for issue in refused.issues)
        return _page(state, stored, path, "name" if named else "refused", status=422)
    except (Conflict, InvalidInput) as refused:
        trouble = _TROUBLE.get(refused.reason_code, "refused")
        now_offered = get_quote(state.ledger, stored.quote.quote_id, now=state.clock.now())
        status = 409 if isinstance(refused, Conflict) else 422
        return _page(state, now_offered, path, trouble, status=status)
    state.entitlements.forget()
    return _page(state, stored, path)


def _acceptance(form: dict[str, str], request: Request) -> Acceptance:
    """Raises InvalidDocument for a form that is not filled in."""
    document: dict[str, Any] = {
        "name": form.get("name", "").strip(),
        "document_hash": form.get("document_hash", ""),
        "terms_version": form.get("terms_version", ""),
        "ip_address": request.client.host[:64] if request.client is not None else "",
    }
    return validate_document(Acceptance, document, what="the acceptance")


def _links(state: Ratemill) -> LinkMaker:
    if state.delivery.links is None:
        raise Conflict(
            "links are not set up: RATEMILL_PUBLIC_URL and RATEMILL_LINK_SECRET make them.",
            reason_code="channel_not_set_up",
        )
    return state.delivery.links


def _quote(state: Ratemill, token: str, request: Request) -> StoredQuote | Response:
    """The newest version, or the page of a link that opens nothing."""
    now = state.clock.now()
    try:
        link = read_quote_link(token, secret=_links(state).secret)
        stored = get_quote(state.ledger, link.quote_id, now=now)
    except (Conflict, NotFound):
        return closed("unknown", request)
    return closed("expired", request) if link.last_day < today_of(stored.quote, now) else stored


def _page(
    state: Ratemill, stored: StoredQuote, path: str, trouble: Trouble = "", *, status: int = 200
) -> Response:
    parties = quote_parties(state.ledger, stored, seller=seller_of(state.settings))
    page = quote_page(stored, parties, path=path, trouble=trouble)
    return Response(page, status, media_type=f"{HTML}; charset=utf-8", headers=PAGE_HEADERS)
