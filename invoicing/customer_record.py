"""What a system knows of a customer, which system is believed for which field, and the merge of the two.

    claims (one a system)  +  sources of truth  ->  the customer in force, field by field, with conflicts

A value that is in force is never pushed out by a system that nobody ranked: the order of ``rank_of`` does not
depend on who spoke last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ingest.document import Document
from ingest.errors import Issue
from ingest.meter import Key
from invoicing.customer import PARTY_ROLES, Customer, Party, TaxStatus, contact_issues, text_issues
from invoicing.electronic_address import EndpointId, EndpointScheme, without_unsaid
from invoicing.tax_id import tax_id_issue

DIRECT: Final = "direct"
"""The system that stands for what was entered directly, as a customer document."""
FIELDS: Final = (
    "name",
    "legal_name",
    "email",
    "address_lines",
    "country",
    "tax_id",
    "language",
    *PARTY_ROLES,
    "tax_status",
    "tax_exempt_reason",
    "tax_exempt_code",
    "parent_id",
    "time_zone",
    "locale",
    "billing_entity",
    "ap_terms_days",
    "purchase_order_required",
    "endpoint_id",
    "endpoint_scheme",
    "buyer_reference",
)
"""What is merged. External ids are not: each system says its own."""


class CustomerRecord(Document):
    """What one system knows of one customer, under the system's own key.

    A field that is left out or empty says nothing. customer_id: whose record it is; needed when nothing
    on record says so. more: what else the system knows; kept and shown, and part of no document.
    """

    external_id: str = Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f/]+$")
    customer_id: Key | None = None
    name: str = Field(default="", max_length=512)
    legal_name: str = Field(default="", max_length=512)
    email: str = Field(default="", max_length=320)
    address_lines: tuple[str, ...] = ()
    country: str = ""
    tax_id: str = Field(default="", max_length=64)
    language: str = Field(default="", pattern=r"^([a-z]{2}(-[A-Z]{2})?)?$")
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
    more: dict[str, str] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unsaid(write(self))


class CustomerSources(Document):
    """Which systems are believed, the first before the second, by field; ``default`` for fields not named.

    ``direct`` is what was entered directly, and comes next when it is not in the list.
    """

    default: tuple[Key, ...] = (DIRECT,)
    fields: dict[str, tuple[Key, ...]] = Field(default_factory=dict)

    def order(self, field: str) -> tuple[str, ...]:
        return self.fields.get(field, self.default)


@dataclass(frozen=True, slots=True)
class Claim:
    """A record as the merge reads it.

    values: by field, without those that say nothing. since: when each was first sent as it is, ISO 8601.
    told_at: when the system first told of this customer.
    """

    system: str
    external_id: str
    values: Mapping[str, Any]
    since: Mapping[str, str]
    told_at: str


@dataclass(frozen=True, slots=True)
class FieldClaim:
    """One system's value of one field."""

    system: str
    external_id: str
    value: Any
    since: str


@dataclass(frozen=True, slots=True)
class FieldInForce:
    """The value of a field, whose it is, why, and what every system says (the one in force first).

    why: ``only_source``, ``source_of_truth`` (ranked for the field), ``entered_directly``, or
    ``told_first`` (none of them is ranked: the system that told of the customer first).
    """

    field: str
    value: Any
    system: str
    why: str
    claims: tuple[FieldClaim, ...]

    @property
    def is_conflict(self) -> bool:
        return any(claim.value != self.value for claim in self.claims)


@dataclass(frozen=True, slots=True)
class MergedCustomer:
    """document: as a mapping that may still lack a name. fields: those that somebody knows."""

    document: dict[str, Any]
    fields: tuple[FieldInForce, ...]

    def conflicts(self) -> tuple[FieldInForce, ...]:
        return tuple(field for field in self.fields if field.is_conflict)


def record_rules(record: CustomerRecord) -> Iterator[Issue]:
    """What a record must keep beyond its field types."""
    yield from text_issues({"name": record.name, "legal_name": record.legal_name})
    yield from contact_issues(record.email, record.address_lines, record.country)
    wrong = tax_id_issue(record.tax_id, country=record.country)
    if wrong is not None:
        yield wrong


def sources_rules(sources: CustomerSources) -> Iterator[Issue]:
    """Only known fields, and no system twice in a list."""
    for field, systems in (("default", sources.default), *sources.fields.items()):
        pointer = field if field == "default" else f"fields.{field}"
        if field != "default" and field not in FIELDS:
            yield Issue(
                "unknown_customer_field",
                pointer,
                f"{field!r} has no source of truth.",
                f"one of {', '.join(FIELDS)}.",
            )
        if len(set(systems)) != len(systems):
            yield Issue("system_twice", pointer, "A system is named twice.", "each system once.")


def claimed_values(document: CustomerRecord | Customer) -> dict[str, Any]:
    """What a document says, by field. A field that is empty, or of a customer document as it would be by
    itself (``language: en``), says nothing."""
    default_language = "en" if isinstance(document, Customer) else ""
    values = document.model_dump(mode="json", include=set(FIELDS))
    return {
        field: values[field]
        for field in FIELDS
        if (value := values.get(field)) not in ("", None, [])
        and not (field == "language" and value == default_language)
    }


def new_claim(
    system: str, external_id: str, values: Mapping[str, Any], *, before: Claim | None, now: str
) -> Claim:
    """The claim after a system sent ``values``; a value it has sent before keeps its time."""
    if before is None:
        return Claim(system, external_id, values, dict.fromkeys(values, now), now)
    since = {
        field: before.since[field] if before.values.get(field) == value else now
        for field, value in values.items()
    }
    return Claim(system, external_id, values, since, before.told_at)


def merge_customer(
    customer_id: str,
    claims: Sequence[Claim],
    sources: CustomerSources,
    *,
    entered_external_ids: Mapping[str, str],
) -> MergedCustomer:
    """The customer in force. entered_external_ids: those of the document that was entered directly."""
    fields = tuple(
        _field_in_force(field, said, sources)
        for field in FIELDS
        if (said := [claim for claim in claims if field in claim.values])
    )
    own = {claim.system: claim.external_id for claim in claims if claim.system != DIRECT}
    document = {"customer_id": customer_id, "external_ids": {**entered_external_ids, **own}}
    return MergedCustomer(document | {one.field: one.value for one in fields}, fields)


def _field_in_force(field: str, claims: Iterable[Claim], sources: CustomerSources) -> FieldInForce:
    order = sources.order(field)
    ranked = sorted(claims, key=lambda claim: _rank(claim, order))
    first = ranked[0]
    said = tuple(
        FieldClaim(claim.system, claim.external_id, claim.values[field], claim.since[field])
        for claim in ranked
    )
    return FieldInForce(field, first.values[field], first.system, _why(first, order, len(ranked)), said)


def _rank(claim: Claim, order: Sequence[str]) -> tuple[int, str, str]:
    if claim.system in order:
        return order.index(claim.system), "", ""
    if claim.system == DIRECT:
        return len(order), "", ""
    return len(order) + 1, claim.told_at, claim.system


def _why(claim: Claim, order: Sequence[str], count: int) -> str:
    if count == 1:
        return "only_source"
    if claim.system == DIRECT:
        return "source_of_truth" if order != (DIRECT,) and DIRECT in order else "entered_directly"
    return "source_of_truth" if claim.system in order else "told_first"
