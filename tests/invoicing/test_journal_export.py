"""Goal: what leaves the journal for other systems ties to it, and is the same however often it is written."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from beancount import loader
from beancount.core.data import Transaction
from sqlalchemy import Engine

from invoicing.journal_export import BEANCOUNT_ACCOUNTS, beancount_text, posting_tables, with_amounts
from invoicing.journal_store import JournalFilter, trial_balance
from invoicing.line_export import INVOICE_LINE_SCHEMA, invoice_line_tables
from invoicing.open_documents import find_document
from invoicing.outstanding import outstanding
from invoicing.payment_store import return_payment
from tests.invoicing.books import Books, D
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, at


def some_books(ledger: Engine) -> Books:
    books = Books(ledger, at("2026-02-01"))
    first, second = books.issue(10000, 1900), books.issue(700, currency="JPY", customer="other")
    books.now = at("2026-03-10")
    books.pay("50.00", first, on="2026-03-10")
    bounced = books.pay("700", f'for "{second}"', on="2026-03-11", currency="JPY", customer_id="other")
    books.pay("12.00", "on account")
    with ledger.connect() as connection:
        credited = find_document(connection, first)
    books.issue(-1000, -190, issued="2026-03-15", refers_to=credited)
    books.now += timedelta(days=10)
    return_payment(ledger, bounced, on=D("2026-03-20"), reason="no funds", actor="anna", now=books.now)
    return books


def _sums(tables: list[pa.Table]) -> dict[tuple[str, str], int]:
    """What another system has after it read the rows, twice: a row is known by entry number and position."""
    kept = {
        (row["entry_number"], row["position"]): row
        for table in [*tables, *tables]
        for row in table.to_pylist()
    }
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for row in kept.values():
        sums[row["currency"], row["account"]] += row["amount_minor"]
    return {key: amount for key, amount in sums.items() if amount}


@pytest.mark.requirement("CRM-02")
def test_exports_tie_and_are_the_same_again(ledger: Engine, tmp_path: Path) -> None:
    """At each month end the rows come to the trial balance; what was exported once begins the next export."""
    books = some_books(ledger)
    tables = [with_amounts(table) for table in posting_tables(ledger)]
    wanted = {
        (row.currency, row.account): row.balance_minor
        for row in trial_balance(ledger, chosen=JournalFilter())
        if row.balance_minor
    }
    assert _sums(tables) == wanted
    for month_end in (date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31)):
        by_then = [table.filter(pa.compute.less_equal(table["entry_date"], month_end)) for table in tables]
        balance = {
            (row.currency, row.account): row.balance_minor
            for row in trial_balance(ledger, chosen=JournalFilter(on=month_end))
            if row.balance_minor
        }
        assert _sums(by_then) == balance
        open_minor = {each.currency: each.open_minor for each in outstanding(ledger, as_of=month_end).totals}
        receivable = {
            currency: minor for (currency, account), minor in balance.items() if account == "receivable"
        }
        assert {key: minor for key, minor in open_minor.items() if minor} == receivable
    before = pa.concat_tables(tables)
    books.issue(500, issued="2026-04-01")
    after = pa.concat_tables([with_amounts(table) for table in posting_tables(ledger)])
    assert after.slice(0, before.num_rows).equals(before)
    new = pa.concat_tables(list(posting_tables(ledger, after=before["entry_number"][-1].as_py())))
    assert new.num_rows == after.num_rows - before.num_rows
    _beancount_takes_it(ledger, tmp_path / "journal.beancount")


def _beancount_takes_it(ledger: Engine, path: Path) -> None:
    path.write_text("".join(beancount_text(posting_tables(ledger))), encoding="utf-8")
    entries, errors, _ = loader.load_file(str(path))
    assert errors == []
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for entry in entries:
        if isinstance(entry, Transaction):
            for posting in entry.postings:
                assert posting.units is not None
                sums[posting.units.currency, posting.account] += posting.units.number or Decimal(0)
    digits = {"EUR": 2, "JPY": 0}
    assert {key: amount for key, amount in sums.items() if amount} == {
        (row.currency, BEANCOUNT_ACCOUNTS[row.account]): Decimal(row.balance_minor).scaleb(
            -digits[row.currency]
        )
        for row in trial_balance(ledger, chosen=JournalFilter())
        if row.balance_minor
    }


@pytest.mark.requirement("REP-01")
def test_what_is_outstanding_is_the_balance_of_receivable_at_any_instant(ledger: Engine) -> None:
    some_books(ledger)
    now = outstanding(ledger, as_of=D("2026-04-30"))
    assert [(total.currency, total.open_minor, total.unapplied_minor) for total in now.totals] == [
        ("EUR", 5710, 1200),
        ("JPY", 700, 0),
    ]
    assert [(each.number, each.open_minor, each.overdue_days) for each in now.documents] == [
        ("INV-2026-000001", 5710, 58),
        ("INV-2026-000002", 700, 58),
    ]
    assert now.totals[0].overdue_minor == 5710
    paid = outstanding(ledger, as_of=D("2026-03-12"))
    assert [total.open_minor for total in paid.totals] == [6900]
    unknown = outstanding(ledger, as_of=D("2026-03-12"), known_at=at("2026-02-02"))
    assert [total.open_minor for total in unknown.totals] == [11900, 700]
    day = D("2026-01-15")
    while day < D("2026-04-15"):
        balances = {
            row.currency: row.balance_minor
            for row in trial_balance(ledger, chosen=JournalFilter(on=day))
            if row.account == "receivable"
        }
        totals = {each.currency: each.open_minor for each in outstanding(ledger, as_of=day).totals}
        assert {key: minor for key, minor in totals.items() if minor} == {
            key: minor for key, minor in balances.items() if minor
        }
        day += timedelta(days=2)


@pytest.mark.requirement("REP-11")
def test_invoice_lines_as_columns(world: World) -> None:
    world.plan(MONTHLY_FEE, CALLS)
    world.contract()
    world.events(("call", "c1-subject", "2025-01-20", "150"))
    world.bill("2025-02-15")
    lines = pa.concat_tables(list(invoice_line_tables(world.ledger)))
    assert lines.schema == INVOICE_LINE_SCHEMA
    wanted = [
        (stored.summary.number, line.line_id, line.quantity, line.amount_minor)
        for stored in world.invoices()
        for line in stored.invoice.lines
    ]
    columns = ("number", "line_id", "quantity", "amount_minor")
    assert [tuple(row[name] for name in columns) for row in lines.to_pylist()] == wanted
    assert not list(invoice_line_tables(world.ledger, issued_to=D("2025-02-15")))[1:]
    assert sum(len(each) for each in invoice_line_tables(world.ledger, issued_from=D("2030-01-01"))) == 0
