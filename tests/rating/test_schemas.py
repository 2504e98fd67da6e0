"""Goal: the published schemas accept our documents and refuse what the models refuse."""

from __future__ import annotations

import random

import jsonschema  # type: ignore[import-untyped]
import pytest

from ingest.errors import NotFound
from rating.schemas import DOCUMENT_MODELS, document_schema
from tests.rating.plans import METERS, plan, usage_charge
from tests.rating.random_prices import MODELS, random_price

FLAT = {"model": "flat", "amount": "1.50"}


@pytest.mark.parametrize("kind", sorted(DOCUMENT_MODELS))
def test_every_schema_is_a_schema(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(document_schema(kind))


def test_a_plan_passes_and_a_misspelt_one_does_not() -> None:
    validator = jsonschema.Draft202012Validator(document_schema("price-plan"))
    document = plan(usage_charge("calls", FLAT)).model_dump(mode="json")
    validator.validate(document)
    assert not validator.is_valid({**document, "curency": "EUR"})
    assert not validator.is_valid({**document, "currency": "euro"})


def test_every_price_model_passes() -> None:
    validator = jsonschema.Draft202012Validator(document_schema("price-plan"))
    source, models = random.Random(3), set()
    for _ in range(60):
        price = random_price(source, digits_max=13).model_dump(mode="json")
        models.add(price["model"])
        document = plan(usage_charge("calls", price, zero_usage="charge")).model_dump(mode="json")
        validator.validate(document)
        document["charges"][0]["price"]["model"] = "barter"
        assert not validator.is_valid(document)
    assert models == set(MODELS)


def test_meters_pass() -> None:
    validator = jsonschema.Draft202012Validator(document_schema("meter"))
    for meter in METERS.values():
        validator.validate(meter.model_dump(mode="json"))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(NotFound, match="price-plan"):
        document_schema("tariff")
