"""Goal: recognised, billed and collected tie to the documents, with both bridges, from either store."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import product
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Engine

from benchmarks.postings import part_tables, posting_tables
from ingest.clickhouse import EventStore
from ingest.errors import BrokenState
from invoicing.journal_mirror import POSTINGS_SCHEMA, JournalMirror
from invoicing.revenue import (
    REVENUE_SCHEMA,
    By,
    Group,
    PostingSum,
    RevenueQuestion,
    revenue_report,
    sums_from_ledger,
    sums_from_mirror,
    sums_of_days,
)
from invoicing.revenue_answer import answer_revenue
from invoicing.revenue_by_day import days_from_mirror
from invoicing.revenue_columns import revenue_from_mirror
from invoicing.revenue_part_read import read_parts, straight_line
from tests.invoicing.books import Books, D
from tests.invoicing.world import at

FAR = date(2027, 1, 1)


def table(rows: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in columns) for row in rows.to_pylist()]


def whole(mirror: JournalMirror, question: RevenueQuestion) -> pa.Table:
    return pa.concat_tables([REVENUE_SCHEMA.empty_table(), *answer_revenue(mirror, question)])


def busy(ledger: Engine) -> Books:
    """January's usage billed on 1 February, a fee in advance, a credit note, money in March."""
    books = Books(ledger, at("2026-02-01"))
    first = books.issue(10000, 1900)
    books.issue(5900, issued="2026-02-01", service=("2026-02-01", "2026-04-01"), customer="other")
    books.now = at("2026-03-10")
    books.pay("59.50", first, on="2026-03-10")
    with ledger.connect() as connection:
        from invoicing.open_documents import find_document

        credited = find_document(connection, first)
    books.issue(-1000, -190, issued="2026-03-15", refers_to=credited)
    return books


@pytest.mark.requirement("REP-04")
def test_three_series_by_month_with_what_lies_between(any_ledger: Engine, event_store: EventStore) -> None:
    books = busy(any_ledger)
    mirror = JournalMirror(any_ledger, event_store)
    rows = whole(mirror, RevenueQuestion("month", "customer", FAR))
    assert table(rows, "period", "key", "recognised_minor", "billed_minor", "collected_minor") == [
        ("2026-01", "acme", 10000, 0, 0),
        ("2026-02", "acme", 0, 10000, 0),
        ("2026-03", "acme", -1000, -1000, 5950),
        ("2026-02", "other", 2800, 5900, 0),
        ("2026-03", "other", 3100, 0, 0),
    ]
    assert table(rows, "unbilled_minor", "deferred_minor", "receivable_minor", "collected_net_minor") == [
        (10000, 0, 0, 0),
        (0, 0, 11900, 0),
        (0, 0, 4760, 5000),
        (0, 3100, 5900, 0),
        (0, 0, 5900, 0),
    ]
    by_product = whole(mirror, RevenueQuestion("month", "product", FAR))
    assert table(by_product, "period", "key", "recognised_minor", "billed_minor", "collected_minor") == [
        ("2026-01", "calls", 10000, 0, None),
        ("2026-02", "calls", 2800, 15900, None),
        ("2026-03", "calls", 2100, -1000, None),
    ]
    _both_stores_agree(mirror, books)
    check = mirror.check()
    assert (check.ties, check.waiting_entries) == (True, 0)
    assert check.ledger_lines > 10


def _both_stores_agree(mirror: JournalMirror, books: Books) -> None:
    """Every way of asking, from the fast store and from the ledger."""
    ways: tuple[By, ...] = ("day", "month")
    groups: tuple[Group, ...] = ("customer", "contract", "product", "currency")
    known = (None, at("2026-02-02"))
    later = RevenueQuestion("month", "customer", FAR, date_from=D("2026-03-01"))
    plain = revenue_report(later, sums_from_mirror(mirror.event_store, later))
    assert revenue_from_mirror(mirror.event_store, later).equals(plain)
    for by, group, known_at, as_of in product(ways, groups, known, (FAR, D("2026-02-15"))):
        customer = "acme" if by == "day" else None
        question = RevenueQuestion(by, group, as_of, known_at=known_at, customer_id=customer)
        with books.ledger.connect() as connection:
            sums = sums_from_ledger(connection, question)
            parts = read_parts(connection, 0, 10**6, straight_line)
        if by == "day":
            slow = revenue_report(question, [*sums, *sums_of_days(parts, question)])
        else:
            slow = revenue_report(question, sums)
            copied = revenue_report(question, sums_from_mirror(mirror.event_store, question))
            assert copied.equals(slow), question
            assert revenue_from_mirror(mirror.event_store, question).equals(slow), question
        assert whole(mirror, question).equals(slow), question


def test_the_copy_goes_on_where_it_stopped(ledger: Engine, event_store: EventStore) -> None:
    books = Books(ledger, at("2026-02-01"))
    mirror = JournalMirror(ledger, event_store)
    books.issue(100)
    assert mirror.catch_up()
    lines = mirror.check().mirror_lines
    books.now += timedelta(days=1)
    books.issue(200)
    assert mirror.check().waiting_entries == 2
    assert mirror.check().ties
    assert mirror.catch_up()
    assert mirror.catch_up()
    assert mirror.check().mirror_lines == 2 * lines
    event_store.delete("journal_postings", "account = 'revenue'", key="account")
    assert not mirror.check().ties


def test_whole_columns_answer_what_the_plain_report_does(event_store: EventStore) -> None:
    """A year of documents, then an amount of the largest size, then a line that ties with nothing."""
    for month in posting_tables(customers=9):
        event_store.insert("journal_postings", month)
    ways: tuple[By, ...] = ("day", "month")
    groups: tuple[Group, ...] = ("customer", "contract", "product", "currency")
    questions = [RevenueQuestion(by, group, FAR) for by, group in product(ways, groups)]
    for month in part_tables(customers=9):
        event_store.insert("revenue_parts", month)
    inside = [
        RevenueQuestion("day", "customer", D("2026-03-17"), date_from=D("2026-02-11")),
        RevenueQuestion("day", "product", FAR, date_from=D("2026-03-01")),
    ]
    for question in [*questions, *inside]:
        plain = plainly(event_store, question)
        assert plain.num_rows > 5
        assert columnwise(event_store, question).equals(plain), question
    line = next(posting_tables(customers=1)).slice(0, 1).to_pylist()[0] | {"entry_number": 10**6}
    large = {"account": "unbilled", "amount_minor": 2**62}, {"account": "revenue", "amount_minor": -(2**62)}
    rows = [line | each | {"position": place} for place, each in enumerate(large, 1)]
    event_store.insert("journal_postings", pa.Table.from_pylist(rows, schema=POSTINGS_SCHEMA))
    for question in questions[0], questions[-1]:
        assert columnwise(event_store, question).equals(plainly(event_store, question))
    alone = line | {"account": "revenue", "amount_minor": 5, "position": 3}
    event_store.insert("journal_postings", pa.Table.from_pylist([alone], schema=POSTINGS_SCHEMA))
    for question in questions[0], questions[4]:
        with pytest.raises(BrokenState, match="not what waits between"):
            columnwise(event_store, question)


def plainly(event_store: EventStore, question: RevenueQuestion) -> pa.Table:
    sums = sums_from_mirror(event_store, question)
    if question.by == "day":
        parts = event_store.query("SELECT * FROM revenue_parts WHERE position > 0")
        sums += sums_of_days(parts, question)
    return revenue_report(question, sums)


def columnwise(event_store: EventStore, question: RevenueQuestion) -> pa.Table:
    if question.by == "month":
        return revenue_from_mirror(event_store, question)
    tables = days_from_mirror(event_store, question, 10**9)
    return pa.concat_tables([REVENUE_SCHEMA.empty_table(), *tables])


def test_a_row_that_does_not_tie_is_never_shown() -> None:
    sums = [PostingSum("2026-01", "a", "EUR", "revenue", "", "other", -5)]
    with pytest.raises(BrokenState, match="not what waits between"):
        revenue_report(RevenueQuestion("month", "customer", FAR), sums)
