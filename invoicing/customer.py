"""A customer as people write it: who an invoice is addressed to.

The document in force when an invoice is drafted is copied into that invoice: a later change of
address never changes an invoice that exists.
"""

from __future__ import annotations

from collections.abc import Iterator

from babel import Locale
from pydantic import Field

from ingest.document import Document
from ingest.errors import Issue
from ingest.meter import Key


class Customer(Document):
    """``name`` is what people call them, ``legal_name`` what stands on the invoice when it differs.

    country: ISO 3166-1 alpha-2. tax_id: as it is to be printed, with its country prefix.
    external_ids: this customer's key in other systems (CRM, accounting), by the system's name.
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


def customer_rules(customer: Customer) -> Iterator[Issue]:
    """What a customer document must keep beyond its field types."""
    if customer.country and customer.country not in Locale("en").territories:
        yield Issue(
            "unknown_country",
            "country",
            f"{customer.country!r} is not a country code.",
            "two capital letters of ISO 3166-1, like DE or US.",
        )
    local_part, _, domain = customer.email.rpartition("@")
    if customer.email and (not local_part or not domain or " " in customer.email):
        yield Issue(
            "bad_email",
            "email",
            f"{customer.email!r} is not an e-mail address.",
            "one address, like billing@example.com.",
        )
    if len(customer.address_lines) > 8:
        yield Issue(
            "address_too_long",
            "address_lines",
            f"The address has {len(customer.address_lines)} lines.",
            "at most 8 lines.",
        )
