"""Quotes in the ledger: saved in versions and read. Accepted in ``quote_accept.py``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, func, insert, select

from ingest.document import canonical_json, validate_document
from ingest.errors import NotFound
from ingest.ledger import ledger_transaction, lock_name
from invoicing.audit_trail import Change, record_changes
from invoicing.customer_store import get_customer, require_customer
from invoicing.journal_store import posted_text
from invoicing.quote import Quote, QuoteState, quote_issues, quote_state
from invoicing.quote_tables import QUOTE_ACCEPTANCES, QUOTES
from invoicing.sales.quote_price import priced_quote
from rating.plan_version import SavedDocument
from rollup.period import find_time_zone

_Q, _A = QUOTES.c, QUOTE_ACCEPTANCES.c
QUOTE_OBJECT: Final = "quote"
"""What the audit trail calls them."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An acceptance as it is on record. terms_version: what was acknowledged, empty for none."""

    name: str
    ip_address: str
    accepted_at: str
    recorded_by: str
    document_hash: str
    terms_version: str
    contract_id: str
    contract_version: int


@dataclass(frozen=True, slots=True)
class StoredQuote:
    """One version of a quote, mostly the newest. document_hash: what an acceptance of it must name."""

    quote: Quote
    version: int
    state: QuoteState
    document_hash: str
    created_at: str
    created_by: str
    accepted: Accepted | None

    def to_dict(self) -> dict[str, Any]:
        """As answers have it."""
        return {
            "quote_id": self.quote.quote_id,
            "customer_id": self.quote.customer_id,
            "version": self.version,
            "state": self.state,
            "document_hash": self.document_hash,
            "created_at": self.created_at,
            "created_by": self.created_by,
            "document": self.quote,
            "accepted": self.accepted,
        }


def save_quote(ledger: Engine, document: Any, *, actor: str, now: datetime) -> SavedDocument:
    """Keep a quote as its next version; the same document again changes nothing. An accepted version stays
    accepted, and its contract stays as it is until the new one is accepted. Raises InvalidDocument, NotFound
    for an unknown customer, or an unknown plan when outcomes are priced in its currency."""
    quote = checked_quote(ledger, document)
    with ledger_transaction(ledger) as connection:
        return save_quote_in(ledger, connection, quote, actor=actor, now=now)


def checked_quote(ledger: Engine, document: Any) -> Quote:
    """The document as a quote of a known customer. Raises InvalidDocument, NotFound."""
    quote = validate_document(Quote, document, what="the quote", rules=quote_issues)
    get_customer(ledger, quote.customer_id)
    return quote


def save_quote_in(
    ledger: Engine, connection: Connection, quote: Quote, *, actor: str, now: datetime
) -> SavedDocument:
    """As ``save_quote``, in the caller's transaction."""
    require_customer(connection, quote.customer_id)
    lock_quote(connection, quote.quote_id)
    newest = newest_version(connection, quote.quote_id)
    standing = None if newest is None else Quote.model_validate_json(newest.document)
    quote = priced_quote(ledger, connection, quote, standing=standing, today=today_of(quote, now))
    text = canonical_json(quote)
    if newest is not None and newest.document == text:
        return SavedDocument(quote.quote_id, newest.version, created=False, warnings=())
    version = 1 if newest is None else newest.version + 1
    digest = hashlib.sha256(text.encode()).hexdigest()
    connection.execute(
        insert(QUOTES).values(
            quote_id=quote.quote_id,
            version=version,
            customer_id=quote.customer_id,
            contract_id=quote.contract.contract_id,
            document=text,
            document_hash=digest,
            created_at=posted_text(now),
            created_by=actor,
        )
    )
    before = None if newest is None else {"version": newest.version}
    after = {"version": version, "document_hash": digest}
    change = Change(actor, "saved", QUOTE_OBJECT, quote.quote_id, before, after, "")
    record_changes(connection, [change], now=now)
    return SavedDocument(quote.quote_id, version, created=True, warnings=())


def get_quote(ledger: Engine, quote_id: str, *, now: datetime) -> StoredQuote:
    """The newest version. Raises NotFound."""
    with ledger.connect() as connection:
        newest = newest_version(connection, quote_id)
        if newest is None:
            raise unknown_quote(quote_id)
        return stored_quote(connection, newest, now)


def list_quotes(
    ledger: Engine, *, customer_id: str | None, now: datetime, limit: int, after: str | None = None
) -> list[StoredQuote]:
    """The newest version of each, by id; those after an id."""
    last = select(_Q.quote_id, func.max(_Q.version).label("version")).group_by(_Q.quote_id).subquery()
    statement = (
        select(QUOTES)
        .join(last, (last.c.quote_id == _Q.quote_id) & (last.c.version == _Q.version))
        .order_by(_Q.quote_id)
        .limit(limit)
    )
    if customer_id is not None:
        statement = statement.where(_Q.customer_id == customer_id)
    if after is not None:
        statement = statement.where(_Q.quote_id > after)
    with ledger.connect() as connection:
        return [stored_quote(connection, row, now) for row in connection.execute(statement).all()]


def lock_quote(connection: Connection, quote_id: str) -> None:
    """Nobody else saves or accepts a version until the transaction ends. A lock on the newest row would keep
    no newer one from coming in the meantime."""
    lock_name(connection, f"quote {quote_id}")


def newest_version(connection: Connection, quote_id: str) -> Row[Any] | None:
    """The row of the newest version; None for a quote that is not on record."""
    statement = select(QUOTES).where(_Q.quote_id == quote_id).order_by(_Q.version.desc()).limit(1)
    return connection.execute(statement).one_or_none()


def find_acceptance(connection: Connection, row: Row[Any]) -> Row[Any] | None:
    """The acceptance of a version, if there is one."""
    own = (_A.quote_id == row.quote_id) & (_A.version == row.version)
    return connection.execute(select(QUOTE_ACCEPTANCES).where(own)).one_or_none()


def stored_quote(connection: Connection, row: Row[Any], now: datetime) -> StoredQuote:
    """The version of a row."""
    quote, found = Quote.model_validate_json(row.document), find_acceptance(connection, row)
    accepted = (
        None if found is None else Accepted(**{name: getattr(found, name) for name in Accepted.__slots__})
    )
    state = quote_state(
        accepted=accepted is not None, valid_until=quote.valid_until, today=today_of(quote, now)
    )
    return StoredQuote(quote, row.version, state, row.document_hash, row.created_at, row.created_by, accepted)


def today_of(quote: Quote, now: datetime) -> date:
    """The day in the time zone of the quote's contract."""
    return now.astimezone(find_time_zone(quote.contract.time_zone)).date()


def unknown_quote(quote_id: str) -> NotFound:
    """What to say of a quote that is not on record."""
    return NotFound(f"there is no quote {quote_id!r}. `ratemill quote list` shows those there are.")
