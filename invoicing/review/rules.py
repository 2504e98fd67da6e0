"""Review rules: which drafts people look at before they are issued, and who they are. A saved document.

One under the key ``default`` counts for all invoices; one under the id of a billing entity counts for those
that it sends instead. While none is saved nothing is reviewed. A draft keeps the rules it was made under.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from sqlalchemy import Connection, Engine

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.errors import InvalidDocument, Issue
from ingest.meter import Key
from invoicing.billing_entity import load_entities
from invoicing.delivery.preferences import is_address
from invoicing.saved_document import DocumentKind, StoredDocument
from rating.money import MINOR_DIGITS
from rating.plan_version import SavedDocument

DEFAULT_RULES: Final = "default"
Reviewer = Annotated[str, Field(min_length=1, max_length=128)]
"""The name of a person's API key; who acts for somebody else is kept beside it."""
Anomaly = Literal["new_product", "unusual_quantity", "negative_line", "missing_price", "zero_after_use"]
ANOMALIES: Final[tuple[Anomaly, ...]] = (
    "new_product",
    "unusual_quantity",
    "negative_line",
    "missing_price",
    "zero_after_use",
)
Amounts = dict[str, ExactDecimal]
"""Major units by currency."""


class ReviewRoute(Document):
    """Who reviews invoices that meet every condition given; the reviewers of all routes that fit come one
    after the other, in the order of the document.

    charge_ids, plan_ids: one of the lines is of one of them. account_owners: of the customer. above: the net
    total is more than that, in the invoice's currency.
    """

    reviewers: tuple[Reviewer, ...] = Field(min_length=1)
    charge_ids: tuple[Key, ...] = ()
    plan_ids: tuple[Key, ...] = ()
    account_owners: tuple[str, ...] = ()
    above: Amounts = Field(default_factory=dict)


class ReviewRules(Document):
    """See the module.

    policy: ``none`` reviews nothing, ``all`` everything, ``exception`` what is above ``thresholds`` (net
    total; an invoice of exactly that amount passes) or unusual in one of the ways named by ``anomalies``.
    quantity_factor: a quantity is unusual above so many times the median of the charge's last
    ``trailing_dates`` billing dates, of which there must be ``trailing_dates_min``. reviewers: where no route
    fits. escalate_after_hours, escalate_to: who gets what a reviewer left lying. four_eyes: who drafted or
    corrected an invoice does not approve it. issue_approved: the scheduler issues what is approved.
    addresses: by the name of a reviewer, where e-mail tells them what waits for them; a name that is an
    address itself needs none. Those in force count for drafts made before, too.
    """

    rules_id: Key
    policy: Literal["none", "exception", "all"] = "exception"
    thresholds: Amounts = Field(default_factory=dict)
    anomalies: tuple[Anomaly, ...] = ANOMALIES
    quantity_factor: ExactDecimal = Decimal(3)
    trailing_dates: int = Field(default=6, ge=1, le=36)
    trailing_dates_min: int = Field(default=3, ge=1, le=36)
    routes: tuple[ReviewRoute, ...] = ()
    reviewers: tuple[Reviewer, ...] = ()
    escalate_after_hours: int | None = Field(default=None, ge=1, le=8_760)
    escalate_to: str = Field(default="", max_length=128)
    four_eyes: bool = True
    issue_approved: bool = False
    # Left out of the text where it says nothing, so that rules saved before stay the version they are.
    addresses: dict[Reviewer, str] = Field(default_factory=dict, exclude_if=lambda named: not named)

    def address_of(self, person: str) -> str:
        """Where this person reads mail; empty when nobody said."""
        address = self.addresses.get(person, person)
        return address if is_address(address) else ""


def rules_issues(rules: ReviewRules) -> Iterator[Issue]:
    """What rules must keep beyond their field types."""
    if rules.policy != "none" and not rules.reviewers:
        yield Issue(
            "no_reviewer",
            "reviewers",
            "Nobody is named for invoices that no route fits.",
            "at least one name.",
        )
    if (rules.escalate_after_hours is None) != (not rules.escalate_to):
        yield Issue(
            "escalation_incomplete",
            "escalate_to",
            f"It says {rules.escalate_to!r} after {rules.escalate_after_hours} hours.",
            "both a number of hours and a name, or neither.",
        )
    if rules.quantity_factor <= 1:
        yield Issue(
            "quantity_factor",
            "quantity_factor",
            f"The factor is {decimal_text(rules.quantity_factor)}.",
            "more than 1.",
        )
    if rules.trailing_dates_min > rules.trailing_dates:
        yield Issue(
            "trailing_dates",
            "trailing_dates_min",
            f"{rules.trailing_dates_min} of {rules.trailing_dates} dates are asked for.",
            "at most as many as trailing_dates.",
        )
    for person, address in rules.addresses.items():
        if not is_address(address):
            yield Issue(
                "bad_email",
                f"addresses.{person}",
                f"{address!r} is not an e-mail address.",
                "one address, like anna@seller.example.",
            )
    yield from _amount_issues(rules.thresholds, "thresholds")
    for place, route in enumerate(rules.routes):
        yield from _amount_issues(route.above, f"routes[{place}].above")


def _amount_issues(amounts: Mapping[str, Decimal], pointer: str) -> Iterator[Issue]:
    for currency, amount in amounts.items():
        if currency not in MINOR_DIGITS:
            yield Issue(
                "unknown_currency", f"{pointer}.{currency}", f"{currency!r} is no currency.", "one like EUR."
            )
        if amount < 0:
            yield Issue(
                "review_amount", f"{pointer}.{currency}", f"It is {decimal_text(amount)}.", "0 or more."
            )


REVIEW_RULES: Final = DocumentKind(
    name="review_rules",
    model=ReviewRules,
    field="rules_id",
    words="review rules",
    rules=rules_issues,
    missing="`ratemill review-rules list` shows those there are.",
)


def save_review_rules(ledger: Engine, document: Mapping[str, Any], *, now: datetime) -> SavedDocument:
    """Check and save. They count for drafts made from now on. Raises InvalidDocument, also for a key that is
    neither ``default`` nor a billing entity on record."""
    rules_id = str(document.get("rules_id"))
    if rules_id != DEFAULT_RULES:
        with ledger.connect() as connection:
            known = load_entities(connection)
        if rules_id not in known:
            issue = Issue(
                "unknown_entity",
                "rules_id",
                f"{rules_id!r} is no billing entity.",
                f"{DEFAULT_RULES!r}, or the id of one that is on record.",
            )
            raise InvalidDocument(f"review rules {rules_id!r}", [issue])
    return REVIEW_RULES.save(ledger, document, now=now)


def load_review_rules(connection: Connection) -> dict[str, StoredDocument[ReviewRules]]:
    """All rules in force, by key; empty while nothing is reviewed."""
    return REVIEW_RULES.load(connection)


def rules_for(
    rules: Mapping[str, StoredDocument[ReviewRules]], entity_id: str | None
) -> StoredDocument[ReviewRules] | None:
    """The rules for an invoice that this entity sends."""
    return rules.get(entity_id or DEFAULT_RULES) or rules.get(DEFAULT_RULES)
