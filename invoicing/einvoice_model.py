"""An invoice in the terms of EN 16931: what both XML syntaxes say, before either is written.

Field comments name the standard's terms (BT-1 ...). Amounts are exact decimals in major units; texts are
as they stand in the XML, empty where there is nothing to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, Literal

Profile = Literal["en16931", "peppol", "xrechnung"]
PROFILES: Final[tuple[Profile, ...]] = ("en16931", "peppol", "xrechnung")
Syntax = Literal["ubl", "cii"]
SYNTAXES: Final[tuple[Syntax, ...]] = ("ubl", "cii")

INVOICE_TYPE: Final = "380"
CREDIT_NOTE_TYPE: Final = "381"
NOT_SUBJECT: Final = "O"
"""The VAT category of what is outside the scope of VAT: it has no rate, and no VAT number may stand by it."""

CUSTOMISATION: Final[dict[Profile, str]] = {
    "en16931": "urn:cen.eu:en16931:2017",
    "peppol": "urn:cen.eu:en16931:2017#compliant#urn:fdc:peppol.eu:2017:poacc:billing:3.0",
    "xrechnung": "urn:cen.eu:en16931:2017#compliant#urn:xeinkauf.de:kosit:xrechnung_3.0",
}
PROCESS: Final[dict[Profile, str]] = {
    "en16931": "",
    "peppol": "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0",
    "xrechnung": "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0",
}


@dataclass(frozen=True, slots=True)
class EParty:
    """Seller (BG-4), buyer (BG-7) or the place of delivery (BG-13).

    name: BT-27/44/70. vat_id: BT-31/48, with its country prefix. tax_registration: BT-32, a tax number
    that is none of VAT. registration_id: BT-30/47. endpoint_id and its scheme (EAS code): BT-34/49.
    address_lines: three at most. country: ISO 3166-1 alpha-2. contact, phone, email: BG-6/9.
    """

    name: str
    address_lines: tuple[str, ...] = ()
    city: str = ""
    postal_code: str = ""
    country: str = ""
    vat_id: str = ""
    tax_registration: str = ""
    registration_id: str = ""
    endpoint_id: str = ""
    endpoint_scheme: str = ""
    contact: str = ""
    phone: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class ETax:
    """One VAT breakdown (BG-23): BT-116 taxable, BT-117 tax, BT-118 category, BT-119 rate (None for
    category O), BT-120 reason, BT-121 reason code."""

    category: str
    rate_percent: Decimal | None
    taxable: Decimal
    tax: Decimal
    reason: str = ""
    reason_code: str = ""


@dataclass(frozen=True, slots=True)
class EAllowance:
    """What a discount takes off a line (BG-27): BT-136, to minor units, and its reason BT-139."""

    amount: Decimal
    reason: str


@dataclass(frozen=True, slots=True)
class ELine:
    """One invoice line (BG-25): ``quantity * price / base_quantity`` less the allowances is ``net``, to
    half a minor unit. line_id: BT-126. note: BT-127. quantity, unit: BT-129, BT-130. net: BT-131.
    period: BG-26, first and last day, both covered. price: BT-146, never negative. base_quantity: BT-149,
    None for one. category, rate_percent: BT-151, BT-152. name, description: BT-153, BT-154. seller_item:
    BT-155. attributes: BG-32.
    """

    line_id: str
    quantity: Decimal
    unit: str
    net: Decimal
    period: tuple[date, date]
    price: Decimal
    base_quantity: Decimal | None
    category: str
    rate_percent: Decimal | None
    name: str
    description: str = ""
    seller_item: str = ""
    note: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    allowances: tuple[EAllowance, ...] = ()


@dataclass(frozen=True, slots=True)
class EPayment:
    """How to pay (BG-16): means_code BT-81 (UNCL 4461), reference BT-83, iban or another account BT-84,
    bic BT-86, terms BT-20."""

    means_code: str
    reference: str = ""
    account: str = ""
    is_iban: bool = False
    bic: str = ""
    terms: str = ""


@dataclass(frozen=True, slots=True)
class EReference:
    """A document that this one corrects (BG-3): its number and date."""

    number: str
    issue_date: date | None


@dataclass(frozen=True, slots=True)
class EInvoice:
    """A whole document. period: BG-14, first and last day. net: BT-106 and BT-109; tax: BT-110;
    gross: BT-112; prepaid: BT-113; due: BT-115. digits: of the currency, for writing amounts."""

    profile: Profile
    type_code: str
    number: str
    issue_date: date
    due_date: date | None
    currency: str
    digits: int
    note: str
    buyer_reference: str
    purchase_order: str
    contract: str
    preceding: tuple[EReference, ...]
    seller: EParty
    buyer: EParty
    deliver_to: EParty | None
    period: tuple[date, date]
    payment: EPayment
    taxes: tuple[ETax, ...]
    lines: tuple[ELine, ...]
    net: Decimal
    tax: Decimal
    gross: Decimal
    prepaid: Decimal
    due: Decimal

    @property
    def is_credit_note(self) -> bool:
        return self.type_code == CREDIT_NOTE_TYPE

    def amount(self, value: Decimal) -> str:
        """An amount as the XML has it, with the digits of the currency."""
        return f"{value:.{self.digits}f}"
