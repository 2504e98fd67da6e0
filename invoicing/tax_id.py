"""Tax identification numbers, checked by their check digits. Offline: whether one is alive is not asked.

EU numbers begin with the member state's prefix (EL for Greece), as EN 16931 BT-31 and BT-48 want them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Final

from stdnum import bic, iban
from stdnum.au import abn
from stdnum.ca import bn
from stdnum.ch import vat as ch_vat
from stdnum.eu import vat as eu_vat
from stdnum.exceptions import ValidationError
from stdnum.gb import vat as gb_vat
from stdnum.in_ import gstin
from stdnum.no import mva
from stdnum.us import ein

from ingest.errors import Issue

EU_PREFIXES: Final[Mapping[str, str]] = {
    "AT": "AT",
    "BE": "BE",
    "BG": "BG",
    "CY": "CY",
    "CZ": "CZ",
    "DE": "DE",
    "DK": "DK",
    "EE": "EE",
    "ES": "ES",
    "FI": "FI",
    "FR": "FR",
    "GR": "EL",
    "HR": "HR",
    "HU": "HU",
    "IE": "IE",
    "IT": "IT",
    "LT": "LT",
    "LU": "LU",
    "LV": "LV",
    "MT": "MT",
    "NL": "NL",
    "PL": "PL",
    "PT": "PT",
    "RO": "RO",
    "SE": "SE",
    "SI": "SI",
    "SK": "SK",
}
"""The member states of the EU (ISO 3166-1), and how their VAT numbers begin."""

_OTHERS: Final[Mapping[str, tuple[ModuleType, str]]] = {
    "AU": (abn, "an ABN of 11 digits"),
    "CA": (bn, "a business number of 9 digits"),
    "CH": (ch_vat, "a number like CHE-107.787.577 MWST"),
    "GB": (gb_vat, "a number like GB 980 7806 84"),
    "IN": (gstin, "a GSTIN of 15 characters"),
    "NO": (mva, "a number like NO 995 525 828 MVA"),
    "US": (ein, "an EIN of 9 digits, like 91-1144442"),
}


def is_checked(country: str) -> bool:
    """Whether numbers of this country have a check known here."""
    return country in EU_PREFIXES or country in _OTHERS


def tax_id_issue(tax_id: str, *, country: str, pointer: str = "tax_id") -> Issue | None:
    """What is wrong with the number, None when nothing is, or when nothing can be said. Empty is right."""
    if not tax_id:
        return None
    prefix = EU_PREFIXES.get(country)
    compact = "".join(character for character in tax_id.upper() if character.isalnum())
    if prefix is not None:
        if not compact.startswith(prefix):
            return Issue(
                "tax_id_prefix",
                pointer,
                f"{tax_id!r} does not begin with {prefix}, and the country is {country}.",
                f"the VAT number with its prefix, like {prefix}...; a national number is no VAT number.",
            )
        return _issue_of(eu_vat.validate, tax_id, pointer, f"a VAT number of {country} as it is registered")
    if country in _OTHERS:
        module, words = _OTHERS[country]
        return _issue_of(module.validate, tax_id, pointer, words)
    return None


def unchecked_warning(tax_id: str, *, country: str) -> Issue | None:
    """A warning when a number is there and its country's check digits are not known here."""
    if not tax_id or is_checked(country):
        return None
    named = f"country {country}" if country else "no country"
    return Issue(
        "tax_id_unchecked",
        "tax_id",
        f"{tax_id!r} was not checked: for {named} no check digits are known here.",
        "a number that somebody has looked at.",
    )


def iban_issue(text: str, *, pointer: str) -> Issue | None:
    """What is wrong with an IBAN."""
    return _issue_of(iban.validate, text, pointer, "an IBAN as the bank states it") if text else None


def bic_issue(text: str, *, pointer: str) -> Issue | None:
    """What is wrong with a BIC."""
    return _issue_of(bic.validate, text, pointer, "a BIC of 8 or 11 characters") if text else None


def _issue_of(validate: Callable[[str], str], text: str, pointer: str, expected: str) -> Issue | None:
    try:
        validate(text)
    except ValidationError as error:
        words = str(error).rstrip(".")
        return Issue("bad_check_digit", pointer, f"{text!r} is not valid: {words}.", f"{expected}.")
    return None
