"""The sales catalogue: products, services and bundles of them, price lists and promotions.

Catalogue items say what is delivered; what is *sold* is an outcome of a quote, which names one of them
(``invoicing/sales/outcome.py``). All three are documents kept in every version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import Connection

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.errors import Issue
from ingest.meter import Key
from invoicing.saved_document import DocumentKind
from rating.money import MINOR_DIGITS
from rating.price_plan import STANDARD_TAX_CLASS, CurrencyCode

Billed = Literal["recurring", "once"]
BILLED: Final[tuple[Billed, ...]] = ("recurring", "once")
_HUNDRED: Final = Decimal(100)


class Component(Document):
    """So many units of a product or service in one unit of a bundle."""

    product_id: Key
    quantity: ExactDecimal = Decimal(1)


class CatalogueItem(Document):
    """A ``product`` or ``service``, ``billed`` each billing period or once; or a ``bundle`` of them.

    prices: the list price of one unit by currency, in major units, net of tax; of what is ``recurring`` for a
    whole billing period. A bundle has components and no price: its list price is theirs. external_ids: its
    keys in other systems.
    """

    product_id: Key
    name: str = Field(min_length=1, max_length=256)
    kind: Literal["product", "service", "bundle"]
    billed: Billed | None = None
    unit: str = Field(default="unit", min_length=1, max_length=64)
    tax_class: Annotated[Key, Field(max_length=64)] = STANDARD_TAX_CLASS
    prices: dict[CurrencyCode, ExactDecimal] = Field(default_factory=dict)
    components: tuple[Component, ...] = ()
    external_ids: dict[Key, str] = Field(default_factory=dict)


class PriceList(Document):
    """Prices of one unit that hold instead of those of the catalogue, for quotes that name the list.
    valid_from, valid_until: the days of [from, until); left out: always."""

    price_list_id: Key
    name: str = Field(min_length=1, max_length=256)
    currency: CurrencyCode
    prices: dict[Key, ExactDecimal] = Field(min_length=1)
    valid_from: date | None = None
    valid_until: date | None = None
    external_ids: dict[Key, str] = Field(default_factory=dict)


class Promotion(Document):
    """``percent`` off the list prices of ``product_ids`` (none named: all), for quotes that name it and are
    priced on a day of [valid_from, valid_until). first_periods: of what is recurring, the first so many
    billing periods of the contract; left out: all of them."""

    promotion_id: Key
    name: str = Field(min_length=1, max_length=256)
    percent: ExactDecimal
    product_ids: tuple[Key, ...] = ()
    first_periods: int | None = Field(default=None, ge=1, le=10_000)
    valid_from: date | None = None
    valid_until: date | None = None
    external_ids: dict[Key, str] = Field(default_factory=dict)

    def covers(self, product_id: str) -> bool:
        """Whether it is for the product."""
        return not self.product_ids or product_id in self.product_ids


def is_valid_on(entry: PriceList | Promotion, day: date) -> bool:
    """Whether a price list or promotion holds on a day."""
    begun = entry.valid_from is None or entry.valid_from <= day
    return begun and (entry.valid_until is None or day < entry.valid_until)


def item_rules(item: CatalogueItem) -> Iterator[Issue]:
    """What a catalogue item must keep beyond its field types."""
    yield from _price_rules("prices", item.prices, currencies=True)
    is_bundle = item.kind == "bundle"
    if is_bundle != bool(item.components) or (is_bundle and item.prices):
        yield Issue(
            "bundle_components",
            "components",
            f"The kind is {item.kind}, with {len(item.components)} components and {len(item.prices)} prices.",
            "components and no price on a bundle, and no components on anything else.",
        )
    if is_bundle == (item.billed is not None):
        yield Issue(
            "product_billed",
            "billed",
            f"The kind is {item.kind} and billed {item.billed}.",
            "billed: recurring or once on a product or service; a bundle is billed as its components are.",
        )
    named = [component.product_id for component in item.components]
    for place, component in enumerate(item.components):
        if component.quantity <= 0 or named.index(component.product_id) != place:
            yield Issue(
                "bundle_components",
                f"components[{place}]",
                f"{component.product_id!r} is there {decimal_text(component.quantity)} times, in "
                f"{named.count(component.product_id)} entries.",
                "each product once, with a quantity above 0.",
            )


def price_list_rules(entry: PriceList) -> Iterator[Issue]:
    """What a price list must keep beyond its field types."""
    yield from _price_rules("currency", {entry.currency: Decimal(0)}, currencies=True)
    yield from _price_rules("prices", entry.prices, currencies=False)
    yield from _window_rules(entry)


def promotion_rules(entry: Promotion) -> Iterator[Issue]:
    """What a promotion must keep beyond its field types."""
    if not 0 < entry.percent <= _HUNDRED:
        words = f"It is {decimal_text(entry.percent)}."
        yield Issue("promotion_percent", "percent", words, "above 0 and at most 100.")
    yield from _window_rules(entry)


def _price_rules(pointer: str, prices: Mapping[str, Decimal], *, currencies: bool) -> Iterator[Issue]:
    for name, price in prices.items():
        if currencies and name not in MINOR_DIGITS:
            words = f"{name!r} is not a current ISO 4217 currency code."
            yield Issue("unknown_currency", pointer, words, "a code like EUR or USD.")
        if price < 0:
            words = f"The price is {decimal_text(price)}."
            yield Issue("negative_number", f"{pointer}.{name}", words, "0 or more.")


def _window_rules(entry: PriceList | Promotion) -> Iterator[Issue]:
    if entry.valid_from and entry.valid_until and entry.valid_from >= entry.valid_until:
        yield Issue(
            "validity_order",
            "valid_until",
            f"It is valid from {entry.valid_from} until before {entry.valid_until}.",
            "a day after valid_from, or none.",
        )


PRODUCTS: Final = DocumentKind(
    name="product",
    model=CatalogueItem,
    field="product_id",
    words="product",
    rules=item_rules,
    missing="`ratemill product list` shows those there are.",
)
PRICE_LISTS: Final = DocumentKind(
    name="price_list",
    model=PriceList,
    field="price_list_id",
    words="price list",
    rules=price_list_rules,
    missing="`ratemill price-list list` shows those there are.",
)
PROMOTIONS: Final = DocumentKind(
    name="promotion",
    model=Promotion,
    field="promotion_id",
    words="promotion",
    rules=promotion_rules,
    missing="`ratemill promotion list` shows those there are.",
)


@dataclass(frozen=True, slots=True)
class SalesCatalogue:
    """What a quote is priced from, in force, by key."""

    products: Mapping[str, CatalogueItem]
    price_lists: Mapping[str, PriceList]
    promotions: Mapping[str, Promotion]


def load_sales_catalogue(
    connection: Connection,
    *,
    product_ids: Iterable[str],
    price_list_id: str | None,
    promotion_ids: Iterable[str],
) -> SalesCatalogue:
    """The products with the components of bundles among them, the price list and the promotions, as far as
    they are on record."""
    named = PRODUCTS.find(connection, product_ids)
    parts = [component.product_id for item in named.values() for component in item.components]
    return SalesCatalogue(
        {**PRODUCTS.find(connection, parts), **named},
        PRICE_LISTS.find(connection, [] if price_list_id is None else [price_list_id]),
        PROMOTIONS.find(connection, promotion_ids),
    )
