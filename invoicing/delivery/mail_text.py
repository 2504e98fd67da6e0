"""The words of an e-mail: subject, plain text and HTML, in the customer's language.

Wording is YAML, layout two templates, both of ``invoicing/templates/email``; a folder of one's own goes
before them file by file. They run in Jinja's sandbox, and a name nobody knows is an error. An error in
somebody's own wording is shown by the preview; a message then takes the shipped one, so no customer gets half
a letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import TemplateError
from jinja2.sandbox import SandboxedEnvironment

from ingest.errors import InvalidInput
from invoicing.delivery.wording import (
    Letter,
    facts_of,
    language_of,
    said_of,
    sandbox,
    source_of,
    terms_of,
    words_of,
)


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
    language = language_of(letter.language)
    try:
        words = words_of(own, language)
        facts = facts_of(letter, language, words)
        said = _sentences(sandbox(), letter, words, facts)
        plain = sandbox().from_string(source_of(own, "message.txt")).render(said)
        page = sandbox(escape=True).from_string(source_of(own, "message.html")).render(said)
    except (TemplateError, yaml.YAMLError, OSError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"the e-mail's wording for {letter.purpose!r} in {language!r} cannot be used: {error}. "
            "The shipped files show the names there are; without files of your own these are used.",
            reason_code="bad_mail_template",
        ) from None
    return MailText(said["subject"], plain.strip() + "\n", page.strip() + "\n", language)


def _sentences(
    environment: SandboxedEnvironment,
    letter: Letter,
    words: Mapping[str, Any],
    facts: Mapping[str, str],
) -> dict[str, Any]:
    """Every text of the templates, ready to be placed."""

    def say(sentence: str, **more: str) -> str:
        return environment.from_string(sentence).render({**facts, **more})

    purpose = "document" if letter.purpose == "resend" else letter.purpose
    own = said_of(words, purpose, letter.document)
    if letter.purpose == "alert":
        trouble = say(words["trouble"].get(letter.trouble[0], words["trouble"]["undelivered"]))
        facts = {**facts, "trouble_words": trouble}
    settled = letter.document is not None and letter.document.due_minor == 0 and "paid" in own
    paragraphs = [say(sentence) for sentence in own["paid" if settled else "body"]]
    if letter.confirm_wanted and "confirm" in own:
        paragraphs.append(say(own["confirm"]))
    terms = terms_of(letter, words["terms"]) if letter.document and letter.purpose != "alert" else ()
    labels = said_of(words, "facts", letter.document)
    shown = [{"label": name, "value": words} for name, words in letter.waiting]
    if letter.document:
        shown = [{"label": labels[name], "value": facts[name]} for name in labels if facts.get(name)]
    return {
        "language": facts["language"],
        "subject": " ".join(say(own["subject"]).split()),
        "greeting": say(own.get("greeting", words["greeting"])),
        "paragraphs": paragraphs,
        "facts": shown,
        "link": letter.link,
        "link_label": say(own.get("link_label", words["link_label"])),
        "terms_label": words["terms_label"],
        "terms": [say(sentence) for sentence in terms],
        "closing": say(words["closing"]),
        "sender_name": letter.sender_name,
    }
