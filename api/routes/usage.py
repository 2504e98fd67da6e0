"""Usage, live: an event is counted here as soon as its batch was answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.contract_usage import contract_usage
from api.json import ExactJSON, rows_of
from api.routes.event_lists import Instant, instant, instant_of_contracts
from api.routing import State, declared
from api.usage_table import CSV_EXAMPLE, asked_form, usage_table
from ingest.errors import InvalidInput
from ingest.event import TIME_MIN
from ingest.media_type import ARROW_STREAM, CSV
from ingest.meter_store import get_meter
from rollup.usage import Window, query_usage

router = APIRouter()

_USAGE: Final[dict[str, Any]] = {
    "meter_id": "landings",
    "unit": "landing",
    "subject": "UA",
    "time_from": "2013-01-01T00:00:00Z",
    "time_to": "2013-02-01T00:00:00Z",
    "known_at": None,
    "items": [
        {
            "window_start": "2013-01-01T00:00:00Z",
            "window_end": "2013-01-02T00:00:00Z",
            "dimensions": {},
            "quantity": "2",
            "event_count": 2,
        }
    ],
    "unusable": [],
}
_CONTRACT_USAGE: Final[dict[str, Any]] = {
    "contract_id": "united-2013",
    "period_start": "2013-01-01T05:00:00Z",
    "period_end": "2013-02-01T05:00:00Z",
    "items": [{"meter_id": "landings", "dimensions": {}, "quantity": "2", "event_count": 2}],
    "unusable": [],
}


@router.get(
    "/v1/usage",
    **declared(
        "query_usage",
        "read",
        summary="Usage of a meter",
        tag="usage",
        example=_USAGE,
        problems=(404, 409, 422),
        media={CSV: CSV_EXAMPLE, ARROW_STREAM: "(an Arrow stream)"},
    ),
)
def usage(
    state: State,
    request: Request,
    meter_id: str,
    subject: Annotated[str | None, Query(description="Left out: all subjects together.")] = None,
    time_from: Annotated[datetime | None, Query(description="Left out: from the first event on.")] = None,
    time_to: Annotated[datetime | None, Query(description="Left out: until now.")] = None,
    window: Annotated[Window | None, Query(description="Left out: one window over the whole time.")] = None,
    time_zone: Annotated[str | None, Query(description="IANA name; hours, days and months need one.")] = None,
    group_by: Annotated[list[str] | None, Query(description="Properties to split by.")] = None,
    known_at: Annotated[
        datetime | None, Query(description="As it was known at this instant; left out: as known now.")
    ] = None,
) -> Response:
    """In `[time_from, time_to)`. A window without usage has no item. `unusable` names events that
    should count and cannot, with the reason: while there are any, the quantities are not whole.

    `Accept: text/csv` and `application/vnd.apache.arrow.stream` answer the items as a table; the header
    `Ratemill-Unusable-Events` then says how many events are missing from it."""
    meter = get_meter(state.ledger, meter_id)
    if window not in (None, "minute") and time_zone is None:
        raise InvalidInput(
            f"a {window} begins at another instant in every time zone. Give time_zone, like Europe/Berlin.",
            reason_code="time_zone_missing",
        )
    start = instant(time_from, "time_from") or TIME_MIN
    end = instant(time_to, "time_to") or state.clock.now()
    found = query_usage(
        state.event_store,
        meter=meter,
        subject=subject,
        time_from=start,
        time_to=end,
        window=window,
        time_zone=time_zone or "UTC",
        group_by=group_by,
        known_at=_past(state, instant(known_at, "known_at")),
        stored=state.stored_usage,
    )
    keys = tuple(dict.fromkeys(meter.group_by if group_by is None else group_by))
    form = asked_form(request.headers.get("accept", ""))
    if form is not None:
        return usage_table(found, form=form, keys=keys)
    return ExactJSON(
        {
            "meter_id": meter_id,
            "unit": meter.unit,
            "subject": subject,
            "time_from": start,
            "time_to": end,
            "known_at": instant(known_at, "known_at"),
            "items": rows_of(found.usage),
            "unusable": rows_of(found.unusable),
        }
    )


def _past(state: State, known_at: datetime | None) -> datetime | None:
    if known_at is not None and known_at > state.clock.now():
        raise InvalidInput(
            f"known_at {known_at.isoformat()} is still to come. Give an instant that has passed, or leave it "
            "out for what is known now.",
            reason_code="known_at_in_future",
        )
    return known_at


@router.get(
    "/v1/contracts/{contract_id}/usage",
    **declared(
        "contract_usage",
        "read",
        sees="contract",
        summary="Usage of a contract in its open period",
        tag="usage",
        example=_CONTRACT_USAGE,
        problems=(404, 409, 422),
    ),
)
def usage_of_contract(state: State, contract_id: str, at: Instant = None) -> ExactJSON:
    """By every meter the contract's plan prices, over all its subjects, counted as it will be billed."""
    found = contract_usage(state, contract_id, at=instant_of_contracts(at, "at") or state.clock.now())
    return ExactJSON(
        {
            "contract_id": contract_id,
            "period_start": found.period_start,
            "period_end": found.period_end,
            "items": rows_of(found.usage.drop_columns(["period_key"])),
            "unusable": rows_of(found.unusable.drop_columns(["period_key"])),
        }
    )
