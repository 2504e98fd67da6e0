"""Which words a document can be found by, and what people type as the same words. Pure.

A word is a run of letters and digits, without case and accents: ``Überland`` and ``UBERLAND`` are one word,
``INV-2025-000001`` are three. Both databases get words in this form, so both find the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final

_WORD: Final = re.compile(r"[^\W_]+")
_MARKS: Final = re.compile("[\u0300-\u036f]+")
WORD_LENGTH_MAX: Final = 128
"""Longer runs are cut there, in documents and in what is asked."""

_SKIPPED: Final = frozenset(
    {
        "schema",
        "seller",  # the same on every document, so it finds nothing
        "tiers",
        "tax",
        "document_id",
        "invoice_id",
        "line_id",
        "credit_note_id",
        "price_model",
        "price_text",
        "price_source",
        "cadence",
        "time_zone",
        "locale",
        "language",
        "category",
        "type_code",
        "amount",
        "quantity",
        "rated_quantity",
        "percent",
        "country",
        "payment_methods",
        "late_payment",
        "billed_quantity",
        "billed_amount",
        "rated_amount",
        "credited_quantity",
    }
)
"""Members that say how a document was computed or printed, not what it is about."""
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


def words_of(text: str) -> list[str]:
    """The words of a text in order, each in the one form.

    >>> words_of("Überland-Fahrt, 2. Klasse")
    ['uberland', 'fahrt', '2', 'klasse']
    """
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFKD", text))
    return [word[:WORD_LENGTH_MAX] for word in _WORD.findall(text.casefold())]


def asked_words(text: str) -> list[tuple[str, bool]]:
    """What is searched for: words, and whether a word stands for all that begin so.

    >>> asked_words("Fracht Über*")
    [('fracht', False), ('uber', True)]
    """
    found = []
    for piece in text.split():
        words = words_of(piece)
        begins = piece.endswith("*")
        found += [(word, begins and place == len(words)) for place, word in enumerate(words, 1)]
    return found


def document_words(document: Mapping[str, Any]) -> list[str]:
    """Every word a document is found by, once, sorted: its number, customer, contract, references and notes,
    and of its lines what they are for. document: the canonical content, parsed. Dates are left out: they are
    asked for as such."""
    texts = {text for text in _texts(document) if not _DATE.fullmatch(text)}
    return sorted(set(words_of("\n".join(texts))))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, member in value.items():
            if name not in _SKIPPED:
                yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)
