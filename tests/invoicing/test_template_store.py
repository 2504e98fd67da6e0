"""Goal: a tenant's template decides what a page shows, and what is issued keeps the look it had."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pypdf import PdfReader
from sqlalchemy import Engine

from ingest.errors import InvalidDocument, NotFound
from invoicing import document
from invoicing.delivery.documents import PDF
from invoicing.delivery.files import document_shelf
from invoicing.document import InvoicePrinter
from invoicing.invoice import Invoice
from invoicing.sample_invoice import sample_invoice
from invoicing.template import PLAIN, DocumentTemplate
from invoicing.template_store import choose_template, invoice_template, save_template
from tests.invoicing.delivery_case import NOW
from tests.invoicing.einvoice_case import BUYER, priced, put_issued, taxed
from tests.invoicing.test_document import line

PAGE = (Path(__file__).parents[2] / "docs" / "documents.md").read_text(encoding="utf-8")
PRINTER = InvoicePrinter()
MARGIN_MILLIMETRES = 22
WHITE = 250
GREEN = b"\x0a\x7d\x5a"
LATER = NOW + timedelta(hours=1)


def text_of(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


def page_of_docs() -> dict[str, Any]:
    found = re.search(r"## Templates.*?```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert found
    loaded: dict[str, Any] = yaml.safe_load(found[1])
    return loaded


@pytest.mark.requirement("DEL-12")
def test_a_template_shows_and_hides_details(ledger: Engine) -> None:
    save_template(ledger, page_of_docs(), now=NOW)
    template = DocumentTemplate.model_validate(page_of_docs())
    plain, own = (text_of(PRINTER.pdf(sample_invoice(), look)) for look in (PLAIN, template))
    for words in ("PRICE", "Tier 1", "QUANTITY", "region eu"):
        assert words in plain
    for words in ("PRICE", "Tier 1"):
        assert words not in own
    for words in ("Thank you for your business.", "quoting SAMPLE-2026-000001", "QUANTITY", "region eu"):
        assert words in own
    for kept in ("240.00 EUR", "SAMPLE-2026-000001", "Late payment"):
        assert kept in plain
        assert kept in own


@pytest.mark.requirement("DEL-12")
def test_the_narrowest_choice_counts_and_what_is_issued_keeps_its_look(any_ledger: Engine) -> None:
    ledger = any_ledger
    for name in ("one", "two"):
        save_template(ledger, {"template_id": name, "name": name}, now=NOW)
    issued = put_issued(ledger, taxed(priced("1", "1")), issued_at=LATER.isoformat())
    draft = replace(taxed(priced("1", "1")), invoice_id="f" * 32, number=None)

    def look(invoice: Invoice) -> tuple[str, int, str]:
        found = invoice_template(ledger, invoice, now=LATER + timedelta(days=1))
        return found.template.template_id, found.version, found.used_for

    assert look(issued) == ("plain", 0, "")
    choose_template(ledger, used_for="all", key="", template_id="one", now=NOW)
    assert look(issued) == look(draft) == ("one", 1, "all")
    choose_template(ledger, used_for="customer", key="acme", template_id="two", now=NOW)
    assert look(issued) == ("two", 1, "customer")
    after = LATER + timedelta(seconds=1)
    save_template(ledger, {"template_id": "two", "name": "another look"}, now=after)
    contract_id = str(issued.contract["contract_id"])
    choose_template(ledger, used_for="contract", key=contract_id, template_id="one", now=after)
    assert look(issued) == ("two", 1, "customer")
    assert look(draft) == ("one", 1, "contract")
    choose_template(ledger, used_for="contract", key=contract_id, template_id="", now=after)
    assert look(draft) == ("two", 2, "customer")
    with pytest.raises(NotFound):
        choose_template(ledger, used_for="all", key="", template_id="none", now=NOW)
    with pytest.raises(InvalidDocument, match="nothing that can be filled in"):
        save_template(ledger, {"template_id": "x", "texts": {"en": {"foot": "{iban}"}}}, now=NOW)


def test_what_is_sent_looks_as_chosen(ledger: Engine) -> None:
    save_template(ledger, page_of_docs(), now=NOW)
    choose_template(ledger, used_for="customer", key="acme", template_id="northwind", now=NOW)
    issued = put_issued(ledger, taxed(priced("1", "1")), issued_at=LATER.isoformat())
    shelf = document_shelf(ledger, PRINTER, profile="peppol")
    file = shelf.file(shelf.get(issued.invoice_id), PDF, now=LATER)
    assert "Thank you for your business." in text_of(file.content)


def png(width: int, height: int, colour: bytes) -> bytes:
    """A picture of one colour."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + colour * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def pixels(picture: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A PNG with 8 bits a channel as (height, width, channels), its filters undone (RFC 2083)."""
    place, body = 8, b""
    while place < len(picture):
        (length,), name = struct.unpack(">I", picture[place : place + 4]), picture[place + 4 : place + 8]
        if name == b"IHDR":
            width, height, _, kind = struct.unpack(">IIBB", picture[place + 8 : place + 18])
        elif name == b"IDAT":
            body += picture[place + 8 : place + 8 + length]
        place += length + 12
    channels = {2: 3, 6: 4}[kind]
    raw = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, 1 + width * channels)
    above = np.zeros(width * channels, np.uint8)
    rows = []
    for line_of in raw:
        above = unfiltered(int(line_of[0]), line_of[1:], above, channels)
        rows.append(above)
    return np.stack(rows).reshape(height, width, channels)


def unfiltered(kind: int, row: Any, above: Any, channels: int) -> Any:
    if kind == 0:
        return row.copy()
    if kind == 2:
        return row + above
    made, upper = bytearray(row.tobytes()), above.tobytes()
    for place, value in enumerate(made):
        left = made[place - channels] if place >= channels else 0
        corner = upper[place - channels] if place >= channels else 0
        up = upper[place]
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + up) // 2
        else:
            away = [abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)]
            guess = (left, up, corner)[away.index(min(away))]
        made[place] = (value + guess) % 256
    return np.frombuffer(bytes(made), np.uint8)


@pytest.mark.requirement("GEN-16")
@pytest.mark.parametrize("lines", [1, 40])
def test_the_page_holds_long_names_and_many_lines_between_its_margins(
    lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "PNG_DOTS_PER_INCH", 40)
    logo = {"media_type": "image/png", "data": base64.b64encode(png(90, 20, GREEN)).decode()}
    template = DocumentTemplate.model_validate({"template_id": "t", "logo": logo})
    word = "Grundstücksverkehrsgenehmigungszuständigkeitsübertragungsverordnung"
    long = line(1, description=f"{word} {word}", dimensions={"region": word}, unit=word)
    made = taxed(
        long,
        *(line(number) for number in range(2, lines + 1)),
        customer={**BUYER, "legal_name": word * 2, "address_lines": [word * 2], "buyer_reference": word},
    )
    pages = [pixels(page)[:, :, :3] for page in PRINTER.png_pages(made, template)]
    assert (len(pages) > 1) == (lines > 1)
    for page in pages:
        margin = int(MARGIN_MILLIMETRES / 210 * page.shape[1]) - 1
        assert page[:, :margin].min() >= WHITE
        assert page[:, -margin:].min() >= WHITE
        assert page[:, margin:-margin].min() < WHITE
    assert (pages[0] == np.frombuffer(GREEN, np.uint8)).all(axis=2).sum() > 1000  # the logo is there


@pytest.mark.requirement("GEN-16")
def test_two_thousand_lines_are_columns_that_end_in_one_place() -> None:
    made = taxed(*(priced("0.25", "120", number) for number in range(1, 2001)))
    pdf = PRINTER.pdf(made)
    reader = PdfReader(io.BytesIO(pdf))
    assert len(reader.pages) > 50
    for page in (reader.pages[0], reader.pages[len(reader.pages) // 2]):
        starts: set[float] = set()

        def visit(text: str, _: Any, matrix: list[float], *more: Any, found: set[float] = starts) -> None:
            if text.strip() == "30.00":
                found.add(round(matrix[4], 1))

        page.extract_text(visitor_text=visit)
        assert len(starts) == 1  # equal amounts begin, and so end, below each other
