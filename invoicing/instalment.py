"""Instalments of an issued document: parts with due dates of their own that sum to what was open when they
were agreed. Each ages by itself.

What is paid or credited settles the earliest parts first. The document, its number and its place in the
journal stay as they are; a later agreement is a new plan, and the one before stays on record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

from pydantic import Field
from sqlalchemy import Connection, Engine, insert, select

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.errors import Conflict, InvalidDocument, Issue, NotFound
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import Change, record_changes
from invoicing.bulk import select_by_ids
from invoicing.instalment_tables import INSTALMENTS
from invoicing.journal_store import lock_journal, posted_text
from invoicing.open_documents import find_document, open_documents
from invoicing.payment import OpenDocument
from rating.money import format_minor, minor_digits

_I = INSTALMENTS.c
INSTALMENTS_OBJECT: Final = "instalments"
"""What the audit trail calls them."""


class Instalment(Document):
    """amount: tax included, in major units."""

    due_date: date
    amount: ExactDecimal


class InstalmentPlan(Document):
    """What is agreed for a document. reason: why, or with whom; it stays on record."""

    instalments: tuple[Instalment, ...] = Field(min_length=1, max_length=120)
    reason: str = Field(default="", max_length=1024)


@dataclass(frozen=True, slots=True)
class AgreedPart:
    """One part of the plan in force, minor units. open_minor: what is left of it."""

    position: int
    due_date: date
    amount_minor: int
    open_minor: int


@dataclass(frozen=True, slots=True)
class AgreedInstalments:
    """The plan in force of a document as it stands. plan_number: 1 for the first agreement."""

    document_id: str
    number: str
    currency: str
    plan_number: int
    agreed_at: str
    agreed_by: str
    reason: str
    open_minor: int
    instalments: tuple[AgreedPart, ...]


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """parts: (position, due date, minor units), by position."""

    plan_number: int
    agreed_at: str
    agreed_by: str
    reason: str
    parts: tuple[tuple[int, date, int], ...]


def parts_as_they_stand(parts: Sequence[tuple[int, date, int]], open_minor: int) -> list[AgreedPart]:
    """What is open of each part when ``open_minor`` is open in all: the earliest are settled first. More than
    was agreed (a payment came back) is owed with the first.

    >>> agreed = [(1, date(2026, 1, 1), 60), (2, date(2026, 2, 1), 40)]
    >>> [part.open_minor for part in parts_as_they_stand(agreed, 50)]
    [10, 40]
    """
    settled = sum(amount for _, _, amount in parts) - open_minor
    found = []
    for position, due_date, amount in parts:
        taken = min(settled, amount)
        found.append(AgreedPart(position, due_date, amount, amount - taken))
        settled -= taken
    return found


def agree_instalments(
    ledger: Engine, id_or_number: str, plan: InstalmentPlan, *, actor: str, now: datetime
) -> AgreedInstalments:
    """Keep the plan as the one in force. Raises NotFound; Conflict when nothing is open; InvalidDocument when
    the parts do not sum to what is open, or their days do not rise."""
    with ledger_transaction(ledger) as connection:
        lock_journal(connection)  # nothing is paid or credited between the look and the agreement
        document_id = find_document(connection, id_or_number)
        document = open_documents(connection, [document_id])[document_id]
        if document.open_minor <= 0 or document.kind == "credit_note":
            raise Conflict(
                f"nothing is open of {document.number}, so there is nothing to pay in parts.",
                reason_code="nothing_open",
            )
        issues = list(_issues(plan, document))
        if issues:
            raise InvalidDocument("the instalments", issues)
        before = load_plans(connection, [document_id], known_at=None).get(document_id)
        number = 1 if before is None else before.plan_number + 1
        digits = minor_digits(document.currency)
        for position, part in enumerate(plan.instalments, start=1):
            connection.execute(
                insert(INSTALMENTS).values(
                    document_id=document_id,
                    plan_number=number,
                    position=position,
                    due_date=part.due_date.isoformat(),
                    amount_minor=int(part.amount.scaleb(digits)),
                    agreed_at=posted_text(now),
                    agreed_by=actor,
                    reason=plan.reason,
                )
            )
        agreed = [[part.due_date.isoformat(), decimal_text(part.amount)] for part in plan.instalments]
        was = None if before is None else {"plan_number": before.plan_number}
        after = {"plan_number": number, "instalments": agreed}
        change = Change(actor, "agreed", INSTALMENTS_OBJECT, document_id, was, after, plan.reason)
        record_changes(connection, [change], now=now)
    return get_instalments(ledger, document_id)


def get_instalments(ledger: Engine, id_or_number: str) -> AgreedInstalments:
    """The plan in force as it stands. Raises NotFound for an unknown document or one without instalments."""
    with ledger.connect() as connection:
        document_id = find_document(connection, id_or_number)
        document = open_documents(connection, [document_id])[document_id]
        plan = load_plans(connection, [document_id], known_at=None).get(document_id)
    if plan is None:
        raise NotFound(f"{document.number} has no instalments. `ratemill instalments agree` agrees some.")
    return AgreedInstalments(
        document_id=document_id,
        number=document.number,
        currency=document.currency,
        plan_number=plan.plan_number,
        agreed_at=plan.agreed_at,
        agreed_by=plan.agreed_by,
        reason=plan.reason,
        open_minor=document.open_minor,
        instalments=tuple(parts_as_they_stand(plan.parts, document.open_minor)),
    )


def load_plans(
    connection: Connection, document_ids: Sequence[str], *, known_at: datetime | None
) -> dict[str, StoredPlan]:
    """The plans in force of documents that have one, as known at that instant (None: now)."""
    statement = select(INSTALMENTS)
    if known_at is not None:
        statement = statement.where(_I.agreed_at <= posted_text(known_at))
    rows: list[Any] = sorted(
        select_by_ids(connection, statement, _I.document_id, sorted(set(document_ids))),
        key=lambda row: (row.document_id, row.plan_number, row.position),
    )
    found = {}
    for (document_id, number), group in groupby(rows, key=lambda row: (row.document_id, row.plan_number)):
        own = list(group)  # later plans of a document come later and take its place
        parts = tuple((row.position, date.fromisoformat(row.due_date), row.amount_minor) for row in own)
        found[document_id] = StoredPlan(number, own[0].agreed_at, own[0].agreed_by, own[0].reason, parts)
    return found


def next_due_date(connection: Connection, document_id: str, open_minor: int) -> date | None:
    """When the earliest open part of a document is due; None without instalments or when nothing is open."""
    plan = load_plans(connection, [document_id], known_at=None).get(document_id)
    parts = [] if plan is None else parts_as_they_stand(plan.parts, open_minor)
    return next((part.due_date for part in parts if part.open_minor > 0), None)


def _issues(plan: InstalmentPlan, document: OpenDocument) -> Iterator[Issue]:
    digits, currency = minor_digits(document.currency), document.currency
    last = document.issue_date
    for place, part in enumerate(plan.instalments):
        minor = part.amount.scaleb(digits)
        if minor != minor.to_integral_value() or minor <= 0:
            yield Issue(
                "instalment_amount",
                f"instalments[{place}].amount",
                f"{decimal_text(part.amount)} {currency} cannot be a part.",
                f"more than 0, with at most {digits} digits after the point.",
            )
        if part.due_date < last or (place and part.due_date == last):
            yield Issue(
                "instalment_due_date",
                f"instalments[{place}].due_date",
                f"{part.due_date} does not come after {last}.",
                "days that rise, the first not before the issue date.",
            )
        last = part.due_date
    summed = sum((part.amount for part in plan.instalments), Decimal(0))
    open_text = format_minor(document.open_minor, currency)
    if summed.scaleb(digits) != document.open_minor:
        yield Issue(
            "instalments_sum",
            "instalments",
            f"They sum to {decimal_text(summed)} {currency}, and {open_text} is open of {document.number}.",
            f"parts that sum to {open_text}.",
        )
