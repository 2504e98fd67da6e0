"""Meters: what is counted."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from api.documents import keyed_document
from api.examples import METER, METER_YAML
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import validate_document
from ingest.meter import Meter
from ingest.meter_store import get_meter, save_meter
from invoicing.audit_trail import Change, record_changes
from rollup.meter_rules import all_meter_rules

router = APIRouter()

_SAVED: Final = {"meter_id": "landings", "created": True}


@router.put(
    "/v1/meters/{meter_id}",
    **declared(
        "put_meter",
        "admin",
        summary="Save a meter",
        tag="catalogue",
        status=201,
        example=_SAVED,
        problems=(400, 409, 422),
        body={"application/json": METER, "application/yaml": METER_YAML},
    ),
)
def put_meter(state: State, meter_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """A meter never changes: the same document again answers 200, another one 409.

    It counts events already stored as well.
    """
    document = keyed_document(body, field="meter_id", key=meter_id, what="meter")
    meter = validate_document(Meter, document, what=f"meter {meter_id!r}", rules=all_meter_rules)
    now = state.clock.now()
    change = Change(actor, "saved", "meter", meter_id, None, {"version": 1}, "")
    created = save_meter(
        state.ledger, meter, now=now, entered=lambda held: record_changes(held, [change], now=now)
    )
    state.meters.forget()
    return ExactJSON({"meter_id": meter_id, "created": created}, status_code=201 if created else 200)


@router.get(
    "/v1/meters",
    **declared(
        "list_meters",
        "read",
        summary="All meters",
        tag="catalogue",
        example={"items": [METER], "next_cursor": None},
        problems=(422,),
    ),
)
def list_meters(state: State, limit: Limit = 100, cursor: Cursor = None) -> ExactJSON:
    """By id."""
    after = read_cursor(cursor, fields=1)
    meters = [meter for meter in state.meters.current() if after is None or meter.meter_id > after[0]]
    return ExactJSON(page(meters[: limit + 1], limit=limit, position=lambda meter: (meter.meter_id,)))


@router.get(
    "/v1/meters/{meter_id}",
    **declared("get_meter", "read", summary="One meter", tag="catalogue", example=METER, problems=(404,)),
)
def get_one_meter(state: State, meter_id: str) -> ExactJSON:
    """The document, with its defaults."""
    return ExactJSON(get_meter(state.ledger, meter_id))
