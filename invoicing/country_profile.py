"""What a country wants to read on an invoice, as data: fields, when each is wanted, and the law's words.

The shipped profiles (``data/country_profiles.yaml``) hold until one is saved for a country; EU states without
one of their own follow ``EU``. A field that is missing holds the billing date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from ingest.document import Document, read_documents
from ingest.errors import Issue
from ingest.meter import Key
from invoicing.billing_entity import SELLER_FIELDS
from invoicing.customer import Customer
from invoicing.saved_document import DocumentKind
from invoicing.tax_id import EU_PREFIXES
from rating.contract import Terms

SHIPPED: Final = Path(__file__).parent / "data" / "country_profiles.yaml"
_PARTS: Final[Mapping[str, frozenset[str]]] = {
    "seller": SELLER_FIELDS,
    "customer": frozenset(Customer.model_fields) - {"account_owner", "delivery"},
    "terms": frozenset(Terms.model_fields),
}
"""What of an invoice may be asked for."""
_EU: Final = "EU"
When = Literal["always", "reverse_charge", "intra_community"]
_WHEN_CATEGORY: Final[Mapping[str, str]] = {"reverse_charge": "AE", "intra_community": "K"}
ANY_TREATMENT: Final = tuple(_WHEN_CATEGORY.values())
"""With these all fields count that are ever asked for."""


class RequiredField(Document):
    """``field``: a path in the invoice, like ``seller.tax_id``; of several joined by ``|`` one is enough.
    when: always, or only where that treatment applies. words: what it is and which rule asks for it."""

    field: str = Field(pattern=r"^[a-z_]+\.[a-z_]+(\|[a-z_]+\.[a-z_]+)*$")
    when: When = "always"
    words: str = Field(min_length=1)

    def paths(self) -> tuple[str, ...]:
        """The paths of which one must be filled in."""
        return tuple(".".join(place) for place in _places(self.field))


class Retention(Document):
    """How many years, after the end of the year of issue, records must be kept, and which law says so."""

    years: int = Field(ge=1, le=100)
    words: str = Field(min_length=1)


class CountryProfile(Document):
    """See the module. country: of the seller, or ``EU``. retention: left out: as the shipped profile says."""

    country: Key
    required: tuple[RequiredField, ...] = ()
    retention: Retention | None = None


def profile_rules(profile: CountryProfile) -> Iterator[Issue]:
    """Paths lead into what an invoice copies in; a field that no invoice has would hold them all for ever."""
    for place, entry in enumerate(profile.required):
        for path in entry.paths():
            part, _, name = path.partition(".")
            if part not in _PARTS:
                yield Issue(
                    "profile_path",
                    f"required[{place}].field",
                    f"{path!r} begins with {part!r}.",
                    f"a path in {', '.join(_PARTS)}; number, dates, lines and tax are on every invoice.",
                )
            elif name not in _PARTS[part]:
                yield Issue(
                    "profile_path",
                    f"required[{place}].field",
                    f"{path!r} is on no invoice.",
                    f"a field of {part}: {', '.join(sorted(_PARTS[part]))}.",
                )


COUNTRY_PROFILES: Final = DocumentKind(
    name="country_profile",
    model=CountryProfile,
    field="country",
    words="country profile",
    rules=profile_rules,
    missing="`ratemill country-profile list` shows those there are.",
)


@lru_cache(maxsize=1)
def shipped_profiles() -> Mapping[str, CountryProfile]:
    """The profiles that come with Ratemill, by country."""
    read = (CountryProfile.model_validate(entry) for entry in read_documents(SHIPPED.read_bytes()))
    return {profile.country: profile for profile in read}


def required_fields(country: str, saved: Mapping[str, CountryProfile]) -> tuple[RequiredField, ...]:
    """What invoices of a seller in that country must say; nothing where no profile speaks of it."""
    names = (country, _EU) if country in EU_PREFIXES else (country,)
    for name in names:
        profile = saved.get(name) or shipped_profiles().get(name)
        if profile is not None:
            return profile.required
    return ()


def retention_in(country: str, saved: Mapping[str, CountryProfile]) -> Retention | None:
    """How long records of a seller in that country must be kept; None where no profile says."""
    names = (country, _EU) if country in EU_PREFIXES else (country,)
    for name in names:
        for profile in (saved.get(name), shipped_profiles().get(name)):
            if profile is not None and profile.retention is not None:
                return profile.retention
    return None


def missing_fields(
    required: Iterable[RequiredField], invoice: Mapping[str, Mapping[str, Any]], categories: Iterable[str]
) -> list[RequiredField]:
    """The fields that are wanted and empty. invoice: its ``seller``, ``customer`` and ``terms``; categories:
    of its tax groups."""
    present = set(categories)
    missing = []
    for entry in required:
        if entry.when == "always" or _WHEN_CATEGORY[entry.when] in present:
            for part, name in _places(entry.field):
                found = invoice.get(part)
                # Who is billed instead stands in a party of its own; its address is the one on the invoice.
                if found and (found.get(name) or (part == "customer" and _of_bill_to(found, name))):
                    break
            else:
                missing.append(entry)
    return missing


@lru_cache(maxsize=1_000)
def _places(field: str) -> tuple[tuple[str, str], ...]:
    """The part and name of each path of a field."""
    paths = (path.partition(".") for path in field.split("|"))
    return tuple((part, name) for part, _, name in paths)


def _of_bill_to(customer: Mapping[str, Any], name: str) -> bool:
    return bool((customer.get("bill_to") or {}).get(name))
