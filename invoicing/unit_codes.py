"""Units of meters as codes of UN/ECE Recommendation 20, which e-invoices state quantities in (BT-130).

A code is used only where the word on a meter says just that; any other unit is ``C62`` ("one"), with the
word itself beside it, so that no receiver converts what was never a litre or an hour. Short signs are taken
as they are written: ``Mb`` is no megabyte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ONE: Final = "C62"

_SIGNS: Final[Mapping[str, str]] = {
    "s": "SEC",
    "sec": "SEC",
    "min": "MIN",
    "h": "HUR",
    "hr": "HUR",
    "B": "AD",
    "kB": "2P",
    "KB": "2P",
    "MB": "4L",
    "GB": "E34",
    "TB": "E35",
    "Wh": "WHR",
    "kWh": "KWH",
    "MWh": "MWH",
    "kW": "KWT",
    "g": "GRM",
    "kg": "KGM",
    "l": "LTR",
    "L": "LTR",
    "km": "KMT",
    "m2": "MTK",
    "m\N{SUPERSCRIPT TWO}": "MTK",
    "m3": "MTQ",
    "m\N{SUPERSCRIPT THREE}": "MTQ",
}
_WORDS: Final[Mapping[str, str]] = {
    "second": "SEC",
    "minute": "MIN",
    "hour": "HUR",
    "day": "DAY",
    "week": "WEE",
    "month": "MON",
    "year": "ANN",
    "byte": "AD",
    "kilobyte": "2P",
    "megabyte": "4L",
    "gigabyte": "E34",
    "terabyte": "E35",
    "watt hour": "WHR",
    "kilowatt hour": "KWH",
    "megawatt hour": "MWH",
    "kilowatt": "KWT",
    "gram": "GRM",
    "kilogram": "KGM",
    "tonne": "TNE",
    "litre": "LTR",
    "liter": "LTR",
    "kilometre": "KMT",
    "kilometer": "KMT",
    "metre": "MTR",
    "square metre": "MTK",
    "cubic metre": "MTQ",
}


def unit_code(unit: str) -> str:
    """The code of a meter's unit, ``C62`` for any word that has none."""
    word = unit.strip()
    return _SIGNS.get(word) or _WORDS.get(word.lower().removesuffix("s"), ONE)
