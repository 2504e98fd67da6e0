"""An issued invoice as an electronic one after EN 16931: what it must have, and its terms.

The terms (``einvoice_model.py``) are written as UBL 2.1 (``einvoice_ubl.py``) or UN/CEFACT CII
(``einvoice_cii.py``): pure functions of the invoice as issued, so the same invoice is the same bytes and
nothing needs to be kept. What an e-invoice needs and this invoice does not have is said all at once
(``what_is_missing``), before anything is written.

On tax the invoice alone speaks: its groups are stated as they were issued. An invoice that states no tax
is no e-invoice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from ingest.errors import Conflict, InvalidInput, Issue
from invoicing.einvoice_cii import cii_document
from invoicing.einvoice_line import electronic_line
from invoicing.einvoice_model import (
    INVOICE_TYPE,
    NOT_SUBJECT,
    EInvoice,
    ELine,
    EParty,
    EPayment,
    EReference,
    ETax,
    Profile,
    Syntax,
)
from invoicing.einvoice_ubl import ubl_document
from invoicing.invoice import Invoice, InvoiceLine
from invoicing.invoice_tax import InvoiceTax
from invoicing.payee import payee_of
from invoicing.payment_reference import creditor_reference
from invoicing.tax_words import billed_party, sold_to_party

DIGITS_MAX: Final = 2
"""EN 16931 allows two fraction digits in an amount (BR-DEC-01 and its kin), so no dinar."""
_PLACE: Final = re.compile(r"((?:[A-Z]{1,2}-)?\d{4,5}(?: [A-Z]{2})?) (\S.*)")
"""Post code and city on one line, as most of the continent writes them."""
_SEPA_TRANSFER: Final = "58"
_CREDIT_TRANSFER: Final = "30"
_NOT_DEFINED: Final = "1"
_WHY_NO_TAX: Final[Mapping[str, tuple[str, str]]] = {
    "AE": ("Reverse charge", "VATEX-EU-AE"),
    "K": ("Intra-community supply", "VATEX-EU-IC"),
    "G": ("Export outside the EU", "VATEX-EU-G"),
    "O": ("Not subject to VAT", "VATEX-EU-O"),
}
_STATES_A_REASON: Final = frozenset({"E", *_WHY_NO_TAX})
_WITH_RATE: Final = frozenset({"S", "L", "M"})


def einvoice_xml(document: EInvoice, syntax: Syntax) -> bytes:
    """The document as XML in UTF-8. Raises InvalidInput for CII of the profile ``peppol``, which has none."""
    if syntax == "cii" and document.profile == "peppol":
        raise InvalidInput(
            "Peppol BIS Billing takes UBL only. Ask for the syntax ubl, or for another profile.",
            reason_code="einvoice_syntax",
        )
    return ubl_document(document) if syntax == "ubl" else cii_document(document)


def electronic_invoice(
    invoice: Invoice,
    *,
    profile: Profile,
    type_code: str = INVOICE_TYPE,
    preceding: Sequence[EReference] = (),
) -> EInvoice:
    """The terms of an issued invoice.

    type_code: UNCL 1001; a credit note is given with positive amounts and the invoices it corrects
    (``preceding``). Raises Conflict for a draft, and InvalidInput with all that is missing.
    """
    if invoice.number is None or invoice.issue_date is None:
        raise Conflict(
            f"invoice {invoice.invoice_id} is a draft. Only an issued invoice can be sent as an e-invoice: "
            f"`ratemill invoice issue {invoice.invoice_id}`.",
            reason_code="invoice_not_issued",
        )
    document = _terms(invoice, invoice.number, invoice.issue_date, profile=profile, type_code=type_code)
    document = replace(document, preceding=tuple(preceding))
    missing = [*what_is_missing(document), *_tax_issues(invoice)]
    if missing:
        words = "\n".join(f"  - {issue}" for issue in missing)
        raise InvalidInput(
            f"invoice {invoice.number} cannot be an e-invoice ({profile}):\n{words}",
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
        (
            not (seller.vat_id or seller.registration_id),
            "seller.tax_id",
            "the seller's VAT number with its country prefix, or its registration",
            "BT-31 or BT-30",
        ),
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


def _wanted_by_tax(tax: ETax, document: EInvoice) -> list[tuple[bool, str, str, str]]:
    seller, buyer = document.seller, document.buyer
    wanted = [
        (
            tax.category in _STATES_A_REASON and not (tax.reason or tax.reason_code),
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


def _tax_issues(invoice: Invoice) -> Iterator[Issue]:
    if not invoice.tax:
        yield Issue(
            "no_tax_stated",
            "tax",
            "The invoice states no tax, not even that there is none.",
            "a billing entity when it is drafted, which says how its sales are taxed.",
        )
    if invoice.minor_digits > DIGITS_MAX:
        yield Issue(
            "einvoice_fraction_digits",
            "currency",
            f"{invoice.currency} has {invoice.minor_digits} fraction digits; EN 16931 allows {DIGITS_MAX}.",
            f"a currency with {DIGITS_MAX} fraction digits at most.",
        )


def _terms(invoice: Invoice, number: str, issue_date: date, *, profile: Profile, type_code: str) -> EInvoice:
    digits = invoice.minor_digits
    taxes = tuple(_tax(group, digits) for group in invoice.tax)
    of_vat = not any(tax.category == NOT_SUBJECT for tax in taxes)
    customer = invoice.customer
    buyer = _party(billed_party(customer), of_vat=of_vat)
    deliver_to = _deliver_to(customer, buyer, taxes)

    def amount(minor: int) -> Decimal:
        return Decimal(minor).scaleb(-digits)

    return EInvoice(
        profile=profile,
        type_code=type_code,
        number=number,
        issue_date=issue_date,
        due_date=invoice.due_date,
        currency=invoice.currency,
        digits=digits,
        note=_note(invoice),
        buyer_reference=str(customer.get("buyer_reference") or invoice.terms.get("buyer_reference") or ""),
        purchase_order=str(invoice.terms.get("purchase_order") or ""),
        contract=str(invoice.contract["contract_id"]),
        preceding=(),
        seller=_party(invoice.seller or {}, of_vat=of_vat),
        buyer=buyer,
        deliver_to=deliver_to,
        period=(invoice.period_start, max(invoice.period_start, invoice.period_end - timedelta(days=1))),
        payment=_payment(invoice, number),
        taxes=taxes,
        lines=tuple(_lines(invoice, taxes)),
        net=amount(invoice.total_minor),
        tax=amount(invoice.tax_minor),
        gross=amount(invoice.gross_minor),
        prepaid=amount(invoice.credit_minor),
        due=amount(invoice.due_minor),
    )


def _tax(group: InvoiceTax, digits: int) -> ETax:
    reason, code = group.reason, group.reason_code
    if group.category in _WHY_NO_TAX and not reason:
        reason, usual = _WHY_NO_TAX[group.category]
        code = code or usual
    if group.category not in _STATES_A_REASON:
        reason, code = "", ""
    rate = group.rate_percent if group.category in _WITH_RATE else Decimal(0)
    return ETax(
        category=group.category,
        rate_percent=None if group.category == NOT_SUBJECT else rate,
        taxable=Decimal(group.taxable_minor).scaleb(-digits),
        tax=Decimal(group.tax_minor).scaleb(-digits),
        reason=reason,
        reason_code=code,
    )


def _lines(invoice: Invoice, taxes: Sequence[ETax]) -> Iterator[ELine]:
    if not taxes:
        return
    for position, line in enumerate(invoice.lines, start=1):
        yield electronic_line(
            line, position=position, digits=invoice.minor_digits, group=_group_of(line, taxes)
        )


def _group_of(line: InvoiceLine, taxes: Sequence[ETax]) -> ETax:
    """The group a line is taxed in: the one it names, and where there is one group, that."""
    if line.tax is not None:
        for tax in taxes:
            if tax.category == line.tax.category and tax.rate_percent in {None, line.tax.rate_percent}:
                return tax
    return taxes[0]


def _party(party: Mapping[str, Any], *, of_vat: bool) -> EParty:
    """of_vat: False where nothing is subject to VAT, which forbids VAT numbers (BR-O-02 to 04)."""
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


def _deliver_to(customer: Mapping[str, Any], buyer: EParty, taxes: Sequence[ETax]) -> EParty | None:
    """Who was sold to, when another is billed; of an intra-community supply always (BR-IC-12)."""
    sold_to = sold_to_party(customer)
    if sold_to is not None:
        return _party(sold_to, of_vat=False)
    if any(tax.category == "K" for tax in taxes):
        return EParty(name="", country=buyer.country)
    return None


def _payment(invoice: Invoice, number: str) -> EPayment:
    payee = payee_of(invoice.seller or {})
    sepa = bool(payee.iban) and invoice.currency == "EUR"
    means = _NOT_DEFINED if not payee.account else _SEPA_TRANSFER if sepa else _CREDIT_TRANSFER
    return EPayment(
        means_code=means,
        reference=creditor_reference(number) or number,
        account=payee.iban or payee.account,
        is_iban=bool(payee.iban),
        bic=payee.bic,
        terms=_payment_terms(invoice),
    )


def _payment_terms(invoice: Invoice) -> str:
    said = [f"Payable within {invoice.terms['payment_days']} days of the issue date."]
    late_payment = invoice.terms.get("late_payment") or (invoice.seller or {}).get("late_payment")
    if late_payment:
        said.append(f"Late payment: {late_payment}")
    return " ".join(said)


def _note(invoice: Invoice) -> str:
    """One note, since Peppol takes no second: why there is no tax, in the words of the law."""
    return " ".join(dict.fromkeys(group.reason for group in invoice.tax if group.reason))
