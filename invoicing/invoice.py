"""An invoice: the values, its one canonical text, and which state may follow which.

The document is JSON with sorted names, decimals as text and no binary floats: the same invoice is
the same bytes, and its SHA-256 is what a billing run's manifest is made of. It is a snapshot:
customer, contract and terms are copied in as they were when it was drafted.

Draft and issued invoice differ in ``number``, ``issue_date`` and ``due_date``, and in credit: a draft shows
what it would draw, an issued invoice what it drew (``drawn_credit``, and ``allowances`` of lines with what
comes of them). Without credit there are no such fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

import orjson

from ingest.document import decimal_text
from ingest.errors import BrokenState, Conflict
from invoicing.invoice_tax import (
    TAX_NOTE,
    InvoiceLineTax,
    InvoiceTax,
    line_tax_document,
    parse_line_tax,
    parse_tax,
    tax_document,
)
from invoicing.line_period import line_period
from rating.price_plan import CreditsPlace

InvoiceState = Literal["draft", "issued"]
DOCUMENT_SCHEMA: Final = "ratemill.invoice/1"
_NESTED: Final = frozenset({"tiers", "discounts", "adjusts", "tax", "allowances"})
_DATES: Final = frozenset({"billing_date", "period_start", "period_end", "issue_date", "due_date"})

TRANSITIONS: Final[Mapping[str, frozenset[str]]] = {
    "draft": frozenset({"issued"}),
    "issued": frozenset(),
}
"""Which state may follow which. An issued invoice never changes again; credit notes correct it."""


@dataclass(frozen=True, slots=True)
class InvoiceTier:
    """One tier row of a line: ``units`` above ``above`` up to and including ``up_to`` came to ``amount``."""

    number: int
    above: Decimal
    up_to: Decimal | None
    unit_price: Decimal | None
    flat_amount: Decimal | None
    units: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class InvoiceDiscount:
    """What one discount took off a line: ``amount`` in major units, exact, of the line's sign."""

    discount_id: str
    name: str
    words: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class InvoiceAdjusts:
    """What an adjustment adjusts: ``line_id`` of ``billing_date``, on that date's invoice; null where nothing
    was billed then, ``invoice_number`` also when it was a draft.

    billed_quantity, billed_amount: as billed before, earlier adjustments included; rated_amount: what it
    comes to now; amounts rounded, in major units. The line's amount is the difference, its
    quantity that of now.
    """

    line_id: str
    billing_date: date
    invoice_id: str | None
    invoice_number: str | None
    billed_quantity: Decimal
    billed_amount: Decimal
    rated_amount: Decimal


@dataclass(frozen=True, slots=True)
class InvoiceAllowance:
    """Promotional credit that was taken off a line before tax, minor units as the line is priced. Below zero:
    what goes back to it, because the line gives back of one that it was taken off."""

    grant_id: str
    name: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One rated line as the invoice shows it.

    period_start/period_end: local dates, half-open. days, full_days: how much of the whole billing period
    the line's is, counted as its plan prorates; a fee is prorated by them. Of a credit: how much of the
    billed fee is given back, whose amount is ``quantity``. amount: exact as priced, in major units;
    amount_minor: rounded once, and net of tax where prices include it. price_source: ``contract`` for a
    price agreed with the customer, ``plan`` for the list price, ``item`` for one that billable items
    state. price_text: the price in words, like ``0.01 per call``. discounts: taken off ``amount``
    already, in the order applied. adjusts: of an adjustment. tax: null where no tax is stated. allowances:
    credit taken off ``amount_minor`` before tax, or going back; ``amount`` is without it. line_id: leads to
    the rated line, its derivation and the events behind it.
    """

    line_id: str
    charge_id: str
    charge_kind: str
    description: str
    price_model: str
    price_text: str
    plan_id: str
    plan_version: int
    meter_id: str
    unit: str
    period_start: date
    period_end: date
    days: int
    full_days: int
    dimensions: Mapping[str, str]
    quantity: Decimal
    rated_quantity: Decimal
    event_count: int
    amount: Decimal
    amount_minor: int
    tiers: tuple[InvoiceTier, ...]
    price_source: str = "plan"
    discounts: tuple[InvoiceDiscount, ...] = ()
    adjusts: InvoiceAdjusts | None = None
    tax: InvoiceLineTax | None = None
    allowances: tuple[InvoiceAllowance, ...] = ()


@dataclass(frozen=True, slots=True)
class InvoiceCredit:
    """What one grant of credit pays: ``amount_minor``; ``remaining_minor`` is what it has left after that.
    Of a bill below zero, what goes back to it: below zero; of a grant that has ended, ``remaining_minor`` is
    that of the new one that takes it."""

    grant_id: str
    name: str
    kind: str
    amount_minor: int
    remaining_minor: int


@dataclass(frozen=True, slots=True)
class Invoice:
    """See the module. Mappings are the documents as saved: customer, contract facts, seller, terms.

    period_start/period_end: the whole time the lines cover, local dates, half-open. total_minor: the sum of
    the lines, net of tax. tax: its groups in the order of category and rate, empty where no tax is stated.
    drawn_credit: what of the gross amount credit pays, in the order drawn, or what of an amount below zero
    goes back to credit (``credit_give_back.py``), below zero; ``due_minor`` is the rest.
    credits: whether promotional credit is taken before tax, off the lines (``credit_allowance.py``).
    """

    invoice_id: str
    billing_date: date
    contract: Mapping[str, Any]
    customer: Mapping[str, Any]
    customer_version: int
    seller: Mapping[str, Any] | None
    terms: Mapping[str, Any]
    currency: str
    minor_digits: int
    period_start: date
    period_end: date
    lines: tuple[InvoiceLine, ...]
    total_minor: int
    number: str | None
    issue_date: date | None
    due_date: date | None
    drawn_credit: tuple[InvoiceCredit, ...] = ()
    tax: tuple[InvoiceTax, ...] = ()
    credits: CreditsPlace = "after_tax"

    @property
    def tax_minor(self) -> int:
        """Tax of all groups."""
        return sum(group.tax_minor for group in self.tax)

    @property
    def gross_minor(self) -> int:
        """What the customer owes before credit: the lines and their tax."""
        return self.total_minor + self.tax_minor

    @property
    def credit_minor(self) -> int:
        """What credit pays."""
        return sum(entry.amount_minor for entry in self.drawn_credit)

    @property
    def due_minor(self) -> int:
        """What is left to pay."""
        return self.gross_minor - self.credit_minor

    @property
    def state(self) -> InvoiceState:
        return "draft" if self.number is None else "issued"

    def issued(self, *, number: str, issue_date: date) -> Invoice:
        """The same invoice with its number and dates. Raises Conflict when it has them already."""
        check_transition(self.invoice_id, from_state=self.state, to_state="issued")
        due_date = issue_date + timedelta(days=int(self.terms["payment_days"]))
        # Below zero it is a credit note, of which nothing is to be paid.
        owed = self.gross_minor >= 0
        return replace(self, number=number, issue_date=issue_date, due_date=due_date if owed else None)


def check_transition(invoice_id: str, *, from_state: str, to_state: str) -> None:
    """Raises Conflict when ``to_state`` may not follow ``from_state``."""
    if to_state not in TRANSITIONS.get(from_state, frozenset()):
        raise Conflict(
            f"invoice {invoice_id} is {from_state} already and cannot become {to_state}: "
            "an issued invoice never changes.",
            reason_code="invoice_state",
        )


def entity_id_of(invoice: Invoice) -> str | None:
    """The billing entity that sends it, None where the seller is the one of the settings or nobody."""
    found = (invoice.seller or {}).get("entity_id")
    return None if found is None else str(found)


def invoice_text(invoice: Invoice) -> str:
    """The canonical JSON text. Raises BrokenState when the lines do not sum to the total."""
    summed = sum(line.amount_minor for line in invoice.lines)
    if summed != invoice.total_minor:
        raise BrokenState(
            f"invoice {invoice.invoice_id} has total {invoice.total_minor} but its lines sum to {summed} "
            "minor units. Nothing was written; report this with the invoice id."
        )
    if invoice.tax and sum(group.taxable_minor for group in invoice.tax) != invoice.total_minor:
        raise BrokenState(
            f"invoice {invoice.invoice_id} has total {invoice.total_minor} but is taxed on other amounts. "
            "Nothing was written; report this with the invoice id."
        )
    return orjson.dumps(invoice_document(invoice), option=orjson.OPT_SORT_KEYS).decode()


def credit_document(invoice: Invoice) -> dict[str, Any]:
    """The drawn credit as the canonical text has it."""
    grants = [asdict(entry) for entry in invoice.drawn_credit]
    return {"due_minor": invoice.due_minor, "grants": grants, "total_minor": invoice.credit_minor}


def adjusts_document(adjusts: InvoiceAdjusts) -> dict[str, Any]:
    """What an adjustment adjusts, as the canonical text has it."""
    return {name: _json_value(getattr(adjusts, name)) for name in InvoiceAdjusts.__slots__}


def invoice_hash(text: str) -> str:
    """SHA-256 of the canonical text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def parse_invoice(text: str) -> Invoice:
    """The invoice of a canonical text. Raises BrokenState for a text this version did not write."""
    data = orjson.loads(text)
    if data.get("schema") != DOCUMENT_SCHEMA:
        raise BrokenState(
            f"the invoice document has schema {data.get('schema')!r}; this version reads {DOCUMENT_SCHEMA}. "
            "Install the version of Ratemill that wrote it."
        )
    return Invoice(
        invoice_id=data["invoice_id"],
        billing_date=date.fromisoformat(data["billing_date"]),
        contract=data["contract"],
        customer=data["customer"],
        customer_version=data["customer_version"],
        seller=data["seller"],
        terms=data["terms"],
        currency=data["currency"],
        minor_digits=data["minor_digits"],
        period_start=date.fromisoformat(data["period_start"]),
        period_end=date.fromisoformat(data["period_end"]),
        lines=tuple(_parse_line(line) for line in data["lines"]),
        total_minor=data["total_minor"],
        number=data["number"],
        issue_date=_date_or_none(data["issue_date"]),
        due_date=_date_or_none(data["due_date"]),
        drawn_credit=tuple(
            InvoiceCredit(**entry) for entry in data.get("drawn_credit", {"grants": ()})["grants"]
        ),
        tax=() if data["tax"] == TAX_NOTE else tuple(parse_tax(group) for group in data["tax"]),
        credits=data.get("credits", "after_tax"),
    )


def invoice_document(invoice: Invoice) -> dict[str, Any]:
    """The invoice as its canonical text has it."""
    plain = {
        name: getattr(invoice, name)
        for name in Invoice.__slots__
        if name not in {"lines", "drawn_credit", "tax", "credits", *_DATES}
    }
    credit: dict[str, Any] = {"drawn_credit": credit_document(invoice)} if invoice.drawn_credit else {}
    if invoice.credits != "after_tax":
        credit["credits"] = invoice.credits
    return (
        plain
        | credit
        | {
            "schema": DOCUMENT_SCHEMA,
            "tax": tax_document(invoice.tax),
            "billing_date": invoice.billing_date.isoformat(),
            "period_start": invoice.period_start.isoformat(),
            "period_end": invoice.period_end.isoformat(),
            "issue_date": invoice.issue_date.isoformat() if invoice.issue_date else None,
            "due_date": invoice.due_date.isoformat() if invoice.due_date else None,
            "lines": [_line_document(line) for line in invoice.lines],
        }
    )


def _line_document(line: InvoiceLine) -> dict[str, Any]:
    plain = {name: _json_value(getattr(line, name)) for name in InvoiceLine.__slots__ if name not in _NESTED}
    adjusts = {} if line.adjusts is None else {"adjusts": adjusts_document(line.adjusts)}
    tax = {} if line.tax is None else {"tax": line_tax_document(line.tax)}
    allowed = {"allowances": [asdict(entry) for entry in line.allowances]} if line.allowances else {}
    return (
        plain
        | adjusts
        | tax
        | allowed
        | {
            name: [
                {field: _json_value(getattr(entry, field)) for field in kind.__slots__} for entry in entries
            ]
            for name, kind, entries in (
                ("tiers", InvoiceTier, line.tiers),
                ("discounts", InvoiceDiscount, line.discounts),
            )
        }
    )


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, date):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else value


def _parse_line(data: Mapping[str, Any]) -> InvoiceLine:
    decimals = {name: Decimal(data[name]) for name in ("quantity", "rated_quantity", "amount")}
    tiers = tuple(_parse_tier(tier) for tier in data["tiers"])
    discounts = tuple(
        InvoiceDiscount(**{**entry, "amount": Decimal(entry["amount"])})
        for entry in data.get("discounts", ())  # not in documents of before there were any
    )
    adjusts = {"adjusts": _parse_adjusts(data["adjusts"])} if "adjusts" in data else {}
    tax = {"tax": parse_line_tax(data["tax"])} if "tax" in data else {}
    allowances = tuple(InvoiceAllowance(**entry) for entry in data.get("allowances", ()))
    nested = {"tiers": tiers, "discounts": discounts, "allowances": allowances, **adjusts, **tax}
    return InvoiceLine(**{**data, **decimals, **line_period(data), **nested})


def _parse_adjusts(data: Mapping[str, Any]) -> InvoiceAdjusts:
    amounts = {name: Decimal(data[name]) for name in ("billed_quantity", "billed_amount", "rated_amount")}
    return InvoiceAdjusts(**{**data, **amounts, "billing_date": date.fromisoformat(data["billing_date"])})


def _parse_tier(data: Mapping[str, Any]) -> InvoiceTier:
    return InvoiceTier(
        number=data["number"],
        above=Decimal(data["above"]),
        up_to=_decimal_or_none(data["up_to"]),
        unit_price=_decimal_or_none(data["unit_price"]),
        flat_amount=_decimal_or_none(data["flat_amount"]),
        units=Decimal(data["units"]),
        amount=Decimal(data["amount"]),
    )


def _decimal_or_none(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _date_or_none(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
