"""An electronic invoice as UN/CEFACT Cross Industry Invoice (CII, D16B), in the order of its schema."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, Final

from ingest.document import decimal_text
from invoicing.einvoice_model import CUSTOMISATION, PROCESS, EAllowance, EInvoice, ELine, EParty, ETax
from invoicing.einvoice_ubl import price_text
from invoicing.xml_tree import Names, xml_bytes

_STANDARD: Final = "urn:un:unece:uncefact:data:standard"
_NAMESPACES: Final = {
    "rsm": f"{_STANDARD}:CrossIndustryInvoice:100",
    "ram": f"{_STANDARD}:ReusableAggregateBusinessInformationEntity:100",
    "qdt": f"{_STANDARD}:QualifiedDataType:100",
    "udt": f"{_STANDARD}:UnqualifiedDataType:100",
}
_DAY: Final = "102"
"""UNTDID 2379: a date as eight digits."""


def cii_document(document: EInvoice) -> bytes:
    """The XML; amounts and prices as exact as the terms."""
    n = Names(_NAMESPACES)
    parameter = "DocumentContextParameter"
    return xml_bytes(
        n(
            "rsm:CrossIndustryInvoice",
            n(
                "rsm:ExchangedDocumentContext",
                n(f"ram:BusinessProcessSpecified{parameter}", n("ram:ID", PROCESS[document.profile])),
                n(f"ram:GuidelineSpecified{parameter}", n("ram:ID", CUSTOMISATION[document.profile])),
            ),
            n(
                "rsm:ExchangedDocument",
                n("ram:ID", document.number),
                n("ram:TypeCode", document.type_code),
                _when(n, "ram:IssueDateTime", document.issue_date),
                n("ram:IncludedNote", n("ram:Content", document.note)),
            ),
            n(
                "rsm:SupplyChainTradeTransaction",
                *(_line(n, document, line) for line in document.lines),
                _agreement(n, document),
                _delivery(n, document),
                _settlement(n, document),
            ),
        )
    )


def _when(n: Names, name: str, day: date | None, *, space: str = "udt") -> Any:
    return None if day is None else n(name, n(f"{space}:DateTimeString", f"{day:%Y%m%d}", format=_DAY))


def _agreement(n: Names, document: EInvoice) -> Any:
    return n(
        "ram:ApplicableHeaderTradeAgreement",
        n("ram:BuyerReference", document.buyer_reference),
        _party(n, "ram:SellerTradeParty", document.seller),
        _party(n, "ram:BuyerTradeParty", document.buyer),
        n("ram:BuyerOrderReferencedDocument", n("ram:IssuerAssignedID", document.purchase_order)),
        n("ram:ContractReferencedDocument", n("ram:IssuerAssignedID", document.contract)),
    )


def _delivery(n: Names, document: EInvoice) -> Any:
    made = n(
        "ram:ApplicableHeaderTradeDelivery",
        None if document.deliver_to is None else _party(n, "ram:ShipToTradeParty", document.deliver_to),
    )
    if made is not None:
        return made
    # The schema wants the element even where there is nothing to say.
    empty = n("ram:ApplicableHeaderTradeDelivery", " ")
    empty.text = None
    return empty


def _party(n: Names, name: str, party: EParty) -> Any:
    first, second, third = (*party.address_lines, "", "", "")[:3]
    return n(
        name,
        n("ram:Name", party.name),
        n("ram:SpecifiedLegalOrganization", n("ram:ID", party.registration_id)),
        n(
            "ram:DefinedTradeContact",
            n("ram:PersonName", party.contact),
            n("ram:TelephoneUniversalCommunication", n("ram:CompleteNumber", party.phone)),
            n("ram:EmailURIUniversalCommunication", n("ram:URIID", party.email)),
        ),
        n(
            "ram:PostalTradeAddress",
            n("ram:PostcodeCode", party.postal_code),
            n("ram:LineOne", first),
            n("ram:LineTwo", second),
            n("ram:LineThree", third),
            n("ram:CityName", party.city),
            n("ram:CountryID", party.country),
        ),
        n("ram:URIUniversalCommunication", n("ram:URIID", party.endpoint_id, schemeID=party.endpoint_scheme)),
        n("ram:SpecifiedTaxRegistration", n("ram:ID", party.vat_id, schemeID="VA")),
        n("ram:SpecifiedTaxRegistration", n("ram:ID", party.tax_registration, schemeID="FC")),
    )


def _settlement(n: Names, document: EInvoice) -> Any:
    payment = document.payment
    account = "ram:IBANID" if payment.is_iban else "ram:ProprietaryID"
    bic = payment.bic if payment.account else ""
    return n(
        "ram:ApplicableHeaderTradeSettlement",
        n("ram:PaymentReference", payment.reference),
        n("ram:InvoiceCurrencyCode", document.currency),
        n(
            "ram:SpecifiedTradeSettlementPaymentMeans",
            n("ram:TypeCode", payment.means_code),
            n("ram:PayeePartyCreditorFinancialAccount", n(account, payment.account)),
            n("ram:PayeeSpecifiedCreditorFinancialInstitution", n("ram:BICID", bic)),
        ),
        *(_breakdown(n, document, tax) for tax in document.taxes),
        _period(n, *document.period),
        n(
            "ram:SpecifiedTradePaymentTerms",
            n("ram:Description", payment.terms),
            _when(n, "ram:DueDateDateTime", document.due_date),
        ),
        _totals(n, document),
        *(
            n(
                "ram:InvoiceReferencedDocument",
                n("ram:IssuerAssignedID", entry.number),
                _when(n, "ram:FormattedIssueDateTime", entry.issue_date, space="qdt"),
            )
            for entry in document.preceding
        ),
    )


def _breakdown(n: Names, document: EInvoice, tax: ETax) -> Any:
    return n(
        "ram:ApplicableTradeTax",
        n("ram:CalculatedAmount", document.amount(tax.tax)),
        n("ram:TypeCode", "VAT"),
        n("ram:ExemptionReason", tax.reason),
        n("ram:BasisAmount", document.amount(tax.taxable)),
        n("ram:CategoryCode", tax.category),
        n("ram:ExemptionReasonCode", tax.reason_code),
        n("ram:RateApplicablePercent", _rate(tax.rate_percent)),
    )


def _period(n: Names, first: date, last: date) -> Any:
    return n(
        "ram:BillingSpecifiedPeriod",
        _when(n, "ram:StartDateTime", first),
        _when(n, "ram:EndDateTime", last),
    )


def _totals(n: Names, document: EInvoice) -> Any:
    amount = document.amount
    return n(
        "ram:SpecifiedTradeSettlementHeaderMonetarySummation",
        n("ram:LineTotalAmount", amount(document.net)),
        n("ram:TaxBasisTotalAmount", amount(document.net)),
        n("ram:TaxTotalAmount", amount(document.tax), currencyID=document.currency),
        n("ram:GrandTotalAmount", amount(document.gross)),
        n("ram:TotalPrepaidAmount", amount(document.prepaid)) if document.prepaid else None,
        n("ram:DuePayableAmount", amount(document.due)),
    )


def _line(n: Names, document: EInvoice, line: ELine) -> Any:
    base = "" if line.base_quantity is None else decimal_text(line.base_quantity)
    return n(
        "ram:IncludedSupplyChainTradeLineItem",
        n(
            "ram:AssociatedDocumentLineDocument",
            n("ram:LineID", line.line_id),
            n("ram:IncludedNote", n("ram:Content", line.note)),
        ),
        n(
            "ram:SpecifiedTradeProduct",
            n("ram:SellerAssignedID", line.seller_item),
            n("ram:Name", line.name),
            n("ram:Description", line.description),
            *(
                n("ram:ApplicableProductCharacteristic", n("ram:Description", name), n("ram:Value", value))
                for name, value in line.attributes
            ),
        ),
        n(
            "ram:SpecifiedLineTradeAgreement",
            n(
                "ram:NetPriceProductTradePrice",
                n("ram:ChargeAmount", price_text(line, document.digits)),
                n("ram:BasisQuantity", base, unitCode=line.unit),
            ),
        ),
        n(
            "ram:SpecifiedLineTradeDelivery",
            n("ram:BilledQuantity", decimal_text(line.quantity), unitCode=line.unit),
        ),
        _line_settlement(n, document, line),
    )


def _line_settlement(n: Names, document: EInvoice, line: ELine) -> Any:
    return n(
        "ram:SpecifiedLineTradeSettlement",
        n(
            "ram:ApplicableTradeTax",
            n("ram:TypeCode", "VAT"),
            n("ram:CategoryCode", line.category),
            n("ram:RateApplicablePercent", _rate(line.rate_percent)),
        ),
        _period(n, *line.period),
        *(_allowance(n, document, entry) for entry in line.allowances),
        n(
            "ram:SpecifiedTradeSettlementLineMonetarySummation",
            n("ram:LineTotalAmount", document.amount(line.net)),
        ),
    )


def _allowance(n: Names, document: EInvoice, entry: EAllowance) -> Any:
    return n(
        "ram:SpecifiedTradeAllowanceCharge",
        n("ram:ChargeIndicator", n("udt:Indicator", "false")),
        n("ram:ActualAmount", document.amount(entry.amount)),
        n("ram:Reason", entry.reason),
    )


def _rate(rate: Decimal | None) -> str:
    return "" if rate is None else decimal_text(rate)
