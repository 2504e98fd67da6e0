"""Goal: by day, revenue is on the days it was earned; both bridges tie on each of them, and at the end of a
month nothing differs from the journal."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from invoicing.posting import DocumentLine, PostedDocument, document_entries
from invoicing.recognition import line_parts
from invoicing.revenue import RevenueQuestion, sums_of_days
from invoicing.revenue_by_day import day_moves_sql
from invoicing.revenue_days import RevenuePart, day_amounts, day_moves
from invoicing.revenue_part_read import parts_table
from invoicing.revenue_parts import accrued_part, document_parts, parts_of_row
from tests.invoicing.world import at

D = date.fromisoformat
JOURNAL = Path(__file__).parents[2] / "docs" / "journal.md"
SQL = re.compile(r"```sql\n(.*?)```", re.DOTALL)
A_DAY = timedelta(days=1)
FIRST, LAST = D("2025-12-20"), D("2026-05-10")
amounts = st.one_of(st.integers(-50, 50), st.integers(-(10**15), 10**15))


def a_document(lines: Iterable[tuple[Any, ...]], issue_date: date, *, note: bool = False) -> PostedDocument:
    made = [DocumentLine(str(place), *line) for place, line in enumerate(lines)]
    return PostedDocument(
        document_id="d",
        kind="credit_note" if note else "invoice",
        customer_id="acme",
        contract_id="c1",
        currency="EUR",
        issue_date=issue_date,
        net_minor=sum(line.amount_minor for line in made),
        tax_minor=0,
        credit_minor=0,
        lines=made,
    )


def rows_of(document: PostedDocument) -> dict[tuple[date, str], int]:
    """Revenue as the journal has it, by day and charge, above zero."""
    return {
        (entry.entry_date, line.charge_id): -line.amount_minor
        for entry in document_entries(document)
        for line in entry.lines
        if line.account == "revenue"
    }


def parts_of(document: PostedDocument) -> list[RevenuePart]:
    known = document_parts(document, {})
    return [
        RevenuePart(part.first_day, day, document.issue_date, part.amount_minor, part.through_minor)
        for (day, charge_id), amount in rows_of(document).items()
        for part in parts_of_row(day, amount, known[day, charge_id])
    ]


def by_day(document: PostedDocument) -> dict[date, dict[str, int]]:
    """What each account changes by: the journal as posted, and what is moved. A debit above zero."""
    found: dict[date, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for entry in document_entries(document):
        for line in entry.lines:
            found[entry.entry_date][line.account] += line.amount_minor
    for part in parts_of(document):
        for day, account, amount in day_moves(part):
            assert (day.year, day.month) == (part.last_day.year, part.last_day.month)
            found[day][account] += amount
    return found


@pytest.mark.requirement("REP-04")
def test_days_as_a_clerk_reads_them() -> None:
    """A fee of 10.00 for 28 January to 6 February, billed on 30 January; calls of January at 3.10."""
    fee = ("fee", "recurring", D("2026-01-28"), D("2026-02-07"), 1000)
    calls = ("calls", "usage", D("2026-01-29"), D("2026-02-01"), 310)
    days = by_day(a_document([fee, calls], D("2026-01-30")))
    shown, unbilled, deferred = [], 0, 0
    for day in sorted(days):
        unbilled += days[day]["unbilled"]
        deferred -= days[day]["deferred"]
        sums = (-days[day]["revenue"], days[day]["receivable"], unbilled, deferred)
        shown.append(f"{day:%d %b}  " + "  ".join(f"{Decimal(amount).scaleb(-2):5.2f}" for amount in sums))
    #       recognised billed unbilled deferred
    assert shown == [
        "28 Jan   1.00   0.00   1.00   0.00",
        "29 Jan   2.03   0.00   3.03   0.00",
        "30 Jan   2.04  13.10   0.00   8.03",
        "31 Jan   2.03   0.00   0.00   6.00",
        "01 Feb   1.00   0.00   0.00   5.00",
        "02 Feb   1.00   0.00   0.00   4.00",
        "03 Feb   1.00   0.00   0.00   3.00",
        "04 Feb   1.00   0.00   0.00   2.00",
        "05 Feb   1.00   0.00   0.00   1.00",
        "06 Feb   1.00   0.00   0.00   0.00",
    ]


kinds = st.sampled_from(["usage", "recurring", "licence", "one_time", "minimum_spend", "adjustment"])
days = st.integers(0, (LAST - FIRST).days - 45).map(lambda number: FIRST + timedelta(days=number))


@st.composite
def lines(draw: st.DrawFn) -> tuple[Any, ...]:
    start = draw(days)
    end = start + timedelta(days=draw(st.sampled_from([1, 5, 31, 45])))
    return draw(st.sampled_from(["fee", "calls"])), draw(kinds), start, end, draw(amounts)


@given(st.lists(lines(), max_size=4), days, st.booleans())
@settings(max_examples=150)
def test_the_books_tie_on_every_day(made: list[tuple[Any, ...]], issue_date: date, note: bool) -> None:
    """Before its day a document is unbilled as far as it is recognised, from then on deferred as far as it is
    not; at the end of a month every account is what the journal says."""
    document = a_document(made, issue_date, note=note)
    days = by_day(document)
    posted = document_entries(document)
    total = sum(rows_of(document).values())
    sums: dict[str, int] = defaultdict(int)
    day = FIRST
    while day <= LAST:
        for account, amount in days.get(day, {}).items():
            sums[account] += amount
        recognised = -sums["revenue"]
        issued = day >= issue_date
        assert sums["unbilled"] == (0 if issued else recognised)
        assert -sums["deferred"] == (total - recognised if issued else 0)
        assert sums["receivable"] == (total if issued else 0)
        assert not (note and recognised and not issued)
        if (day + A_DAY).day == 1:
            for account in ("revenue", "unbilled", "deferred"):
                assert sums[account] == sum(
                    line.amount_minor
                    for entry in posted
                    for line in entry.lines
                    if entry.entry_date <= day and line.account == account
                )
        day += A_DAY


def plainly(first: date, last: date, amount: int) -> list[tuple[date, int]]:
    """Each running total as a fraction, rounded by hand."""
    number, found, before = (last - first).days + 1, [], 0
    for place in range(number):
        exact = Fraction(amount * (place + 1), number)
        through = int(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
        found.append((first + timedelta(days=place), through - before))
        before = through
    return found


@given(st.lists(lines(), max_size=4), days)
@settings(max_examples=100)
def test_a_row_is_straight_line_from_the_first_day_of_service_in_its_month(
    made: list[tuple[Any, ...]], issue_date: date
) -> None:
    """Of each charge, lines that begin and end alike go together, rounded once a day."""
    wanted: dict[tuple[str, date], int] = defaultdict(int)
    together: dict[tuple[str, date, date], int] = defaultdict(int)
    for charge_id, kind, start, end, amount in made:
        for last, part in line_parts(kind, start, end, amount, None):
            on_one_day = kind in ("one_time", "minimum_spend")
            first = last if on_one_day else max(start, last.replace(day=1))
            together[charge_id, first, last] += part
    for (charge_id, first, last), amount in together.items():
        for day, part in plainly(first, last, amount):
            wanted[charge_id, day] += part
    document = a_document(made, issue_date)
    known = document_parts(document, {})
    found: dict[tuple[str, date], int] = defaultdict(int)
    for (last, charge_id), amount in rows_of(document).items():
        parts = parts_of_row(last, amount, known[last, charge_id])
        found[charge_id, last] += amount - sum(part.amount_minor for part in parts)  # of one day
        for one in parts:
            for day, piece in day_amounts(RevenuePart(one.first_day, last, last, one.amount_minor)):
                found[charge_id, day] += piece
    posted = {(charge_id, last) for last, charge_id in rows_of(document)}
    # A row whose lines take each other's place is not posted, and nothing of it is spread.
    kept = {key for key in together if (key[0], key[2]) not in posted}
    for charge_id, first, last in kept:
        for day, part in plainly(first, last, together[charge_id, first, last]):
            wanted[charge_id, day] -= part
    assert {key: part for key, part in found.items() if part} == {
        key: part for key, part in wanted.items() if part
    }


@given(st.lists(amounts, min_size=1, max_size=5), st.integers(1, 30))
def test_what_takes_accruals_back_leaves_nothing_on_any_day(steps: list[int], days: int) -> None:
    """Of entries of the same days, all together are straight line at every step."""
    first, before = D("2026-01-01"), 0
    last = first + timedelta(days=days)
    sums = [0] * (days + 1)
    for amount in [*steps, -sum(steps)]:
        part = accrued_part(first, last, before, amount)
        found = day_amounts(RevenuePart(first, last, last + A_DAY, amount, part.through_minor))
        sums = [one + other for one, (_, other) in zip(sums, found, strict=True)]
        before += amount
        assert sums == [piece for _, piece in plainly(first, last, before)]
    assert not any(sums)


def test_a_row_that_documents_do_not_come_to_any_more_is_straight_line() -> None:
    first, last = D("2026-01-10"), D("2026-01-31")
    known = {(first, False): [30, *([0] * 20), 70], (last, True): [5]}
    assert [part[:2] for part in parts_of_row(last, 105, known)] == [(first, 100)]
    assert parts_of_row(last, 55, known) == [(first, 55, ())]
    assert parts_of_row(last, 55, {}) == []


@pytest.mark.embedded_store
def test_the_event_store_moves_what_the_plain_rule_moves(event_store: EventStore) -> None:
    """Parts billed before, in and after their days, above and below zero, by usage and straight line."""
    rows, first = [], D("2026-02-03")
    for number in range(200):
        last = first + timedelta(days=number % 25)
        billed_on = first + timedelta(days=(number * 7) % 40 - 8)
        amount = (number - 90) * 1_000_003 ** (number % 3)
        through: tuple[int, ...] = ()
        if number % 4 == 0:
            through = tuple(amount * (place + 1) ** 2 // 3 for place in range((last - first).days))
            through += (amount,)
        place = (number + 1, 1, first, last, billed_on, at("2026-03-01"))
        rows.append((*place, f"c{number % 3}", "c1", "fee", "EUR", amount, through))
    parts = parts_table(rows)
    event_store.insert("revenue_parts", parts)
    moved = event_store.query(
        "SELECT toString(period) AS day, key, sum(revenue) AS revenue, sum(unbilled) AS unbilled, "
        f"sum(deferred) AS deferred FROM ({day_moves_sql('customer_id', 'position > 0')}) GROUP BY day, key"
    ).to_pylist()
    found = {
        (row["day"], row["key"], account): sign * row[account]
        for row in moved
        for account, sign in (("revenue", -1), ("unbilled", 1), ("deferred", -1))
        if row[account]
    }
    days: dict[str, int] = defaultdict(int)
    for row in parts.to_pylist():
        part = RevenuePart(
            row["first_day"], row["last_day"], first, row["amount_minor"], row["through_minor"]
        )
        for day, amount in day_amounts(part):
            days[day.isoformat()] += amount
    (documented,) = (
        one for one in SQL.findall(JOURNAL.read_text(encoding="utf-8")) if "revenue_parts" in one
    )
    answer = event_store.query(
        f"SELECT toString(day) AS day, recognised_minor FROM ({documented})"
    ).to_pylist()
    assert {row["day"]: row["recognised_minor"] for row in answer} == days
    question = RevenueQuestion("day", "customer", D("2027-01-01"))
    wanted = {(one.period, one.key, one.account): one.amount_minor for one in sums_of_days(parts, question)}
    assert found == {key: amount for key, amount in wanted.items() if amount}
    assert len(found) > 100
