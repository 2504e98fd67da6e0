"""Which tax a supply bears: one pure function over what seller, customer, product and day are.

    at home                            the rate of the seller's country for the class
    EU to a business in another state  AE for services, K for goods; needs a VAT number of that state
    EU to a consumer in another state  the seller's own rate, or with OSS that of the customer's state
    to another country                 G for goods, O for services
    an exempt customer                 E, in the words of the customer's record
    a seller that states no tax        E, in the words of the entity

What is not known is never 0: the answer is then an Issue that says what to enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, Protocol

from ingest.errors import Issue
from invoicing.tax_id import EU_PREFIXES, tax_id_issue
from invoicing.tax_rates import CREDIT_TAX_CLASS, TaxRate, TaxRates, tax_rates_key

_NO_PERCENT: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class TaxSeller:
    """What of a billing entity decides. no_tax_reason: why it states no tax at home; empty: it does."""

    country: str
    region: str = ""
    tax_id: str = ""
    oss: bool = False
    no_tax_reason: str = ""
    no_tax_code: str = ""


@dataclass(frozen=True, slots=True)
class TaxBuyer:
    """What of a customer decides. status: business, consumer, exempt; empty: a business where there is a tax
    id, else not known."""

    customer_id: str
    country: str
    tax_id: str = ""
    status: str = ""
    exempt_reason: str = ""
    exempt_code: str = ""


@dataclass(frozen=True, slots=True)
class TaxQuestion:
    """A supply of one class on one day, the one whose rates count."""

    seller: TaxSeller
    buyer: TaxBuyer
    tax_class: str
    tax_date: date


@dataclass(frozen=True, slots=True)
class TaxDecision:
    """Category (UNCL 5305), rate in percent, and why there is no tax where there is none."""

    category: str
    percent: Decimal
    reason: str = ""
    reason_code: str = ""


class TaxProvider(Protocol):
    """Whoever answers tax questions: the built-in one, or a service that is asked instead."""

    def decide(self, question: TaxQuestion) -> TaxDecision | Issue:
        """The tax, or what is missing to know it. The same question has the same answer within a run."""
        ...


@dataclass(frozen=True, slots=True)
class SavedRates:
    """The built-in provider: answers from the tax rates on record. rates: by ``tax_rates_key``."""

    rates: Mapping[str, TaxRates]

    def decide(self, question: TaxQuestion) -> TaxDecision | Issue:
        """See the module."""
        seller, buyer = question.seller, question.buyer
        if not buyer.country:
            return Issue(
                "tax_country_missing",
                f"customers.{buyer.customer_id}.country",
                f"customer {buyer.customer_id!r} has no country, so which tax is due is not known.",
                "its country in the customer document, like DE.",
            )
        home = self._rates_of(seller.country, seller.region)
        if home is None:
            return self._no_rates(seller.country)
        rate = home.rate_on(question.tax_class, question.tax_date)
        if rate is None:
            return self._no_rate(home, question)
        if question.tax_class == CREDIT_TAX_CLASS:
            return _of_rate(rate)
        if buyer.status == "exempt":
            return TaxDecision("E", _NO_PERCENT, buyer.exempt_reason, buyer.exempt_code)
        if buyer.country == seller.country:
            if seller.no_tax_reason:
                return TaxDecision("E", _NO_PERCENT, seller.no_tax_reason, seller.no_tax_code)
            return _of_rate(rate)
        if seller.country in EU_PREFIXES and buyer.country in EU_PREFIXES:
            return self._inside_eu(question, home, rate)
        return _treated(home, "G" if rate.supply == "goods" else "O")

    def _inside_eu(self, question: TaxQuestion, home: TaxRates, rate: TaxRate) -> TaxDecision | Issue:
        seller, buyer = question.seller, question.buyer
        status = buyer.status or ("business" if buyer.tax_id else "")
        if status == "consumer":
            if seller.no_tax_reason:
                return TaxDecision("E", _NO_PERCENT, seller.no_tax_reason, seller.no_tax_code)
            return self._at_destination(question) if seller.oss else _of_rate(rate)
        if not buyer.tax_id:
            return Issue(
                "tax_id_missing",
                f"customers.{buyer.customer_id}.tax_id",
                f"customer {buyer.customer_id!r} is in {buyer.country}, another EU state, and has no VAT "
                "number.",
                "its tax_id, or tax_status consumer.",
            )
        wrong = tax_id_issue(buyer.tax_id, country=buyer.country)
        if wrong is not None:
            return Issue(
                "tax_id_invalid",
                f"customers.{buyer.customer_id}.tax_id",
                f"customer {buyer.customer_id!r}: {wrong.message}",
                wrong.expected,
            )
        return _treated(home, "K" if rate.supply == "goods" else "AE")

    def _at_destination(self, question: TaxQuestion) -> TaxDecision | Issue:
        there = self._rates_of(question.buyer.country, "")
        if there is None:
            return self._no_rates(question.buyer.country)
        rate = there.rate_on(question.tax_class, question.tax_date)
        return self._no_rate(there, question) if rate is None else _of_rate(rate)

    def _rates_of(self, country: str, region: str) -> TaxRates | None:
        own = self.rates.get(tax_rates_key(country, region))
        return own if own is not None else self.rates.get(country)

    def _no_rates(self, country: str) -> Issue:
        return Issue(
            "tax_rates_missing",
            f"tax-rates.{country}",
            f"no tax rates of {country} are on record.",
            "`ratemill tax-rates put FILE`, or `ratemill tax-rates load --example COUNTRY` to begin with.",
        )

    def _no_rate(self, rates: TaxRates, question: TaxQuestion) -> Issue:
        return Issue(
            "tax_rate_missing",
            f"tax-rates.{rates.tax_rates_id}",
            f"{rates.tax_rates_id} has no rate of class {question.tax_class!r} on {question.tax_date}.",
            "a rate of that class whose days hold it, by `ratemill tax-rates put FILE`.",
        )


def _of_rate(rate: TaxRate) -> TaxDecision:
    return TaxDecision(rate.category, rate.percent, rate.reason, rate.reason_code)


def _treated(home: TaxRates, category: str) -> TaxDecision | Issue:
    words = home.treatment(category)
    if words is None:
        return Issue(
            "tax_treatment_missing",
            f"tax-rates.{home.tax_rates_id}.treatments",
            f"{home.tax_rates_id} has no words for category {category}, and an invoice must say why it "
            "states no tax.",
            f"a treatment of category {category} with the words of the law.",
        )
    return TaxDecision(category, _NO_PERCENT, words.reason, words.reason_code)
