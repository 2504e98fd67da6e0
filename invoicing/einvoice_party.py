"""Seller, buyer and place of delivery of an invoice in the terms of EN 16931."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from invoicing.einvoice_model import EParty, ETax
from invoicing.tax_words import sold_to_party

_PLACE: Final = re.compile(r"((?:[A-Z]{1,2}-)?\d{4,5}(?: [A-Z]{2})?) (\S.*)")
"""Post code and city on one line, as most of the continent writes them."""


def party_terms(party: Mapping[str, Any], *, of_vat: bool) -> EParty:
    """A party of an invoice's text. of_vat: False where nothing is subject to VAT, which forbids VAT numbers
    (BR-O-02 to 04)."""
    tax_id = "".join(filter(str.isalnum, str(party.get("tax_id") or "")))
    is_vat = len(tax_id) > 3 and tax_id[:2].isalpha()
    tax_number = str(party.get("tax_number") or ("" if is_vat else tax_id))
    lines, postal_code, city = _address(party)
    return EParty(
        name=str(party.get("legal_name") or party.get("name") or ""),
        address_lines=(*lines[:2], ", ".join(lines[2:])) if len(lines) > 2 else lines,
        city=city,
        postal_code=postal_code,
        country=str(party.get("country") or ""),
        vat_id=tax_id if is_vat and of_vat else "",
        tax_registration=tax_number,
        registration_id=str(party.get("registration_id") or ""),
        endpoint_id=str(party.get("endpoint_id") or ""),
        endpoint_scheme=str(party.get("endpoint_scheme") or ""),
        contact=str(party.get("contact_name") or ""),
        phone=str(party.get("phone") or ""),
        email=str(party.get("email") or ""),
    )


def _address(party: Mapping[str, Any]) -> tuple[tuple[str, ...], str, str]:
    """Street lines, post code and city; the last two out of the last line where they stand there in the usual
    way (``10115 Berlin``) and nowhere else."""
    lines = tuple(str(line) for line in party.get("street_lines") or party.get("address_lines") or () if line)
    postal_code, city = (str(party.get(name) or "") for name in ("postal_code", "city"))
    if postal_code or city or not lines:
        return lines, postal_code, city
    found = _PLACE.fullmatch(lines[-1].strip())
    return (lines, "", "") if found is None else (lines[:-1], found[1], found[2])


def deliver_to_terms(customer: Mapping[str, Any], buyer: EParty, taxes: Sequence[ETax]) -> EParty | None:
    """Who was sold to, when another is billed; of an intra-community supply always (BR-IC-12)."""
    sold_to = sold_to_party(customer)
    if sold_to is not None:
        return party_terms(sold_to, of_vat=False)
    if any(tax.category == "K" for tax in taxes):
        return EParty(name="", country=buyer.country)
    return None
