"""How documents look: logo, colour, which details are shown, standard texts, as people write it down.

A template changes what a document shows and never what it says: amounts, due date, period and the three terms
of payment (due date, ways of payment, consequence of lateness) stand on every document.

Texts are printed word for word, in the reader's language; ``{due_date}`` and the other names of ``PLACES``
are filled in. Nothing of a text is read as markup or as a program.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from ingest.document import Document
from ingest.errors import Issue
from ingest.meter import Key

LOGO_BYTES_MAX: Final = 262_144
_BASE64_MAX: Final = LOGO_BYTES_MAX * 4 // 3 + 4
PLACES: Final = ("days", "due_date", "methods", "number", "customer")
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_SIGNATURES: Final[Mapping[str, bytes]] = {"image/png": b"\x89PNG\r\n\x1a\n", "image/svg+xml": b"<svg"}
_HEAD: Final = 1_024
Language = Annotated[str, Field(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")]
Text = Annotated[str, Field(max_length=4096)]


class Logo(Document):
    """An image, as base64 text."""

    media_type: Literal["image/png", "image/svg+xml"]
    data: str = Field(max_length=_BASE64_MAX)

    def content(self) -> bytes:
        """Raises ValueError for text that is no base64."""
        return base64.b64decode(self.data, validate=True)


class Shown(Document):
    """Which details of a line and which facts of the document are printed.

    quantity, price: these columns. period: the days a line is for, dimensions: like ``region eu``,
    metered: what was measured before free units and minimums. tiers, discounts: their rows under a line.
    contract, contact: in the head. payment_code: the QR code that banking apps read.
    """

    quantity: bool = True
    price: bool = True
    period: bool = True
    dimensions: bool = True
    metered: bool = True
    tiers: bool = True
    discounts: bool = True
    contract: bool = True
    contact: bool = True
    payment_code: bool = True


class TemplateTexts(Document):
    """Standard texts in one language, each in place of the usual words. head: above the lines, foot: after
    the terms."""

    head: Text = ""
    payment_terms: Text = ""
    payment_methods: Text = ""
    late_payment: Text = ""
    foot: Text = ""


class DocumentTemplate(Document):
    """See the module. accent: colour of names and rules. language: of all documents; empty: the
    customer's. texts: by language; where the reader's is not among them, the usual words are printed."""

    template_id: Key
    name: str = Field(default="", max_length=256)
    accent: str = Field(default="#1f4e79", pattern=r"^#[0-9a-fA-F]{6}$")
    paper: Literal["a4", "us-letter"] = "a4"
    language: str = Field(default="", pattern=r"^([a-z]{2}(-[A-Z]{2})?)?$")
    logo: Logo | None = None
    shown: Shown = Shown()
    texts: dict[Language, TemplateTexts] = Field(default_factory=dict)

    def texts_in(self, language: str) -> TemplateTexts:
        """The texts of a language tag, or of its language without the country; else none."""
        base = language.partition("-")[0]
        return self.texts.get(language) or self.texts.get(base) or TemplateTexts()


PLAIN: Final = DocumentTemplate(template_id="plain", name="Plain")
"""What documents look like while no template is chosen."""


def template_rules(template: DocumentTemplate) -> Iterator[Issue]:
    """What a template must keep beyond its field types."""
    if template.logo is not None:
        yield from _logo_issues(template.logo)
    for language, texts in template.texts.items():
        for name, text in texts:
            for place in _PLACE.findall(text):
                if place not in PLACES:
                    yield Issue(
                        "unknown_place",
                        f"texts.{language}.{name}",
                        f"{{{place}}} is nothing that can be filled in.",
                        f"one of {', '.join(f'{{{known}}}' for known in PLACES)}.",
                    )


def filled(text: str, places: Mapping[str, str]) -> str:
    """The text with its places filled in; braces around anything else stay."""
    return _PLACE.sub(lambda found: places.get(found[1], found[0]), text)


def _logo_issues(logo: Logo) -> Iterator[Issue]:
    try:
        content = logo.content()
    except (binascii.Error, ValueError):
        yield Issue("bad_logo", "logo.data", "It is no base64 text.", "the image as base64 text.")
        return
    if len(content) > LOGO_BYTES_MAX:
        size = f"The image has {len(content):,} bytes."
        yield Issue("bad_logo", "logo.data", size, f"at most {LOGO_BYTES_MAX:,} bytes.")
    if _SIGNATURES[logo.media_type] not in content[:_HEAD]:
        wrong = f"The image is no {logo.media_type}."
        yield Issue("bad_logo", "logo.media_type", wrong, "image/png or image/svg+xml, as the image is.")
