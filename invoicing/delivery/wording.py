"""What letters and pages are worded with: the sentences of a language, and the facts that fill them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from babel import Locale
from babel.dates import format_date
from babel.numbers import format_currency
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from invoicing.delivery.documents import CREDIT_NOTE, Document

SHIPPED: Final = Path(__file__).parent.parent / "templates" / "email"
LANGUAGES: Final = ("en", "de", "fr")


@dataclass(frozen=True, slots=True)
class Letter:
    """What a message is about. purpose: whose words; language: of the customer, like ``de`` or ``de-AT``.
    trouble: state, reason and recipient of the delivery an alert is about. waiting: the drafts that a
    reviewer is told of, each by its name and what is to be known of it."""

    purpose: str
    language: str
    customer_name: str
    sender_name: str
    sender_address: str
    link: str
    document: Document | None = None
    confirm_wanted: bool = False
    trouble: tuple[str, str, str] = ("", "", "")
    waiting: tuple[tuple[str, str], ...] = ()


def money_words(amount_minor: int, currency: str, digits: int, language: str) -> str:
    """``1.234,50 EUR`` or ``€1,234.50``: as people of that language write it."""
    amount = Decimal(amount_minor).scaleb(-digits)
    locale = Locale.parse(language.replace("-", "_"))
    return str(format_currency(amount, currency, locale=locale)).replace("\u00a0", " ").replace("\u202f", " ")


def day_words(day: date | None, language: str) -> str:
    """``3. März 2013``."""
    locale = Locale.parse(language.replace("-", "_"))
    return "" if day is None else str(format_date(day, "long", locale=locale))


def language_of(wanted: str) -> str:
    """The language written in; English for one there are no words in."""
    return wanted if wanted[:2] in LANGUAGES and Locale.parse(wanted, sep="-") else "en"


def said_of(words: Mapping[str, Any], name: str, document: Document | None) -> Any:
    """The words of that name, those for credit notes where the document is one, and those for a bill below
    zero, which takes no invoice back, where it is one."""
    if document is None or document.kind != CREDIT_NOTE:
        return words[name]
    of_credit_note = words.get(f"{name}_credit_note", words[name])
    return of_credit_note if document.credits_number else words.get(f"{name}_owed", of_credit_note)


def terms_of(letter: Letter, sentences: Mapping[str, str]) -> list[str]:
    """The sentences that the document has something for: due, methods, account, consequence of lateness."""
    document = letter.document
    if document is None or document.kind == CREDIT_NOTE:  # there is nothing to pay
        return []
    has = {
        "due": document.due_date is not None and document.due_minor > 0,
        "methods": bool(document.terms.get("payment_methods")),
        "account": bool(document.seller.get("bank_account")),
        "late": bool(document.terms.get("late_payment")),
    }
    return [sentences[name] for name, there in has.items() if there]


def facts_of(letter: Letter, language: str, words: Mapping[str, Any]) -> dict[str, str]:
    """Every name a sentence may use, as text."""
    facts = {
        "language": language,
        "customer_name": letter.customer_name,
        "sender_name": letter.sender_name,
        "sender_address": letter.sender_address,
        "trouble_state": letter.trouble[0],
        "trouble_reason": letter.trouble[1],
        "trouble_recipient": letter.trouble[2],
        "waiting_count": str(len(letter.waiting)),
    }
    document = letter.document
    if document is None:
        return facts
    methods = [words["methods"].get(one, one) for one in document.terms.get("payment_methods", ())]
    return facts | {
        "number": document.number,
        "issue_date": day_words(document.issue_date, language),
        "due_date": day_words(document.due_date, language),
        "credits_number": document.credits_number,
        "amount_credited": money_words(-document.gross_minor, document.currency, document.digits, language),
        "amount_due": money_words(document.due_minor, document.currency, document.digits, language),
        "purchase_order": str(document.terms.get("purchase_order", "")),
        "payment_days": str(document.terms.get("payment_days", "")),
        "payment_methods": f" {words['or']} ".join(methods),
        "bank_account": str(document.seller.get("bank_account", "")),
        "late_payment": str(document.terms.get("late_payment", "")),
    }


def sandbox(*, escape: bool = False) -> SandboxedEnvironment:
    """Jinja in which a template reaches nothing but its names, and an unknown name is an error."""
    return SandboxedEnvironment(
        undefined=StrictUndefined, autoescape=escape, trim_blocks=True, lstrip_blocks=True
    )


def source_of(own: Path | None, name: str) -> str:
    """The text of a template: that in the folder ``own`` if there is one, else the shipped one."""
    if own is not None and (own / name).is_file():
        return (own / name).read_text(encoding="utf-8")
    return _shipped(name)


def words_of(own: Path | None, language: str) -> Mapping[str, Any]:
    """All sentences of a language; of an own file, those it has, the shipped ones for the rest."""
    name = f"words.{language[:2]}.yaml"
    return {**yaml.safe_load(_shipped(name)), **yaml.safe_load(source_of(own, name))}


@cache
def _shipped(name: str) -> str:
    return (SHIPPED / name).read_text(encoding="utf-8")
