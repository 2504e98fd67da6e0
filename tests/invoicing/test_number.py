"""Numbers: gap-free, in order, one at a time even with many drawers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import Engine

from ingest.errors import BrokenState, Conflict, InvalidDocument, InvalidInput
from ingest.ledger import ledger_transaction
from invoicing.billing_entity import BillingEntity, save_entity
from invoicing.bulk import insert_rows
from invoicing.number import check_series, draw_for, draw_numbers, number_text, series_of, split_number
from invoicing.tables import ISSUED_DOCUMENTS

NOW = datetime(2025, 1, 1, tzinfo=UTC)
ISSUED_AT = "2025-01-01T00:00:00+00:00"


def test_numbers_are_drawn_in_blocks_from_one(any_ledger: Engine) -> None:
    with ledger_transaction(any_ledger) as connection:
        assert draw_numbers(connection, series="INV-2025", count=3) == 1
        assert draw_numbers(connection, series="INV-2025", count=2) == 4
        assert draw_numbers(connection, series="INV-2026", count=1) == 1
    with ledger_transaction(any_ledger) as connection:
        assert draw_numbers(connection, series="INV-2025", count=1) == 6


def test_a_rolled_back_draw_leaves_no_gap(any_ledger: Engine) -> None:
    def dies() -> None:
        with ledger_transaction(any_ledger) as connection:
            draw_numbers(connection, series="INV-2025", count=100)
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        dies()
    with ledger_transaction(any_ledger) as connection:
        assert draw_numbers(connection, series="INV-2025", count=1) == 1


def test_many_drawers_share_a_series_without_gap_or_double(any_ledger: Engine) -> None:
    def draw(count: int) -> range:
        with ledger_transaction(any_ledger) as connection:
            first = draw_numbers(connection, series="INV-2025", count=count)
        return range(first, first + count)

    with ThreadPoolExecutor(4) as pool:
        drawn = [number for block in pool.map(draw, [1, 5, 2, 9, 3, 1, 7, 4] * 3) for number in block]
    assert sorted(drawn) == list(range(1, 97))


def test_nothing_is_drawn_for_nothing(any_ledger: Engine) -> None:
    with pytest.raises(BrokenState, match="at least 1"), ledger_transaction(any_ledger) as connection:
        draw_numbers(connection, series="INV-2025", count=0)


def test_printed_numbers_read_back() -> None:
    series = series_of(prefix="INV", issue_date=date(2013, 12, 31))
    assert number_text(series=series, number=1) == "INV-2013-000001"
    assert split_number("INV-2013-000001") == ("INV-2013", 1)
    assert split_number("INV-2013-1234567") == ("INV-2013", 1234567)
    assert split_number("5424c639410bad637a9a3f3c1e0c710b") is None
    assert split_number("acme-123") is None


@pytest.mark.parametrize(
    ("numbers", "drawn", "broken"),
    [([1, 2, 3], 3, False), ([1, 3], 3, True), ([2, 3], 3, True), ([1, 2], 3, True)],
)
def test_the_series_check_finds_gaps(
    any_ledger: Engine, numbers: list[int], drawn: int, broken: bool
) -> None:
    day, rest = "2025-01-01", (1, 0, 0, None, "0" * 64, "0" * 64, ISSUED_AT)
    rows = [
        (f"i{n}", "invoice", None, "INV-2025", n, "acme", f"c{n}", "EUR", day, day, *rest) for n in numbers
    ]
    with ledger_transaction(any_ledger) as connection:
        draw_numbers(connection, series="INV-2025", count=drawn)
        insert_rows(connection, ISSUED_DOCUMENTS, rows)
        if broken:
            with pytest.raises(BrokenState, match="numbers are missing"):
                check_series(connection)
        else:
            assert [check.count for check in check_series(connection)] == [3]


@pytest.mark.requirement("TAX-06")
def test_dates_never_fall_within_a_prefix_also_over_the_turn_of_a_year(any_ledger: Engine) -> None:
    def issue(day: date, document_id: str) -> str:
        with ledger_transaction(any_ledger) as connection:
            drawn = draw_for(connection, prefix="CN", issue_date=day, count=1)
            rest = (day.isoformat(), None, -1, 0, 0, None, "0" * 64, "0" * 64, ISSUED_AT)
            row = (document_id, "credit_note", None, drawn.series, drawn.first, "acme", None, "EUR", *rest)
            insert_rows(connection, ISSUED_DOCUMENTS, [row])
        return drawn.text(0)

    assert issue(date(2025, 12, 30), "a") == "CN-2025-000001"
    assert issue(date(2026, 1, 2), "b") == "CN-2026-000001"
    for day in (date(2025, 12, 31), date(2026, 1, 1)):
        with pytest.raises(Conflict, match="up to 2026-01-02"):
            issue(day, "c")
    assert issue(date(2026, 1, 2), "c") == "CN-2026-000002"
    with ledger_transaction(any_ledger) as connection:
        assert draw_for(connection, prefix="INV", issue_date=date(2025, 1, 1), count=1).first == 1


def test_a_fiscal_year_begins_a_series_of_its_own(any_ledger: Engine) -> None:
    """31 March is still of the year before, 1 April begins the next; others go by the calendar."""
    kinds = ("invoice", "credit_note", "deposit", "progress", "final", "miscellaneous")
    series = {kind: f"UK{kind[0].upper()}{place}" for place, kind in enumerate(kinds)}
    entity = {"entity_id": "uk", "legal_name": "UK", "country": "GB", "fiscal_year_start_month": 4}
    with pytest.raises(InvalidDocument, match="a prefix of its own for every kind"):
        save_entity(any_ledger, {**entity, "series": {"invoice": "UKI0"}}, now=NOW)
    save_entity(any_ledger, {**entity, "series": series}, now=NOW)
    other = {"entity_id": "other", "legal_name": "Other", "country": "GB", "series": {"invoice": "UKI0"}}
    with pytest.raises(InvalidInput, match="whose year begins in month 4"):
        save_entity(any_ledger, other, now=NOW)
    drawn = []
    for prefix, day in (("UKI0", (2026, 3, 31)), ("UKI0", (2026, 4, 1)), ("INV", (2026, 3, 31))):
        with ledger_transaction(any_ledger) as connection:
            drawn.append(draw_for(connection, prefix=prefix, issue_date=date(*day), count=2).text(1))
    assert drawn == ["UKI0-2025-000002", "UKI0-2026-000002", "INV-2026-000002"]
    assert "fiscal_year_start_month" not in BillingEntity.model_validate({**other, "series": {}}).model_dump()
