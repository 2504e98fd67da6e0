"""Goal: a bank's CSV file is recorded once, whatever its columns are called, and its bad rows are named."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import Engine

from ingest.errors import InvalidInput, UnreadableBody
from invoicing.payment_file import FileReport, FileTerms, import_payments
from invoicing.payment_view import PaymentFilter, get_payment, list_payments
from tests.invoicing.books import Books
from tests.invoicing.world import at

GERMAN = FileTerms(
    {"amount": "Betrag", "value_date": "Valuta", "text": "Zweck"}, "EUR", ";", "%d.%m.%Y", decimal_comma=True
)
FILE = (
    "Valuta;Betrag;Zweck;Saldo\n"
    "10.02.2026;1.190,00;INV-2026-000001;1\n"
    "10.02.2026;5,00;Kaffee;2\n"
    "10.02.2026;5,00;Kaffee;3\n"
    "\n"
    "11.02.2026;-7,00;Gebühr;4\n"
    "2026-02-12;1,00;falsches Datum;5\n"
)


@pytest.fixture
def books(ledger: Engine) -> Books:
    return Books(ledger, at("2026-03-01"))


def take(books: Books, text: str = FILE, terms: FileTerms = GERMAN) -> FileReport:
    return import_payments(books.ledger, text.encode(), terms=terms, actor="anna", now=books.now)


def test_a_file_is_recorded_once(books: Books) -> None:
    books.issue(100000, 19000)
    first = take(books)
    assert (len(first.recorded), first.duplicates) == (3, 0)
    assert [(line, issue.reason_code) for line, issue in first.issues] == [
        (6, "payment_amount"),
        (7, "bad_date"),
    ]
    assert get_payment(books.ledger, first.recorded[0])["state"] == "applied"
    again = take(books)
    assert (again.recorded, again.duplicates) == ((), 3)
    later = FILE.replace("Saldo", "Rest") + "13.02.2026;5,00;Kaffee;9\n10.02.2026;5,00;Kaffee;9\n"
    assert [len(take(books, later).recorded), take(books, later).duplicates] == [2, 5]
    assert books.balances()["cash"] == 119000 + 4 * 500


def test_lists_show_what_is_left(books: Books) -> None:
    books.issue(100000, 19000)
    take(books)
    left = list_payments(books.ledger, chosen=PaymentFilter(only_unapplied=True), limit=10)
    assert [(each["unapplied_minor"], each["state"]) for each in left] == [(500, "unapplied")] * 2
    own = list_payments(books.ledger, chosen=PaymentFilter(customer_id="acme"), limit=10)
    assert [each["applied_minor"] for each in own] == [119000]
    after = (own[0]["value_date"], own[0]["payment_id"])
    assert len(list_payments(books.ledger, chosen=PaymentFilter(), limit=10, after=after)) == 2


def test_a_file_that_does_not_fit_its_mapping_is_refused(books: Books) -> None:
    with pytest.raises(InvalidInput, match="not amount, currency, value_date"):
        take(books, terms=FileTerms({}, None, ";"))
    with pytest.raises(InvalidInput, match="a payment has amount"):
        take(books, terms=FileTerms({"sum": "Betrag"}))
    with pytest.raises(UnreadableBody, match="not in UTF-8"):
        import_payments(books.ledger, "Gebühr".encode("latin-1"), terms=GERMAN, actor="a", now=books.now)
    assert books.balances() == {}


@pytest.mark.parametrize(
    ("written", "point", "comma"),
    [
        ("12.50", "12.50", None),
        ("12,50", None, "12.50"),
        ("1,234.56", "1234.56", None),
        ("1.234,56", None, "1234.56"),
        ("1.234.567", None, "1234567.0"),
        ("1'234.56", "1234.56", None),
        ("1\u202f234,56", None, "1234.56"),
        ("1,23,456.78", "123456.78", None),
        ("1,234,56", None, None),
        ("1,234'567.00", None, None),
        ("5,00-", None, None),
    ],
)
def test_an_amount_is_read_as_it_is_meant_or_named(
    books: Books, written: str, point: str | None, comma: str | None
) -> None:
    """A file with decimal commas that is read with points never brings a hundred times the money."""
    for is_comma, wanted in ((False, point), (True, comma)):
        terms = FileTerms({}, "EUR", ";", decimal_comma=is_comma)
        report = take(books, f"value_date;amount\n2026-02-10;{written}\n", terms)
        if wanted is None:
            assert [issue.reason_code for _, issue in report.issues] == ["bad_amount"]
        else:
            found = get_payment(books.ledger, report.recorded[0])
            assert found["amount_minor"] == int(Decimal(wanted).scaleb(2))


def test_a_row_that_does_not_fit_its_header_is_named_and_not_cut(books: Books) -> None:
    text = "Valuta;Betrag;Zweck\n10.02.2026;5,00;a;b\n10.02.2026;6,00\n10.02.2026;7,00;\n"
    report = take(books, text)
    assert [(line, issue.reason_code) for line, issue in report.issues] == [(2, "bad_row"), (3, "bad_row")]
    assert len(report.recorded) == 1
    with pytest.raises(InvalidInput, match="two columns called Betrag"):
        take(books, "Valuta;Betrag;Zweck;Betrag\n10.02.2026;5,00;a;6,00\n")


def test_a_mistyped_year_is_named(books: Books) -> None:
    text = "Valuta;Betrag;Zweck\n10.02.2062;5,00;a\n01.04.2026;6,00;a\n"
    report = take(books, text)
    assert [(line, issue.reason_code) for line, issue in report.issues] == [(2, "payment_date")]
    assert len(report.recorded) == 1
