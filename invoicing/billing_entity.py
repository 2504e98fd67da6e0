"""A billing entity: the legal person that sends invoices, owes the tax on them and is paid.

What is in force when an invoice is drafted is copied into it as ``seller``; a later change reaches only later
invoices. While no entity is saved, invoices state no tax and the seller is the one of the settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from sqlalchemy import Connection, Engine, insert, select

from ingest.document import Document
from ingest.errors import InvalidInput, Issue, NotFound
from ingest.ledger import ledger_transaction
from ingest.meter import Key
from invoicing.customer import contact_issues, text_issues
from invoicing.electronic_address import EndpointId, EndpointScheme, endpoint_issues, without_unsaid
from invoicing.fiscal_year import CALENDAR_YEAR, ENTITY_KIND
from invoicing.register import DocumentKind as IssuedKind
from invoicing.saved_document import DocumentKind, StoredDocument
from invoicing.tables import LOGOS
from invoicing.tax_id import bic_issue, iban_issue, tax_id_issue, unchecked_warning
from rating.plan_version import Entered, SavedDocument

LOGO_BYTES_MAX: Final = 262_144
_SIGNATURES: Final = {"image/png": b"\x89PNG\r\n\x1a\n", "image/svg+xml": b"<svg"}
_XML_HEAD: Final = 1_024
SELDOM_OF_SELLER: Final = ("contact_name", "endpoint_id", "endpoint_scheme")
_COPIED: Final = (
    "postal_code",
    "city",
    "country",
    "region",
    "tax_id",
    "tax_number",
    "registration_id",
    "email",
    "phone",
    "late_payment",
    "logo",
    *SELDOM_OF_SELLER,
)
SELLER_FIELDS: Final = frozenset(_COPIED) | {
    "entity_id",
    "entity_version",
    "name",
    "address_lines",
    "street_lines",
    "bank_account",
    "account_holder",
    "iban",
    "bic",
    "languages",
    "terms_text",
}
"""What an invoice has of its seller (``seller_document``)."""
_ONE_LINE: Final = (
    "legal_name", "postal_code", "city", "tax_number", "registration_id", "phone", "contact_name"
)  # fmt: skip
Language = Annotated[str, Field(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")]
SeriesPrefix = Annotated[str, Field(pattern=r"^[A-Z0-9-]{1,16}$")]


class BankAccount(Document):
    """Where invoices are paid to. ``other``: an account that has no IBAN, as the payer needs it."""

    holder: str = Field(default="", max_length=256)
    iban: str = Field(default="", max_length=42)
    bic: str = Field(default="", max_length=11)
    other: str = Field(default="", max_length=256)


class NoTax(Document):
    """Why no tax is stated: as the law words it, with the VATEX code if there is one."""

    reason: str = Field(min_length=1, max_length=1024)
    reason_code: str = Field(default="", max_length=64)


class BillingEntity(Document):
    """See the module.

    country: ISO 3166-1 alpha-2, region: of it, where rates differ by region. tax_id: the VAT number, checked;
    tax_number: of the tax office, printed as it is. series: first part of numbers by kind of document; left
    out: the setting's. terms_text: standard words at the end of each invoice, by language; late_payment: of
    contracts that say nothing themselves. tax_point: the day whose rates count, ``service_end`` the last
    day a line's service covers, ``billing_date`` that of the invoice. oss: consumers in other EU states pay
    their own state's rates. no_tax: for a seller that states no tax at home, such as a small business.
    tax_rounding: tax is rounded once for each category and rate (EN 16931); there is no other way.
    endpoint_id, endpoint_scheme: its electronic address with the EAS code (BT-34); contact_name: whom a payer
    asks (BT-41).
    require_payer: a contract is only taken with a payer, payment terms and a word on purchase orders.
    require_acknowledged_terms: a contract is only taken when a quote with its terms was accepted.
    retention_years: how long its records are kept, left out: as its country wants (``retention.py``).
    fiscal_year_start_month: numbers begin again with that month (``fiscal_year.py``); ``series`` then names a
    prefix of its own for every kind of document.
    """

    entity_id: Key
    legal_name: str = Field(min_length=1, max_length=512)
    address_lines: tuple[str, ...] = ()
    postal_code: str = Field(default="", max_length=32)
    city: str = Field(default="", max_length=128)
    country: str = Field(pattern=r"^[A-Z]{2}$")
    region: str = Field(default="", pattern=r"^[A-Z0-9]{0,8}$")
    tax_id: str = Field(default="", max_length=64)
    tax_number: str = Field(default="", max_length=64)
    registration_id: str = Field(default="", max_length=64)
    email: str = Field(default="", max_length=320)
    phone: str = Field(default="", max_length=64)
    contact_name: str = Field(default="", max_length=256)
    endpoint_id: EndpointId = ""
    endpoint_scheme: EndpointScheme = ""
    bank_account: BankAccount = BankAccount()
    series: dict[IssuedKind, SeriesPrefix] = Field(default_factory=dict)
    languages: tuple[Language, ...] = ("en",)
    terms_text: dict[Language, str] = Field(default_factory=dict)
    late_payment: str = ""
    default: bool = False
    tax_rounding: Literal["category"] = "category"
    tax_point: Literal["service_end", "billing_date"] = "service_end"
    oss: bool = False
    no_tax: NoTax | None = None
    require_payer: bool = False
    require_acknowledged_terms: bool = False
    logo: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    retention_years: int | None = Field(default=None, ge=1, le=100)
    fiscal_year_start_month: int = Field(default=CALENDAR_YEAR, ge=1, le=12)

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written = without_unsaid(write(self))
        if self.retention_years is None:
            written.pop("retention_years", None)
        if self.fiscal_year_start_month == CALENDAR_YEAR:
            written.pop("fiscal_year_start_month", None)
        return written


def entity_rules(entity: BillingEntity) -> Iterator[Issue]:
    """What an entity must keep beyond its field types."""
    account = entity.bank_account
    printed = {name: getattr(entity, name) for name in _ONE_LINE} | {"bank_account.holder": account.holder}
    yield from text_issues(printed, never_blank=("legal_name",))
    yield from contact_issues(entity.email, entity.address_lines, entity.country)
    yield from endpoint_issues(entity.endpoint_id, entity.endpoint_scheme)
    for issue in (
        tax_id_issue(entity.tax_id, country=entity.country),
        iban_issue(account.iban, pointer="bank_account.iban"),
        bic_issue(account.bic, pointer="bank_account.bic"),
    ):
        if issue is not None:
            yield issue
    lacking = [kind for kind in get_args(IssuedKind) if kind not in entity.series]
    if entity.fiscal_year_start_month != CALENDAR_YEAR and lacking:
        yield Issue(
            "fiscal_year_without_series",
            "series",
            f"Its year begins in month {entity.fiscal_year_start_month}, and {', '.join(lacking)} would "
            "be numbered with those of others.",
            "a prefix of its own for every kind of document.",
        )
    for language in entity.terms_text:
        if language not in entity.languages:
            yield Issue(
                "language_not_offered",
                f"terms_text.{language}",
                f"{language!r} is not among the languages {', '.join(entity.languages)}.",
                "terms in the languages of the entity.",
            )


BILLING_ENTITIES: Final = DocumentKind(
    name=ENTITY_KIND,
    model=BillingEntity,
    field="entity_id",
    words="billing entity",
    rules=entity_rules,
    missing="`ratemill entity list` shows those there are.",
)


@dataclass(frozen=True, slots=True)
class Logo:
    """An image as it was sent."""

    media_type: str
    content: bytes


def save_entity(
    ledger: Engine, document: Mapping[str, Any], *, now: datetime, entered: Entered | None = None
) -> SavedDocument:
    """Check and save a billing entity. A document that does not speak of a logo leaves it as it is. entered:
    called in the transaction when it is new. Raises InvalidDocument; a number whose country's check digits
    are not known is a warning."""
    if "logo" not in document:
        with ledger.connect() as connection:
            standing = load_entities(connection).get(str(document.get("entity_id")))
        document = {**document, "logo": "" if standing is None else standing.document.logo}

    _refuse_other_year(ledger, document)

    def warnings(entity: BillingEntity) -> Iterator[Issue]:
        told = unchecked_warning(entity.tax_id, country=entity.country)
        yield from () if told is None else (told,)
        if entity.logo and _find_logo(ledger, entity.logo) is None:
            yield Issue(
                "logo_unknown",
                "logo",
                f"No logo {entity.logo[:12]} is on record.",
                "a logo sent before: `ratemill entity logo`.",
            )

    return BILLING_ENTITIES.save(ledger, document, now=now, warnings=warnings, entered=entered)


def _refuse_other_year(ledger: Engine, document: Mapping[str, Any]) -> None:
    """Raises InvalidInput for a prefix that another entity numbers by another fiscal year."""
    series, month = document.get("series"), document.get("fiscal_year_start_month", CALENDAR_YEAR)
    if not isinstance(series, Mapping):
        return  # refused by the rules, or nothing of its own
    with ledger.connect() as connection:
        others = load_entities(connection)
    for entity_id, other in others.items():
        shared = sorted(set(series.values()) & set(other.document.series.values()))
        begins = other.document.fiscal_year_start_month
        if entity_id != document.get("entity_id") and shared and begins != month:
            raise InvalidInput(
                f"{shared[0]} is a prefix of billing entity {entity_id!r} too, whose year begins in month "
                f"{begins}. Numbers of one prefix have one year: choose another.",
                reason_code="fiscal_years_differ",
            )


def get_entity(ledger: Engine, entity_id: str) -> StoredDocument[BillingEntity]:
    """The entity in force. Raises NotFound."""
    return BILLING_ENTITIES.get(ledger, entity_id)


def save_logo(
    ledger: Engine, entity_id: str, content: bytes, *, now: datetime, entered: Entered | None = None
) -> SavedDocument:
    """Keep an image and print it on the entity's invoices from now on. entered: as of ``save_entity``.

    Raises InvalidInput for what is neither PNG nor SVG or is too large, NotFound for an unknown entity.
    """
    stored = get_entity(ledger, entity_id)
    media_type = _media_type(content)
    digest = hashlib.sha256(content).hexdigest()
    with ledger_transaction(ledger) as connection:
        if connection.execute(select(LOGOS.c.logo_hash).where(LOGOS.c.logo_hash == digest)).first() is None:
            row = {"logo_hash": digest, "media_type": media_type, "content": content}
            connection.execute(insert(LOGOS), row | {"created_at": now.isoformat()})
    return save_entity(ledger, stored.document.model_dump() | {"logo": digest}, now=now, entered=entered)


def get_logo(ledger: Engine, logo_hash: str) -> Logo:
    """The image of that hash. Raises NotFound."""
    found = _find_logo(ledger, logo_hash)
    if found is None:
        raise NotFound(f"there is no logo {logo_hash[:12]!r}. `ratemill entity logo ENTITY FILE` sends one.")
    return found


def load_entities(connection: Connection) -> dict[str, StoredDocument[BillingEntity]]:
    """All entities in force, by id."""
    return BILLING_ENTITIES.load(connection)


def seller_document(stored: StoredDocument[BillingEntity]) -> dict[str, Any]:
    """The snapshot that goes into an invoice. ``name``, ``address_lines``, ``country``, ``tax_id``,
    ``email`` and ``bank_account`` are as of a seller of the settings; ``street_lines`` is the address without
    the city."""
    entity = stored.document
    account = entity.bank_account
    place = " ".join(part for part in (entity.postal_code, entity.city) if part)
    words = (account.holder, account.iban, f"BIC {account.bic}" if account.bic else "", account.other)
    seller = {
        "entity_id": entity.entity_id,
        "entity_version": stored.version,
        "name": entity.legal_name,
        "address_lines": [*entity.address_lines, *([place] if place else [])],
        "street_lines": list(entity.address_lines),
        "bank_account": ", ".join(word for word in words if word),
        "account_holder": account.holder,
        "iban": account.iban,
        "bic": account.bic,
        "languages": list(entity.languages),
        "terms_text": dict(entity.terms_text),
    } | {name: getattr(entity, name) for name in _COPIED}
    return without_unsaid(seller)


def _find_logo(ledger: Engine, logo_hash: str) -> Logo | None:
    with ledger.connect() as connection:
        row = connection.execute(
            select(LOGOS.c.media_type, LOGOS.c.content).where(LOGOS.c.logo_hash == logo_hash)
        ).one_or_none()
    return None if row is None else Logo(row[0], bytes(row[1]))


def _media_type(content: bytes) -> str:
    if len(content) > LOGO_BYTES_MAX:
        raise InvalidInput(
            f"the logo has {len(content):,} bytes; it may have {LOGO_BYTES_MAX:,}.",
            reason_code="logo_too_large",
        )
    if content.startswith(_SIGNATURES["image/png"]):
        return "image/png"
    if _SIGNATURES["image/svg+xml"] in content[:_XML_HEAD]:
        return "image/svg+xml"
    raise InvalidInput("the logo is neither a PNG nor an SVG image.", reason_code="logo_type")
