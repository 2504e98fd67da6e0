"""The words of an e-mail: subject, plain text and HTML, in the customer's language.

Wording is YAML, layout two templates, both of ``invoicing/templates/email``; a folder of one's own goes
before them file by file. They run in Jinja's sandbox, and a name nobody knows is an error. An error in
somebody's own wording is shown by the preview; a message then takes the shipped one, so no customer gets half
a letter.
"""

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
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from ingest.errors import InvalidInput
from invoicing.delivery.documents import Document

SHIPPED: Final = Path(__file__).parent.parent / "templates" / "email"
LANGUAGES: Final = ("en", "de", "fr")


@dataclass(frozen=True, slots=True)
class Letter:
    """What a message is about. purpose: whose words; language: of the customer, like ``de`` or ``de-AT``.
    trouble: state, reason and recipient of the delivery an alert is about."""

    purpose: str
    language: str
    customer_name: str
    sender_name: str
    sender_address: str
    link: str
    document: Document | None = None
    confirm_wanted: bool = False
    trouble: tuple[str, str, str] = ("", "", "")


@dataclass(frozen=True, slots=True)
class MailText:
    """fallback: what was wrong with somebody's own wording, where the shipped one took its place."""

    subject: str
    plain: str
    html: str
    language: str
    fallback: str = ""


def written(letter: Letter, *, own: Path | None) -> MailText:
    """The message in words, by the shipped wording where that in the folder ``own`` cannot be used."""
    try:
        return preview(letter, own=own)
    except InvalidInput as error:
        if own is None:
            raise
        shipped = preview(letter, own=None)
        return MailText(shipped.subject, shipped.plain, shipped.html, shipped.language, str(error))


def preview(letter: Letter, *, own: Path | None) -> MailText:
    """The message in words. Raises InvalidInput when a template or wording has an error."""
    language = _language(letter.language)
    try:
        words = _words(own, language)
        facts = _facts(letter, language, words)
        environment = _environment()
        said = _sentences(environment, letter, words, facts)
        plain = environment.from_string(_source(own, "message.txt")).render(said)
        page = _environment(escape=True).from_string(_source(own, "message.html")).render(said)
    except (TemplateError, yaml.YAMLError, OSError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"the e-mail's wording for {letter.purpose!r} in {language!r} cannot be used: {error}. "
            "The shipped files show the names there are; without files of your own these are used.",
            reason_code="bad_mail_template",
        ) from None
    return MailText(said["subject"], plain.strip() + "\n", page.strip() + "\n", language)


def money_words(amount_minor: int, currency: str, digits: int, language: str) -> str:
    """``1.234,50 EUR`` or ``€1,234.50``: as people of that language write it."""
    amount = Decimal(amount_minor).scaleb(-digits)
    locale = Locale.parse(language.replace("-", "_"))
    return str(format_currency(amount, currency, locale=locale)).replace("\u00a0", " ").replace("\u202f", " ")


def day_words(day: date | None, language: str) -> str:
    """``3. März 2013``."""
    locale = Locale.parse(language.replace("-", "_"))
    return "" if day is None else str(format_date(day, "long", locale=locale))


def _language(wanted: str) -> str:
    """The language written in; English for one there are no words in."""
    return wanted if wanted[:2] in LANGUAGES and Locale.parse(wanted, sep="-") else "en"


def _sentences(
    environment: SandboxedEnvironment,
    letter: Letter,
    words: Mapping[str, Any],
    facts: Mapping[str, str],
) -> dict[str, Any]:
    """Every text of the templates, ready to be placed."""

    def say(sentence: str, **more: str) -> str:
        return environment.from_string(sentence).render({**facts, **more})

    own = words["document" if letter.purpose == "resend" else letter.purpose]
    if letter.purpose == "alert":
        trouble = say(words["trouble"].get(letter.trouble[0], words["trouble"]["undelivered"]))
        facts = {**facts, "trouble_words": trouble}
    settled = letter.document is not None and letter.document.due_minor == 0 and "paid" in own
    paragraphs = [say(sentence) for sentence in own["paid" if settled else "body"]]
    if letter.confirm_wanted and "confirm" in own:
        paragraphs.append(say(own["confirm"]))
    terms = _terms(letter, words["terms"]) if letter.document and letter.purpose != "alert" else ()
    labels = words["facts"]
    shown = [{"label": labels[name], "value": facts[name]} for name in labels if facts.get(name)]
    return {
        "language": facts["language"],
        "subject": " ".join(say(own["subject"]).split()),
        "greeting": say(own.get("greeting", words["greeting"])),
        "paragraphs": paragraphs,
        "facts": shown if letter.document else [],
        "link": letter.link,
        "link_label": say(own.get("link_label", words["link_label"])),
        "terms_label": words["terms_label"],
        "terms": [say(sentence) for sentence in terms],
        "closing": say(words["closing"]),
        "sender_name": letter.sender_name,
    }


def _terms(letter: Letter, sentences: Mapping[str, str]) -> list[str]:
    """The sentences that the document has something for: due, methods, account, consequence of lateness."""
    document = letter.document
    if document is None:
        return []
    has = {
        "due": document.due_date is not None and document.due_minor > 0,
        "methods": bool(document.terms.get("payment_methods")),
        "account": bool(document.seller.get("bank_account")),
        "late": bool(document.terms.get("late_payment")),
    }
    return [sentences[name] for name, there in has.items() if there]


def _facts(letter: Letter, language: str, words: Mapping[str, Any]) -> dict[str, str]:
    """Every name a sentence may use, as text."""
    facts = {
        "language": language,
        "customer_name": letter.customer_name,
        "sender_name": letter.sender_name,
        "sender_address": letter.sender_address,
        "trouble_state": letter.trouble[0],
        "trouble_reason": letter.trouble[1],
        "trouble_recipient": letter.trouble[2],
    }
    document = letter.document
    if document is None:
        return facts
    methods = [words["methods"].get(one, one) for one in document.terms.get("payment_methods", ())]
    return facts | {
        "number": document.number,
        "issue_date": day_words(document.issue_date, language),
        "due_date": day_words(document.due_date, language),
        "amount_due": money_words(document.due_minor, document.currency, document.digits, language),
        "purchase_order": str(document.terms.get("purchase_order", "")),
        "payment_days": str(document.terms.get("payment_days", "")),
        "payment_methods": f" {words['or']} ".join(methods),
        "bank_account": str(document.seller.get("bank_account", "")),
        "late_payment": str(document.terms.get("late_payment", "")),
    }


def _environment(*, escape: bool = False) -> SandboxedEnvironment:
    return SandboxedEnvironment(
        undefined=StrictUndefined, autoescape=escape, trim_blocks=True, lstrip_blocks=True
    )


def _source(own: Path | None, name: str) -> str:
    if own is not None and (own / name).is_file():
        return (own / name).read_text(encoding="utf-8")
    return _shipped(name)


def _words(own: Path | None, language: str) -> Mapping[str, Any]:
    words: Mapping[str, Any] = yaml.safe_load(_source(own, f"words.{language[:2]}.yaml"))
    return words


@cache
def _shipped(name: str) -> str:
    return (SHIPPED / name).read_text(encoding="utf-8")
