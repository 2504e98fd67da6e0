"""A deal that a CRM works on: kept as it is told, so that quotes lead back to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Literal

from pydantic import Field

from ingest.document import Document, ExactDecimal
from ingest.errors import Issue
from ingest.meter import Key
from rating.money import MINOR_DIGITS
from rating.price_plan import CurrencyCode


class Opportunity(Document):
    """stage: in the CRM's own words; state: what it comes to. amount: what it may bring, in ``currency``."""

    name: str = Field(min_length=1, max_length=512)
    stage: str = Field(default="", max_length=128)
    state: Literal["open", "won", "lost"] = "open"
    customer_id: Key | None = None
    amount: ExactDecimal | None = None
    currency: CurrencyCode | None = None
    closes_on: date | None = None
    owner: str = Field(default="", max_length=256)


def opportunity_rules(deal: Opportunity) -> Iterator[Issue]:
    """What an opportunity must keep beyond its field types."""
    if (deal.amount is None) != (deal.currency is None):
        words = f"The amount is {deal.amount} and the currency {deal.currency}."
        yield Issue("opportunity_amount", "amount", words, "both or neither.")
    if deal.currency is not None and deal.currency not in MINOR_DIGITS:
        words = f"{deal.currency!r} is not a current ISO 4217 currency code."
        yield Issue("unknown_currency", "currency", words, "a code like EUR or USD.")
