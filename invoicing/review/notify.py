"""Tells people by e-mail which drafts wait for them: reviewers whose turn it is, and whoever drafted what was
sent back. One message a person and turn, however many drafts a run left; each hand-on is told of once.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, exists, select

from ingest.ledger import ledger_transaction, lock_name
from invoicing.audit_trail import SYSTEM_ACTOR, AuditFilter, list_entries
from invoicing.bulk import insert_rows
from invoicing.delivery.delivery import Delivery, NewDelivery
from invoicing.delivery.outbox import add_deliveries
from invoicing.review.review import IN_REVIEW, RETURNED
from invoicing.review.review_store import ListedReview, listed_reviews
from invoicing.review.rules import DEFAULT_RULES, load_review_rules
from invoicing.review.tables import REVIEW_NOTICES, REVIEWS
from invoicing.tables import INVOICES
from rating.money import format_minor

LISTED_MAX: Final = 50
"""Drafts that one message names; it says how many more there are."""
_R, _N = REVIEWS.c, REVIEW_NOTICES.c


def queue_review_mail(ledger: Engine, *, now: datetime) -> int:
    """Put a message into the outbox for each person whom drafts have begun to wait for since they were last
    told; returns how many. Who has no address in the rules in force has the list alone, until there is one.
    """
    with ledger.connect() as connection:
        if not _untold(connection):
            return 0
    with ledger_transaction(ledger) as connection:
        lock_name(connection, "review notices")
        by_person = _untold(connection)
        for (person, address), drafts in sorted(by_person.items()):
            told = "\n".join(f"{row.invoice_id} {row.waiting_since}" for row in drafts)
            message = NewDelivery(
                document_id=None,
                customer_id="",
                channel="email",
                purpose="review",
                recipient=address,
                role="reviewer",
                due_at=now,
                occasion=hashlib.sha256(f"{person}\n{told}".encode()).hexdigest(),
            )
            add_deliveries(connection, [message], actor=SYSTEM_ACTOR, now=now)
            rows = [(row.invoice_id, person, row.waiting_since, message.delivery_id) for row in drafts]
            insert_rows(connection, REVIEW_NOTICES, rows)
    return len(by_person)


def drafts_told_of(ledger: Engine, delivery: Delivery) -> tuple[tuple[str, str], ...]:
    """What the message names, the longest wait first: whose draft, and what is to be known of it as it stands
    when the message is written."""
    own = select(_N.invoice_id).where(_N.delivery_id == delivery.delivery_id)
    found = listed_reviews(ledger, _R.invoice_id.in_(own), limit=LISTED_MAX + 1)
    rows = [(_name(one), _words(ledger, one)) for one in found[:LISTED_MAX]]
    if len(found) > LISTED_MAX:
        rows.append(("and more", "`ratemill review list --mine NAME` has them all"))
    return tuple(rows)


def _untold(connection: Connection) -> dict[tuple[str, str], list[Any]]:
    """Rows of drafts by (person, address) whom nobody told since it became their turn."""
    told = exists().where(_N.invoice_id == _R.invoice_id, _N.waiting_since == _R.waiting_since)
    joined = REVIEWS.join(INVOICES, INVOICES.c.invoice_id == _R.invoice_id)
    statement = (
        select(_R.invoice_id, _R.state, _R.reviewer, _R.prepared_by, _R.rules_id, _R.waiting_since)
        .select_from(joined)
        .where(_R.state.in_((IN_REVIEW, RETURNED)), INVOICES.c.state == "draft", ~told)
        .order_by(_R.waiting_since, _R.invoice_id)
    )
    rows = connection.execute(statement).all()
    if not rows:
        return {}
    rules = load_review_rules(connection)
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows:
        stored = rules.get(row.rules_id) or rules.get(DEFAULT_RULES)
        people = {row.reviewer} if row.state == IN_REVIEW else set(orjson.loads(row.prepared_by))
        for person in people:
            address = stored.document.address_of(person) if stored else ""
            if address:
                found[person, address].append(row)
    return dict(found)


def _name(one: ListedReview) -> str:
    return f"{one.customer_id}, {one.contract_id or 'no contract'}, {one.billing_date}"


def _words(ledger: Engine, one: ListedReview) -> str:
    review = one.review
    amount = format_minor(one.total_minor, one.currency)
    words = [f"{amount} {one.currency} net", *(str(flag["message"]).rstrip(".") for flag in review.flags)]
    if review.waiting_since != review.opened_at:
        [last] = list_entries(ledger, chosen=AuditFilter(object_id=review.invoice_id), limit=1)
        said = f"{last.action.replace('_', ' ')} by {last.actor}"
        words.append(f"{said}: {last.reason}" if last.reason else said)
    return "; ".join([*words, f"id {review.invoice_id}"])
