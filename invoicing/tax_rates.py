"""Tax rates of a country (or a region of it) as a document, with the days they hold and the law's words.

None is built in: what counts is what somebody has saved. ``invoicing/data/tax_rates.yaml`` has examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from datetime import date
from functools import cache
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from ingest.document import Document, ExactDecimal, read_documents
from ingest.errors import Issue, NotFound
from ingest.meter import Key
from invoicing.saved_document import DocumentKind

TaxCategory = Literal["S", "Z", "E", "AE", "K", "G", "O", "L", "M"]
"""UNCL 5305, as EN 16931 uses it: S standard and reduced rates, Z zero rate, E exempt, AE reverse charge, K
supply of goods inside the EU, G export, O outside the scope of tax, L and M Canaries and Ceuta, Melilla."""
Supply = Literal["services", "goods"]
TAXED: Final = frozenset({"S", "L", "M"})
EXPLAINED: Final = frozenset({"E", "AE", "K", "G", "O"})
CREDIT_TAX_CLASS: Final = "credit"
"""The tax class of what sells prepaid credit: credit pays gross amounts, so what it buys is taxed then."""
EXAMPLES: Final = Path(__file__).parent / "data" / "tax_rates.yaml"
_PERCENT_DIGITS: Final = 4


class TaxRate(Document):
    """What a product class is taxed at in this country on the days of [valid_from, valid_until).

    supply: whether it is services or goods, which decides what a customer abroad pays. reason: why there is
    no tax, printed on the invoice; with its VATEX code if there is one.
    """

    tax_class: Key
    category: TaxCategory = "S"
    percent: ExactDecimal
    supply: Supply = "services"
    valid_from: date
    valid_until: date | None = None
    reason: str = Field(default="", max_length=1024)
    reason_code: str = Field(default="", max_length=64)

    def holds_on(self, day: date) -> bool:
        """Whether it counts on that day."""
        return self.valid_from <= day and (self.valid_until is None or day < self.valid_until)


class TaxTreatment(Document):
    """How the invoice words a category that customers abroad get: AE, K, G, O or E."""

    category: Literal["E", "AE", "K", "G", "O"]
    reason: str = Field(min_length=1, max_length=1024)
    reason_code: str = Field(default="", max_length=64)


class TaxRates(Document):
    """See the module. tax_rates_id: the country, or country and region like ``US-CA``."""

    tax_rates_id: Key
    country: str = Field(pattern=r"^[A-Z]{2}$")
    region: str = Field(default="", pattern=r"^[A-Z0-9]{0,8}$")
    rates: tuple[TaxRate, ...] = ()
    treatments: tuple[TaxTreatment, ...] = ()

    def rate_on(self, tax_class: str, day: date) -> TaxRate | None:
        """The rate of a class on a day, None when none is known."""
        for rate in self.rates:
            if rate.tax_class == tax_class and rate.holds_on(day):
                return rate
        return None

    def treatment(self, category: str) -> TaxTreatment | None:
        """The words of a category, None when there are none."""
        return next((entry for entry in self.treatments if entry.category == category), None)


def tax_rates_key(country: str, region: str) -> str:
    """The id of a country's rates, or of a region's."""
    return f"{country}-{region}" if region else country


def tax_rates_rules(document: TaxRates) -> Iterator[Issue]:
    """No two rates of a class on one day, percentages where tax is due and reasons where none is."""
    key = tax_rates_key(document.country, document.region)
    if document.tax_rates_id != key:
        yield Issue("tax_rates_id", "tax_rates_id", f"{document.tax_rates_id!r} is not {key!r}.", f"{key}.")
    for place, rate in enumerate(document.rates):
        pointer = f"rates[{place}]"
        yield from _rate_issues(rate, pointer)
        if any(_overlap(rate, other) for other in document.rates[:place]):
            yield Issue(
                "tax_rate_twice",
                pointer,
                f"Class {rate.tax_class!r} has another rate on the same days.",
                "one rate a class and day: valid_until is the first day a rate no longer holds.",
            )
    named = [entry.category for entry in document.treatments]
    if len(set(named)) != len(named):
        yield Issue("tax_treatment_twice", "treatments", "A category is worded twice.", "each category once.")


def _rate_issues(rate: TaxRate, pointer: str) -> Iterator[Issue]:
    taxed = rate.category in TAXED
    if rate.percent < 0 or rate.percent > 100 or taxed != (rate.percent > 0):
        yield Issue(
            "tax_percent",
            f"{pointer}.percent",
            f"Category {rate.category} has {rate.percent} percent.",
            "more than 0 and at most 100 for S, L and M; 0 for all others.",
        )
    if rate.percent != round(rate.percent, _PERCENT_DIGITS):
        yield Issue(
            "tax_percent",
            f"{pointer}.percent",
            f"{rate.percent} has more than {_PERCENT_DIGITS} digits.",
            f"at most {_PERCENT_DIGITS} digits after the point.",
        )
    if rate.category in EXPLAINED and not rate.reason:
        yield Issue(
            "tax_reason_missing",
            f"{pointer}.reason",
            f"Category {rate.category} states no tax and does not say why.",
            "the words of the law, as they are to be printed.",
        )
    if rate.valid_until is not None and rate.valid_until <= rate.valid_from:
        yield Issue(
            "tax_rate_days",
            f"{pointer}.valid_until",
            f"The rate ends on {rate.valid_until} and begins on {rate.valid_from}.",
            "a day after valid_from.",
        )


def _overlap(one: TaxRate, other: TaxRate) -> bool:
    if one.tax_class != other.tax_class:
        return False
    one_ends, other_ends = (rate.valid_until or date.max for rate in (one, other))
    return one.valid_from < other_ends and other.valid_from < one_ends


def example_tax_rates(names: Sequence[str]) -> list[dict[str, object]]:
    """The example documents of the countries named, to be looked at and saved. Raises NotFound."""
    examples = _examples()
    missing = [name for name in names if name not in examples]
    if missing:
        raise NotFound(
            f"there are no example tax rates of {', '.join(missing)}; there are those of "
            f"{', '.join(sorted(examples))}."
        )
    return [deepcopy(examples[name]) for name in names]


@cache
def _examples() -> dict[str, dict[str, object]]:
    return {str(entry["tax_rates_id"]): entry for entry in read_documents(EXAMPLES.read_bytes())}


TAX_RATES: Final = DocumentKind(
    name="tax_rates",
    model=TaxRates,
    field="tax_rates_id",
    words="tax rates",
    rules=tax_rates_rules,
    missing="`ratemill tax-rates list` shows those there are.",
)
