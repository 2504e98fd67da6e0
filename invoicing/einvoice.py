"""An issued invoice as an electronic one after EN 16931: what it must have, and its terms.

The terms (``einvoice_model.py``) are written as UBL 2.1 (``einvoice_ubl.py``) or UN/CEFACT CII
(``einvoice_cii.py``): pure functions of the invoice as issued, so the same invoice is the same bytes and
nothing needs to be kept. What an e-invoice needs and this invoice does not have is said all at once
(``einvoice_wanted.py``), before anything is written.

On tax the invoice alone speaks: its groups are stated as they were issued. An invoice that states no tax
is no e-invoice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from ingest.errors import Conflict, InvalidInput
from invoicing.einvoice_cii import cii_document
from invoicing.einvoice_line import electronic_line
from invoicing.einvoice_model import (
    INVOICE_TYPE,
    NOT_SUBJECT,
    EInvoice,
    ELine,
    EPayment,
    ETax,
    Profile,
    Syntax,
)
from invoicing.einvoice_party import deliver_to_terms, party_terms
from invoicing.einvoice_tax import group_of, tax_terms
from invoicing.einvoice_ubl import ubl_document
from invoicing.einvoice_wanted import complete
from invoicing.invoice import Invoice
from invoicing.payee import payee_of
from invoicing.payment_reference import creditor_reference
from invoicing.tax_words import billed_party

_SEPA_TRANSFER: Final = "58"
_CREDIT_TRANSFER: Final = "30"
NOT_DEFINED: Final = "1"
"""UNCL 4461: no means of payment is named."""


def einvoice_xml(document: EInvoice, syntax: Syntax) -> bytes:
    """The document as XML in UTF-8. Raises InvalidInput for CII of the profile ``peppol``, which has none."""
    if syntax == "cii" and document.profile == "peppol":
        raise InvalidInput(
            "Peppol BIS Billing takes UBL only. Ask for the syntax ubl, or for another profile.",
            reason_code="einvoice_syntax",
        )
    return ubl_document(document) if syntax == "ubl" else cii_document(document)


def electronic_invoice(invoice: Invoice, *, profile: Profile) -> EInvoice:
    """The terms of an issued invoice. Raises Conflict for a draft, InvalidInput with all that is missing."""
    if invoice.number is None or invoice.issue_date is None:
        raise Conflict(
            f"invoice {invoice.invoice_id} is a draft. Only an issued invoice can be sent as an e-invoice: "
            f"`ratemill invoice issue {invoice.invoice_id}`.",
            reason_code="invoice_not_issued",
        )
    terms = _terms(invoice, invoice.number, invoice.issue_date, profile=profile)
    return complete(terms, what=f"invoice {invoice.number}")


def _terms(invoice: Invoice, number: str, issue_date: date, *, profile: Profile) -> EInvoice:
    digits = invoice.minor_digits
    taxes = tuple(tax_terms(group, digits) for group in invoice.tax)
    of_vat = not any(tax.category == NOT_SUBJECT for tax in taxes)
    customer = invoice.customer
    buyer = party_terms(billed_party(customer), of_vat=of_vat)
    deliver_to = deliver_to_terms(customer, buyer, taxes)

    def amount(minor: int) -> Decimal:
        return Decimal(minor).scaleb(-digits)

    return EInvoice(
        profile=profile,
        type_code=INVOICE_TYPE,
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
        seller=party_terms(invoice.seller or {}, of_vat=of_vat),
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


def _lines(invoice: Invoice, taxes: Sequence[ETax]) -> Iterator[ELine]:
    if not taxes:
        return
    for position, line in enumerate(invoice.lines, start=1):
        yield electronic_line(
            line, position=position, digits=invoice.minor_digits, group=group_of(line.tax, taxes)
        )


def _payment(invoice: Invoice, number: str) -> EPayment:
    payee = payee_of(invoice.seller or {})
    sepa = bool(payee.iban) and invoice.currency == "EUR"
    means = NOT_DEFINED if not payee.account else _SEPA_TRANSFER if sepa else _CREDIT_TRANSFER
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
