"""Signed links to a quote: who has one sees the newest version and may accept it, without an account.

The token holds the quote's id and the last day it opens, signed. It is of the quote and not of a version:
the page says what is offered now, and an acceptance names the hash of what was on the page.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from itsdangerous import BadSignature, URLSafeSerializer

from ingest.errors import NotFound
from invoicing.delivery.links import LinkMaker
from invoicing.quote_store import StoredQuote, today_of

_SALT: Final = "ratemill quote link 1"


@dataclass(frozen=True, slots=True)
class QuoteLink:
    """last_day: on which the link opens, in the time zone of the quote's contract."""

    quote_id: str
    last_day: date


def quote_url(links: LinkMaker, stored: StoredQuote, *, now: datetime) -> tuple[str, date]:
    """The address to give to the customer, and the last day it opens: of what is accepted or has no last day,
    ``links.days`` from now; else that the quote can be accepted on, if that is later."""
    last_day = today_of(stored.quote, now) + timedelta(days=links.days)
    last_day = max(last_day, stored.quote.valid_until or last_day)
    token = _signer(links.secret).dumps([stored.quote.quote_id, last_day.isoformat()])
    return f"{links.public_url}/q/{token}", last_day


def read_quote_link(token: str, *, secret: str) -> QuoteLink:
    """What a token says. Raises NotFound for one that was not given out here."""
    try:
        quote_id, last_day = _signer(secret).loads(token)
        return QuoteLink(str(quote_id), date.fromisoformat(last_day))
    except (BadSignature, ValueError, TypeError):
        raise NotFound("this link is not known here. Ask whoever sent it for a new one.") from None


def _signer(secret: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256})
