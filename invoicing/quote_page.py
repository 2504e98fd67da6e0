"""The page on which a customer accepts a quote: all that its PDF says, a name to fill in, and a button.

No script, no image, nothing from elsewhere. The form carries the hash of the version on the page, so nobody
accepts what they did not see.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from invoicing.delivery.wording import language_of, sandbox, source_of
from invoicing.delivery.wording import words_of as mail_words_of
from invoicing.quote_document import QuoteParties, printed_quote
from invoicing.quote_store import StoredQuote
from invoicing.words import words_of

Trouble = Literal["", "changed", "expired", "other", "name", "terms", "refused"]
_TEMPLATE: Final = "quote.html"


def quote_page(stored: StoredQuote, parties: QuoteParties, *, path: str, trouble: Trouble = "") -> str:
    """The newest version as HTML, in the customer's language. path: of the link itself. trouble: why an
    acceptance that was just sent was not taken."""
    printed = printed_quote(stored, parties)
    words = mail_words_of(None, language_of(str(parties.customer.get("language") or "en")))["quote_page"]
    facts: dict[str, Any] = {
        "terms_version": stored.quote.terms_version,
        "valid_until": "",
        "name": "",
        "accepted_at": "",
    }
    w = words_of(str(parties.customer.get("language") or "en"))
    if stored.quote.valid_until is not None:
        facts["valid_until"] = w.day(stored.quote.valid_until)
    if stored.accepted is not None:
        facts["name"] = stored.accepted.name
        facts["accepted_at"] = w.day(datetime.fromisoformat(stored.accepted.accepted_at).date())

    def say(name: str) -> str:
        return sandbox().from_string(words[name]).render(facts)

    told = [say(f"trouble_{trouble}")] if trouble else []
    if stored.state != "open" and trouble != "expired":
        told.append(say(stored.state))
    page = sandbox(escape=True).from_string(source_of(None, _TEMPLATE))
    return page.render(
        printed=printed,
        told=told,
        alarm=bool(trouble),
        pdf_url=f"{path}/pdf",
        pdf_label=say("pdf"),
        accept_url=f"{path}/accept" if stored.state == "open" else "",
        document_hash=stored.document_hash,
        name_label=say("your_name"),
        terms_version=stored.quote.terms_version,
        terms_label=say("acknowledge"),
        accept_label=say("accept"),
        binding=say("binding"),
    )
