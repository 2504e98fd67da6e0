"""What an e-invoice must have and a document does not say: all of it at once, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ingest.errors import InvalidInput, Issue
from invoicing.einvoice_model import NOT_SUBJECT, EInvoice, ETax
from invoicing.einvoice_tax import STATES_A_REASON

DIGITS_MAX: Final = 2
"""EN 16931 allows two fraction digits in an amount (BR-DEC-01 and its kin), so no dinar."""


def complete(document: EInvoice, *, what: str) -> EInvoice:
    """The document itself. what: words for it, like ``invoice INV-2025-000001``. Raises InvalidInput with all
    that is missing."""
    missing = [*what_is_missing(document), *_tax_issues(document)]
    if missing:
        words = "\n".join(f"  - {issue}" for issue in missing)
        raise InvalidInput(
            f"{what} cannot be an e-invoice ({document.profile}):\n{words}",
            reason_code="einvoice_incomplete",
            issues=missing,
        )
    return document


def what_is_missing(document: EInvoice) -> Iterator[Issue]:
    """What the standard and the profile want and the document does not say, field by field."""
    seller, buyer = document.seller, document.buyer
    wanted: list[tuple[bool, str, str, str]] = [
        (not seller.name, "seller.name", "the seller's legal name", "BT-27"),
        (not seller.country, "seller.country", "the seller's country", "BT-40"),
        (not buyer.name, "customer.name", "the buyer's name", "BT-44"),
        (not buyer.country, "customer.country", "the buyer's country", "BT-55"),
        _wanted_of_seller(document),
    ]
    for tax in document.taxes:
        wanted += _wanted_by_tax(tax, document)
    if document.profile != "en16931":
        wanted += _wanted_by_peppol(document)
    if document.profile == "xrechnung":
        wanted += _wanted_in_germany(document)
    said = set()
    for missing, pointer, what, term in wanted:
        if missing and pointer not in said:
            said.add(pointer)
            message = f"{what[0].upper()}{what[1:]} is missing ({term})."
            yield Issue("einvoice_field_missing", pointer, message, f"{what}.")


def _wanted_of_seller(document: EInvoice) -> tuple[bool, str, str, str]:
    """What the seller is identified by (BR-CO-26); where nothing is subject to VAT its VAT number must not be
    stated (BR-O-02)."""
    seller = document.seller
    missing = not (seller.vat_id or seller.registration_id)
    if any(tax.category == NOT_SUBJECT for tax in document.taxes):
        words = "the seller's registration (its VAT number must not be on an invoice of category O)"
        return missing, "seller.registration_id", words, "BT-30"
    words = "the seller's VAT number with its country prefix, or its registration"
    return missing, "seller.tax_id", words, "BT-31 or BT-30"


def _wanted_by_tax(tax: ETax, document: EInvoice) -> list[tuple[bool, str, str, str]]:
    seller, buyer = document.seller, document.buyer
    wanted = [
        (
            tax.category in STATES_A_REASON and not (tax.reason or tax.reason_code),
            "tax.reason",
            "the reason why no tax is charged",
            "BT-120",
        )
    ]
    if tax.category != NOT_SUBJECT:
        no_number = not (seller.vat_id or seller.tax_registration)
        wanted.append((no_number, "seller.tax_id", "the seller's tax number", "BT-31 or BT-32"))
    if tax.category in {"AE", "K"}:
        wanted.append((not buyer.vat_id, "customer.tax_id", "the buyer's VAT number", "BT-48"))
    if tax.category == "K":
        wanted.append((not seller.vat_id, "seller.tax_id", "the seller's VAT number", "BT-31"))
    return wanted


def _wanted_by_peppol(document: EInvoice) -> list[tuple[bool, str, str, str]]:
    seller, buyer = document.seller, document.buyer
    no_seller, no_buyer = (not (party.endpoint_id and party.endpoint_scheme) for party in (seller, buyer))
    no_reference = not (document.buyer_reference or document.purchase_order)
    order = "a buyer reference, or a purchase order in the contract's terms"
    return [
        (no_seller, "seller.endpoint_id", "the seller's electronic address and its scheme", "BT-34"),
        (no_buyer, "customer.endpoint_id", "the buyer's electronic address and its scheme", "BT-49"),
        (no_reference, "customer.buyer_reference", order, "BT-10 or BT-13"),
    ]


def _wanted_in_germany(document: EInvoice) -> list[tuple[bool, str, str, str]]:
    """The rules BR-DE-1 to BR-DE-15 of XRechnung."""
    seller, buyer = document.seller, document.buyer
    reference = "the buyer reference (Leitweg-ID for authorities)"
    return [
        (not seller.city, "seller.city", "the seller's city", "BT-37"),
        (not seller.postal_code, "seller.postal_code", "the seller's post code", "BT-38"),
        (not seller.contact, "seller.contact_name", "the seller's contact", "BT-41"),
        (not seller.phone, "seller.phone", "the seller's telephone number", "BT-42"),
        (not seller.email, "seller.email", "the seller's e-mail address", "BT-43"),
        (not buyer.city, "customer.city", "the buyer's city", "BT-52"),
        (not buyer.postal_code, "customer.postal_code", "the buyer's post code", "BT-53"),
        (not document.buyer_reference, "customer.buyer_reference", reference, "BT-10"),
    ]


def _tax_issues(document: EInvoice) -> Iterator[Issue]:
    if not document.taxes:
        yield Issue(
            "no_tax_stated",
            "tax",
            "It states no tax, not even that there is none.",
            "a billing entity when it is drafted, which says how its sales are taxed.",
        )
    if document.digits > DIGITS_MAX:
        yield Issue(
            "einvoice_fraction_digits",
            "currency",
            f"{document.currency} has {document.digits} fraction digits; EN 16931 allows {DIGITS_MAX}.",
            f"a currency with {DIGITS_MAX} fraction digits at most.",
        )
