"""A customer as people write it: who an invoice is addressed to.

The document in force when an invoice is drafted is copied into that invoice: a later change of
address never changes an invoice that exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from babel import Locale
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ingest.document import Document
from ingest.errors import Issue
from ingest.meter import Key
from invoicing.delivery.preferences import DeliveryPreferences, preference_issues

RESERVED_IDS: Final = frozenset({"conflicts", "sources", "by-external-id"})
"""Words that follow /v1/customers/ in paths of their own."""


class Customer(Document):
    """``name`` is what people call them, ``legal_name`` what stands on the invoice when it differs.

    country: ISO 3166-1 alpha-2. tax_id: as it is to be printed, with its country prefix.
    external_ids: this customer's key in other systems (CRM, accounting), by the system's name. delivery: how
    it wants its documents; part of no invoice.
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
    delivery: DeliveryPreferences | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A customer without preferences has the text it had before there were any."""
        document: dict[str, Any] = write(self)
        if document.get("delivery") is None:
            document.pop("delivery", None)
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
    yield from contact_issues(customer.email, customer.address_lines, customer.country)
    if customer.delivery is not None:
        yield from preference_issues(customer.delivery)


def contact_issues(email: str, address_lines: Sequence[str], country: str) -> Iterator[Issue]:
    """What the fields of an address must keep, whoever sends them. An empty field breaks nothing."""
    if country and country not in Locale("en").territories:
        yield Issue(
            "unknown_country",
            "country",
            f"{country!r} is not a country code.",
            "two capital letters of ISO 3166-1, like DE or US.",
        )
    local_part, _, domain = email.rpartition("@")
    if email and (not local_part or not domain or " " in email):
        yield Issue(
            "bad_email",
            "email",
            f"{email!r} is not an e-mail address.",
            "one address, like billing@example.com.",
        )
    if len(address_lines) > 8:
        yield Issue(
            "address_too_long",
            "address_lines",
            f"The address has {len(address_lines)} lines.",
            "at most 8 lines.",
        )
