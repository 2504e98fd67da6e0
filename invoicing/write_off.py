"""Receivables that are given up: written off to bad debt, and owed again when they are paid after all.

    119.00 are written off         Dr bad_debt 119.00                   Cr receivable 119.00
    where the tax is relieved      Dr bad_debt 100.00   Dr tax 19.00    Cr receivable 119.00

The document never changes and stays claimed: a payment that names it first takes so much of the write-off
back (the newest first) and then pays it. So does a credit note, of what it leaves of the document. Whether
the tax may be taken back from the state is a question of each country's law (insolvency, time, proof):
whoever writes off says so with the reason, and it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from pydantic import Field
from sqlalchemy import Connection, Engine, func, insert, select

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.errors import Conflict, InvalidInput
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import Change, record_changes
from invoicing.journal import JournalEntry, JournalLine
from invoicing.journal_store import append_entries, lock_journal, posted_text
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.open_documents import find_document, open_documents
from invoicing.payment import OpenDocument, net_paid
from invoicing.write_off_tables import WRITE_OFFS
from rating.money import format_minor, minor_digits

RULES: Final = {
    "written_off": "given up",
    "payment": "owed again because it is paid",
    "credit_note": "owed again because a credit note took it back",
    "taken_back": "owed again, by a person",
}
_W = WRITE_OFFS.c


class WriteOff(Document):
    """reason: why it is given up. amount: tax included, in major units; left out: all that is open.
    tax_relief: why the state gives the tax of it back (the section of the law, the insolvency); empty: it
    does not, and the tax is lost too. dated_on: the day of account; left out: today in UTC."""

    reason: str = Field(min_length=1, max_length=1024, pattern=r"\S")
    amount: ExactDecimal | None = None
    tax_relief: str = Field(default="", max_length=1024)
    dated_on: date | None = None


class TakeBack(Document):
    """Why a write-off is taken back, and how much of it (left out: all). dated_on: as of ``WriteOff``."""

    reason: str = Field(min_length=1, max_length=1024, pattern=r"\S")
    amount: ExactDecimal | None = None
    dated_on: date | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What is said of a step. rule: a word of ``RULES``. day: of account. actor: who did it, at ``now``."""

    rule: str
    day: date
    reason: str
    actor: str
    now: datetime


@dataclass(frozen=True, slots=True)
class WriteOffs:
    """What is written off of a document and every step of it, minor units."""

    document_id: str
    number: str
    currency: str
    written_off_minor: int
    open_minor: int
    steps: tuple[dict[str, Any], ...]


def write_off(ledger: Engine, id_or_number: str, wanted: WriteOff, *, actor: str, now: datetime) -> WriteOffs:
    """Give up what is open of an issued document, or a part of it. Raises NotFound; Conflict when nothing is
    open or less than the amount; InvalidInput for an amount or day that cannot be."""
    with ledger_transaction(ledger) as connection:
        lock_journal(connection)
        document = _document(connection, id_or_number)
        amount = document.open_minor if wanted.amount is None else _minor(wanted.amount, document)
        if document.open_minor <= 0:
            raise Conflict(f"nothing is open of {document.number}.", reason_code="nothing_open")
        _refuse_more(amount, document.open_minor, document, "be written off", "is open")
        step = Step("written_off", _day(wanted.dated_on, document, now), wanted.reason, actor, now)
        _enter(connection, document, amount, step, tax_relief=wanted.tax_relief, recovers=None)
        after = {"amount_minor": amount, "tax_relief": wanted.tax_relief}
        change = Change(actor, "written_off", document.kind, document.document_id, None, after, wanted.reason)
        record_changes(connection, [change], now=now)
    return get_write_offs(ledger, document.document_id)


def take_back_write_off(
    ledger: Engine, id_or_number: str, wanted: TakeBack, *, actor: str, now: datetime
) -> WriteOffs:
    """Claim again what was written off by mistake. Raises NotFound; Conflict when less is written off."""
    with ledger_transaction(ledger) as connection:
        lock_journal(connection)
        document = _document(connection, id_or_number)
        written_off = document.written_off_minor
        amount = written_off if wanted.amount is None else _minor(wanted.amount, document)
        if written_off <= 0:
            raise Conflict(f"nothing of {document.number} is written off.", reason_code="nothing_written_off")
        _refuse_more(amount, written_off, document, "be claimed again", "is written off")
        step = Step("taken_back", _day(wanted.dated_on, document, now), wanted.reason, actor, now)
        recover(connection, document, amount, step)
        change = Change(
            actor,
            "write_off_taken_back",
            document.kind,
            document.document_id,
            {"written_off_minor": written_off},
            {"written_off_minor": written_off - amount},
            wanted.reason,
        )
        record_changes(connection, [change], now=now)
    return get_write_offs(ledger, document.document_id)


def recover(connection: Connection, document: OpenDocument, amount_minor: int, step: Step) -> None:
    """Let so much of what is written off be owed again, the newest first and none before it was given up,
    with the journal locked. The caller knows that so much is written off."""
    for position, left, row in _standing(_rows(connection, document.document_id)):
        taken = min(left, amount_minor)
        if taken:
            later = replace(step, day=max(step.day, date.fromisoformat(row.entry_date)))
            _enter(connection, document, -taken, later, tax_relief=row.tax_relief, recovers=position)
            document = open_documents(connection, [document.document_id])[document.document_id]
            amount_minor -= taken


def get_write_offs(ledger: Engine, id_or_number: str) -> WriteOffs:
    """What is written off of a document. Raises NotFound."""
    kept = ("position", "recovers", "amount_minor", "net_minor", "entry_date", "rule", "reason", "tax_relief")
    with ledger.connect() as connection:
        document = _document(connection, id_or_number)
        rows = _rows(connection, document.document_id)
    steps = tuple(
        {
            **{name: getattr(row, name) for name in kept},
            "created_at": row.created_at,
            "created_by": row.created_by,
        }
        for row in rows
    )
    return WriteOffs(
        document.document_id,
        document.number,
        document.currency,
        document.written_off_minor,
        document.open_minor,
        steps,
    )


def _document(connection: Connection, id_or_number: str) -> OpenDocument:
    document_id = find_document(connection, id_or_number)
    return open_documents(connection, [document_id])[document_id]


def _rows(connection: Connection, document_id: str) -> Sequence[Any]:
    own = select(WRITE_OFFS).where(_W.document_id == document_id).order_by(_W.position)
    return connection.execute(own).all()


def _standing(rows: Sequence[Any]) -> Iterator[tuple[int, int, Any]]:
    """(position, what of it stands, row) of each write-off, the newest first."""
    for row in reversed([row for row in rows if row.recovers is None]):
        back = sum(other.amount_minor for other in rows if other.recovers == row.position)
        yield row.position, row.amount_minor + back, row


def _enter(
    connection: Connection,
    document: OpenDocument,
    amount_minor: int,
    step: Step,
    *,
    tax_relief: str,
    recovers: int | None,
) -> None:
    """One row, above or below zero, and its entry."""
    net = _net_of(document, amount_minor)
    position = len(_rows(connection, document.document_id)) + 1
    connection.execute(
        insert(WRITE_OFFS).values(
            document_id=document.document_id,
            position=position,
            recovers=recovers,
            amount_minor=amount_minor,
            net_minor=net,
            entry_date=step.day.isoformat(),
            rule=step.rule,
            reason=step.reason,
            tax_relief=tax_relief,
            created_at=posted_text(step.now),
            created_by=step.actor,
        )
    )
    whose = (document.customer_id, document.contract_id, document.currency)
    tax = amount_minor - net
    relieved = _relieved(connection, document) if tax_relief else 0
    lines = (
        JournalLine("bad_debt", amount_minor - relieved, *whose),
        JournalLine("tax", relieved, *whose),
        JournalLine("receivable", -net, *whose, part="net"),
        JournalLine("receivable", -tax, *whose, part="tax"),
    )
    entry = JournalEntry(
        entry_id=f"write_off/{document.document_id}/{position}",
        kind="write_off",
        entry_date=step.day,
        lines=tuple(line for line in lines if line.amount_minor),
        document_id=document.document_id,
        description=step.reason,
    )
    append_entries(connection, [entry], now=step.now)


def _net_of(document: OpenDocument, amount_minor: int) -> int:
    """What of a step is of the lines. Where payments still pay more than a credit note left of the document,
    they are freed next, and the step is judged without them."""
    settled = document.settled_minor + amount_minor
    if settled <= document.due_minor:
        return net_paid(document, settled) - document.settled_net_minor
    written_off = document.written_off_minor + amount_minor
    return net_paid(document, written_off) - document.written_off_net_minor


def _relieved(connection: Connection, document: OpenDocument) -> int:
    """What more or less of tax the state gives back, now that the step is a row: the tax in what stands given
    up with relief, as the document is now, less what was relieved of it so far."""
    rows = [row for row in _rows(connection, document.document_id) if row.tax_relief]
    standing = sum(row.amount_minor for row in rows)
    wanted = standing - net_paid(document, standing) if document.due_minor else 0
    posted = (
        select(func.coalesce(func.sum(JOURNAL_LINES.c.amount_minor), 0))
        .select_from(JOURNAL_LINES.join(JOURNAL_ENTRIES))
        .where(
            JOURNAL_ENTRIES.c.document_id == document.document_id,
            JOURNAL_ENTRIES.c.kind == "write_off",
            JOURNAL_LINES.c.account == "tax",
        )
    )
    return wanted - int(connection.execute(posted).scalar_one())


def _minor(amount: Any, document: OpenDocument) -> int:
    minor = amount.scaleb(minor_digits(document.currency))
    if minor != minor.to_integral_value() or minor <= 0:
        raise InvalidInput(
            f"{decimal_text(amount)} {document.currency} cannot be written off. An amount is above 0 and in "
            f"whole minor units ({minor_digits(document.currency)} digits).",
            reason_code="write_off_amount",
        )
    return int(minor)


def _refuse_more(amount: int, most: int, document: OpenDocument, what: str, there: str) -> None:
    if amount > most:
        asked, left = (format_minor(minor, document.currency) for minor in (amount, most))
        raise Conflict(
            f"{asked} {document.currency} of {document.number} cannot {what}: {left} {there}.",
            reason_code="write_off_too_large",
        )


def _day(dated_on: date | None, document: OpenDocument, now: datetime) -> date:
    """Today, or the day asked for. Raises InvalidInput for one before the document or to come."""
    today = now.date()
    if dated_on is None:
        return max(today, document.issue_date)
    if not document.issue_date <= dated_on <= max(today, document.issue_date):
        raise InvalidInput(
            f"it cannot be dated {dated_on}: {document.number} is of {document.issue_date}, and days to come "
            "are not known.",
            reason_code="write_off_date",
        )
    return dated_on
