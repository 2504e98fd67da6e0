"""A quote: what is offered to a customer, and the contract it becomes when the customer accepts it.

Every edit is a new version. An acceptance names the version by its document hash, so nobody accepts what they
did not see; it is kept with name, time and IP address. The contract is saved in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

from pydantic import Field

from ingest.document import Document, ExactDecimal
from ingest.errors import Issue
from ingest.meter import Key
from invoicing.sales.catalogue import Promotion
from invoicing.sales.outcome import Outcome
from rating.contract import Contract
from rating.price_plan import STANDARD_TAX_CLASS

QuoteState = Literal["open", "expired", "accepted"]
_HUNDRED: Final = Decimal(100)


def _is_unsaid(value: Any) -> bool:
    return value is None or value == ()


class QuoteLine(Document):
    """amount: net of tax, in major units of the plan's currency."""

    description: str = Field(min_length=1, max_length=1024)
    amount: ExactDecimal
    tax_class: Key = STANDARD_TAX_CLASS


class Quote(Document):
    """See the module.

    contract: becomes active on acceptance. lines: what is sold once, like a project; a deposit is a part of
    them. deposit_percent: asked for by a deposit invoice on acceptance, under the project ``quote_id``.
    terms_version: the terms that whoever accepts must acknowledge by this name; empty: none. valid_until: the
    last day on which it can be accepted, in the contract's time zone. external_ids: its keys elsewhere.

    outcomes: what is sold of the catalogue: fees of the contract and billable items once it is accepted,
    priced from price_list_id (left out: the catalogue's own prices) less promotion_ids as of priced_on (left
    out: the day it is saved). promotions: those, as they were then.
    """

    quote_id: Key
    customer_id: Key
    title: str = Field(min_length=1, max_length=256)
    contract: Contract
    lines: tuple[QuoteLine, ...] = ()
    deposit_percent: ExactDecimal | None = None
    terms_version: str = Field(default="", max_length=128)
    terms_text: str = Field(default="", max_length=65_536)
    valid_until: date | None = None
    external_ids: dict[Key, str] = Field(default_factory=dict)
    # Left out of the text where they say nothing, so that hashes of quotes made before stay what they are.
    outcomes: tuple[Outcome, ...] = Field(default=(), exclude_if=_is_unsaid)
    price_list_id: Key | None = Field(default=None, exclude_if=_is_unsaid)
    promotion_ids: tuple[Key, ...] = Field(default=(), exclude_if=_is_unsaid)
    priced_on: date | None = Field(default=None, exclude_if=_is_unsaid)
    promotions: tuple[Promotion, ...] = Field(default=(), exclude_if=_is_unsaid)


class Acceptance(Document):
    """name: who accepts. document_hash: of the version they saw. terms_version: the terms they acknowledge.
    ip_address: where they did, if another system took the acceptance; left out: where the request
    came from."""

    name: str = Field(min_length=1, max_length=256)
    document_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    terms_version: str = Field(default="", max_length=128)
    ip_address: str = Field(default="", max_length=64)


def quote_issues(quote: Quote) -> Iterator[Issue]:
    """What a quote must keep beyond its field types."""
    if quote.contract.customer_id != quote.customer_id:
        yield Issue(
            "quote_customer",
            "contract.customer_id",
            f"The quote is for {quote.customer_id!r}, its contract for {quote.contract.customer_id!r}.",
            "the same customer in both.",
        )
    percent = quote.deposit_percent
    if percent is not None and (not 0 < percent <= _HUNDRED or not quote.lines):
        yield Issue(
            "deposit_percent",
            "deposit_percent",
            f"It is {percent} of {len(quote.lines)} lines.",
            "above 0 and at most 100, of at least one line.",
        )
    named = [outcome.outcome_id for outcome in quote.outcomes]
    for place, outcome_id in enumerate(named):
        if named.index(outcome_id) != place:
            words = f"{outcome_id!r} is there already."
            yield Issue("outcome_twice", f"outcomes[{place}].outcome_id", words, "each id once in a quote.")
    if not quote.outcomes and (quote.price_list_id is not None or quote.promotion_ids):
        yield Issue(
            "outcomes_missing",
            "outcomes",
            "A price list or a promotion is named, and nothing is priced by it.",
            "outcomes, or neither: lines and contracts state their prices.",
        )


def quote_state(*, accepted: bool, valid_until: date | None, today: date) -> QuoteState:
    """Of the newest version on a day of the contract's time zone."""
    if accepted:
        return "accepted"
    return "expired" if valid_until is not None and valid_until < today else "open"
