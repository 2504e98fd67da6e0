"""Puts drafts into the ledger: numbers, invoices, lines and settled dates in one transaction.

What makes billing twice impossible stands in the tables: one invoice a contract and billing date,
one invoice a number, one place a rated line, one settlement a billing date.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.exc import DBAPIError

from ingest.errors import BrokenState, Conflict, NotFound
from ingest.ledger import bulk_transaction, ledger_transaction
from invoicing.audit_trail import SYSTEM_ACTOR
from invoicing.billable_lock import lock_items
from invoicing.bulk import insert_rows
from invoicing.credit_issue import (
    kinds_when_settled,
    refuse_other_kind,
    settle_drafts,
    settle_invoice,
    show_credit,
)
from invoicing.draft import Draft
from invoicing.invoice import (
    Invoice,
    check_transition,
    entity_id_of,
    invoice_hash,
    invoice_text,
    parse_invoice,
)
from invoicing.issue_documents import issue_documents
from invoicing.issue_policy import IssuePolicy
from invoicing.line_rewrite import rewrite_lines
from invoicing.month_share_store import enter_month_shares
from invoicing.number import DrawnNumbers, draw_for, issue_day
from invoicing.numbering import Numbers, bill_kind, draw_each, load_prefixes
from invoicing.register import IssuedDocument, Issuer
from invoicing.review.open import enter_reviews
from invoicing.review.review_store import refuse_unreviewed
from invoicing.settings import CREDIT_NOTE_SERIES
from invoicing.store import StoredInvoice, get_invoice
from invoicing.tables import (
    INVOICE_LINES,
    INVOICES,
    LATE_USAGE_SUFFIX,
    LINE_ADJUSTMENTS,
    LINE_ALLOWANCES,
    SETTLED_BILLING_DATES,
)
from invoicing.tax_desk import load_tax_desk
from invoicing.tax_hold import refuse_missing_fields
from rollup.period import find_time_zone

_DOCUMENTS_AT_ONCE: Final = 2_000
"""Their texts and rows are in memory together; one transaction writes many times as many."""
INVOICED = "invoiced"
NOTHING_DUE = "nothing_due"


@dataclass(frozen=True, slots=True)
class Written:
    """drafts: as they were written, with the credit they take. credit_expired: ids of the grants that lapsed
    with them."""

    drafts: Sequence[Draft]
    credit_expired: Sequence[str]


def write_invoices(
    ledger: Engine,
    *,
    drafts: Sequence[Draft],
    nothing_due: Sequence[tuple[str, date]],
    policy: IssuePolicy,
) -> Written:
    """Write the drafts (numbered in their order, but those that wait for a review) and settle every date
    named: all of it or nothing.

    nothing_due: (contract_id, billing_date) that gave no line. Raises Conflict when a date was
    settled meanwhile by somebody else; then nothing of this call was written.
    """
    try:
        with bulk_transaction(ledger) as connection:
            passed = [draft for draft in drafts if draft.invoice_id not in policy.reviews]
            written = _write(connection, passed, nothing_due, policy)
            waiting = [draft for draft in drafts if draft.invoice_id in policy.reviews]
            if waiting:  # after the others: drafts draw no number and take no credit, so no lock either
                shown = _write(connection, waiting, [], replace(policy, issue_date=None)).drafts
                _enter_reviews(connection, shown, policy)
                written = replace(written, drafts=(*written.drafts, *shown))
            return written
    except Exception as error:
        if _breaks_a_key(error):
            raise Conflict(
                f"a billing date of this block is settled already, so run {policy.run_id} wrote nothing of "
                f"it: {error}. Run billing again; it continues after what is settled.",
                reason_code="already_settled",
            ) from error
        raise


def _enter_reviews(connection: Connection, waiting: Sequence[Draft], policy: IssuePolicy) -> None:
    reason = f"billing run {policy.run_id}"
    enter_reviews(connection, waiting, policy.reviews, actor=policy.actor, reason=reason, now=policy.now)


def _write(
    connection: Connection,
    drafts: Sequence[Draft],
    nothing_due: Sequence[tuple[str, date]],
    policy: IssuePolicy,
) -> Written:
    drawn = None
    if policy.issue_date is not None and drafts:
        kinds = kinds_when_settled(connection, drafts, issue_date=policy.issue_date)
        wanted = [
            policy.prefixes.of(kind, draft.entity_id) for kind, draft in zip(kinds, drafts, strict=True)
        ]
        drawn = draw_each(connection, wanted, issue_date=policy.issue_date)
    drafts, lapsed = settle_drafts(connection, drafts, issue_date=policy.issue_date, now=policy.now)
    if drawn is not None:
        refuse_other_kind(kinds, [draft.kind for draft in drafts])
    # Posting reads both: when adjustments and lines over several months are revenue.
    enter_month_shares(connection, policy.shares_of(drafts))
    adjustments = [
        policy.adjusted[line_id].row(line_id)
        for draft in (drafts if policy.adjusted else ())
        for line_id in draft.line_ids
        if line_id in policy.adjusted
    ]
    if adjustments:
        insert_rows(connection, LINE_ADJUSTMENTS, adjustments)
    for block, places in _parts(len(drafts), drawn):
        _write_documents(connection, drafts, places, policy, drawn, block)
    insert_rows(connection, INVOICE_LINES, _line_rows(drafts), sorted_by="line_id")
    allowed = [
        (line_id, draft.invoice_id, amount)
        for draft in drafts
        for line_id, amount in draft.allowed_minor.items()
    ]
    if allowed:
        insert_rows(connection, LINE_ALLOWANCES, allowed)
    if policy.items:
        lock_items(connection, drafts, policy.items, now=policy.now)
    outcomes = [
        (draft.contract_id, draft.billing_date, INVOICED)
        for draft in drafts
        if draft.owner == draft.contract_id
    ]
    outcomes += [(contract_id, day, NOTHING_DUE) for contract_id, day in nothing_due]
    settled = (
        (
            contract_id,
            day.isoformat(),
            outcome,
            policy.run_id,
            policy.contract_versions[contract_id],
            None if contract_id in policy.without_adjustments else policy.looked_through,
        )
        for contract_id, day, outcome in outcomes
    )
    insert_rows(connection, SETTLED_BILLING_DATES, settled)
    for draft in drafts:
        if draft.owner.endswith(LATE_USAGE_SUFFIX):
            _look_through(connection, draft.contract_id, policy.looked_through)
    return Written(drafts, lapsed)


def _look_through(connection: Connection, contract_id: str, looked_through: int | None) -> None:
    """Say of the last date of an ended contract up to which event its late usage is billed now."""
    table = SETTLED_BILLING_DATES
    own = table.c.contract_id == contract_id
    last = select(func.max(table.c.billing_date)).where(own).scalar_subquery()
    changed = update(table).where(own, table.c.billing_date == last).values(looked_through=looked_through)
    connection.execute(changed)


def _parts(count: int, drawn: Numbers | None) -> Iterator[tuple[DrawnNumbers | None, Sequence[int]]]:
    """The places of all drafts in a few parts, those of each series in the order of their numbers."""
    series = [(None, list(range(count)))] if drawn is None else drawn.by_block()
    for block, places in series:
        for start in range(0, len(places), _DOCUMENTS_AT_ONCE):
            part = places[start : start + _DOCUMENTS_AT_ONCE]
            yield None if block is None else block.part(start, len(part)), part


def _write_documents(
    connection: Connection,
    drafts: Sequence[Draft],
    places: Sequence[int],
    policy: IssuePolicy,
    drawn: Numbers | None,
    block: DrawnNumbers | None,
) -> None:
    """The drafts in ``places``: their texts with the numbers drawn for them, and, if there are any, their way
    out of the house. block: the numbers of these drafts alone."""
    texts = [
        drafts[place].text(number=None if drawn is None else drawn.text(place), issue_date=policy.issue_date)
        for place in places
    ]
    hashes = [invoice_hash(text) for text in texts]
    written = list(zip(places, texts, hashes, strict=True))
    insert_rows(
        connection,
        INVOICES,
        (
            _invoice_row(
                drafts[place], text, text_hash, policy, None if drawn is None else drawn.number(place)
            )
            for place, text, text_hash in written
        ),
        sorted_by="invoice_id",
    )
    if drawn is None or block is None:
        return
    issuer = Issuer(policy.actor, f"billing run {policy.run_id}", policy.now, was_draft=False)
    documents = [
        _issued_document(drafts[place], text, text_hash, drawn.number(place)[1], block)
        for place, text, text_hash in written
    ]
    issue_documents(connection, block, documents, issuer)


def _invoice_row(
    draft: Draft, text: str, text_hash: str, policy: IssuePolicy, drawn: tuple[str, int] | None
) -> tuple[Any, ...]:
    """drawn: series and number."""
    issue_date = policy.issue_date
    series, number = (None, None) if drawn is None else drawn
    due_date = None if issue_date is None else draft.due_date(issue_date)
    return (
        draft.invoice_id,
        draft.owner,
        draft.customer_id,
        draft.billing_date.isoformat(),
        "draft" if drawn is None else "issued",
        series,
        number,
        None if issue_date is None else issue_date.isoformat(),
        None if due_date is None else due_date.isoformat(),
        draft.currency,
        draft.total_minor,
        text,
        text_hash,
        policy.run_id,
        0 if drawn is None else draft.credit_minor,
        draft.tax_minor,
        draft.entity_id,
    )


def _issued_document(
    draft: Draft, text: str, text_hash: str, number: int, drawn: DrawnNumbers
) -> IssuedDocument:
    return IssuedDocument(
        document_id=draft.invoice_id,
        kind=draft.kind,
        entity_id=draft.entity_id,
        number=number,
        customer_id=draft.customer_id,
        contract_id=draft.contract_id,
        currency=draft.currency,
        issue_date=drawn.issue_date,
        due_date=draft.due_date(drawn.issue_date),
        net_minor=draft.total_minor,
        tax_minor=draft.tax_minor,
        credit_minor=draft.credit_minor,
        refers_to=None,
        document_hash=text_hash,
        text=text,
        lines=draft.posted_lines,
    )


def _line_rows(drafts: Sequence[Draft]) -> Iterator[tuple[str, int, str, str, int, int | None]]:
    for draft in drafts:
        priced = draft.priced_minor or (None,) * len(draft.line_ids)
        for position, (line_id, charge_id, amount_minor, priced_minor) in enumerate(
            zip(draft.line_ids, draft.charge_ids, draft.amounts_minor, priced, strict=True), start=1
        ):
            yield draft.invoice_id, position, line_id, charge_id, amount_minor, priced_minor


def issue_invoice(
    ledger: Engine,
    *,
    invoice_id: str,
    now: datetime,
    series_prefix: str,
    credit_note_prefix: str = CREDIT_NOTE_SERIES,
    actor: str = SYSTEM_ACTOR,
) -> StoredInvoice:
    """Give a draft its number and dates, and draw its credit; the issue date is today in the contract's time
    zone (``issue_day``). series_prefix, credit_note_prefix: of billing entities that have none of their own;
    a draft below zero is issued as a credit note. actor: who issues it, as the audit trail names them.

    Raises NotFound, or Conflict when it is issued already, the date would precede the last
    number's, a field that the seller's country asks for is empty, or it waits for a review.
    """
    with ledger_transaction(ledger) as connection:
        locked = select(INVOICES.c.document, INVOICES.c.state, INVOICES.c.customer_id).where(
            INVOICES.c.invoice_id == invoice_id
        )
        row = connection.execute(locked.with_for_update()).one_or_none()
        if row is None:
            raise NotFound(f"there is no invoice {invoice_id!r} to issue. List drafts to see their ids.")
        check_transition(invoice_id, from_state=row.state, to_state="issued")
        refuse_unreviewed(connection, invoice_id)
        draft = parse_invoice(row.document)
        refuse_missing_fields(load_tax_desk(connection, provider=None), draft)
        today = now.astimezone(find_time_zone(draft.contract["time_zone"])).date()
        # Numbers before credit, as a run takes its locks: two that waited for each other would never end.
        prefixes = load_prefixes(connection, invoice=series_prefix, credit_note=credit_note_prefix)
        kind = bill_kind(show_credit(connection, draft, customer_id=row.customer_id).gross_minor)
        prefix = prefixes.of(kind, entity_id_of(draft))
        issue_date = issue_day(connection, prefix=prefix, today=today, now=now)
        drawn = draw_for(connection, prefix=prefix, issue_date=issue_date, count=1)
        settled = settle_invoice(
            connection, draft, customer_id=row.customer_id, issue_date=issue_date, now=now
        )
        refuse_other_kind([kind], [bill_kind(settled.gross_minor)])
        rewrite_lines(connection, draft, settled)
        issued = settled.issued(number=drawn.text(0), issue_date=issue_date)
        text = invoice_text(issued)
        document = registered_invoice(issued, text, number=drawn.first, customer_id=row.customer_id)
        issue_documents(connection, drawn, [document], Issuer(actor, "", now, was_draft=True))
        changed = connection.execute(
            update(INVOICES)
            .where(INVOICES.c.invoice_id == invoice_id, INVOICES.c.state == "draft")
            .values(
                state="issued",
                series=drawn.series,
                number=drawn.first,
                issue_date=issue_date.isoformat(),
                due_date=issued.due_date.isoformat() if issued.due_date else None,
                document=text,
                document_hash=invoice_hash(text),
                credit_minor=issued.credit_minor,
                total_minor=issued.total_minor,
                tax_minor=issued.tax_minor,
            )
        ).rowcount
        if changed != 1:
            raise BrokenState(f"invoice {invoice_id} changed while it was being issued; nothing was written.")
    return get_invoice(ledger, invoice_id)


def registered_invoice(invoice: Invoice, text: str, *, number: int, customer_id: str) -> IssuedDocument:
    """An issued invoice as the register keeps it. Raises BrokenState for a draft."""
    if invoice.issue_date is None:
        raise BrokenState(f"invoice {invoice.invoice_id} has no issue date, so it cannot be registered.")
    return IssuedDocument(
        document_id=invoice.invoice_id,
        kind=bill_kind(invoice.gross_minor),
        entity_id=entity_id_of(invoice),
        number=number,
        customer_id=customer_id,
        contract_id=str(invoice.contract["contract_id"]),
        currency=invoice.currency,
        issue_date=invoice.issue_date,
        due_date=invoice.due_date,
        net_minor=invoice.total_minor,
        tax_minor=invoice.tax_minor,
        credit_minor=invoice.credit_minor,
        refers_to=None,
        document_hash=invoice_hash(text),
        text=text,
    )


def _breaks_a_key(error: Exception) -> bool:
    """Bulk writes go below SQLAlchemy, so the driver's own IntegrityError arrives here as well."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    names = {kind.__name__ for kind in type(cause).__mro__}
    return bool(names & {"IntegrityError", "UniqueViolation"})
