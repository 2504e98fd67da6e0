"""Holds the journal to everything else on record: what an auditor would do, in a few questions to the
ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, Select, case, exists, func, select

from invoicing.accrual_tables import OPEN_ACCRUALS
from invoicing.bulk import halves_of, sum_of_halves
from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.credit_tables import CREDIT_ENTRIES, CREDIT_GRANTS
from invoicing.journal import DOCUMENT_KINDS
from invoicing.journal_tables import JOURNAL_COUNTER, JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.month_part_check import check_month_parts
from invoicing.pay_out_tables import PAY_OUT_PARTS
from invoicing.payment_tables import PAYMENT_ALLOCATIONS, PAYMENT_RETURNS, PAYMENTS
from invoicing.posting import DEPOSIT_CHARGE_ID, DEPOSIT_KIND
from invoicing.special_invoice_tables import DEDUCTED_DOCUMENTS, SPECIAL_INVOICES, stands
from invoicing.tables import ISSUED_DOCUMENTS
from invoicing.write_off_tables import WRITE_OFFS

_E, _L = JOURNAL_ENTRIES.c, JOURNAL_LINES.c
_POSTED = JOURNAL_LINES.join(JOURNAL_ENTRIES)
_SHOWN_MAX = 20


def verify_journal(ledger: Engine) -> list[str]:
    """What does not tie, one sentence each; empty when all does.

    Numbers have no gap; every entry sums to zero; every document's receivable is what the register says, and
    what is recognised before or after its issue date is taken up again; accruals are of documents that are
    still to come; deposits wait until they are deducted; credit is carried at its cost; cash and applied
    money are those of the payments and pay-outs; what is written off is what was given up; usage over several
    months is revenue of those it was used in.
    """
    checks = (
        _numbers,
        _balance,
        _documents,
        _document_entries,
        _timing,
        _accruals,
        _deposits,
        _credit,
        _payments,
        _allocations,
        _write_offs,
        _pay_outs,
        check_month_parts,
    )
    with ledger.connect() as connection:
        found: list[str] = []
        for check in checks:
            problems = list(check(connection))
            found += problems[:_SHOWN_MAX]
            if len(problems) > _SHOWN_MAX:
                found.append(f"... and {len(problems) - _SHOWN_MAX:,} more of this kind.")
        return found


def _numbers(connection: Connection) -> Iterator[str]:
    count, last = connection.execute(select(func.count(), func.max(_E.entry_number))).one()
    following = connection.execute(select(JOURNAL_COUNTER.c.next_number)).scalar_one()
    if count != (last or 0) or following != count + 1:
        yield f"the journal has {count} entries, the last is {last} and the next would be {following}."


def _balance(connection: Connection) -> Iterator[str]:
    total = func.sum(_L.amount_minor)
    statement = select(_L.entry_number, _L.currency, total).group_by(_L.entry_number, _L.currency)
    for number, currency, left in connection.execute(statement.having(total != 0)):
        yield f"entry {number} sums to {left} minor units of {currency}, not to zero."
    bare = select(_E.entry_number).where(_E.entry_number.not_in(select(_L.entry_number)))
    for number in connection.execute(bare).scalars():
        yield f"entry {number} has no lines."


def _documents(connection: Connection) -> Iterator[str]:
    posted = (
        select(_E.document_id, func.sum(_L.amount_minor).label("amount"))
        .select_from(_POSTED)
        .where(_E.kind.in_(DOCUMENT_KINDS), _L.account == "receivable")
        .group_by(_E.document_id)
        .subquery()
    )
    register = ISSUED_DOCUMENTS.c
    due = register.net_minor + register.tax_minor - register.credit_minor
    amount = func.coalesce(posted.c.amount, 0)
    statement = (
        select(register.document_id, due, amount)
        .select_from(ISSUED_DOCUMENTS.outerjoin(posted, posted.c.document_id == register.document_id))
        .where(due != amount)
    )
    for document_id, wanted, found in connection.execute(statement):
        yield (
            f"document {document_id} is owed {wanted} minor units and posted with {found}. If it is older "
            "than the journal, `ratemill journal backfill` posts it."
        )


def _document_entries(connection: Connection) -> Iterator[str]:
    """A document is posted on its own day, and its tax is that of the register."""
    register = ISSUED_DOCUMENTS.c
    other_day = (
        select(_E.entry_id, _E.entry_date, register.issue_date)
        .select_from(JOURNAL_ENTRIES.join(ISSUED_DOCUMENTS, _E.document_id == register.document_id))
        .where(_E.kind.in_(DOCUMENT_KINDS), _E.entry_date != register.issue_date)
    )
    for entry_id, found, wanted in connection.execute(other_day):
        yield f"entry {entry_id} is posted on {found}, and its document is of {wanted}."
    posted = (
        select(_E.document_id, (-func.sum(_L.amount_minor)).label("tax"))
        .select_from(_POSTED)
        .where(_E.kind.in_(DOCUMENT_KINDS), _L.account == "tax")
        .group_by(_E.document_id)
        .subquery()
    )
    tax = func.coalesce(posted.c.tax, 0)
    statement = (
        select(register.document_id, register.tax_minor, tax)
        .select_from(ISSUED_DOCUMENTS.outerjoin(posted, posted.c.document_id == register.document_id))
        .where(register.tax_minor != tax)
    )
    for document_id, wanted, found in connection.execute(statement):
        yield f"document {document_id} states {wanted} minor units of tax and is posted with {found}."


def _timing(connection: Connection) -> Iterator[str]:
    total = func.sum(_L.amount_minor)
    statement = (
        select(_E.document_id, _L.account, total)
        .select_from(_POSTED)
        .where(
            _L.account.in_(("unbilled", "deferred")),
            _E.kind.in_((*DOCUMENT_KINDS, "recognition")),
            _L.charge_id != DEPOSIT_CHARGE_ID,
        )
        .group_by(_E.document_id, _L.account)
        .having(total != 0)
    )
    for document_id, account, left in connection.execute(statement):
        yield f"document {document_id} leaves {left} minor units in {account} for ever."


def _accruals(connection: Connection) -> Iterator[str]:
    """What is accrued is of documents that are not issued; of others nothing is left."""
    register = ISSUED_DOCUMENTS.c.document_id
    issued = select(register).join(OPEN_ACCRUALS, OPEN_ACCRUALS.c.document_id == register)
    for document_id in connection.execute(issued).scalars():
        yield f"document {document_id} is issued, and what was accrued of it is still open."
    accrued = (
        select(_E.document_id, func.sum(_L.amount_minor))
        .select_from(_POSTED.outerjoin(OPEN_ACCRUALS, OPEN_ACCRUALS.c.document_id == _E.document_id))
        .where(_E.kind == "accrual", _L.account == "unbilled", OPEN_ACCRUALS.c.document_id.is_(None))
        .group_by(_E.document_id, _L.charge_id, _E.entry_date)
        .having(func.sum(_L.amount_minor) != 0)
    )
    for document_id, left in connection.execute(accrued):
        yield f"document {document_id} leaves {left} minor units accrued for ever."


def _deposits(connection: Connection) -> Iterator[str]:
    """What waits in ``deferred`` of deposits is what no final invoice deducted and no credit note took back,
    by contract."""
    special, deducted, notes = SPECIAL_INVOICES.c, DEDUCTED_DOCUMENTS.c, CREDIT_NOTES.c
    stands_deducted = exists().where(deducted.document_id == special.document_id, stands(deducted.final_id))
    of_deposits = (special.kind == DEPOSIT_KIND) & ~stands_deducted
    issued = select(special.contract_id, special.currency, *halves_of(special.net_minor)).where(of_deposits)
    credited = (
        select(special.contract_id, special.currency, *halves_of(notes.net_minor))
        .select_from(SPECIAL_INVOICES.join(CREDIT_NOTES, notes.invoice_id == special.document_id))
        .where(of_deposits)
    )
    wanted: dict[tuple[str, str], int] = defaultdict(int)
    for statement in (issued, credited):
        for row in connection.execute(statement.group_by(special.contract_id, special.currency)):
            wanted[row[0], row[1]] += sum_of_halves(row[2], row[3])
    posted = (
        select(_L.contract_id, _L.currency, *halves_of(_L.amount_minor))
        .where(_L.account == "deferred", _L.charge_id == DEPOSIT_CHARGE_ID)
        .group_by(_L.contract_id, _L.currency)
    )
    held = {(row[0], row[1]): -sum_of_halves(row[2], row[3]) for row in connection.execute(posted)}
    for key in sorted({*wanted, *held}):
        if wanted.get(key, 0) != held.get(key, 0):
            yield (
                f"contract {key[0]} has deposits of {wanted.get(key, 0)} minor units of {key[1]} that no "
                f"final invoice deducted and no credit note took back, and deferred holds {held.get(key, 0)} "
                "for them."
            )


def _credit(connection: Connection) -> Iterator[str]:
    entries = CREDIT_ENTRIES.join(CREDIT_GRANTS)
    wanted = _sums(
        connection,
        select(CREDIT_GRANTS.c.currency, *halves_of(CREDIT_ENTRIES.c.cost_minor)).select_from(entries),
        CREDIT_GRANTS.c.currency,
    )
    posted = _sums(
        connection,
        select(_L.currency, *halves_of(_L.amount_minor)).where(_L.account == "prepaid_credit"),
        _L.currency,
    )
    for currency in sorted({*wanted, *posted}):
        left, balance = wanted.get(currency, 0), -posted.get(currency, 0)
        if left != balance:
            yield (
                f"credit of {left} minor units of {currency} is left at cost, prepaid_credit has {balance}. "
                "If the credit is older than the journal, `ratemill journal backfill` posts it."
            )


def _sums(connection: Connection, statement: Select[Any], key: Any) -> dict[str, int]:
    rows = connection.execute(statement.group_by(key))
    return {row[0]: sum_of_halves(row[1], row[2]) for row in rows}


def _payments(connection: Connection) -> Iterator[str]:
    posted = (
        select(_E.payment_id, func.sum(_L.amount_minor).label("cash"))
        .select_from(_POSTED)
        .where(_L.account == "cash", _E.kind != "pay_out")
        .group_by(_E.payment_id)
        .subquery()
    )
    returned = PAYMENT_RETURNS.c.payment_id.is_not(None)
    wanted = case((returned, 0), else_=PAYMENTS.c.amount_minor)
    cash = func.coalesce(posted.c.cash, 0)
    statement = (
        select(PAYMENTS.c.payment_id, wanted, cash)
        .select_from(
            PAYMENTS.outerjoin(PAYMENT_RETURNS).outerjoin(
                posted, posted.c.payment_id == PAYMENTS.c.payment_id
            )
        )
        .where(wanted != cash)
    )
    for payment_id, amount, found in connection.execute(statement):
        yield f"payment {payment_id} brought {amount} minor units and cash has {found} of it."


def _allocations(connection: Connection) -> Iterator[str]:
    columns = PAYMENT_ALLOCATIONS.c
    applied = _pairs(
        connection,
        select(columns.payment_id, columns.document_id, func.sum(columns.amount_minor)).group_by(
            columns.payment_id, columns.document_id
        ),
    )
    posted = _pairs(
        connection,
        select(_E.payment_id, _E.document_id, -func.sum(_L.amount_minor))
        .select_from(_POSTED)
        .where(_E.kind == "allocation", _L.account == "receivable")
        .group_by(_E.payment_id, _E.document_id),
    )
    for key in sorted({*applied, *posted}):
        if applied.get(key, 0) != posted.get(key, 0):
            yield (
                f"payment {key[0]} pays {applied.get(key, 0)} minor units of document {key[1]}, the journal "
                f"has {posted.get(key, 0)}."
            )


def _pairs(connection: Connection, statement: Select[Any]) -> dict[tuple[str, str], int]:
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(statement)}


def _write_offs(connection: Connection) -> Iterator[str]:
    columns = WRITE_OFFS.c
    given_up = _by_document(connection, select(columns.document_id, func.sum(columns.amount_minor)), columns)
    posted = _by_document(
        connection,
        select(_E.document_id, -func.sum(_L.amount_minor))
        .select_from(_POSTED)
        .where(_E.kind == "write_off", _L.account == "receivable"),
        _E,
    )
    for document_id in sorted({*given_up, *posted}):
        wanted, found = given_up.get(document_id, 0), posted.get(document_id, 0)
        if wanted != found:
            yield f"{wanted} minor units of document {document_id} are written off, the journal has {found}."


def _by_document(connection: Connection, statement: Select[Any], columns: Any) -> dict[str, int]:
    return {row[0]: int(row[1]) for row in connection.execute(statement.group_by(columns.document_id))}


def _pay_outs(connection: Connection) -> Iterator[str]:
    """Of each part of a pay-out, cash left and either money on account or a bill below zero was settled."""
    parts = PAY_OUT_PARTS.c
    cash = (
        select(_E.entry_id, -func.sum(_L.amount_minor))
        .select_from(_POSTED)
        .where(_E.kind == "pay_out", _L.account == "cash")
        .group_by(_E.entry_id)
    )
    posted = {row[0]: int(row[1]) for row in connection.execute(cash)}
    rows = connection.execute(select(parts.pay_out_id, parts.position, parts.amount_minor))
    wanted = {f"pay_out/{row[0]}/{row[1]}": row[2] for row in rows}
    for key in sorted({*posted, *wanted}):
        if posted.get(key, 0) != wanted.get(key, 0):
            yield f"{key} is {wanted.get(key, 0)} minor units, and {posted.get(key, 0)} left cash."
