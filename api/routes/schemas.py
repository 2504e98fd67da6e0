"""The schemas of documents."""

from __future__ import annotations

from fastapi import APIRouter

from api.json import ExactJSON
from api.routing import State, declared
from api.schemas import schema_for

router = APIRouter()


@router.get(
    "/v1/schemas/{kind}",
    **declared(
        "get_schema",
        "read",
        summary="The JSON schema of a document",
        tag="operation",
        example={
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Meter",
            "type": "object",
        },
        problems=(404,),
    ),
)
def get_schema(_state: State, kind: str) -> ExactJSON:
    """`kind` is meter, plan, customer, calendar, entity, tax-rates, country-profile, review-rules,
    contract, credit or top-up."""
    return ExactJSON(schema_for(kind))
