"""Goal: every language says everything, and numbers mean the same in all of them."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import pytest

from invoicing.words import LANGUAGES, words_of


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_word_with_the_same_places(language: str) -> None:
    english, other = words_of("en").table, words_of(language).table
    assert list(other) == list(english)
    for name, text in english.items():
        assert isinstance(other[name], str), name
        assert other[name].strip(), name
        if not name.startswith("date_"):
            assert set(re.findall(r"{\w+}", other[name])) == set(re.findall(r"{\w+}", text)), name


@pytest.mark.parametrize(
    ("language", "number", "money", "long", "period", "country"),
    [
        ("en", "1,234.5", "-1,234.50", "5 March 2026", "1 Feb \N{EN DASH} 4 Mar 2026", "Germany"),
        ("de", "1.234,5", "-1.234,50", "5. März 2026", "01.02. \N{EN DASH} 04.03.2026", "Deutschland"),
        ("fr", "1\u202f234,5", "-1\u202f234,50", "5 mars 2026", "01/02 \N{EN DASH} 04/03/2026", "Allemagne"),
        ("nl", "1.234,5", "-1.234,50", "5 maart 2026", "01-02 \N{EN DASH} 04-03-2026", "Duitsland"),
        ("es", "1.234,5", "-1.234,50", "5 de marzo de 2026", "01/02 \N{EN DASH} 04/03/2026", "Alemania"),
    ],
)
def test_numbers_dates_and_countries(
    language: str, number: str, money: str, long: str, period: str, country: str
) -> None:
    w = words_of(language)
    assert w.number(Decimal("1234.50")) == number
    assert w.money(-123450, 2) == money
    assert w.day(date(2026, 3, 5)) == long
    assert w.period(date(2026, 2, 1), date(2026, 3, 5)) == period
    assert w.country("DE") == country
    assert w.exact(Decimal("0.0000012"), 2).replace(",", ".") == "0.0000012"


def test_prices_in_words_are_said_in_the_readers_language() -> None:
    w = words_of("de-AT")
    for text, said in (
        ("0.01 per call", "0,01 je call"),
        ("flat 1500.00", "pauschal 1.500,00"),
        ("5.00 per started package of 1000 call", "5,00 je angefangenem Paket von 1.000 call"),
        ("each unit at the price of its tier", "jede Einheit zum Preis ihrer Staffel"),
        ("12.5 %", "12,5 %"),
        ("1500.50 off the invoice", "1.500,50 Nachlass auf die Rechnung"),
        ("1000 units off", "1.000 Einheiten frei"),
        ("at most 500 a period", "höchstens 500 je Periode"),
        ("as the events say", "as the events say"),
    ):
        assert w.price(text) == said
    assert words_of("en").price("flat 1500.00") == "flat 1,500.00"
    assert words_of("sv") is words_of("en")
    assert w.method("Bank transfer") == "Überweisung"
    assert w.method("barter") == "barter"
