"""Goal: what is posted for a document sums to zero, and recognised less billed is what waits between."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import BrokenState
from invoicing.journal import JournalEntry, JournalLine, check_balanced
from invoicing.posting import CreditSold, CreditUse, DocumentLine, PostedDocument, document_entries
from invoicing.recognition import day_parts, month_parts, recognised_days

D = date.fromisoformat


def line(charge: str, kind: str, start: str, end: str, amount: int) -> DocumentLine:
    return DocumentLine(f"{charge}-line", charge, kind, D(start), D(end), amount)


def document(*lines: DocumentLine, issued: str, tax: int = 0, **more: object) -> PostedDocument:
    values: dict[str, object] = {
        "document_id": "d",
        "kind": "invoice",
        "customer_id": "acme",
        "contract_id": "c1",
        "currency": "EUR",
        "issue_date": D(issued),
        "net_minor": sum(each.amount_minor for each in lines),
        "tax_minor": tax,
        "credit_minor": 0,
        "lines": lines,
        **more,
    }
    return PostedDocument(**values)  # type: ignore[arg-type]


def shown(entries: list[JournalEntry]) -> list[str]:
    """``2026-01-31 recognition unbilled 100`` a line."""
    return [
        f"{entry.entry_date} {entry.kind} {each.account} {each.amount_minor}"
        for entry in entries
        for each in entry.lines
    ]


def test_usage_in_arrears_waits_in_unbilled() -> None:
    entries = document_entries(
        document(line("calls", "usage", "2026-01-01", "2026-02-01", 10000), issued="2026-02-01", tax=1900)
    )
    assert shown(entries) == [
        "2026-01-31 recognition unbilled 10000",
        "2026-01-31 recognition revenue -10000",
        "2026-02-01 invoice receivable 10000",
        "2026-02-01 invoice receivable 1900",
        "2026-02-01 invoice tax -1900",
        "2026-02-01 invoice unbilled -10000",
    ]


def test_a_fee_in_advance_is_deferred_and_recognised_by_month() -> None:
    entries = document_entries(
        document(line("fee", "recurring", "2026-01-15", "2026-03-15", 1000), issued="2026-01-15")
    )
    assert shown(entries) == [
        "2026-01-15 invoice receivable 1000",
        "2026-01-15 invoice deferred -1000",
        "2026-01-31 recognition deferred 288",
        "2026-01-31 recognition revenue -288",
        "2026-02-28 recognition deferred 475",
        "2026-02-28 recognition revenue -475",
        "2026-03-14 recognition deferred 237",
        "2026-03-14 recognition revenue -237",
    ]


def test_credit_sold_is_no_revenue_until_it_is_used_at_its_cost() -> None:
    """100.00 of credit sold for 80.00; a month of usage of 50.00 paid with it is revenue of 40.00."""
    sale = document_entries(
        document(
            line("top-up", "credit_top_up", "2026-01-01", "2026-01-02", 8000),
            issued="2026-01-01",
            sold={"top-up-line": CreditSold(8000, D("2026-01-01"))},
        )
    )
    assert shown(sale) == [
        "2026-01-01 invoice receivable 8000",
        "2026-01-01 invoice prepaid_credit -8000",
    ]
    use = document_entries(
        document(
            line("calls", "usage", "2026-01-01", "2026-02-01", 5000),
            issued="2026-02-01",
            credit_minor=5000,
            used=[CreditUse(5000, 4000, (("calls-line", 5000),))],
        )
    )
    assert shown(use) == [
        "2026-01-31 recognition unbilled 4000",
        "2026-01-31 recognition revenue -4000",
        "2026-02-01 invoice prepaid_credit 4000",
        "2026-02-01 invoice unbilled -4000",
    ]


def test_a_credit_note_takes_back_what_is_past_on_its_own_day() -> None:
    """A fee for January and February, credited whole on 10 February: January's part and what of February is
    past by then on the day itself, nothing in January."""
    entries = document_entries(
        document(
            line("fee", "recurring", "2026-01-01", "2026-03-01", -5900),
            issued="2026-02-10",
            kind="credit_note",
        )
    )
    assert shown(entries) == [
        "2026-02-10 credit_note receivable -5900",
        "2026-02-10 credit_note revenue 3100",
        "2026-02-10 credit_note deferred 2800",
        "2026-02-28 recognition deferred -2800",
        "2026-02-28 recognition revenue 2800",
    ]


def test_one_time_charges_and_minimums_have_one_day() -> None:
    start, end = D("2026-01-01"), D("2026-02-01")
    assert recognised_days("one_time", start, end) == (start, D("2026-01-02"))
    assert recognised_days("minimum_spend", start, end) == (D("2026-01-31"), end)
    assert recognised_days("usage", start, end) == (start, end)
    assert recognised_days("usage", start, start) == (start, D("2026-01-02"))


def test_an_entry_that_does_not_sum_to_zero_is_refused() -> None:
    lines = (JournalLine("cash", 5, "a", "", "EUR"), JournalLine("revenue", -5, "a", "", "USD"))
    with pytest.raises(BrokenState, match="not to zero"):
        check_balanced(JournalEntry("e", "payment", D("2026-01-01"), lines))


days = st.dates(date(2025, 11, 1), date(2026, 3, 31))
amounts = st.integers(-10_000, 10_000)


@given(start=days, length=st.integers(1, 800), amount=st.integers(-(10**14), 10**14))
@settings(max_examples=60)
def test_days_sum_to_months_and_months_to_the_line(start: date, length: int, amount: int) -> None:
    end = start + timedelta(days=length)
    months: dict[tuple[int, int], int] = defaultdict(int)
    for day, part in day_parts(start, end, amount):
        months[day.year, day.month] += part
        assert 2 * abs(part * length - amount) < 4 * length  # within one unit of its exact share
    by_month = month_parts(start, end, amount)
    assert {(day.year, day.month): part for day, part in by_month} == months
    assert sum(part for _, part in by_month) == amount


@st.composite
def documents(draw: st.DrawFn) -> PostedDocument:
    lines = []
    for number in range(draw(st.integers(1, 4))):
        start = draw(days)
        lines.append(
            DocumentLine(
                f"l{number}",
                draw(st.sampled_from(["calls", "fee"])),
                draw(st.sampled_from(["usage", "recurring", "one_time", "minimum_spend"])),
                start,
                start + timedelta(days=draw(st.integers(0, 70))),
                draw(amounts),
            )
        )
    drawn = [(each.line_id, each.amount_minor) for each in lines if each.amount_minor > 0]
    face = sum(amount for _, amount in drawn)
    used = (
        [CreditUse(face, draw(st.integers(0, face)), tuple(drawn))] if draw(st.booleans()) and drawn else []
    )
    kind = "invoice" if used else draw(st.sampled_from(["invoice", "credit_note"]))
    return document(
        *lines,
        issued=draw(days).isoformat(),
        tax=draw(amounts),
        kind=kind,
        used=used,
        credit_minor=sum(use.amount_minor for use in used),
    )


@given(posted=documents(), day=days)
@settings(max_examples=150)
def test_recognised_less_billed_is_what_waits_on_any_day(posted: PostedDocument, day: date) -> None:
    """Against sums made here, from the lines alone."""
    balances: dict[str, int] = defaultdict(int)
    for entry in document_entries(posted):
        check_balanced(entry)
        if entry.entry_date <= day:
            for each in entry.lines:
                balances[f"{each.account}{each.part}"] += each.amount_minor
    recognised, billed = -balances["revenue"], balances["receivablenet"]
    waiting = balances["unbilled"] + balances["deferred"] + balances["prepaid_credit"]
    assert recognised - billed == waiting
    issued = day >= posted.issue_date
    assert billed == (posted.net_minor - posted.credit_minor if issued else 0)
    assert balances["tax"] == (-posted.tax_minor if issued else 0)
    far = date(2027, 1, 1)
    whole = [each for entry in document_entries(posted) if entry.entry_date < far for each in entry.lines]
    discount = sum(use.amount_minor - use.cost_minor for use in posted.used)
    assert (
        -sum(each.amount_minor for each in whole if each.account == "revenue") == posted.net_minor - discount
    )
    by_charge: dict[str, int] = defaultdict(int)
    for entry in document_entries(posted):
        if entry.kind == posted.kind:
            for each in entry.lines:
                by_charge[each.charge_id] -= each.amount_minor
    by_charge.pop("", 0)
    drawn = {line_id: amount for use in posted.used for line_id, amount in use.lines}
    wanted: dict[str, int] = defaultdict(int)
    for of in posted.lines:
        wanted[of.charge_id] += of.amount_minor - drawn.get(of.line_id, 0)
    assert {key: value for key, value in by_charge.items() if value} == {
        key: value for key, value in wanted.items() if value
    }
