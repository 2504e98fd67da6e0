"""Billing runs: what has become due becomes invoices."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from api.billing import start_billing, tick_now
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.problem import PROBLEM_MEDIA_TYPE
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import Document, read_document, validate_document
from invoicing.late_billing import late_dates
from invoicing.run_record import get_run, list_runs

router = APIRouter()

_RUN: Final[dict[str, Any]] = {
    "run_id": "bill-2013-02-01-1",
    "as_of": "2013-02-01",
    "state": "finished",
    "stages": [{"stage": "rate", "done": 1, "total": 1}],
    "report": {"due": 1, "issued": 1},
    "problem": None,
}
_RECORD: Final[dict[str, Any]] = {
    "run_id": "bill-2013-02-01-1",
    "as_of": "2013-02-01",
    "state": "finished",
    "started_at": "2013-02-01T05:00:00+00:00",
    "finished_at": "2013-02-01T05:00:02+00:00",
    "report": {"due": 1, "issued": 1},
}
_LATE: Final[dict[str, Any]] = {
    "contract_id": "united-2013",
    "billing_date": "2013-02-01",
    "invoice_day": "2013-02-01",
    "days_late": 3,
    "reason_code": "not_looked_at",
    "message": "No billing run has looked at it. `ratemill tick` bills what is due now.",
}


class NewRun(Document):
    """Bill what is due on ``as_of`` or before. ``issue`` false leaves drafts to be looked at first.
    ``run_id``: left out, an interrupted run of that date is taken up again or a new one is named."""

    as_of: date
    issue: bool = True
    run_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


@router.post(
    "/v1/billing-runs",
    **declared(
        "start_billing_run",
        "bill",
        summary="Bill what is due",
        tag="billing",
        example=_RUN,
        problems=(400, 409, 422),
        body={"application/json": {"as_of": "2013-02-01", "issue": True}},
    ),
)
async def start(
    state: State,
    body: DocumentBody,
    actor: Actor,
    wait: Annotated[bool, Query(description="false: answer 202 at once, and ask for its progress.")] = True,
) -> ExactJSON:
    """Sending it again is safe: a billing date is settled once. Whoever cannot be billed is held, with
    the reason, in the report. One run works at a time."""
    wanted = validate_document(NewRun, read_document(body), what="the billing run")
    run = await state.in_thread(
        start_billing, state, as_of=wanted.as_of, issue=wanted.issue, actor=actor, run_id=wanted.run_id
    )
    if not wait:
        return ExactJSON(run.to_dict(), status_code=202)
    await state.in_thread(run.finished.wait)
    if run.problem is not None:
        return ExactJSON(run.problem, status_code=run.problem["status"], media_type=PROBLEM_MEDIA_TYPE)
    return ExactJSON(run.to_dict())


@router.post(
    "/v1/tick",
    **declared(
        "tick",
        "bill",
        summary="Do what has become due by now",
        tag="billing",
        example={
            "at": "2013-02-01T05:00:00+00:00",
            "run": {"run_id": "tick-2013-02-01", "report": {"due": 1, "issued": 1}},
            "delivery": {"queued": 1, "follow_ups": 0, "taken_over": 0, "held": 0, "attempts": {"sent": 1}},
        },
        problems=(409,),
    ),
)
def tick(state: State, actor: Actor) -> ExactJSON:
    """What the server's scheduler does every minute, once: bills what is due, issues what is approved, hands
    on reviews left lying, writes invoices for items whose day has come, lets credit lapse and tops it up, and
    sends what is issued. For whoever keeps time elsewhere. Again is safe. `run` is null when nothing was due
    but what the day's last run held."""
    now = state.clock.now()
    report = tick_now(state, actor=actor)
    delivery = state.delivery.deliver(state.ledger, state.clock)
    run = None if report is None else {"run_id": report.run_id, "report": report.to_dict()}
    return ExactJSON({"at": now.isoformat(), "run": run, "delivery": delivery.to_dict()})


@router.get(
    "/v1/reports/late-billing",
    **declared(
        "report_late_billing",
        "read",
        summary="Billing dates that no run has billed",
        tag="billing",
        example={"at": "2013-02-04T05:00:00+00:00", "late": 1, "items": [_LATE]},
        problems=(422,),
    ),
)
def late_billing(
    state: State, limit: Annotated[int, Query(ge=1, le=10_000, description="Dates listed.")] = 1000
) -> ExactJSON:
    """What should have been invoiced a whole day ago or earlier, in the contract's own time, and is not even
    a draft; the longest wait first, with the reason why the last run held it. `late` counts them all, as the
    metric `ratemill_billing_dates_late` does."""
    now = state.clock.now()
    found = late_dates(state.ledger, now=now)
    items = [late.to_dict() for late in found[:limit]]
    return ExactJSON({"at": now.isoformat(), "late": len(found), "items": items})


@router.get(
    "/v1/billing-runs",
    **declared(
        "list_billing_runs",
        "read",
        summary="Billing runs",
        tag="billing",
        example={"items": [_RECORD], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(state: State, limit: Limit = 100, cursor: Cursor = None) -> ExactJSON:
    """Newest first, with their reports."""
    position = read_cursor(cursor, fields=2)
    after = None if position is None else (str(position[0]), str(position[1]))
    runs = [asdict(run) for run in list_runs(state.ledger, limit=limit + 1, after=after)]
    return ExactJSON(page(runs, limit=limit, position=lambda run: (run["started_at"], run["run_id"])))


@router.get(
    "/v1/billing-runs/{run_id}",
    **declared(
        "get_billing_run",
        "read",
        summary="One billing run and how far it is",
        tag="billing",
        example=_RUN,
        problems=(404,),
    ),
)
def get_one(state: State, run_id: str) -> ExactJSON:
    """`state` is running, finished, failed (then `problem` says why) or interrupted (run it again)."""
    run = state.runs.get(run_id)
    if run is not None:
        return ExactJSON(run.to_dict())
    return ExactJSON({**asdict(get_run(state.ledger, run_id)), "stages": [], "problem": None})
