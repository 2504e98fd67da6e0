"""Invoice demand: everything that is not billed yet, in one queue."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query

from api.billing import billing_settings
from api.json import ExactJSON
from api.routing import State, declared
from invoicing.audit_trail import SYSTEM_ACTOR
from invoicing.demand import DemandEntry, demand_of

router = APIRouter()

_ENTRY: Final[dict[str, Any]] = {
    "source": "timesheet",
    "customer_id": "united",
    "contract_id": "united-2013",
    "billing_date": "2013-02-01",
    "state": "ready",
    "reason_code": "",
    "message": "",
    "count": 1,
    "currency": "USD",
    "amount_minor": 21250,
}


@router.get(
    "/v1/demand",
    **declared(
        "list_demand",
        "read",
        summary="Everything that is not billed yet",
        tag="items",
        example={
            "as_of": "2013-02-01",
            "by": None,
            "rows": [_ENTRY],
            "items": {"open": 1, "not_billable": 0, "invoiced": 0, "closed": 0, "cancelled": 0},
            "item_conflicts": 0,
        },
        problems=(422,),
    ),
)
def demand(
    state: State,
    as_of: Annotated[
        date | None, Query(description="As billed on that day; left out: today, in UTC.")
    ] = None,
    by: Annotated[
        Literal["source", "customer"] | None, Query(description="Sums instead of single entries.")
    ] = None,
) -> ExactJSON:
    """What a billing run of the day would bill is `ready`, or `held` with the reason; items that no date
    bills yet are `waiting`. Running billing takes away what is ready. `items` counts all items that ever
    came in by state: nothing is dropped. amount_minor is null where there is no price."""
    now = state.clock.now()
    found = demand_of(
        event_store=state.event_store,
        stored_usage=state.stored_usage,
        ledger=state.ledger,
        as_of=as_of or now.astimezone(UTC).date(),
        now=now,
        settings=billing_settings(state, issue=True, actor=SYSTEM_ACTOR),
    )
    rows = [one.to_dict() for one in found.entries] if by is None else _summed(found.entries, by)
    return ExactJSON(
        {
            "as_of": found.as_of,
            "by": by,
            "rows": rows,
            "items": dict(found.items),
            "item_conflicts": found.conflicts,
        }
    )


def _summed(entries: Iterable[DemandEntry], by: Literal["source", "customer"]) -> list[dict[str, Any]]:
    """One row a source or customer, state, reason and currency."""
    named = "source" if by == "source" else "customer_id"
    sums: dict[tuple[str, str, str, str], list[int | None]] = {}
    for one in entries:
        known = sums.setdefault((getattr(one, named), one.state, one.reason_code, one.currency), [0, 0])
        known[0] = (known[0] or 0) + one.count
        known[1] = None if known[1] is None or one.amount_minor is None else known[1] + one.amount_minor
    return [
        {
            named: key,
            "state": state,
            "reason_code": reason_code,
            "currency": currency,
            "count": count,
            "amount_minor": amount,
        }
        for (key, state, reason_code, currency), (count, amount) in sorted(sums.items())
    ]
