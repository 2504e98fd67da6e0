"""An invoice as a PDF on A4, typeset by typst: the same invoice is the same bytes.

Everything printed is made into text here; the template only places it. Only fonts that come with
typst are used and the file's date is the invoice's, so the bytes depend on neither machine nor
time of day. Lines are net; an invoice without a billing entity states no tax, and says so.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import typst
from babel import Locale

from ingest.document import plain
from invoicing.invoice import Invoice, InvoiceAdjusts, InvoiceLine, InvoiceTier
from invoicing.tax_words import (
    billed_party,
    group_words,
    line_tax_words,
    sold_to_words,
    tax_reasons,
    terms_words,
)
from rating.item_line import ITEM_KIND
from rating.money import exact_money, grouped_words
from rating.proration import part_words
from rating.spend_ids import GROUP_MINIMUM_PREFIX, is_minimum
from rating.steps import FEE_CREDIT_KIND, MINIMUM_SPEND_KIND
from rating.term_commitment import TRUE_UP_CHARGE_ID, TRUE_UP_KIND

TEMPLATE: Final = Path(__file__).parent / "templates" / "invoice.typ"
PNG_DOTS_PER_INCH: Final = 110
_LONGEST_WORD: Final = 20
"""A longer word may be broken anywhere, so that no key or id runs over its neighbour."""
_QUANTITY_WIDTH: Final = 26
"""A quantity with more characters is set in lines, so that the description keeps its place."""
_ZERO_WIDTH_SPACE: Final = "\u200b"
_METERED_KINDS: Final = frozenset({"usage", "licence", ITEM_KIND})
_OF_MONEY: Final = frozenset({MINIMUM_SPEND_KIND, FEE_CREDIT_KIND, TRUE_UP_KIND})
_FOOTER: Final = ("name", "tax_id", "registration_id")
PER_UNIT: Final = "per_unit"
"""The price model of a line for units; of a true-up for money it is ``flat``."""
_PRORATED_KINDS: Final = frozenset({"recurring", "licence", *_OF_MONEY})
_TIERED_MODELS: Final = frozenset({"graduated", "volume", "stairstep"})
# Not strftime: its month names follow the machine's language.
_MONTHS_IN_FULL: Final = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_MONTHS: Final = [name[:3] for name in _MONTHS_IN_FULL]


class InvoicePrinter:
    """Typesets invoices. May be shared by threads: each gets a compiler of its own, because one
    compiler used by two threads raises."""

    def __init__(self, template: Path = TEMPLATE) -> None:
        self._source = template.read_bytes()
        self._per_thread = threading.local()

    def pdf(self, invoice: Invoice, logo: bytes = b"") -> bytes:
        """The whole document. logo: PNG or SVG, heads the first page."""
        return b"".join(self._compile(invoice, "pdf", logo))

    def pdf_of(self, texts: Mapping[str, Any], *, dated: date, logo: bytes = b"") -> bytes:
        """Another document with the same places in the template (``printed``), like a credit note."""
        return b"".join(self._typeset(texts, dated, "pdf", logo))

    def png_pages(self, invoice: Invoice, logo: bytes = b"") -> list[bytes]:
        """One picture a page, to look at."""
        return self._compile(invoice, "png", logo)

    def _compile(self, invoice: Invoice, kind: Literal["pdf", "png"], logo: bytes) -> list[bytes]:
        return self._typeset(printed(invoice), invoice.issue_date or invoice.billing_date, kind, logo)

    def _typeset(
        self, texts: Mapping[str, Any], dated: date, kind: Literal["pdf", "png"], logo: bytes
    ) -> list[bytes]:
        compiler = getattr(self._per_thread, "compiler", None)
        if compiler is None:
            compiler = typst.Compiler(ignore_system_fonts=True)
            self._per_thread.compiler = compiler
        output = compiler.compile(
            self._source,
            format=kind,
            ppi=PNG_DOTS_PER_INCH if kind == "png" else None,
            sys_inputs={"invoice": orjson.dumps({**texts, "logo": list(logo)}).decode()},
            timestamp=datetime.combine(dated, time(), tzinfo=UTC),
        )
        pages = output if isinstance(output, list) else [output]
        return [page for page in pages if page is not None]


def printed(invoice: Invoice) -> dict[str, Any]:
    """Every text on the page, by its place in the template."""
    customer, seller = billed_party(invoice.customer), invoice.seller or {}
    number = invoice.number or f"{invoice.invoice_id[:12]} (no number yet)"
    return {
        "title": _title(invoice),
        "number": number,
        "seller_name": seller.get("name", ""),
        "seller_lines": _party_lines(seller),
        "customer_name": _breakable(customer["name"]),
        "customer_lines": _party_lines(customer),
        "facts": [{"label": label, "value": _breakable(value)} for label, value in _facts(invoice) if value],
        "amount_head": f"Amount {invoice.currency}",
        "lines": [_line(line, invoice) for line in invoice.lines],
        "sums": _sums(invoice),
        "total_label": "Amount due" if invoice.drawn_credit or invoice.tax else "Total",
        "total": f"{_money(invoice.due_minor, invoice.minor_digits)} {invoice.currency}",
        "tax_note": "" if invoice.tax else "Amounts exclude tax.",
        "notes_label": "Terms",
        "notes": _notes(invoice),
        "footer": " · ".join(str(seller[name]) for name in _FOOTER if seller.get(name)),
    }


def _title(invoice: Invoice) -> str:
    kind = "invoice" if invoice.gross_minor >= 0 else "credit note"
    return kind.capitalize() if invoice.number else f"Draft {kind}"


def _sums(invoice: Invoice) -> list[dict[str, str]]:
    """What stands above the amount due: the net sum, tax by category and rate, the gross sum, each grant."""
    digits = invoice.minor_digits
    rows = []
    if invoice.tax:
        rows.append({"label": "Net", "value": _money(invoice.total_minor, digits)})
        for group in invoice.tax:
            words = group_words(group, currency=invoice.currency)
            rows.append({"label": words, "value": _money(group.tax_minor, digits)})
        rows.append({"label": "Gross", "value": _money(invoice.gross_minor, digits)})
    elif invoice.drawn_credit:
        rows.append({"label": "Subtotal", "value": _money(invoice.total_minor, digits)})
    for entry in invoice.drawn_credit:
        left = _money(entry.remaining_minor, digits)
        label = f"Credit: {_breakable(entry.name)} ({left} left)"
        rows.append({"label": label, "value": _money(-entry.amount_minor, digits)})
    return rows


def _facts(invoice: Invoice) -> list[tuple[str, str]]:
    return [
        ("Issue date", "not issued" if invoice.issue_date is None else _day(invoice.issue_date)),
        ("Due date", "" if invoice.due_date is None else _day(invoice.due_date)),
        ("Period of service", _period(invoice.period_start, invoice.period_end)),
        ("Contract", str(invoice.contract["contract_id"])),
        ("Customer", str(invoice.customer["customer_id"])),
        ("Sold to", sold_to_words(invoice.customer)),
        ("Purchase order", str(invoice.terms.get("purchase_order", ""))),
        ("Your contact", str(invoice.terms.get("owner", ""))),
    ]


def _notes(invoice: Invoice) -> list[str]:
    terms, seller = invoice.terms, invoice.seller or {}
    days = terms["payment_days"]
    when = f", that is by {_day(invoice.due_date)}" if invoice.due_date else ""
    if invoice.gross_minor < 0:
        notes = ["The amount is owed to you: nothing is to be paid."]
        return [*notes, *tax_reasons(invoice), *terms_words(invoice).splitlines()]
    notes = [f"Payable within {days} days of the issue date{when}."]
    if terms.get("payment_methods"):
        notes.append(f"Payment by {' or '.join(terms['payment_methods'])}.")
    if seller.get("bank_account"):
        notes.append(f"Account: {seller['bank_account']}")
    late = terms.get("late_payment") or seller.get("late_payment")
    if late:
        notes.append(f"Late payment: {late}")
    return [*notes, *tax_reasons(invoice), *terms_words(invoice).splitlines()]


def _party_lines(party: Mapping[str, Any]) -> list[str]:
    tax_id = party.get("tax_id", "")
    country = party.get("country", "")
    country = Locale("en").territories.get(country, country)
    lines = [*party.get("address_lines", ()), country, party.get("email", "")]
    numbers = [
        f"{words} {party[name]}"
        for name, words in (
            ("tax_number", "Tax number"),
            ("registration_id", "Registration"),
            ("phone", "Phone"),
        )
        if party.get(name)
    ]
    return [_breakable(line) for line in [*lines, f"Tax ID {tax_id}" if tax_id else "", *numbers] if line]


def _line(line: InvoiceLine, invoice: Invoice) -> dict[str, Any]:
    digits, taxed = invoice.minor_digits, line_tax_words(line, invoice)
    if line.adjusts is not None:
        return _adjustment(line, line.adjusts, digits, taxed)
    of_money = line.charge_kind in _OF_MONEY
    quantity = "" if of_money or not _has_quantity(line) else _number(line.rated_quantity)
    unit = line.unit if line.charge_kind in _METERED_KINDS else ""
    tiered = line.price_model in _TIERED_MODELS or any(
        tier.up_to is not None or tier.above for tier in line.tiers
    )
    return {
        "description": _breakable(line.description),
        "detail": _breakable(" · ".join([*_details(line, digits), *taxed])),
        # What was priced, so that quantity, unit and price go together; `_details` has what was metered.
        "quantity": _breakable(quantity),
        "unit": _breakable(unit),
        "wide": len(quantity) + len(unit) > _QUANTITY_WIDTH,
        "price": "" if tiered else _breakable(grouped_words(line.price_text)),
        "amount": _money(line.amount_minor, digits),
        "tiers": [
            *(_tier(tier, digits) for tier in line.tiers if tiered),
            *_discounts(line, digits),
        ],
    }


def _adjustment(line: InvoiceLine, adjusts: InvoiceAdjusts, digits: int, taxed: list[str]) -> dict[str, Any]:
    """What it comes to now and what was billed before; its tiers and discounts stand in the document."""
    of_money = is_minimum(line.charge_id) or (
        line.charge_id == TRUE_UP_CHARGE_ID and line.price_model != PER_UNIT
    )
    unit = line.unit
    invoice = f"invoice {adjusts.invoice_number}" if adjusts.invoice_number else "the bill"
    names = [f"{name} {value or '(none)'}" for name, value in sorted(line.dimensions.items())]
    details = [_period(line.period_start, line.period_end), *names]
    if adjusts.invoice_id is None:
        details.append(f"nothing was billed on {_short(adjusts.billing_date)}")
    else:
        details.append(f"adjusts {invoice} of {_short(adjusts.billing_date)}")
    details += taxed
    now, before = (
        "" if of_money else f"{_number(number)} {unit}" for number in (line.quantity, adjusts.billed_quantity)
    )
    return {
        "description": _breakable(line.description),
        "detail": _breakable(" · ".join(details)),
        "quantity": "",
        "unit": "",
        "wide": False,
        "price": "",
        "amount": _money(line.amount_minor, digits),
        "tiers": [
            {**_small_row("Comes to", "", adjusts.rated_amount, digits), "units": _breakable(now)},
            {**_small_row("Billed before", "", -adjusts.billed_amount, digits), "units": _breakable(before)},
        ],
    }


def _has_quantity(line: InvoiceLine) -> bool:
    return line.charge_kind in _METERED_KINDS or line.quantity != 1


def _details(line: InvoiceLine, digits: int) -> list[str]:
    """What stands under the description: for which days, of what, and what else made the amount."""
    details = [_period(line.period_start, line.period_end)]
    if line.days < line.full_days and line.charge_kind in _PRORATED_KINDS:
        details.append(part_words(line.days, line.full_days))
    if line.charge_kind == ITEM_KIND:  # the description has its fields
        return [*details, f"{line.event_count} item{'s' if line.event_count > 1 else ''}"]
    details += [f"{name} {value or '(none)'}" for name, value in sorted(line.dimensions.items())]
    if line.charge_kind == TRUE_UP_KIND and line.price_model == PER_UNIT:
        details.append(f"{_number(line.quantity)} of {_number(line.rated_quantity)} {line.unit} used")
        return details
    if line.charge_kind in {MINIMUM_SPEND_KIND, TRUE_UP_KIND}:
        reached, least = (
            exact_money(number, digits=digits, grouped=True)
            for number in (line.quantity, line.rated_quantity)
        )
        some = line.charge_kind == TRUE_UP_KIND or line.charge_id.startswith(GROUP_MINIMUM_PREFIX)
        what = "what counts" if some else "usage and licences"
        details.append(f"{what} came to {reached} of {least}")
        return details
    if line.charge_kind == FEE_CREDIT_KIND:
        billed = exact_money(line.quantity, digits=digits, grouped=True)
        given_back = "" if line.rated_quantity == 1 else f"{_number(line.rated_quantity)} units given back, "
        details.append(f"{given_back}billed at {billed}")
        return details
    if line.price_source == "contract":
        details.append("price by contract")
    if line.rated_quantity != line.quantity:
        details.append(f"metered {_number(line.quantity)}")
    of_tiers = sum((tier.amount for tier in line.tiers), Decimal(0))
    listed = _list_amount(line)
    if line.tiers and of_tiers != listed:
        details.append("raised to the minimum" if of_tiers < listed else "limited to the maximum")
    return details


def _list_amount(line: InvoiceLine) -> Decimal:
    return sum((discount.amount for discount in line.discounts), line.amount)


def _discounts(line: InvoiceLine, digits: int) -> Iterator[dict[str, str]]:
    """The list amount and what each discount took off it, under the line."""
    if not line.discounts:
        return
    yield _small_row("Before discounts", "", _list_amount(line), digits)
    for discount in line.discounts:
        yield _small_row(discount.name, discount.words, -discount.amount, digits)


def _small_row(label: str, price: str, amount: Decimal, digits: int) -> dict[str, str]:
    shown = exact_money(amount, digits=digits, grouped=True)
    return {"label": _breakable(label), "units": "", "price": _breakable(price), "amount": shown}


def _tier(tier: InvoiceTier, digits: int) -> dict[str, str]:
    lower = f"over {_number(tier.above)}" if tier.above else ""
    upper = "" if tier.up_to is None else f"up to {_number(tier.up_to)}"
    prices = []
    if tier.unit_price is not None:
        prices.append(f"at {exact_money(tier.unit_price, digits=digits, grouped=True)}")
    if tier.flat_amount is not None:
        prices.append(f"flat {exact_money(tier.flat_amount, digits=digits, grouped=True)}")
    return {
        "label": f"Tier {tier.number}: {' '.join(filter(None, [lower, upper])) or 'all units'}",
        "units": _number(tier.units),
        "price": " + ".join(prices),
        "amount": exact_money(tier.amount, digits=digits, grouped=True),
    }


def _number(number: Decimal) -> str:
    """``1,234.5``: grouped, without trailing zeros."""
    return f"{plain(number):,f}"


def _money(amount_minor: int, digits: int) -> str:
    return f"{Decimal(amount_minor).scaleb(-digits):,.{digits}f}"


def _breakable(words: str) -> str:
    pieces = []
    for word in words.split(" "):
        parts = [word[place : place + _LONGEST_WORD] for place in range(0, len(word), _LONGEST_WORD)]
        pieces.append(_ZERO_WIDTH_SPACE.join(parts))
    return " ".join(pieces)


def _day(day: date) -> str:
    return f"{day.day} {_MONTHS_IN_FULL[day.month - 1]} {day.year}"


def _period(start: date, end: date) -> str:
    """First and last day, both covered, as people write it."""
    last = end - timedelta(days=1)
    if start >= last:
        return _short(start)
    first = _short(start) if start.year != last.year else _short(start).rpartition(" ")[0]
    return f"{first} \N{EN DASH} {_short(last)}"


def _short(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"
