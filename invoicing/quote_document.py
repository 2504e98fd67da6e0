"""A quote as a PDF: the page of an invoice (``invoicing/document.py``) with what is offered on it.

What is sold once, in lines and outcomes, has amounts; what the contract charges has prices in words, of the
plan as the contract and the outcomes change it, phase by phase. The hash of the version stands on the page,
since an acceptance must name it.
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
from invoicing.quote import Quote
from invoicing.quote_store import StoredQuote
from invoicing.sales.quote_order import ordered_contract
from invoicing.settings import Seller
from invoicing.tax_desk import ContractTax, load_tax_desk
from invoicing.tax_words import billed_party, sold_to_party
from invoicing.template import PLAIN
from invoicing.words import Words, words_of
from rating.agreement import agreed_plan
from rating.agreement_dates import agreement_on, plan_windows, trial_end
from rating.catalogue import get_plan_in_force
from rating.contract import Contract
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

    @property
    def include_tax(self) -> bool:
        """Whether the prices of the contract have tax in them."""
        return self.phases[0].plan.prices_include_tax


def quote_pdf(printer: InvoicePrinter, stored: StoredQuote, parties: QuoteParties) -> bytes:
    """The PDF/A-3b of a quote; the same quote, parties and prices are the same bytes."""
    dated = datetime.fromisoformat(stored.created_at).date()
    return printer.pdf_of(printed_quote(stored, parties), dated=dated, logo=parties.logo)


def quote_parties(ledger: Engine, stored: StoredQuote, *, seller: Seller | None) -> QuoteParties:
    """Who offers what to whom, as it is in force now. seller: where no billing entity is on record. Raises
    NotFound for a plan or a price that is not there on the first day of a phase."""
    contract = ordered_contract(stored.quote)
    customer = orjson.loads(canonical_json(get_customer(ledger, stored.quote.customer_id).customer))
    phases = []
    for plan_id, first_day, end_day in plan_windows(contract):
        charged = max(first_day, trial_end(contract))  # in the trial there are no prices to show
        day = charged if end_day is None or charged < end_day else first_day
        version = get_plan_in_force(ledger, plan_id, on=day)
        plan = agreed_plan(version.plan, agreement_on(contract, day))
        phases.append(OfferedPhase(plan, first_day, end_day))
    known, logo = contract_seller(ledger, contract, customer, seller=seller)
    units = {meter.meter_id: meter.unit for meter in list_meters(ledger)}
    return QuoteParties(customer, known, tuple(phases), units, logo)


def contract_seller(
    ledger: Engine, contract: Contract, customer: Mapping[str, Any], *, seller: Seller | None
) -> tuple[dict[str, Any], bytes]:
    """Who sends what is written under a contract, as invoices have it, and the logo. seller: where no billing
    entity is on record."""
    with ledger.connect() as connection:
        desk = load_tax_desk(connection, provider=None)
    known: dict[str, Any] = {} if seller is None else orjson.loads(canonical_json(seller))
    if desk is not None:
        entity = {"billing_entity": contract.billing_entity} if contract.billing_entity else {}
        tax = desk.contract_tax(contract.contract_id, {**customer, **entity})
        known = orjson.loads(tax.seller_text) if isinstance(tax, ContractTax) else known
    return known, get_logo(ledger, known["logo"]).content if known.get("logo") else b""


def printed_quote(stored: StoredQuote, parties: QuoteParties) -> dict[str, Any]:
    """Every text on the page, by its place in ``templates/invoice.typ``, in the customer's language."""
    quote, customer, seller = stored.quote, parties.customer, parties.seller
    w = words_of(str(customer.get("language") or "en"))
    currency = parties.phases[0].plan.currency
    digits = minor_digits(currency)
    billed_to, sold_to = billed_party(customer), sold_to_party(customer)
    once = [*((line.description, "", line.amount) for line in quote.lines), *_sold_once(quote, w)]
    total = _money(sum((amount for *_, amount in once), Decimal(0)), digits, w)
    summed = bool(once) and not (quote.lines and parties.include_tax)  # lines are without tax
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
            *(_line(name, _money(amount, digits, w), detail=detail) for name, detail, amount in once),
            *_offered(parties, w),
        ],
        "sums": [],
        "total_label": w("offered_once") if summed else "",
        "total": f"{total} {currency}" if summed else "",
        "tax_notes": [_tax_note(quote, parties, w)],
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
        # Of the lines alone, which is not all that is charged once where outcomes are, too.
        word = "deposit_of_lines" if any(_sold_once(quote, w)) else "deposit_on_acceptance"
        yield w(word, percent=w.number(quote.deposit_percent), lines=_line_names(quote))
    if quote.terms_version:
        yield w("terms_to_acknowledge", version=quote.terms_version)
    accepted = stored.accepted
    if accepted is not None:
        on = w.day(datetime.fromisoformat(accepted.accepted_at).date())
        yield w("accepted_by", name=accepted.name, date=on)
    yield w("quote_hash")
    yield from (stored.document_hash[place : place + 32] for place in (0, 32))


def _sold_once(quote: Quote, w: Words) -> Iterator[tuple[str, str, Decimal]]:
    """What outcomes have that is billed once: name, how much of it, amount."""
    for outcome in quote.outcomes:
        for part in outcome.parts:
            if part.billed == "once":
                counted = f"{w.number(part.quantity)} {part.unit}"
                yield f"{outcome.description}: {part.name}", counted, part.amount


def _line_names(quote: Quote) -> str:
    return ", ".join(line.description for line in quote.lines)


def _tax_note(quote: Quote, parties: QuoteParties, w: Words) -> str:
    if not parties.include_tax:
        return w("amounts_exclude_tax")
    return (
        w("all_but_lines_include_tax", lines=_line_names(quote)) if quote.lines else w("prices_include_tax")
    )


def _offered(parties: QuoteParties, w: Words) -> Iterator[dict[str, Any]]:
    """A line a charge of each phase, and one a discount."""
    for phase in parties.phases:
        when = w("from_day", day=w.short_day(phase.first_day)) if len(parties.phases) > 1 else ""
        for charge in phase.plan.charges:
            yield _charge(phase.plan, charge, _unit(charge, parties.units), when, w)
        for discount in phase.plan.discounts:
            names = [charge.name for charge in phase.plan.charges if charge.charge_id in discount.charge_ids]
            periods = discount.first_periods
            first = "" if periods is None else w("first_periods", count=periods)
            detail = " · ".join(filter(None, [when, w.price(discount.words()), first, ", ".join(names)]))
            yield _line(discount.name, "", detail=detail)


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
    counted = "" if charge.quantity is None else f"{w.number(charge.quantity)} {unit}"
    detail = " · ".join(filter(None, [when, counted, w.price(terms.price_text)]))
    return _line(charge.name, "", detail=detail, tiers=rows)


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
