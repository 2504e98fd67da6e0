"""Reports over everything on record: here, where every event went."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.json import ExactJSON
from api.routes.event_lists import Instant, instant, instant_of_contracts
from api.routing import State, declared
from api.table_answer import TABLE_MEDIA, table_answer
from ingest.archives import RESTORED, TIME_IS_ARCHIVED, list_archives
from ingest.errors import Conflict, InvalidInput
from ingest.meter_store import get_meter
from ingest.refused import count_refused
from invoicing.four_quantities import FOUR_QUANTITIES_SCHEMA, Product, four_quantities
from invoicing.period_classes import classed_time
from rollup.completeness import account_for_events
from rollup.usage import Window, window_edges
from rollup.variance import compare_provisioned

router = APIRouter()

_COMPLETENESS: Final[dict[str, Any]] = {
    "time_from": "2013-01-01T00:00:00Z",
    "time_to": "2013-02-01T00:00:00Z",
    "as_of_sequence": 336803,
    "archived": [],
    "accepted": 27004,
    "billed": 26999,
    "not_billable": 3,
    "unbilled": 2,
    "types": [{"type": "landing", "event_count": 27004, "value_total": "0"}],
    "parts": [
        {
            "type": "landing",
            "outcome": "not_billable",
            "reason_code": "subject_unmatched",
            "event_count": 3,
            "value_total": "0",
        }
    ],
    "refused": [{"outcome": "rejected", "state": "open", "record_count": 1}],
}


_PROVISIONED: Final[dict[str, Any]] = {
    "provisioned_meter_id": "landings",
    "consumed_meter_id": "landings",
    "time_from": "2013-01-01T00:00:00Z",
    "time_to": "2013-02-01T00:00:00Z",
    "threshold_percent": "10",
    "flagged": 0,
    "items": [
        {
            "window_start": "2013-01-01T00:00:00Z",
            "window_end": "2013-02-01T00:00:00Z",
            "subject": "UA",
            "dimensions": {},
            "provisioned": "2",
            "consumed": "2",
            "difference": "0",
            "flagged": False,
        }
    ],
    "unusable": [],
}


_QUANTITIES: Final[dict[str, Any]] = {
    "time_from": "2013-01-01T05:00:00Z",
    "time_to": "2013-02-01T05:00:00Z",
    "items": [
        {
            "customer_id": "united",
            "product": "landing",
            "sold": None,
            "bought": "2",
            "provisioned": None,
            "consumed": "2",
            "sold_less_bought": None,
            "bought_less_provisioned": None,
            "provisioned_less_consumed": None,
            "unusable_events": 0,
        }
    ],
}


@router.get(
    "/v1/reports/completeness",
    **declared(
        "report_completeness",
        "read",
        summary="Where every event went",
        tag="usage",
        example=_COMPLETENESS,
        problems=(409, 422),
    ),
)
def report_completeness(state: State, time_from: Instant = None, time_to: Instant = None) -> ExactJSON:
    """Every accepted event with a time in `[time_from, time_to)` is `billed`, `not_billable` or `unbilled`,
    in exactly one part, with the reason. The parts sum to the whole, in events and in units of `value`;
    that is checked before it is answered. Without `time_from` it begins where `archived` ends. `refused`
    counts the records refused in that time."""
    start, end = instant(time_from, "time_from"), instant(time_to, "time_to")
    if start is not None and end is not None and start >= end:
        raise InvalidInput(
            f"the time from {start} to {end} is empty; `to` must lie after `from`.",
            reason_code="empty_period",
        )
    archives = [one for one in list_archives(state.event_store) if one.state != RESTORED]
    if archives:
        latest = max(one.time_before for one in archives)
        if start is not None and start < latest:
            raise Conflict(
                f"events before {latest.isoformat()} are archived and not in the store. Ask for time from "
                "there on, or put them back: `ratemill events restore FOLDER`.",
                reason_code=TIME_IS_ARCHIVED,
            )
        start = start or latest
    time = classed_time(state.ledger, now=state.clock.now())
    report = account_for_events(
        state.event_store,
        periods=time.periods,
        classes=time.classes,
        meters=time.meters,
        time_from=start,
        time_to=end,
    )
    by_outcome: Counter[str] = Counter()
    for part in report.parts:
        by_outcome[part.outcome] += part.event_count
    return ExactJSON(
        {
            "time_from": start,
            "time_to": end,
            "as_of_sequence": report.as_of_sequence,
            "archived": [
                {"time_before": one.time_before, "types": one.types, "event_count": one.event_count}
                for one in archives
            ],
            "accepted": sum(one.event_count for one in report.types),
            **{outcome: by_outcome[outcome] for outcome in ("billed", "not_billable", "unbilled")},
            "types": [asdict(one) for one in report.types],
            "parts": [asdict(one) for one in report.parts],
            "refused": count_refused(state.event_store, refused_from=start, refused_to=end),
        }
    )


@router.get(
    "/v1/reports/provisioned",
    **declared(
        "report_provisioned",
        "read",
        summary="Provisioned beside consumed",
        tag="usage",
        example=_PROVISIONED,
        problems=(404, 422),
    ),
)
def report_provisioned(
    state: State,
    provisioned_meter_id: Annotated[str, Query(description="Counts licences, usually time_weighted.")],
    consumed_meter_id: Annotated[str, Query(description="Counts use.")],
    time_from: datetime,
    time_to: datetime,
    time_zone: Annotated[str, Query(description="IANA name, like Europe/Berlin.")],
    window: Annotated[Window | None, Query(description="Left out: one window over the whole time.")] = None,
    subject: Annotated[list[str] | None, Query(description="Left out: every subject.")] = None,
    group_by: Annotated[list[str] | None, Query(description="Properties that name the product.")] = None,
    threshold_percent: Annotated[
        Decimal, Query(description="A difference beyond so much of what was provisioned is flagged.")
    ] = Decimal(0),
) -> ExactJSON:
    """Per window, subject and product: `difference` = `provisioned` - `consumed`, below zero where more was
    used than licensed. `unusable` names events that should count and cannot; while there are any, the
    figures of their subject are not whole."""
    start, end = instant(time_from, "time_from"), instant(time_to, "time_to")
    found = compare_provisioned(
        state.event_store,
        provisioned=get_meter(state.ledger, provisioned_meter_id),
        consumed=get_meter(state.ledger, consumed_meter_id),
        edges=window_edges(
            time_from=start or time_from, time_to=end or time_to, window=window, time_zone=time_zone
        ),
        subjects=subject,
        group_by=group_by or (),
        threshold_percent=threshold_percent,
    )
    return ExactJSON(
        {
            "provisioned_meter_id": provisioned_meter_id,
            "consumed_meter_id": consumed_meter_id,
            "time_from": start,
            "time_to": end,
            "threshold_percent": threshold_percent,
            "flagged": sum(row.flagged for row in found.rows),
            "items": [asdict(row) for row in found.rows],
            "unusable": [asdict(one) for one in found.unusable],
        }
    )


@router.get(
    "/v1/reports/quantities",
    **declared(
        "report_quantities",
        "read",
        summary="Sold, bought, provisioned, consumed",
        tag="usage",
        example=_QUANTITIES,
        problems=(404, 409, 422),
        media=TABLE_MEDIA,
    ),
)
def report_quantities(
    state: State,
    request: Request,
    time_from: datetime,
    time_to: datetime,
    customer_id: Annotated[list[str] | None, Query(description="Left out: every customer.")] = None,
    charge_id: Annotated[
        list[str] | None, Query(description="One product: these charges. Left out: each charge is one.")
    ] = None,
    provisioned_meter_id: Annotated[str | None, Query(description="Of that product.")] = None,
    consumed_meter_id: Annotated[str | None, Query(description="Of that product.")] = None,
) -> Response:
    """Four quantities a customer and product, in `[time_from, time_to)`, best one billing period: `sold` is
    what contracts agree at its end, `bought` what issued invoices bill, `provisioned` the level of licences
    at its end, `consumed` what was used; docs/quantities.md has each column's definition. null where a column
    has no source. JSON, CSV or Arrow by `Accept`."""
    start = instant_of_contracts(time_from, "time_from") or time_from
    end = instant_of_contracts(time_to, "time_to") or time_to
    if start >= end:
        raise InvalidInput(
            f"the time from {start} to {end} is empty; `to` must lie after `from`.",
            reason_code="empty_period",
        )
    for meter_id in (provisioned_meter_id, consumed_meter_id):
        if meter_id is not None:
            get_meter(state.ledger, meter_id)
    found = four_quantities(
        state.event_store,
        ledger=state.ledger,
        time_from=start,
        time_to=end,
        customer_ids=customer_id,
        product=_product(charge_id, provisioned_meter_id, consumed_meter_id),
        stored=state.stored_usage,
    )
    return table_answer(
        request.headers.get("accept", ""),
        tables=[found],
        schema=FOUR_QUANTITIES_SCHEMA,
        row_count=found.num_rows,
        summary=lambda: {"time_from": start, "time_to": end},
    )


def _product(charges: list[str] | None, provisioned: str | None, consumed: str | None) -> Product | None:
    if charges is None and provisioned is None and consumed is None:
        return None
    name = "+".join(charges or [meter for meter in (provisioned, consumed) if meter is not None])
    return Product(name, frozenset(charges or ()), provisioned, consumed)
