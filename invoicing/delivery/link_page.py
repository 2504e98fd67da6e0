"""The page behind a link: what the document says, its PDF, how to pay it, and a button that confirms it.

No script, no image, nothing from elsewhere. Only the button confirms: programs that look at links in mail
press none.
"""

from __future__ import annotations

from typing import Any, Literal

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

Closed = Literal["expired", "revoked", "unknown"]


def link_page(letter: Letter, *, path: str, confirmed: bool) -> str:
    """The page of an open link, as HTML. path: of the link itself. Always the shipped wording."""
    language = language_of(letter.language)
    words = words_of(None, language)
    facts, page, document = facts_of(letter, language, words), words["page"], letter.document

    def say(sentence: str) -> str:
        return sandbox().from_string(sentence).render(facts)

    labels = said_of(words, "facts", document)
    paragraphs = [page["confirmed"]] if confirmed else []
    if document is None:
        title, confirm_label = say(page["onboarding"]), page["onboarding_confirm"]
        paragraphs.append(letter.sender_address)
    else:
        title, confirm_label = f"{labels['number']} {document.number}", page["confirm"]
    terms = [say(sentence) for sentence in terms_of(letter, words["terms"])]
    if document is not None and document.due_minor > 0:
        terms.append(say(page["pay"]))
    return _rendered(
        language=language,
        title=title,
        sender_name=letter.sender_name,
        paragraphs=paragraphs,
        facts=[
            {"label": labels[name], "value": facts[name]}
            for name in labels
            if document is not None and name != "number" and facts.get(name)
        ],
        pdf_url=f"{path}/pdf" if document is not None else "",
        pdf_label=said_of(page, "pdf", document),
        confirm_url="" if confirmed else f"{path}/confirm",
        confirm_label=confirm_label,
        terms=terms,
    )


def closed_page(why: Closed, *, language: str) -> str:
    """The page of a link that opens nothing, as HTML; it tells nothing of what was behind it."""
    language = language_of(language)
    words = words_of(None, language)["closed"]
    return _rendered(language=language, title=words["title"], paragraphs=[words[why]])


def _rendered(**values: Any) -> str:
    names = ("sender_name", "facts", "pdf_url", "pdf_label", "confirm_url", "confirm_label", "terms")
    page = sandbox(escape=True).from_string(source_of(None, "page.html"))
    return page.render({**dict.fromkeys(names, ""), **values})
