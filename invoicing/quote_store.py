"""Quotes in the ledger: saved in versions, accepted once a version. One transaction keeps the acceptance and
saves the contract; the deposit invoice follows in one of its own, and a repeated acceptance makes up for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, func, insert, select

from ingest.document import canonical_json, validate_document
from ingest.errors import BrokenState, Conflict, InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import Change, record_changes
from invoicing.bulk import select_by_ids
from invoicing.customer_store import get_customer
from invoicing.journal_store import posted_text
from invoicing.payer_rules import contract_issues
from invoicing.quote import Acceptance, Quote, QuoteState, quote_issues, quote_state
from invoicing.quote_tables import QUOTE_ACCEPTANCES, QUOTES
from invoicing.sales.quote_order import order_items, ordered_contract
from invoicing.sales.quote_price import priced_quote
from invoicing.settings import Seller
from invoicing.special_invoice import SpecialInvoiceRequest, SpecialLine
from invoicing.special_invoice_head import SpecialIssuing
from invoicing.special_invoice_store import issue_special_invoice
from invoicing.special_invoice_tables import SPECIAL_INVOICES, stands
from rating.catalogue import get_plan_in_force
from rating.contract_store import save_contracts_in
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
    """The newest version of a quote. document_hash: what an acceptance of it must name."""

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
    quote = _checked(ledger, document)
    with ledger_transaction(ledger) as connection:
        return _save(ledger, connection, quote, actor=actor, now=now)


def accept_quote(
    ledger: Engine, quote_id: str, acceptance: Acceptance, *, seller: Seller | None, actor: str, now: datetime
) -> StoredQuote:
    """Record who accepted the newest version, make its contract active, and ask for its deposit. The same
    acceptance again completes what an interruption left undone, and changes nothing else.

    Raises NotFound; Conflict when another version or name was accepted, it expired, or the version is not the
    one seen; InvalidInput without the acknowledgement its terms ask for; InvalidDocument when the contract
    breaks a rule: then nothing was accepted.
    """
    with ledger_transaction(ledger) as connection:
        newest = _newest(connection, quote_id, lock=True)
        if newest is None:
            raise _unknown(quote_id)
        _accept_once(ledger, connection, newest, acceptance, actor=actor, now=now)
    stored = get_quote(ledger, quote_id, now=now)
    _ask_for_deposit(ledger, stored, seller=seller, actor=actor, now=now)
    return stored


def save_accepted_quote(
    ledger: Engine,
    document: Any,
    acceptance: Mapping[str, Any],
    *,
    seller: Seller | None,
    actor: str,
    now: datetime,
) -> StoredQuote:
    """Save a quote and record its acceptance in one transaction, for whoever took it elsewhere: what they
    accepted is this document. acceptance: as ``Acceptance``, without the hash. Raises what ``save_quote`` and
    ``accept_quote`` raise: then neither was saved."""
    quote = _checked(ledger, document)
    with ledger_transaction(ledger) as connection:
        _save(ledger, connection, quote, actor=actor, now=now)
        newest = _newest(connection, quote.quote_id, lock=True)
        if newest is None:
            raise BrokenState(f"quote {quote.quote_id!r} was saved and is not there.")
        seen = {**acceptance, "document_hash": newest.document_hash}
        checked = validate_document(Acceptance, seen, what="the acceptance")
        _accept_once(ledger, connection, newest, checked, actor=actor, now=now)
    stored = get_quote(ledger, quote.quote_id, now=now)
    _ask_for_deposit(ledger, stored, seller=seller, actor=actor, now=now)
    return stored


def _checked(ledger: Engine, document: Any) -> Quote:
    quote = validate_document(Quote, document, what="the quote", rules=quote_issues)
    get_customer(ledger, quote.customer_id)
    return quote


def _save(
    ledger: Engine, connection: Connection, quote: Quote, *, actor: str, now: datetime
) -> SavedDocument:
    newest = _newest(connection, quote.quote_id, lock=True)
    standing = None if newest is None else Quote.model_validate_json(newest.document)
    quote = priced_quote(ledger, connection, quote, standing=standing, today=_today(quote, now))
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


def _accept_once(
    ledger: Engine,
    connection: Connection,
    newest: Row[Any],
    acceptance: Acceptance,
    *,
    actor: str,
    now: datetime,
) -> None:
    known = _acceptance(connection, newest)
    if known is None:
        _refuse(newest, acceptance, now)
        _accept(ledger, connection, newest, acceptance, actor=actor, now=now)
    elif (known.name, known.document_hash) != (acceptance.name, acceptance.document_hash):
        raise Conflict(
            f"quote {newest.quote_id!r} was accepted by {known.name} at {known.accepted_at} already.",
            reason_code="quote_accepted",
        )


def get_quote(ledger: Engine, quote_id: str, *, now: datetime) -> StoredQuote:
    """The newest version. Raises NotFound."""
    with ledger.connect() as connection:
        newest = _newest(connection, quote_id)
        if newest is None:
            raise _unknown(quote_id)
        return _stored(connection, newest, now)


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
        return [_stored(connection, row, now) for row in connection.execute(statement).all()]


def _refuse(newest: Row[Any], acceptance: Acceptance, now: datetime) -> None:
    quote = Quote.model_validate_json(newest.document)
    if acceptance.document_hash != newest.document_hash:
        raise Conflict(
            f"version {newest.version} of quote {quote.quote_id!r} has another document hash: it was changed "
            "since. Look at it again, and accept what it says now.",
            reason_code="quote_changed",
        )
    if quote_state(accepted=False, valid_until=quote.valid_until, today=_today(quote, now)) == "expired":
        raise Conflict(
            f"quote {quote.quote_id!r} was valid until {quote.valid_until}. Save it with a later day.",
            reason_code="quote_expired",
        )
    if acceptance.terms_version != quote.terms_version:
        raise InvalidInput(
            f"the quote is made under the terms {quote.terms_version or '(none)'!r}, acknowledged are "
            f"{acceptance.terms_version or '(none)'!r}. Send terms_version as the quote has it.",
            reason_code="terms_not_acknowledged",
        )


def _accept(
    ledger: Engine,
    connection: Connection,
    newest: Row[Any],
    acceptance: Acceptance,
    *,
    actor: str,
    now: datetime,
) -> None:
    quote = Quote.model_validate_json(newest.document)
    values = {
        "name": acceptance.name,
        "ip_address": acceptance.ip_address,
        "accepted_at": posted_text(now),
        "document_hash": newest.document_hash,
        "terms_version": acceptance.terms_version,
    }
    today = _today(quote, now)
    signed = ordered_contract(quote).model_copy(update={"signed_by": acceptance.name, "signed_on": today})
    before = _accepted_before(connection, quote.quote_id)
    # The rules of contracts may ask for the acknowledgement, which this transaction brings.
    acknowledged = {quote.contract.contract_id: acceptance.terms_version}
    [saved] = save_contracts_in(
        ledger,
        connection,
        [signed],
        now=now,
        further_rules=lambda held, changing: contract_issues(held, changing, acknowledged=acknowledged),
    )
    if quote.outcomes or before:
        order_items(
            connection,
            quote,
            accepted_before=before,
            currency=_currency(ledger, quote),
            today=today,
            actor=actor,
            now=now,
        )
    row = {"quote_id": quote.quote_id, "version": newest.version, "recorded_by": actor}
    row |= {"contract_id": quote.contract.contract_id, "contract_version": saved.version}
    connection.execute(insert(QUOTE_ACCEPTANCES).values(**row, **values))
    after = values | {"version": newest.version, "contract_id": quote.contract.contract_id}
    change = Change(actor, "accepted", QUOTE_OBJECT, quote.quote_id, None, after, "")
    record_changes(connection, [change], now=now)


def _accepted_before(connection: Connection, quote_id: str) -> list[Quote]:
    """The versions that were accepted, if they sold anything of the catalogue."""
    own = (_A.quote_id == _Q.quote_id) & (_A.version == _Q.version)
    statement = select(_Q.document).join(QUOTE_ACCEPTANCES, own).where(_Q.quote_id == quote_id)
    quotes = (Quote.model_validate_json(text) for text in connection.execute(statement).scalars())
    return [quote for quote in quotes if quote.outcomes]


def _currency(ledger: Engine, quote: Quote) -> str:
    return get_plan_in_force(ledger, quote.contract.plan_id, on=quote.contract.start_date).plan.currency


def _ask_for_deposit(
    ledger: Engine, stored: StoredQuote, *, seller: Seller | None, actor: str, now: datetime
) -> None:
    """Issue the deposit of the accepted version, unless the same was asked for by an earlier one and stands:
    an edit of something else does not ask for it twice."""
    quote = stored.quote
    if quote.deposit_percent is None or stored.accepted is None:
        return
    with ledger.connect() as connection:
        if any(
            (earlier.deposit_percent, earlier.lines) == (quote.deposit_percent, quote.lines)
            for earlier in _with_deposit(connection, quote.quote_id, before=stored.version)
        ):
            return
    request = SpecialInvoiceRequest(
        kind="deposit",
        contract_id=quote.contract.contract_id,
        project=quote.quote_id,
        title=quote.title,
        percent=quote.deposit_percent,
        lines=tuple(SpecialLine(**line.model_dump()) for line in quote.lines),
    )
    key = _deposit_key(quote.quote_id, stored.version)
    issue_special_invoice(ledger, request, SpecialIssuing(seller, actor, key, now))


def _deposit_key(quote_id: str, version: int) -> str:
    return f"quote/{quote_id}/{version}"


def _with_deposit(connection: Connection, quote_id: str, *, before: int) -> list[Quote]:
    """The earlier versions whose deposit was issued and is not void."""
    versions = {_deposit_key(quote_id, version): version for version in range(1, before)}
    issued = select(SPECIAL_INVOICES.c.idempotency_key).where(stands(SPECIAL_INVOICES.c.document_id))
    keys = select_by_ids(connection, issued, SPECIAL_INVOICES.c.idempotency_key, sorted(versions))
    asked = [versions[row[0]] for row in keys]
    texts = select(_Q.document).where(_Q.quote_id == quote_id, _Q.version.in_(asked))
    return [Quote.model_validate_json(text) for text in connection.execute(texts).scalars()]


def _newest(connection: Connection, quote_id: str, *, lock: bool = False) -> Row[Any] | None:
    statement = select(QUOTES).where(_Q.quote_id == quote_id).order_by(_Q.version.desc()).limit(1)
    return connection.execute(statement.with_for_update() if lock else statement).one_or_none()


def _acceptance(connection: Connection, row: Row[Any]) -> Row[Any] | None:
    own = (_A.quote_id == row.quote_id) & (_A.version == row.version)
    return connection.execute(select(QUOTE_ACCEPTANCES).where(own)).one_or_none()


def _stored(connection: Connection, row: Row[Any], now: datetime) -> StoredQuote:
    quote, found = Quote.model_validate_json(row.document), _acceptance(connection, row)
    accepted = (
        None if found is None else Accepted(**{name: getattr(found, name) for name in Accepted.__slots__})
    )
    state = quote_state(
        accepted=accepted is not None, valid_until=quote.valid_until, today=_today(quote, now)
    )
    return StoredQuote(quote, row.version, state, row.document_hash, row.created_at, row.created_by, accepted)


def _today(quote: Quote, now: datetime) -> date:
    return now.astimezone(find_time_zone(quote.contract.time_zone)).date()


def _unknown(quote_id: str) -> NotFound:
    return NotFound(f"there is no quote {quote_id!r}. `ratemill quote list` shows those there are.")
