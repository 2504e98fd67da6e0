"""The JSON schemas of the documents people write: for editors, and for programs that build them."""

from __future__ import annotations

from typing import Any, Final

from ingest.document import Document
from ingest.errors import NotFound
from invoicing.billing_entity import BillingEntity
from invoicing.country_profile import CountryProfile
from invoicing.credit import CreditGrant
from invoicing.customer import Customer
from invoicing.quote import Quote
from invoicing.review.rules import ReviewRules
from invoicing.sales.catalogue import CatalogueItem, PriceList, Promotion
from invoicing.tax_rates import TaxRates
from invoicing.top_up import TopUp
from rating.holiday_calendar import HolidayCalendar
from rating.schemas import DOCUMENT_MODELS

KINDS: Final[dict[str, type[Document]]] = {
    "meter": DOCUMENT_MODELS["meter"],
    "plan": DOCUMENT_MODELS["price-plan"],
    "customer": Customer,
    "calendar": HolidayCalendar,
    "entity": BillingEntity,
    "tax-rates": TaxRates,
    "country-profile": CountryProfile,
    "review-rules": ReviewRules,
    "contract": DOCUMENT_MODELS["contract"],
    "credit": CreditGrant,
    "top-up": TopUp,
    "product": CatalogueItem,
    "price-list": PriceList,
    "promotion": Promotion,
    "quote": Quote,
}
"""By the names commands use."""
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_for(kind: str) -> dict[str, Any]:
    """The schema of one kind of document. Raises NotFound, naming the kinds there are."""
    model = KINDS.get("plan" if kind == "price-plan" else kind)
    if model is None:
        raise NotFound(f"there is no schema {kind!r}. The kinds are {', '.join(KINDS)}.")
    return {"$schema": _DIALECT, **model.model_json_schema()}
