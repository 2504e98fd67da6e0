"""What systems know of customers: records by external id, who is believed, and where they differ."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query

from api.documents import keyed_document
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routing import DocumentBody, State, declared
from ingest.document import read_document, read_documents
from invoicing.customer_claims import StoredRecord
from invoicing.customer_record import FieldInForce
from invoicing.customer_sync import SyncedRecord, forget_record, get_record, save_sources, sync_records
from invoicing.customer_view import CustomerConflict, get_sources, list_conflicts, records_of_customer

router = APIRouter()

RECORD_EXAMPLE: Final[dict[str, Any]] = {
    "customer_id": "united",
    "name": "United Airlines, Inc.",
    "email": "ap@united.example",
}
SOURCES_EXAMPLE: Final[dict[str, Any]] = {
    "default": ["direct"],
    "fields": {"email": ["accounting", "crm"]},
}
_SYNCED: Final[dict[str, Any]] = {
    "system": "crm",
    "external_id": "4711",
    "customer_id": "united",
    "outcome": "created",
    "version": 2,
    "conflicts": ["name"],
}
_RECORD: Final[dict[str, Any]] = {
    "system": "crm",
    "external_id": "4711",
    "customer_id": "united",
    "document": {"external_id": "4711", **RECORD_EXAMPLE},
    "since": {"name": "2026-11-22T18:00:00+00:00", "email": "2026-11-22T18:00:00+00:00"},
    "told_at": "2026-11-22T18:00:00+00:00",
    "changed_at": "2026-11-22T18:00:00+00:00",
}
_FIELD: Final[dict[str, Any]] = {
    "field": "name",
    "value_in_force": "United Air Lines",
    "system": "direct",
    "why": "entered_directly",
    "conflict": True,
    "claims": [
        {
            "system": "direct",
            "external_id": "united",
            "says": "United Air Lines",
            "since": "2026-11-22T18:00:00+00:00",
        },
        {
            "system": "crm",
            "external_id": "4711",
            "says": "United Airlines, Inc.",
            "since": "2026-11-22T18:00:00+00:00",
        },
    ],
}


@router.put(
    "/v1/customers/by-external-id/{system}/{external_id}",
    **declared(
        "put_customer_record",
        "admin",
        summary="Send what a system knows of a customer",
        tag="contracts",
        status=201,
        example=_SYNCED,
        problems=(400, 409, 422),
        body={"application/json": RECORD_EXAMPLE},
    ),
)
def put_record(state: State, system: str, external_id: str, body: DocumentBody) -> ExactJSON:
    """The whole record: a field left out is no longer said. `customer_id` is needed when nothing on record
    says whose it is; a new one makes the customer. The customer in force is made of the records of all
    systems; `conflicts` names the fields on which they differ."""
    document = keyed_document(body, field="external_id", key=external_id, what=f"the record of {system}")
    synced = sync_records(state.ledger, system, [document], now=state.clock.now())[0]
    return ExactJSON(_synced(system, synced), status_code=200 if synced.outcome == "unchanged" else 201)


@router.post(
    "/v1/customers/by-external-id/{system}",
    **declared(
        "sync_customer_records",
        "admin",
        summary="Send what a system knows of many customers",
        tag="contracts",
        example={
            "system": "crm",
            "records": 1,
            "created": 0,
            "changed": 0,
            "unchanged": 1,
            "in_conflict": 1,
            "items": [_SYNCED],
        },
        problems=(400, 409, 413, 422),
        body={"application/json": [{"external_id": "4711", **RECORD_EXAMPLE}]},
    ),
)
def put_records(state: State, system: str, body: DocumentBody) -> ExactJSON:
    """A JSON array or a YAML stream of records, each with its `external_id`: all of them are taken in, or
    none. Customers that the request leaves out stay as they are."""
    synced = sync_records(state.ledger, system, read_documents(body), now=state.clock.now())
    outcomes = [one.outcome for one in synced]
    counts = {outcome: outcomes.count(outcome) for outcome in ("created", "changed", "unchanged")}
    return ExactJSON(
        {
            "system": system,
            "records": len(synced),
            **counts,
            "in_conflict": sum(bool(one.conflicts) for one in synced),
            "items": [_synced(system, one) for one in synced],
        }
    )


@router.get(
    "/v1/customers/by-external-id/{system}/{external_id}",
    **declared(
        "get_customer_record",
        "read",
        summary="What a system has sent of a customer",
        tag="contracts",
        example=_RECORD,
        problems=(404,),
    ),
)
def get_one(state: State, system: str, external_id: str) -> ExactJSON:
    """As it was sent, with when. `since`: from when on the system says what it says now, by field."""
    return ExactJSON(_record(get_record(state.ledger, system, external_id)))


@router.delete(
    "/v1/customers/by-external-id/{system}/{external_id}",
    **declared(
        "forget_customer_record",
        "admin",
        summary="Take a system's record of a customer away",
        tag="contracts",
        example={"customer_id": "united", "version": 3, "created": True},
        problems=(404, 409),
    ),
)
def forget(state: State, system: str, external_id: str) -> ExactJSON:
    """The customer is made of what is left, and the external id may go to another. Invoices keep theirs."""
    saved = forget_record(state.ledger, system, external_id, now=state.clock.now())
    return ExactJSON({"customer_id": saved.key, "version": saved.version, "created": saved.created})


@router.get(
    "/v1/customers/conflicts",
    **declared(
        "list_customer_conflicts",
        "read",
        summary="Where systems differ on a customer",
        tag="contracts",
        example={"items": [{"customer_id": "united", **_FIELD}], "next_cursor": None},
        problems=(422,),
    ),
)
def conflicts(
    state: State,
    customer_id: Annotated[str | None, Query(description="Only this customer's.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """By customer and field: what each system says and since when, which value is in force, and why:
    `source_of_truth` (the sources rank it first), `entered_directly`, or `told_first` (the sources rank none
    of them; the first to tell of the customer is believed)."""
    after = read_cursor(cursor, fields=2)
    found = list_conflicts(
        state.ledger,
        limit=limit + 1,
        after=None if after is None else (str(after[0]), str(after[1])),
        customer_id=customer_id,
    )
    answer = page(found, limit=limit, position=lambda one: (one.customer_id, one.in_force.field))
    answer["items"] = [_conflict(one) for one in answer["items"]]
    return ExactJSON(answer)


@router.get(
    "/v1/customers/sources",
    **declared(
        "get_customer_sources",
        "read",
        summary="Which system is believed for which field",
        tag="contracts",
        example={"version": 1, "document": SOURCES_EXAMPLE},
    ),
)
def sources(state: State) -> ExactJSON:
    """Version 0 is what holds before any is saved: what was entered directly, for every field."""
    stored = get_sources(state.ledger)
    return ExactJSON({"version": stored.version, "document": stored.sources})


@router.put(
    "/v1/customers/sources",
    **declared(
        "put_customer_sources",
        "admin",
        summary="Say which system is believed for which field",
        tag="contracts",
        status=201,
        example={"version": 1, "created": True},
        problems=(400, 422),
        body={"application/json": SOURCES_EXAMPLE},
    ),
)
def put_sources(state: State, body: DocumentBody) -> ExactJSON:
    """By field an order of systems; `default` for the fields not named; `direct` is what was entered
    directly. Every customer is made again by it, in one step; issued invoices stay as they are."""
    saved = save_sources(state.ledger, read_document(body), now=state.clock.now())
    answer = {"version": saved.version, "created": saved.created}
    return ExactJSON(answer, status_code=201 if saved.created else 200)


@router.get(
    "/v1/customers/{customer_id}/records",
    **declared(
        "list_customer_records",
        "read",
        summary="Where a customer's data comes from",
        tag="contracts",
        example={"customer_id": "united", "fields": [_FIELD], "records": [_RECORD]},
        problems=(404,),
    ),
)
def records_of(state: State, customer_id: str) -> ExactJSON:
    """Every record, and by field the value in force, whose it is and why. Both are empty while no system has
    sent anything: then all of the document was entered directly."""
    found = records_of_customer(state.ledger, customer_id)
    return ExactJSON(
        {
            "customer_id": customer_id,
            "fields": [_field(one) for one in found.fields],
            "records": [_record(one) for one in found.records],
        }
    )


def _synced(system: str, synced: SyncedRecord) -> dict[str, Any]:
    return {"system": system, **asdict(synced)}


def _record(record: StoredRecord) -> dict[str, Any]:
    claim = record.claim
    return {
        "system": claim.system,
        "external_id": claim.external_id,
        "customer_id": record.customer_id,
        "document": orjson.loads(record.document),
        "since": claim.since,
        "told_at": claim.told_at,
        "changed_at": record.changed_at,
    }


def _field(field: FieldInForce) -> dict[str, Any]:
    return {
        "field": field.field,
        "value_in_force": field.value,
        "system": field.system,
        "why": field.why,
        "conflict": field.is_conflict,
        "claims": [
            {
                "system": claim.system,
                "external_id": claim.external_id,
                "says": claim.value,
                "since": claim.since,
            }
            for claim in field.claims
        ],
    }


def _conflict(conflict: CustomerConflict) -> dict[str, Any]:
    return {"customer_id": conflict.customer_id, **_field(conflict.in_force)}
