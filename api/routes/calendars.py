"""Holiday calendars: the days on which nobody is invoiced."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from api.documents import keyed_document, saved_answer
from api.examples import CALENDAR, SAVED_VERSION
from api.json import ExactJSON
from api.routing import Actor, DocumentBody, State, declared
from invoicing.audit_saved import entered_by
from rating.holiday_calendar_store import StoredCalendar, get_calendar, list_calendars, save_calendar

router = APIRouter()

_STORED: Final = {"calendar_id": "us-banks", "version": 1, "document": CALENDAR}


@router.put(
    "/v1/calendars/{calendar_id}",
    **declared(
        "put_calendar",
        "admin",
        summary="Save a holiday calendar",
        tag="contracts",
        status=201,
        example={"calendar_id": "us-banks", **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": CALENDAR},
    ),
)
def put_calendar(state: State, calendar_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """201 says it is new or changed, 200 that it is on record like this. It counts from the next billing run
    on for the contracts that name it; invoices made before stay."""
    document = keyed_document(body, field="calendar_id", key=calendar_id, what="calendar")
    now = state.clock.now()
    entered = entered_by(actor, "calendar", now=now)
    return saved_answer("calendar_id", save_calendar(state.ledger, document, now=now, entered=entered))


@router.get(
    "/v1/calendars",
    **declared(
        "list_calendars",
        "read",
        summary="All holiday calendars",
        tag="contracts",
        example={"items": [_STORED]},
    ),
)
def list_all(state: State) -> ExactJSON:
    """By id."""
    return ExactJSON({"items": [_shown(entry) for entry in list_calendars(state.ledger)]})


@router.get(
    "/v1/calendars/{calendar_id}",
    **declared(
        "get_calendar",
        "read",
        summary="One holiday calendar",
        tag="contracts",
        example=_STORED,
        problems=(404,),
    ),
)
def get_one(state: State, calendar_id: str) -> ExactJSON:
    """The calendar in force."""
    return ExactJSON(_shown(get_calendar(state.ledger, calendar_id)))


def _shown(entry: StoredCalendar) -> dict[str, object]:
    return {
        "calendar_id": entry.calendar.calendar_id,
        "version": entry.version,
        "document": entry.calendar,
    }
