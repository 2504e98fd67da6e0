"""A quote as a PDF: the page of an invoice (``invoicing/document.py``) with what is offered on it.

What is sold once has amounts; what the contract charges has prices in words, of the plan as the contract
changes it, phase by phase. The hash of the version stands on the page, since an acceptance must name it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import Engine

from ingest.document import canonical_json
from ingest.meter_store import list_meters
from invoicing.billing_entity import get_logo
from invoicing.customer_store import get_customer
from invoicing.document import PAGE_WORDS, InvoicePrinter, party_lines, party_name
from invoicing.price_text import TierTerms, charge_terms, price_text
from invoicing.printed_line import breakable
from invoicing.quote_store import StoredQuote
from invoicing.settings import Seller
from invoicing.tax_desk import ContractTax, load_tax_desk
from invoicing.tax_words import billed_party, sold_to_party
from invoicing.template import PLAIN
from invoicing.words import Words, words_of
from rating.agreement import agreed_plan
from rating.agreement_dates import agreement_on, plan_windows, trial_end
from rating.catalogue import get_plan_in_force
from rating.money import minor_digits, round_to_minor
from rating.price_plan import Charge, MatrixPrice, PricePlan

_UNNAMED_UNIT = "unit"


@dataclass(frozen=True, slots=True)
class OfferedPhase:
    """The plan as the contract changes it, from one day to another, not included; None: without an end."""

    plan: PricePlan
    first_day: date
    end_day: date | None


@dataclass(frozen=True, slots=True)
class QuoteParties:
    """customer, seller: documents as an invoice has them. units: of meters, by meter_id."""

    customer: Mapping[str, Any]
    seller: Mapping[str, Any]
    phases: tuple[OfferedPhase, ...]
    units: Mapping[str, str]
    logo: bytes


def quote_pdf(printer: InvoicePrinter, stored: StoredQuote, parties: QuoteParties) -> bytes:
    """The PDF/A-3b of a quote; the same quote, parties and prices are the same bytes."""
    dated = datetime.fromisoformat(stored.created_at).date()
    return printer.pdf_of(printed_quote(stored, parties), dated=dated, logo=parties.logo)


def quote_parties(ledger: Engine, stored: StoredQuote, *, seller: Seller | None) -> QuoteParties:
    """Who offers what to whom, as it is in force now. seller: where no billing entity is on record. Raises
    NotFound for a plan or a price that is not there on the first day of a phase."""
    contract = stored.quote.contract
    customer = orjson.loads(canonical_json(get_customer(ledger, stored.quote.customer_id).customer))
    phases = []
    for plan_id, first_day, end_day in plan_windows(contract):
        charged = max(first_day, trial_end(contract))  # in the trial there are no prices to show
        day = charged if end_day is None or charged < end_day else first_day
        version = get_plan_in_force(ledger, plan_id, on=day)
        plan = agreed_plan(version.plan, agreement_on(contract, day))
        phases.append(OfferedPhase(plan, first_day, end_day))
    with ledger.connect() as connection:
        desk = load_tax_desk(connection, provider=None)
    known: dict[str, Any] = {} if seller is None else orjson.loads(canonical_json(seller))
    if desk is not None:
        entity = {"billing_entity": contract.billing_entity} if contract.billing_entity else {}
        tax = desk.contract_tax(contract.contract_id, {**customer, **entity})
        known = orjson.loads(tax.seller_text) if isinstance(tax, ContractTax) else known
    logo = get_logo(ledger, known["logo"]).content if known.get("logo") else b""
    units = {meter.meter_id: meter.unit for meter in list_meters(ledger)}
    return QuoteParties(customer, known, tuple(phases), units, logo)


def printed_quote(stored: StoredQuote, parties: QuoteParties) -> dict[str, Any]:
    """Every text on the page, by its place in ``templates/invoice.typ``, in the customer's language."""
    quote, customer, seller = stored.quote, parties.customer, parties.seller
    w = words_of(str(customer.get("language") or "en"))
    currency = parties.phases[0].plan.currency
    digits = minor_digits(currency)
    billed_to, sold_to = billed_party(customer), sold_to_party(customer)
    once = sum((line.amount for line in quote.lines), Decimal(0))
    name = str(seller.get("legal_name") or seller.get("name", ""))
    facts = [(label, breakable(text)) for label, text in _facts(stored, w) if text]
    return {
        "language": w.language,
        "accent": PLAIN.accent,
        "paper": PLAIN.paper,
        "shown": {"quantity": False, "price": True},
        "words": {word: w(word) for word in PAGE_WORDS},
        "title": w("quote"),
        "number": quote.quote_id,
        "seller_name": name,
        "seller_lines": party_lines(seller, w),
        "billed_to": w("offered_to"),
        "customer_name": party_name(billed_to),
        "customer_lines": party_lines(billed_to, w),
        "sold_to": w("sold_to"),
        "sold_to_lines": [] if sold_to is None else [party_name(sold_to), *party_lines(sold_to, w)],
        "facts": [{"label": label, "value": text} for label, text in facts],
        "head": quote.title,
        "amount_head": f"{w('amount')} {currency}",
        "lines": [
            *(_line(line.description, _money(line.amount, digits, w)) for line in quote.lines),
            *_offered(parties, w),
        ],
        "sums": [],
        "total_label": w("offered_once") if quote.lines else "",
        "total": f"{_money(once, digits, w)} {currency}" if quote.lines else "",
        "tax_notes": [w("amounts_exclude_tax")],
        "notes_label": w("terms"),
        "notes": list(_notes(stored, w)),
        "payment": {"rows": [], "code": "", "caption": ""},
        "foot": [part for part in quote.terms_text.split("\n") if part.strip()],
        "footer": " · ".join(
            str(part) for part in (name, seller.get("tax_id"), seller.get("registration_id")) if part
        ),
    }


def _facts(stored: StoredQuote, w: Words) -> Iterator[tuple[str, str]]:
    quote, contract = stored.quote, stored.quote.contract
    yield w("credited_on"), w.day(datetime.fromisoformat(stored.created_at).date())
    yield w("valid_until"), "" if quote.valid_until is None else w.day(quote.valid_until)
    yield w("version"), str(stored.version)
    yield w("begins_on"), w.day(contract.start_date)
    yield w("ends_before"), "" if contract.end_date is None else w.day(contract.end_date)
    yield w("customer"), quote.customer_id
    yield w("purchase_order"), contract.terms.purchase_order
    yield w("your_contact"), contract.terms.owner


def _notes(stored: StoredQuote, w: Words) -> Iterator[str]:
    quote = stored.quote
    if quote.deposit_percent is not None:
        yield w("deposit_on_acceptance", percent=w.number(quote.deposit_percent))
    if quote.terms_version:
        yield w("terms_to_acknowledge", version=quote.terms_version)
    accepted = stored.accepted
    if accepted is not None:
        on = w.day(datetime.fromisoformat(accepted.accepted_at).date())
        yield w("accepted_by", name=accepted.name, date=on)
    yield w("quote_hash")
    yield from (stored.document_hash[place : place + 32] for place in (0, 32))


def _offered(parties: QuoteParties, w: Words) -> Iterator[dict[str, Any]]:
    """A line a charge of each phase, and one a discount of the whole bill."""
    for phase in parties.phases:
        when = w("from_day", day=w.short_day(phase.first_day)) if len(parties.phases) > 1 else ""
        for charge in phase.plan.charges:
            yield _charge(phase.plan, charge, _unit(charge, parties.units), when, w)
        for discount in phase.plan.discounts:
            yield _line(discount.name, "", detail=" · ".join(filter(None, [when, discount.words()])))


def _unit(charge: Charge, units: Mapping[str, str]) -> str:
    """What the charge is priced by: its own unit, else its meter's."""
    return charge.unit if charge.unit != _UNNAMED_UNIT else units.get(charge.meter_id or "", charge.unit)


def _charge(plan: PricePlan, charge: Charge, unit: str, when: str, w: Words) -> dict[str, Any]:
    digits = minor_digits(plan.currency)
    if isinstance(charge.price, MatrixPrice):
        rows = [
            _row(
                " · ".join(f"{name} {value or w('none_named')}" for name, value in cell.match.items()),
                w.price(price_text(cell.price, unit=unit, digits=digits)),
            )
            for cell in charge.price.cells
        ]
        if charge.price.default is not None:
            rest = price_text(charge.price.default, unit=unit, digits=digits)
            rows.append(_row(w("all_else"), w.price(rest)))
        return _line(charge.name, "", detail=when, tiers=rows)
    terms = charge_terms(plan, charge_id=charge.charge_id, dimensions={}, unit=unit)
    tiered = any(tier.above or tier.up_to is not None for tier in terms.tiers)
    rows = list(_tiers(terms.tiers, digits, w)) if tiered else []
    return _line(
        charge.name, "", detail=" · ".join(filter(None, [when, w.price(terms.price_text)])), tiers=rows
    )


def _tiers(tiers: Iterable[TierTerms], digits: int, w: Words) -> Iterator[dict[str, str]]:
    for number, tier in enumerate(tiers, start=1):
        lower = w("tier_over", bound=w.number(tier.above)) if tier.above else ""
        upper = "" if tier.up_to is None else w("tier_up_to", bound=w.number(tier.up_to))
        prices = []
        if tier.unit_price is not None:
            prices.append(w("tier_price", price=w.exact(tier.unit_price, digits)))
        if tier.flat_amount is not None:
            prices.append(w("tier_flat", price=w.exact(tier.flat_amount, digits)))
        reach = " ".join(filter(None, [lower, upper])) or w("all_units")
        yield _row(w("tier", number=number, range=reach), " + ".join(prices))


def _line(
    description: str, amount: str, *, detail: str = "", tiers: Iterable[dict[str, str]] = ()
) -> dict[str, Any]:
    return {
        "description": breakable(description),
        "detail": breakable(detail),
        "quantity": "",
        "unit": "",
        "wide": False,
        "price": "",
        "amount": amount,
        "tiers": list(tiers),
    }


def _row(label: str, price: str) -> dict[str, str]:
    return {"label": breakable(label), "units": "", "price": breakable(price), "amount": ""}


def _money(amount: Decimal, digits: int, w: Words) -> str:
    return w.money(round_to_minor(amount, digits=digits, mode="half_up"), digits)
