"""What is placed on the page looks like what is set in rows, and is placed only where it is sure to fit."""

from __future__ import annotations

import io
import json
from math import inf
from typing import Any

import pytest
import typst
from pypdf import PdfReader

from invoicing import arranged_page
from invoicing.arranged_page import arranged, width_at_most_mm
from invoicing.document import InvoicePrinter, printed
from invoicing.sample_invoice import sample_invoice
from tests.invoicing.test_document import invoice, line

LETTERS = "".join(map(chr, [*range(0x20, 0x7F), *range(0xA1, 0x250)])).replace("\N{SOFT HYPHEN}", "")
TEXTS = (
    "Tier 2: over 87.500001 up to 262.500003",
    "Palier 2 : au-delà de 3 218,900043167",
    "WMWMWM wwww mmmm",
    "Überführungsgebühr für Größe",
    "1,234,567.890123456789",
)
MEASURE = """
#set text(font: "Libertinus Serif", number-width: "tabular", number-type: "lining", overhang: false)
#let texts = json(bytes(sys.inputs.texts))
#context [#metadata(texts.map(body => measure(text(size: 8pt, body)).width / 1mm)) <widths>]
"""


def test_no_text_is_wider_than_the_bound() -> None:
    texts = [*LETTERS, *TEXTS]
    compiler = typst.Compiler(
        MEASURE.encode(), ignore_system_fonts=True, sys_inputs={"texts": json.dumps(texts)}
    )
    widths = json.loads(compiler.query("<widths>", field="value", one=True))
    bounds = [width_at_most_mm(text, size_pt=8) for text in texts]
    wider = [
        (text, width, bound)
        for text, width, bound in zip(texts, widths, bounds, strict=True)
        if width > bound
    ]
    assert not wider
    assert all(bound < 1.6 * width for width, bound in zip(widths[-5:], bounds[-5:], strict=True))


def spots_of(pdf: bytes) -> list[tuple[int, str, float]]:
    """Page, text and height above the lower edge of every piece of text."""
    found: list[tuple[int, str, float]] = []
    for number, page in enumerate(PdfReader(io.BytesIO(pdf)).pages):

        def visit(text: str, _c: Any, matrix: Any, _f: Any, _s: Any, number: int = number) -> None:
            found.extend(
                (number, part, round(matrix[5], 1)) for part in text.split("\n") if part.strip(" \u200b")
            )

        page.extract_text(visitor_text=visit)
    return found


def test_placed_lines_stand_where_rows_would(monkeypatch: pytest.MonkeyPatch) -> None:
    made = invoice(line(1), line(2, tiers=(), price_model="per_unit", price_text="0.12 per call"), line(3))
    assert all(entry["placed"] for entry in arranged(printed(made))["lines"])
    printer = InvoicePrinter()
    placed = printer.pdf(made)
    monkeypatch.setattr(arranged_page, "_ROWS_PLACED_MAX", -1)
    assert not any(entry["placed"] for entry in arranged(printed(made))["lines"])
    in_rows = printer.pdf(made)
    tops = []
    for pdf in (placed, in_rows):
        heights: dict[str, float] = {}
        for _, text, height in spots_of(pdf):
            heights.setdefault(text.strip(), height)
        tops.append({name: heights[name] for name in ("API calls 1", "API calls 2", "API calls 3", "Total")})
    for name, height in tops[0].items():
        assert abs(height - tops[1][name]) < 0.7, (name, tops)


def test_what_might_wrap_is_set_in_rows_and_nothing_is_lost() -> None:
    long = line(2, description="Bandwidth of all the regions in Europe, with replication between them")
    made = invoice(line(1), long)
    ready = arranged(printed(made))
    assert [entry["placed"] for entry in ready["lines"]] == [True, False]
    assert [len(entry["tiers"]) for entry in ready["lines"]] == [1, 2]
    text = "".join(part for _, part, _ in spots_of(InvoicePrinter().pdf(made)))
    assert text.count("Tier 1: up to 100") == text.count("Tier 2: over 100") == 2


def test_columns_that_are_not_shown_leave_their_room_to_the_description() -> None:
    texts = printed(sample_invoice())
    bare = texts | {"shown": {"quantity": False, "price": False}}
    gained = arranged(bare)["columns"]["description"] - arranged(texts)["columns"]["description"]
    assert gained > 20


def text_of(pdf: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]


def test_pages_are_counted_where_one_was_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    printer = InvoicePrinter()
    long, short = invoice(*[line(number) for number in range(1, 13)]), invoice(line(1))
    assert [arranged(printed(made))["one_page"] for made in (long, short)] == [False, True]
    counted = [printer.pdf(long), printer.pdf(short)]
    assert [text.splitlines()[-1].endswith("Page 2 of 2") for text in text_of(counted[0])] == [False, True]
    monkeypatch.setattr(arranged_page, "_PAGE_PT", {"a4": inf})
    assert printer.pdf(long) == counted[0]
    assert len(printer.png_pages(long)) == 2
    monkeypatch.setattr(arranged_page, "_PAGE_PT", {"a4": 0.0})
    assert text_of(printer.pdf(short)) == text_of(counted[1])


def test_how_much_fits_on_a_page_is_known_before_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the line: a wrong guess costs a second setting."""
    made = {count: invoice(*[line(number) for number in range(count)]) for count in (9, 10)}
    guessed = {count: arranged(printed(one))["one_page"] for count, one in made.items()}
    monkeypatch.setattr(arranged_page, "_PAGE_PT", {"a4": 0.0})
    assert {count: len(text_of(InvoicePrinter().pdf(one))) == 1 for count, one in made.items()} == guessed
    assert guessed == {9: True, 10: False}


def test_facts_and_sums_say_the_same_in_one_text_and_in_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    made, printer = sample_invoice(), InvoicePrinter()
    ready = arranged(printed(made))
    assert ready["facts_placed"]
    assert 0 < ready["sums_width"] < 80
    placed = printer.pdf(made)
    monkeypatch.setattr(arranged_page, "_FACTS_MM", 0.0)
    monkeypatch.setattr(arranged_page, "_SUMS_MAX_MM", 0.0)
    in_rows = printer.pdf(made)
    assert "".join(text_of(placed)).split() == "".join(text_of(in_rows)).split()
    tops = [{text.strip(): height for _, text, height in spots_of(pdf)} for pdf in (placed, in_rows)]
    for name in ("Issue date", "Customer", "Total"):
        assert abs(tops[0][name] - tops[1][name]) < 0.7, name


def test_long_facts_and_names_of_credit_are_rows() -> None:
    texts = printed(sample_invoice())
    facts = [*texts["facts"], {"label": "Purchase order", "value": "4711 " * 10}]
    sums = [{"label": "Credit " * 20, "value": "-1.00"}]
    ready = arranged(texts | {"facts": facts, "sums": sums})
    assert not ready["facts_placed"]
    assert ready["sums_width"] == 0
