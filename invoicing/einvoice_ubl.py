"""An electronic invoice as UBL 2.1, Invoice or CreditNote, in the order of its schema."""

from __future__ import annotations

from typing import Any, Final

from ingest.document import decimal_text
from invoicing.einvoice_model import CUSTOMISATION, PROCESS, EAllowance, EInvoice, ELine, EParty, ETax
from invoicing.xml_tree import Names, xml_bytes

_UBL: Final = "urn:oasis:names:specification:ubl:schema:xsd"
_COMMON: Final = {
    "cac": f"{_UBL}:CommonAggregateComponents-2",
    "cbc": f"{_UBL}:CommonBasicComponents-2",
}


def ubl_document(document: EInvoice) -> bytes:
    """The XML; amounts and prices as exact as the terms."""
    kind = "CreditNote" if document.is_credit_note else "Invoice"
    n = Names({"ubl": f"{_UBL}:{kind}-2", **_COMMON})
    return xml_bytes(_document(n, document, kind))


def _document(n: Names, document: EInvoice, kind: str) -> Any:
    due = "" if document.due_date is None else document.due_date.isoformat()
    first, last = document.period
    return n(
        f"ubl:{kind}",
        n("cbc:CustomizationID", CUSTOMISATION[document.profile]),
        n("cbc:ProfileID", PROCESS[document.profile]),
        n("cbc:ID", document.number),
        n("cbc:IssueDate", document.issue_date.isoformat()),
        None if document.is_credit_note else n("cbc:DueDate", due),
        n(f"cbc:{kind}TypeCode", document.type_code),
        n("cbc:Note", document.note),
        n("cbc:DocumentCurrencyCode", document.currency),
        n("cbc:BuyerReference", document.buyer_reference),
        n(
            "cac:InvoicePeriod",
            n("cbc:StartDate", first.isoformat()),
            n("cbc:EndDate", last.isoformat()),
        ),
        n("cac:OrderReference", n("cbc:ID", document.purchase_order)),
        *(
            n(
                "cac:BillingReference",
                n(
                    "cac:InvoiceDocumentReference",
                    n("cbc:ID", entry.number),
                    n("cbc:IssueDate", "" if entry.issue_date is None else entry.issue_date.isoformat()),
                ),
            )
            for entry in document.preceding
        ),
        n("cac:ContractDocumentReference", n("cbc:ID", document.contract)),
        n("cac:AccountingSupplierParty", _party(n, document.seller)),
        n("cac:AccountingCustomerParty", _party(n, document.buyer)),
        _delivery(n, document.deliver_to),
        _payment_means(n, document, due),
        n("cac:PaymentTerms", n("cbc:Note", document.payment.terms)),
        _tax_total(n, document),
        _totals(n, document),
        *(_line(n, document, line, kind) for line in document.lines),
    )


def _party(n: Names, party: EParty) -> Any:
    return n(
        "cac:Party",
        n("cbc:EndpointID", party.endpoint_id, schemeID=party.endpoint_scheme),
        _address(n, party, "cac:PostalAddress"),
        _tax_number(n, party.vat_id, "VAT"),
        _tax_number(n, party.tax_registration, "TAX"),
        n(
            "cac:PartyLegalEntity",
            n("cbc:RegistrationName", party.name),
            n("cbc:CompanyID", party.registration_id),
        ),
        n(
            "cac:Contact",
            n("cbc:Name", party.contact),
            n("cbc:Telephone", party.phone),
            n("cbc:ElectronicMail", party.email),
        ),
    )


def _tax_number(n: Names, number: str, scheme: str) -> Any:
    if not number:
        return None
    return n("cac:PartyTaxScheme", n("cbc:CompanyID", number), n("cac:TaxScheme", n("cbc:ID", scheme)))


def _address(n: Names, party: EParty, name: str) -> Any:
    street, additional, line = (*party.address_lines, "", "", "")[:3]
    return n(
        name,
        n("cbc:StreetName", street),
        n("cbc:AdditionalStreetName", additional),
        n("cbc:CityName", party.city),
        n("cbc:PostalZone", party.postal_code),
        n("cac:AddressLine", n("cbc:Line", line)),
        n("cac:Country", n("cbc:IdentificationCode", party.country)),
    )


def _delivery(n: Names, party: EParty | None) -> Any:
    if party is None:
        return None
    return n(
        "cac:Delivery",
        n("cac:DeliveryLocation", _address(n, party, "cac:Address")),
        n("cac:DeliveryParty", n("cac:PartyName", n("cbc:Name", party.name))),
    )


def _payment_means(n: Names, document: EInvoice, due: str) -> Any:
    payment = document.payment
    return n(
        "cac:PaymentMeans",
        n("cbc:PaymentMeansCode", payment.means_code),
        n("cbc:PaymentDueDate", due) if document.is_credit_note else None,
        n("cbc:PaymentID", payment.reference),
        n(
            "cac:PayeeFinancialAccount",
            n("cbc:ID", payment.account),
            n("cac:FinancialInstitutionBranch", n("cbc:ID", payment.bic)) if payment.account else None,
        ),
    )


def _money(n: Names, document: EInvoice, name: str, value: Any) -> Any:
    return n(name, document.amount(value), currencyID=document.currency)


def _tax_total(n: Names, document: EInvoice) -> Any:
    return n(
        "cac:TaxTotal",
        _money(n, document, "cbc:TaxAmount", document.tax),
        *(
            n(
                "cac:TaxSubtotal",
                _money(n, document, "cbc:TaxableAmount", tax.taxable),
                _money(n, document, "cbc:TaxAmount", tax.tax),
                _breakdown(n, tax),
            )
            for tax in document.taxes
        ),
    )


def _breakdown(n: Names, tax: ETax) -> Any:
    return n(
        "cac:TaxCategory",
        n("cbc:ID", tax.category),
        n("cbc:Percent", "" if tax.rate_percent is None else decimal_text(tax.rate_percent)),
        n("cbc:TaxExemptionReasonCode", tax.reason_code),
        n("cbc:TaxExemptionReason", tax.reason),
        n("cac:TaxScheme", n("cbc:ID", "VAT")),
    )


def _totals(n: Names, document: EInvoice) -> Any:
    return n(
        "cac:LegalMonetaryTotal",
        _money(n, document, "cbc:LineExtensionAmount", document.net),
        _money(n, document, "cbc:TaxExclusiveAmount", document.net),
        _money(n, document, "cbc:TaxInclusiveAmount", document.gross),
        _money(n, document, "cbc:PrepaidAmount", document.prepaid) if document.prepaid else None,
        _money(n, document, "cbc:PayableAmount", document.due),
    )


def _line(n: Names, document: EInvoice, line: ELine, kind: str) -> Any:
    first, last = line.period
    quantity = "cbc:CreditedQuantity" if kind == "CreditNote" else "cbc:InvoicedQuantity"
    return n(
        f"cac:{kind}Line",
        n("cbc:ID", line.line_id),
        n("cbc:Note", line.note),
        n(quantity, decimal_text(line.quantity), unitCode=line.unit),
        _money(n, document, "cbc:LineExtensionAmount", line.net),
        n(
            "cac:InvoicePeriod",
            n("cbc:StartDate", first.isoformat()),
            n("cbc:EndDate", last.isoformat()),
        ),
        *(_allowance(n, document, entry) for entry in line.allowances),
        n(
            "cac:Item",
            n("cbc:Description", line.description),
            n("cbc:Name", line.name),
            n("cac:SellersItemIdentification", n("cbc:ID", line.seller_item)),
            n(
                "cac:ClassifiedTaxCategory",
                n("cbc:ID", line.category),
                n("cbc:Percent", "" if line.rate_percent is None else decimal_text(line.rate_percent)),
                n("cac:TaxScheme", n("cbc:ID", "VAT")),
            ),
            *(
                n("cac:AdditionalItemProperty", n("cbc:Name", name), n("cbc:Value", value))
                for name, value in line.attributes
            ),
        ),
        _price(n, document, line),
    )


def _allowance(n: Names, document: EInvoice, entry: EAllowance) -> Any:
    return n(
        "cac:AllowanceCharge",
        n("cbc:ChargeIndicator", "false"),
        n("cbc:AllowanceChargeReason", entry.reason),
        _money(n, document, "cbc:Amount", entry.amount),
    )


def _price(n: Names, document: EInvoice, line: ELine) -> Any:
    base = "" if line.base_quantity is None else decimal_text(line.base_quantity)
    return n(
        "cac:Price",
        n("cbc:PriceAmount", price_text(line, document.digits), currencyID=document.currency),
        n("cbc:BaseQuantity", base, unitCode=line.unit),
    )


def price_text(line: ELine, digits: int) -> str:
    """A price with all its digits, and at least those of the currency."""
    text = decimal_text(line.price)
    _, point, fraction = text.partition(".")
    if len(fraction) >= digits:
        return text
    return f"{text}{'' if point else '.'}{'0' * (digits - len(fraction))}"
