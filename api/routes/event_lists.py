"""Events looked at: those taken, those refused, and those that nothing bills."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query

from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routes.events import EVENT_EXAMPLE, REPORT_EXAMPLE
from api.routing import State, declared
from ingest.errors import InvalidInput
from ingest.event import TIME_MAX, TIME_MIN
from ingest.query import get_event, list_events, list_unmatched
from ingest.refused import list_refused
from rating.tables import CONTRACT_SUBJECTS

router = APIRouter()

STORED_EXAMPLE: Final[dict[str, Any]] = {
    **EVENT_EXAMPLE,
    "sequence": 1,
    "ingested_at": "2026-11-22T18:00:00Z",
    "batch_id": "0193a1c2f0d87c1e",
    "state": "in_force",
}
_REFUSED: Final[dict[str, Any]] = {
    "refusal_id": "0193a1c2f0d87c1e-2",
    "batch_id": "0193a1c2f0d87c1e",
    **REPORT_EXAMPLE["refusals"][0],
    "record": '{"source": "tower/jfk", "id": "2013-01-01-B6725", ...}',
    "state": "repaired",
    "settled_reason": "",
    "repaired_source": "tower/jfk",
    "repaired_id": "2013-01-01-B6725",
    "refused_at": "2026-11-22T18:00:00Z",
}
_UNMATCHED: Final[dict[str, Any]] = {
    "type": "landing",
    "subject": "XX",
    "type_known": True,
    "subject_known": False,
    "event_count": 3,
    "first_time": "2013-01-01T10:15:00Z",
    "last_time": "2013-01-03T09:00:00Z",
    "example_source": "tower/jfk",
    "example_id": "2013-01-01-XX1",
}
Instant = Annotated[datetime | None, Query(description="RFC 3339 with a time zone.")]


def instant(value: datetime | None, name: str) -> datetime | None:
    """The instant in UTC. Raises InvalidInput for one without a time zone."""
    if value is None:
        return None
    if value.tzinfo is None:
        raise InvalidInput(
            f"{name} {value.isoformat()} has no time zone and names no instant. Write 2026-11-01T00:00:00Z.",
            reason_code="time_without_zone",
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise _out_of_range(value, name) from None


def instant_of_contracts(value: datetime | None, name: str) -> datetime | None:
    """The same of a time that is laid over billing periods: one of the years that events may have. Raises
    InvalidInput."""
    found = instant(value, name)
    if found is not None and not TIME_MIN <= found <= TIME_MAX:
        raise _out_of_range(found, name)
    return found


def _out_of_range(value: datetime, name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} {value.isoformat()} lies outside the years that are accepted. Use a time from "
        f"{TIME_MIN.year} to {TIME_MAX.year}.",
        reason_code="time_out_of_range",
    )


@router.get(
    "/v1/events",
    **declared(
        "list_events",
        "read",
        summary="Events on record",
        tag="events",
        example={"items": [STORED_EXAMPLE], "next_cursor": None},
        problems=(422,),
    ),
)
def list_stored(
    state: State,
    subject: str | None = None,
    event_type: Annotated[str | None, Query(alias="type")] = None,
    source: str | None = None,
    event_id: Annotated[str | None, Query(alias="id", description="With `source`: that one event.")] = None,
    time_from: Instant = None,
    time_to: Instant = None,
    event_state: Annotated[
        Literal["in_force", "amended", "cancelled"] | None, Query(alias="state", description="Only those.")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Latest time first, in `[time_from, time_to)`; ties by arrival. An amended event stays, and beside it
    stands the version that counts, under the id of the amendment."""
    if event_id is not None:
        if source is None:
            raise InvalidInput("an event is named by `source` and `id` together; give both.")
        one = get_event(state.event_store, source=source, id=event_id)
        return ExactJSON({"items": [asdict(one)], "next_cursor": None})
    after = read_cursor(cursor, fields=2)
    events = list_events(
        state.event_store,
        limit=limit + 1,
        subject=subject,
        type=event_type,
        source=source,
        time_from=instant(time_from, "time_from"),
        time_to=instant(time_to, "time_to"),
        state=event_state,
        after=None if after is None else (int(after[0]), int(after[1])),
    )
    return _page(events, limit)


@router.get(
    "/v1/events/refused",
    **declared(
        "list_refused_events",
        "read",
        summary="Records that were refused",
        tag="events",
        example={"items": [_REFUSED], "next_cursor": None},
        problems=(422,),
    ),
)
def list_refusals(
    state: State,
    batch_id: str | None = None,
    outcome: Annotated[str | None, Query(description="rejected or conflict.")] = None,
    reason_code: str | None = None,
    refusal_state: Annotated[
        Literal["open", "repaired", "dismissed"] | None, Query(alias="state", description="Only those.")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Latest first, each as it was sent, to be repaired and sent again, and what became of it: the event
    or correction that came of it, or why it was dismissed."""
    after = read_cursor(cursor, fields=3)
    refused = list_refused(
        state.event_store,
        limit=limit + 1,
        batch_id=batch_id,
        outcome=outcome,
        reason_code=reason_code,
        state=refusal_state,
        after=None if after is None else (int(after[0]), str(after[1]), int(after[2])),
    )
    return _page(refused, limit)


@router.get(
    "/v1/events/unmatched",
    **declared(
        "list_unmatched_events",
        "read",
        summary="Events that nothing bills",
        tag="events",
        example={"items": [_UNMATCHED]},
        problems=(422,),
    ),
)
def list_unbilled(state: State, limit: Limit = 100) -> ExactJSON:
    """By type and subject, the most numerous first: no meter counts the type, or no contract has the
    subject. They are kept: a meter or contract saved later bills them."""
    with state.ledger.connect() as connection:
        subjects = connection.execute(sa.select(CONTRACT_SUBJECTS.c.subject).distinct()).scalars().all()
    unmatched = list_unmatched(
        state.event_store,
        known_types={meter.event_type for meter in state.meters.current()},
        known_subjects=subjects,
        limit=limit,
    )
    return ExactJSON({"items": [asdict(item) for item in unmatched]})


def _page(found: list[Any], limit: int) -> ExactJSON:
    answer = page(found, limit=limit, position=lambda item: item.position)
    answer["items"] = [asdict(item) for item in answer["items"]]
    return ExactJSON(answer)
