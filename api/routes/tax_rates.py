"""Tax rates and country profiles: what is due, and what an invoice must say."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel

from api.documents import keyed_document, saved_answer
from api.examples import COUNTRY_PROFILE, SAVED_VERSION, TAX_RATES_EXAMPLE
from api.json import ExactJSON
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import Document, read_document, validate_document
from invoicing.audit_saved import entered_by
from invoicing.country_profile import COUNTRY_PROFILES, shipped_profiles
from invoicing.tax_rates import TAX_RATES, example_tax_rates

router = APIRouter()

_RATES: Final = {"tax_rates_id": "US", "version": 1, "document": TAX_RATES_EXAMPLE}
_PROFILE: Final = {"country": "US", "version": 1, "document": COUNTRY_PROFILE}


class WantedExamples(Document):
    """The countries whose example rates are to be saved."""

    examples: tuple[str, ...]


@router.put(
    "/v1/tax-rates/{tax_rates_id}",
    **declared(
        "put_tax_rates",
        "admin",
        summary="Save the tax rates of a country",
        tag="tax",
        status=201,
        example={"tax_rates_id": "US", **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": TAX_RATES_EXAMPLE},
    ),
)
def put_rates(state: State, tax_rates_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """The whole document, with the days each rate holds. It counts for invoices drafted from now on."""
    document = keyed_document(body, field="tax_rates_id", key=tax_rates_id, what="tax rates")
    now = state.clock.now()
    entered = entered_by(actor, "tax_rates", now=now)
    return saved_answer("tax_rates_id", TAX_RATES.save(state.ledger, document, now=now, entered=entered))


@router.post(
    "/v1/tax-rates/examples",
    **declared(
        "load_example_tax_rates",
        "admin",
        summary="Save example tax rates",
        tag="tax",
        example={"items": [{"tax_rates_id": "DE", **SAVED_VERSION}]},
        problems=(404, 422),
        body={"application/json": {"examples": ["DE"]}},
    ),
)
def load_examples(state: State, body: DocumentBody, actor: Actor) -> ExactJSON:
    """Examples to begin with, by country; compare them with the law before they are used. What is on record
    for the country becomes an earlier version."""
    wanted = validate_document(WantedExamples, read_document(body), what="the list of examples")
    now = state.clock.now()
    entered = entered_by(actor, "tax_rates", now=now)
    saved = [
        TAX_RATES.save(state.ledger, document, now=now, entered=entered)
        for document in example_tax_rates(wanted.examples)
    ]
    items = [{"tax_rates_id": one.key, "version": one.version, "created": one.created} for one in saved]
    return ExactJSON({"items": items})


@router.get(
    "/v1/tax-rates",
    **declared(
        "list_tax_rates",
        "read",
        summary="All tax rates",
        tag="tax",
        example={"items": [_RATES]},
    ),
)
def list_rates(state: State) -> ExactJSON:
    """By country and region."""
    with state.ledger.connect() as connection:
        found = TAX_RATES.load(connection)
    return ExactJSON({"items": [_rates_shown(key, entry) for key, entry in found.items()]})


@router.get(
    "/v1/tax-rates/{tax_rates_id}",
    **declared(
        "get_tax_rates",
        "read",
        summary="The tax rates of a country",
        tag="tax",
        example=_RATES,
        problems=(404,),
    ),
)
def get_rates(state: State, tax_rates_id: str) -> ExactJSON:
    """Those in force."""
    return ExactJSON(_rates_shown(tax_rates_id, TAX_RATES.get(state.ledger, tax_rates_id)))


@router.put(
    "/v1/country-profiles/{country}",
    **declared(
        "put_country_profile",
        "admin",
        summary="Save what a country asks for on invoices",
        tag="tax",
        status=201,
        example={"country": "US", **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": COUNTRY_PROFILE},
    ),
)
def put_profile(state: State, country: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """Takes the place of the profile that comes with Ratemill. A billing date whose invoice would lack a
    field is held."""
    document = keyed_document(body, field="country", key=country, what="country profile")
    now = state.clock.now()
    entered = entered_by(actor, "country_profile", now=now)
    return saved_answer("country", COUNTRY_PROFILES.save(state.ledger, document, now=now, entered=entered))


@router.get(
    "/v1/country-profiles",
    **declared(
        "list_country_profiles",
        "read",
        summary="What countries ask for on invoices",
        tag="tax",
        example={"items": [_PROFILE]},
    ),
)
def list_profiles(state: State) -> ExactJSON:
    """By country; version 0 is a profile that comes with Ratemill and was not changed here."""
    with state.ledger.connect() as connection:
        saved = COUNTRY_PROFILES.load(connection)
    shown = {key: _profile_shown(key, 0, profile) for key, profile in shipped_profiles().items()}
    shown |= {key: _profile_shown(key, entry.version, entry.document) for key, entry in saved.items()}
    return ExactJSON({"items": [shown[key] for key in sorted(shown)]})


@router.get(
    "/v1/country-profiles/{country}",
    **declared(
        "get_country_profile",
        "read",
        summary="What a country asks for on invoices",
        tag="tax",
        example=_PROFILE,
        problems=(404,),
    ),
)
def get_profile(state: State, country: str) -> ExactJSON:
    """The profile in force; version 0 comes with Ratemill."""
    with state.ledger.connect() as connection:
        saved = COUNTRY_PROFILES.load(connection).get(country)
    shipped = shipped_profiles().get(country)
    if saved is None and shipped is not None:
        return ExactJSON(_profile_shown(country, 0, shipped))
    entry = COUNTRY_PROFILES.get(state.ledger, country)
    return ExactJSON(_profile_shown(country, entry.version, entry.document))


def _rates_shown(key: str, entry: Any) -> dict[str, Any]:
    return {"tax_rates_id": key, "version": entry.version, "document": entry.document}


def _profile_shown(country: str, version: int, document: BaseModel) -> dict[str, Any]:
    return {"country": country, "version": version, "document": document}
