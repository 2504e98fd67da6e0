"""A customer as people write it: who an invoice is addressed to.

The document in force when an invoice is drafted is copied into that invoice: a later change of
address never changes an invoice that exists.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from babel import Locale
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ingest.document import Document
from ingest.errors import Issue
from ingest.meter import Key
from invoicing.delivery.preferences import DeliveryPreferences, is_address, preference_issues
from invoicing.electronic_address import EndpointId, EndpointScheme, endpoint_issues, without_unsaid
from invoicing.tax_id import tax_id_issue
from rating.contract_rules import is_time_zone

PARTY_ROLES: Final = ("sold_to", "bill_to", "notify")
RESERVED_IDS: Final = frozenset({"conflicts", "sources", "by-external-id"})
"""Words that follow /v1/customers/ in paths of their own."""
_NO_COUNTRIES: Final = frozenset(
    ["AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"]
)
"""In the list of territories, and no codes of countries: reserved ones, unions, what is not known."""
_COUNTRIES: Final = frozenset(
    code for code in map(str, Locale("en").territories) if len(code) == 2 and code not in _NO_COUNTRIES
)
_NOT_OF_A_LINE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, halves of characters, separators of lines and paragraphs."""


TaxStatus = Literal["", "business", "consumer", "exempt"]


class Party(Document):
    """A person or place of a customer: who ordered, who is billed, who is told."""

    name: str = Field(min_length=1, max_length=512)
    email: str = Field(default="", max_length=320)
    address_lines: tuple[str, ...] = ()
    country: str = ""


class Customer(Document):
    """``name`` is what people call them, ``legal_name`` what stands on the invoice when it differs.

    country: ISO 3166-1 alpha-2. tax_id: as it is to be printed, with its country prefix.
    external_ids: this customer's key in other systems (CRM, accounting), by the system's name.

    sold_to, bill_to, notify: who ordered, to whom invoices are addressed, who is told of them; left out: the
    customer itself. tax_status: left out, a customer with a tax id counts as a business. tax_exempt_reason:
    of an exempt one, in the words of the law, with its VATEX code. parent_id: the customer it belongs to.
    billing_entity: who sends its invoices where a contract does not say. ap_terms_days: within how many days
    it pays as a rule; purchase_order_required: whether it pays only what names an order.
    endpoint_id, endpoint_scheme: where e-invoices reach it, with the EAS code (BT-49). buyer_reference: what
    it wants to read on invoices, like a Leitweg-ID (BT-10).
    account_owner: who looks after it, for review routes; delivery: how it wants its documents; neither is
    part of an invoice.
    """

    customer_id: Key
    name: str = Field(min_length=1, max_length=512)
    legal_name: str = Field(default="", max_length=512)
    email: str = Field(default="", max_length=320)
    address_lines: tuple[str, ...] = ()
    country: str = ""
    tax_id: str = Field(default="", max_length=64)
    language: str = Field(default="en", pattern=r"^[a-z]{2}(-[A-Z]{2})?$")
    external_ids: dict[str, str] = Field(default_factory=dict)
    sold_to: Party | None = None
    bill_to: Party | None = None
    notify: Party | None = None
    tax_status: TaxStatus = ""
    tax_exempt_reason: str = Field(default="", max_length=1024)
    tax_exempt_code: str = Field(default="", max_length=64)
    parent_id: Key | None = None
    time_zone: str = Field(default="", max_length=64)
    locale: str = Field(default="", pattern=r"^([a-z]{2}(-[A-Z]{2})?)?$")
    billing_entity: Key | None = None
    ap_terms_days: int | None = Field(default=None, ge=0, le=365)
    purchase_order_required: bool | None = None
    endpoint_id: EndpointId = ""
    endpoint_scheme: EndpointScheme = ""
    buyer_reference: str = Field(default="", max_length=256)
    account_owner: str = Field(default="", max_length=128)
    delivery: DeliveryPreferences | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A customer without preferences has the text it had before there were any."""
        document = without_unsaid(write(self))
        if document.get("delivery") is None:
            document.pop("delivery", None)
        if not document.get("account_owner"):
            document.pop("account_owner", None)
        return document


def customer_rules(customer: Customer) -> Iterator[Issue]:
    """What a customer document must keep beyond its field types."""
    if customer.customer_id in RESERVED_IDS:
        yield Issue(
            "reserved_customer_id",
            "customer_id",
            f"{customer.customer_id!r} is part of a path of the API.",
            "another key.",
        )
    for system, external_id in customer.external_ids.items():
        if not 1 <= len(external_id) <= 256 or not 1 <= len(system) <= 128:
            yield Issue(
                "bad_external_id",
                f"external_ids.{system}",
                f"The key has {len(external_id)} characters, the system's name {len(system)}.",
                "a key of 1 to 256 characters under a name of 1 to 128.",
            )
    yield from text_issues({"name": customer.name, "legal_name": customer.legal_name}, never_blank=("name",))
    yield from contact_issues(customer.email, customer.address_lines, customer.country)
    yield from endpoint_issues(customer.endpoint_id, customer.endpoint_scheme)
    yield from tax_issues(customer)


def tax_issues(customer: Customer) -> Iterator[Issue]:
    """What tax fields and parties must keep."""
    wrong = tax_id_issue(customer.tax_id, country=customer.country)
    if wrong is not None:
        yield wrong
    if (customer.tax_status == "exempt") != bool(customer.tax_exempt_reason):
        yield Issue(
            "tax_exempt_reason",
            "tax_exempt_reason",
            f"tax_status is {customer.tax_status!r} and the reason {customer.tax_exempt_reason!r}.",
            "a reason in the words of the law with tax_status exempt, and none without.",
        )
    for role in PARTY_ROLES:
        party: Party | None = getattr(customer, role)
        if party is None:
            continue
        for issue in (
            *text_issues({"name": party.name}, never_blank=("name",)),
            *contact_issues(party.email, party.address_lines, party.country),
        ):
            yield replace(issue, pointer=f"{role}.{issue.pointer}")
    if customer.parent_id == customer.customer_id:
        yield Issue(
            "own_parent", "parent_id", "The customer is its own parent.", "another customer, or none."
        )
    if customer.time_zone and not is_time_zone(customer.time_zone):
        yield Issue(
            "unknown_time_zone",
            "time_zone",
            f"{customer.time_zone!r} is not a time zone.",
            "a name of the IANA list, like Europe/Berlin.",
        )
    if customer.delivery is not None:
        yield from preference_issues(customer.delivery)


def text_issues(texts: Mapping[str, str], *, never_blank: Sequence[str] = ()) -> Iterator[Issue]:
    """What texts that are one line of a document must keep. texts: by pointer."""
    for pointer, text in texts.items():
        odd = () if text.isprintable() else map(unicodedata.category, text)
        if not _NOT_OF_A_LINE.isdisjoint(odd):
            yield Issue(
                "bad_text",
                pointer,
                f"{text!r} has a line break or a control character.",
                "one line of plain text.",
            )
        elif pointer in never_blank and not text.strip():
            yield Issue("blank_text", pointer, f"{text!r} says nothing.", "a text.")


def contact_issues(email: str, address_lines: Sequence[str], country: str) -> Iterator[Issue]:
    """What the fields of an address must keep, whoever sends them. An empty field breaks nothing."""
    if country and country not in _COUNTRIES:
        yield Issue(
            "unknown_country",
            "country",
            f"{country!r} is not a country code.",
            "two capital letters of ISO 3166-1, like DE or US.",
        )
    if email and not is_address(email):
        yield Issue(
            "bad_email",
            "email",
            f"{email!r} is not an e-mail address that can be sent to.",
            "one address in plain letters, like billing@example.com; a domain with others as xn--...",
        )
    yield from text_issues({f"address_lines[{place}]": line for place, line in enumerate(address_lines)})
    if len(address_lines) > 8:
        yield Issue(
            "address_too_long",
            "address_lines",
            f"The address has {len(address_lines)} lines.",
            "at most 8 lines.",
        )
