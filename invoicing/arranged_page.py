"""Where the texts of a page go: on known spots, wherever they cannot wrap.

Setting a cell of a table costs the typesetter far more than setting a line of text. So a line of the document
whose texts are sure to fit is placed, its tiers as one text a column with a line each, and facts and sums are
one text with a line each, number behind its name as programs read it. What might wrap is set as rows; both
look the same. Widths are bounds from above, so nothing that is taken to fit can run over its neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, inf
from typing import Any, Final

_POINT_MM: Final = 25.4 / 72
_NARROW: Final = frozenset("fijlrtI.,:;!|'()[]/- \u00a0\u202f\u200b")
_WIDE: Final = frozenset("mwMW%@&ÆæŒœŴŵ")
_LATIN_END: Final = 0x17F
_SCRIPTS_END: Final = 0x2FFF
"""Characters beyond may be set from any font that has them."""
_EMPTY: Final = "\u200b"
"""A line without anything in it would have no height."""

NORMAL_PT: Final = 10.0
SMALL_PT: Final = 8.0
_CONTENT_MM: Final = 166.0
"""Width of the text on A4; US letter is wider."""
_GUTTER_MM: Final = 5.0
_QUANTITY_MM: Final = 38.0
_PRICE_MM: Final = 30.0
_INDENT_MM: Final = 4.0
_FACTS_MM: Final = 77.0
"""Width of the column of facts."""
_NAME_GAP_MM: Final = 10.0
"""Between a name and its number; less than half of it is what widths are known to."""
_SUMS_MAX_MM: Final = 120.0
_SUM_PT: Final = 9.0
_TOTAL_PT: Final = 12.0
_BOLD: Final = 1.12
_EM_THOUSANDTHS: Final = {
    letter: width
    for width, letters in (
        (205, "'|"), (220, ",."), (240, ":; \u00a0"), (268, "lij"), (290, "{}!I()\\"), (315, "ftJ/"),
        (337, '"-'), (362, "[]*r"), (391, "s`"), (430, "zc?"), (455, "ea~"), (465, "#$0123456789€"),
        (490, "FS_x"), (502, "bvgqod"), (517, "ky^pL"), (540, "uhPn"), (555, "+<=>E"), (590, "YRBT"),
        (604, "Z"), (648, "%KCV"), (661, "XU"), (699, "GANDOQ&"), (738, "Hw"), (790, "m"), (839, "M"),
        (895, "@"), (951, "W"),
    )
    for letter in letters
}  # fmt: skip
"""Of the page's font, for where a column begins that is as wide as what stands in it."""
_PAGE_PT: Final = {"a4": 711.0, "us-letter": 661.0}
"""Height between the margins."""
_ROWS_PLACED_MAX: Final = 20
"""A placed line stays on one page, so a longer list of tiers is set row by row."""
_PAYMENT_CODE_PT: Final = 80.0
"""With its caption."""


def arranged(texts: Mapping[str, Any]) -> dict[str, Any]:
    """The texts of a document with lines placed, the widths of the columns in mm, and what else is known of
    the page before it is set. sums_width: of the sums, 0 where they are rows."""
    widths = _widths(texts)
    lines = [_arranged_line(line, widths) for line in texts["lines"]]
    return {
        **texts,
        "columns": widths,
        "lines": lines,
        "facts_placed": _facts_fit(texts["facts"]),
        "sums_width": _sums_width(texts),
        "one_page": _height_about(texts, lines) <= _PAGE_PT[texts["paper"]],
    }


class _EmsAtMost(dict[str, float]):
    """Widths of letters in em, each worked out when it is first met."""

    def __missing__(self, letter: str) -> float:
        self[letter] = width = _ems_at_most(letter)
        return width


_EMS: Final = _EmsAtMost()


def width_at_most_mm(text: str, *, size_pt: float) -> float:
    """No text of the page's font is wider; infinite where that cannot be said."""
    return sum(map(_EMS.__getitem__, text)) * size_pt * _POINT_MM


def _ems_at_most(letter: str) -> float:
    if letter in _NARROW:
        return 0.4
    if letter < " " or ord(letter) > _SCRIPTS_END:
        return inf
    if letter in _WIDE or ord(letter) > _LATIN_END or not (letter.isalpha() or letter.isascii()):
        return 1.3 if ord(letter) > _LATIN_END else 1.0
    if letter.isdecimal():
        return 0.47
    return 0.81 if letter.isupper() else 0.58


def _joined(rows: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {name: "\n".join(row[name] or _EMPTY for row in rows) for name in rows[0]}


def _widths(texts: Mapping[str, Any]) -> dict[str, float]:
    """Columns of numbers as wide as what stands in them, the description takes what is left."""
    lines = texts["lines"]
    tiers = [tier for line in lines for tier in line["tiers"]]
    amounts = [_normal(line["amount"]) for line in lines] + [_small(tier["amount"]) for tier in tiers]
    quantities = [_quantity(line) for line in lines] + [_small(tier["units"]) for tier in tiers]
    prices = [_small(line["price"]) for line in lines] + [_small(tier["price"]) for tier in tiers]
    amount = max([_head(texts["amount_head"]), *amounts])
    quantity = min(max([_head(texts["words"]["quantity"]), *quantities]), _QUANTITY_MM)
    price = min(max([_head(texts["words"]["price"]), *prices]), _PRICE_MM)
    shown = texts["shown"]
    columns = [amount, *([quantity] if shown["quantity"] else []), *([price] if shown["price"] else [])]
    return {
        "description": round(_CONTENT_MM - sum(column + _GUTTER_MM for column in columns), 2),
        "quantity": _up(quantity),
        "price": _up(price),
        "amount": _up(amount),
    }


def _up(width_mm: float) -> float:
    return ceil(width_mm * 100) / 100


def _arranged_line(line: Mapping[str, Any], widths: Mapping[str, float]) -> dict[str, Any]:
    tiers, room = line["tiers"], widths["description"]
    placed = (
        len(tiers) <= _ROWS_PLACED_MAX
        and _normal(line["description"]) <= room
        and _small(line["detail"]) <= room
        and _quantity(line) <= widths["quantity"]
        and _small(line["price"]) <= widths["price"]
        and all(_small(tier["label"]) + _INDENT_MM <= room for tier in tiers)
        and all(_small(tier["units"]) <= widths["quantity"] for tier in tiers)
        and all(_small(tier["price"]) <= widths["price"] for tier in tiers)
    )
    rows = [_joined(tiers)] if placed and tiers else tiers
    return {**line, "placed": placed, "tiers": rows, "tier_rows": len(tiers)}


def _normal(text: str) -> float:
    return width_at_most_mm(text, size_pt=NORMAL_PT)


def _small(text: str) -> float:
    return width_at_most_mm(text, size_pt=SMALL_PT)


def _head(text: str) -> float:
    """A head of a column: small capitals with more space between them."""
    return _small(text.upper()) + 0.05 * len(text) * SMALL_PT * _POINT_MM


def _quantity(line: Mapping[str, Any]) -> float:
    return inf if line["wide"] else _normal(f"{line['quantity']} ") + _small(line["unit"])


def _facts_fit(facts: Sequence[Mapping[str, str]]) -> bool:
    """Whether each fact has room on a line of its own."""
    room = _FACTS_MM - _NAME_GAP_MM / 2
    return all(_normal(fact["label"] + fact["value"]) <= room for fact in facts)


def _sums_width(texts: Mapping[str, Any]) -> float:
    """Of names, gap and numbers of the sums, in mm; 0 where it is too much or cannot be said."""
    sums, bold = texts["sums"], _TOTAL_PT * _BOLD
    names = [_about(texts["total_label"], bold), *(_about(row["label"], _SUM_PT) for row in sums)]
    numbers = [_about(texts["total"], bold), *(_about(row["value"], _SUM_PT) for row in sums)]
    width = max(names) + _NAME_GAP_MM + max(numbers)
    return _up(width) if width <= _SUMS_MAX_MM else 0.0


def _about(text: str, size_pt: float) -> float:
    """The width of a text without kerning, from above for letters that the table has not; in mm."""
    ems = sum(_EM_THOUSANDTHS.get(letter, 0) / 1000 or _EMS[letter] for letter in text)
    return ems * size_pt * _POINT_MM


def _height_about(texts: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> float:
    """How much of a page the document takes, in points, a little more than less: whether it may be one page.
    Who sets the page counts its pages afterwards."""
    customer, sold_to = len(texts["customer_lines"]), len(texts["sold_to_lines"])
    parties = 12.1 * max(len(texts["facts"]), customer + 2 + (sold_to + 1 if sold_to else 0))
    logo = 52 if texts.get("logo") else 0
    seller = max(logo + 11 * len(texts["seller_lines"]) - 19, 0)
    head = 12 * ceil(len(texts["head"]) / 85)
    payment = texts["payment"]
    terms = 11 * (len(payment["rows"]) + sum(ceil(len(note) / 80) for note in texts["notes"]))
    foot = sum(8 + 9.4 * ceil(len(text) / 110) for text in texts["foot"])
    sums = 12.2 * (len(texts["sums"]) + 1) + 13 * len(texts["tax_notes"])
    beside = max(terms, _PAYMENT_CODE_PT if payment["code"] else 0.0)
    return 110.0 + seller + parties + head + sums + beside + foot + sum(map(_line_height, lines))


def _line_height(line: Mapping[str, Any]) -> float:
    """As the page places it; one more line of text where it is set as rows."""
    rows = line["tier_rows"]
    height = 15.6 + (9.8 if line["detail"] else 0.0) + (8.5 * rows + 2.9 if rows else 0.0)
    return height if line["placed"] else height + 11.1
