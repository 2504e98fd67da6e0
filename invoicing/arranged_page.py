"""Where the texts of a page go: on known spots, wherever they cannot wrap.

Setting a cell of a table costs the typesetter far more than setting a line of text. So a line of the document
whose texts are sure to fit is placed, its tiers as one text a column with a line each,.
What might wrap is set as rows; both look the same. Widths are bounds from above, so nothing that is taken to
fit can run over its neighbour. Facts and sums stay rows, so that programs read a number behind its name.
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
_ROWS_PLACED_MAX: Final = 20
"""A placed line stays on one page, so a longer list of tiers is set row by row."""


def arranged(texts: Mapping[str, Any]) -> dict[str, Any]:
    """The texts of a document with lines placed, and the widths of the columns in mm."""
    widths = _widths(texts)
    return {
        **texts,
        "columns": widths,
        "lines": [_arranged_line(line, widths) for line in texts["lines"]],
    }


def width_at_most_mm(text: str, *, size_pt: float) -> float:
    """No text of the page's font is wider; infinite where that cannot be said."""
    ems = 0.0
    for letter in text:
        if letter in _NARROW:
            ems += 0.4
        elif letter < " " or ord(letter) > _SCRIPTS_END:
            return inf
        elif letter in _WIDE or ord(letter) > _LATIN_END or not (letter.isalpha() or letter.isascii()):
            ems += 1.3 if ord(letter) > _LATIN_END else 1.0
        elif letter.isdecimal():
            ems += 0.47
        else:
            ems += 0.81 if letter.isupper() else 0.58
    return ems * size_pt * _POINT_MM


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
