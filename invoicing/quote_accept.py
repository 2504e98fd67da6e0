"""Acceptances of quotes: once a version. One transaction keeps the acceptance, saves the contract and makes
the items; the deposit invoice follows in one of its own, and a repeated acceptance makes up for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select

from ingest.document import validate_document
from ingest.errors import BrokenState, Conflict, InvalidInput
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import Change, record_changes
from invoicing.bulk import select_by_ids
from invoicing.journal_store import posted_text
from invoicing.payer_rules import contract_issues
from invoicing.quote import Acceptance, Quote, quote_state
from invoicing.quote_store import (
    QUOTE_OBJECT,
    StoredQuote,
    checked_quote,
    find_acceptance,
    lock_quote,
    newest_version,
    save_quote_in,
    stored_quote,
    today_of,
    unknown_quote,
)
from invoicing.quote_tables import QUOTE_ACCEPTANCES, QUOTES
from invoicing.sales.quote_order import order_items, ordered_contract
from invoicing.settings import Seller
from invoicing.special_invoice import SpecialInvoiceRequest, SpecialLine
from invoicing.special_invoice_head import SpecialIssuing
from invoicing.special_invoice_store import issue_special_invoice
from invoicing.special_invoice_tables import SPECIAL_INVOICES, stands
from rating.catalogue import get_plan_in_force
from rating.contract_store import save_contracts_in

_Q, _A = QUOTES.c, QUOTE_ACCEPTANCES.c


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
        lock_quote(connection, quote_id)
        newest = newest_version(connection, quote_id)
        if newest is None:
            raise unknown_quote(quote_id)
        stored = _accept_once(ledger, connection, newest, acceptance, actor=actor, now=now)
    _ask_for_deposit(ledger, stored, seller=seller, actor=actor, now=now)
    return stored


def save_accepted_quote(
    ledger: Engine,
    document: Any,
    acceptance: Any,
    *,
    seller: Seller | None,
    actor: str,
    now: datetime,
) -> StoredQuote:
    """Save a quote and record its acceptance in one transaction, for whoever took it elsewhere: what they
    accepted is this document. acceptance: as ``Acceptance``, without the hash. Raises what ``save_quote`` and
    ``accept_quote`` raise: then neither was saved."""
    quote = checked_quote(ledger, document)
    with ledger_transaction(ledger) as connection:
        save_quote_in(ledger, connection, quote, actor=actor, now=now)
        newest = newest_version(connection, quote.quote_id)
        if newest is None:
            raise BrokenState(f"quote {quote.quote_id!r} was saved and is not there.")
        if isinstance(acceptance, Mapping):
            acceptance = {**acceptance, "document_hash": newest.document_hash}
        checked = validate_document(Acceptance, acceptance, what="the acceptance")
        stored = _accept_once(ledger, connection, newest, checked, actor=actor, now=now)
    _ask_for_deposit(ledger, stored, seller=seller, actor=actor, now=now)
    return stored


def _accept_once(
    ledger: Engine,
    connection: Connection,
    newest: Row[Any],
    acceptance: Acceptance,
    *,
    actor: str,
    now: datetime,
) -> StoredQuote:
    """The version with its acceptance: the one its deposit is asked for by, whatever is saved meanwhile."""
    known = find_acceptance(connection, newest)
    if known is None:
        _refuse(newest, acceptance, now)
        _accept(ledger, connection, newest, acceptance, actor=actor, now=now)
    elif (known.name, known.document_hash) != (acceptance.name, acceptance.document_hash):
        raise Conflict(
            f"quote {newest.quote_id!r} was accepted by {known.name} at {known.accepted_at} already.",
            reason_code="quote_accepted",
        )
    return stored_quote(connection, newest, now)


def _refuse(newest: Row[Any], acceptance: Acceptance, now: datetime) -> None:
    quote = Quote.model_validate_json(newest.document)
    if acceptance.document_hash != newest.document_hash:
        raise Conflict(
            f"version {newest.version} of quote {quote.quote_id!r} has another document hash: it was changed "
            "since. Look at it again, and accept what it says now.",
            reason_code="quote_changed",
        )
    if quote_state(accepted=False, valid_until=quote.valid_until, today=today_of(quote, now)) == "expired":
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
    today = today_of(quote, now)
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
