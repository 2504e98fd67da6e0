"""The words, dates and numbers on a printed document, in the reader's language.

One table a language in ``languages/``: all have the same names. Names of months and countries and the marks
in numbers are those of CLDR (babel). Grouping and rounding never differ between languages, only the marks.

Names, descriptions and texts that people wrote are printed as written. Prices in words are kept in English
with the invoice; the usual forms are said in the reader's language, all others stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import yaml
from babel import Locale
from babel.dates import format_date
from babel.numbers import get_decimal_symbol, get_group_symbol

from ingest.document import plain
from rating.money import exact_money, grouped_words
from rating.proration import PERIOD_DAYS_MAX

LANGUAGES: Final = ("en", "de", "fr", "nl", "es")
"""Those there is a table for; any other language is printed in the first."""
_FOLDER: Final = Path(__file__).parent / "languages"
_NUMBER: Final = r"\d+(?:\.\d+)?"
_PRICES: Final = (
    (re.compile(f"flat (?P<price>{_NUMBER})"), "price_flat"),
    (
        re.compile(f"(?P<price>{_NUMBER}) per started package of (?P<size>{_NUMBER}) (?P<unit>.*)"),
        "price_started_package",
    ),
    (
        re.compile(f"(?P<price>{_NUMBER}) per full package of (?P<size>{_NUMBER}) (?P<unit>.*)"),
        "price_full_package",
    ),
    (re.compile(f"(?P<price>{_NUMBER}) per (?P<unit>.*)"), "price_per_unit"),
    (re.compile("each unit at the price of its tier"), "price_graduated"),
    (re.compile("each part at the percentage of its tier"), "price_graduated_percentage"),
    (re.compile("all units at the price of the tier reached"), "price_volume"),
    (re.compile("all units at the price of the tier the highest level reached"), "price_capacity"),
    (re.compile("one amount for the tier reached"), "price_stairstep"),
    (re.compile(f"(?P<price>{_NUMBER}) %"), "price_percent"),
    (re.compile(f"(?P<price>{_NUMBER}) off the invoice"), "discount_amount"),
    (re.compile(f"(?P<price>{_NUMBER}) units off"), "discount_units"),
    (re.compile(f"at most (?P<price>{_NUMBER}) a period"), "maximum_spend"),
)
_METHODS: Final = {
    "bank transfer": "bank_transfer",
    "direct debit": "direct_debit",
    "card": "card",
    "credit card": "card",
    "cheque": "cheque",
    "check": "cheque",
}


@dataclass(frozen=True, slots=True)
class Words:
    """One language. table: its words by name. marks: how ``,`` and ``.`` of English numbers are
    written, where it differs."""

    language: str
    table: Mapping[str, str]
    locale: Locale
    marks: Mapping[int, str]

    def __call__(self, name: str, /, **filled: Any) -> str:
        """The word or sentence of that name, its places filled in."""
        return self.table[name].format(**filled) if filled else self.table[name]

    def number(self, number: Decimal) -> str:
        """``1,234.5``: grouped, without trailing zeros."""
        return self._marked(f"{plain(number):,f}")

    def money(self, amount_minor: int, digits: int) -> str:
        """Minor units in the currency's digits, grouped."""
        return self._marked(f"{Decimal(amount_minor).scaleb(-digits):,.{digits}f}")

    def exact(self, amount: Decimal, digits: int) -> str:
        """All digits of a price or an exact amount, at least ``digits`` of them, grouped."""
        return self._marked(exact_money(amount, digits=digits, grouped=True))

    def day(self, day: date) -> str:
        """``15 February 2026``."""
        return _date(day, self.table["date_long"], self.language)

    def short_day(self, day: date) -> str:
        """``15 Feb 2026``."""
        return _date(day, self.table["date_short"], self.language)

    def period(self, start: date, end: date) -> str:
        """First and last day of a half-open period, both covered, as people write it."""
        last = end - timedelta(days=1)
        if start >= last:
            return self.short_day(start)
        pattern = "date_short" if start.year != last.year else "date_without_year"
        first = _date(start, self.table[pattern], self.language)
        return f"{first} \N{EN DASH} {self.short_day(last)}"

    def part(self, part: int, whole: int) -> str:
        """``14 of 31 days``, or seconds where so many days no period has."""
        name = "seconds_of" if whole > PERIOD_DAYS_MAX else "days_of"
        part_text, whole_text = (self._marked(f"{number:,}") for number in (part, whole))
        return self(name, part=part_text, whole=whole_text)

    def country(self, code: str) -> str:
        """The name of a country, its code where CLDR knows none."""
        return str(self.locale.territories.get(code, code))

    def method(self, method: str) -> str:
        """A usual way of payment, any other as it was written."""
        name = _METHODS.get(method.strip().lower())
        return method if name is None else self(name)

    def price(self, text: str) -> str:
        """A price or what a discount takes off in words, as invoices keep them in English."""
        if self.language == "en":
            return grouped_words(text)
        for form, name in _PRICES:
            found = form.fullmatch(text)
            if found is not None:
                parts = {
                    key: part if key == "unit" else self._marked(_grouped(part))
                    for key, part in found.groupdict().items()
                }
                return self(name, **parts)
        return text

    def _marked(self, text: str) -> str:
        return text.translate(self.marks) if self.marks else text


def words_of(language: str) -> Words:
    """The words of a language tag (``de``, ``de-AT``); English where there is no table."""
    found = language.partition("-")[0].lower()
    return _load(found if found in LANGUAGES else LANGUAGES[0])


@cache
def _load(language: str) -> Words:
    table = yaml.safe_load((_FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    locale = Locale(table["locale"])
    pairs = ((",", get_group_symbol(locale)), (".", get_decimal_symbol(locale)))
    marks = {ord(english): mark for english, mark in pairs if mark != english}
    return Words(language, table, locale, marks)


@lru_cache(maxsize=4096)
def _date(day: date, pattern: str, language: str) -> str:
    return str(format_date(day, format=pattern, locale=language))


def _grouped(number: str) -> str:
    whole, point, fraction = number.partition(".")
    return f"{int(whole):,}{point}{fraction}"
