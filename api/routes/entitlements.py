"""Entitlements: may this customer use n more, and what was asked and answered."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from time import perf_counter_ns
from typing import Annotated, Any, Final
from uuid import uuid4

from fastapi import APIRouter, Depends, Query

from api.auth import ApiKey, Needs
from api.check_log import EntitlementCheck, list_checks
from api.entitlements import Question
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routes.event_lists import Instant, instant
from api.routing import State, declared
from ingest.clock import to_micros
from ingest.document import ExactDecimal
from rating.entitlement import Standing, Verdict

router = APIRouter()

_ANSWER: Final[dict[str, Any]] = {
    "check_id": "0193a1c2f0d87c1e0193a1c2f0d87c1e",
    "allowed": True,
    "reason": "within_limit",
    "subject": "UA",
    "contract_id": None,
    "customer_id": None,
    "meter_id": "landings",
    "quantity": "1",
    "used": "99",
    "limit": "100",
    "remaining": "1",
    "mode": "hard",
    "period": {"name": "billing_period", "start": "2013-01-01T05:00:00Z", "end": "2013-02-01T05:00:00Z"},
    "unusable_events": 0,
    "decided_by": "united-2013",
    "as_of_sequence": 336803,
    "asked_at": "2013-01-20T09:00:00Z",
}
_STANDINGS: Final[dict[str, Any]] = {
    "contract_id": "united-2013",
    "as_of": "2013-01-20T09:00:00Z",
    "as_of_sequence": 336803,
    "items": [
        {
            "meter_id": "landings",
            "mode": "hard",
            "period": _ANSWER["period"],
            "used": "99",
            "limit": "100",
            "remaining": "1",
            "event_count": 99,
            "unusable_events": 0,
        }
    ],
}
_CHECK: Final[dict[str, Any]] = {
    "check_id": _ANSWER["check_id"],
    "asked_at": _ANSWER["asked_at"],
    "asked_by": "provisioning",
    "subject": "UA",
    "contract_id": "",
    "customer_id": "",
    "meter_id": "landings",
    "quantity": "1",
    "allowed": True,
    "reason": "within_limit",
    "decided_by": "united-2013",
    "used": "99",
    "limit": "100",
    "remaining": "1",
    "as_of_sequence": 336803,
    "answered_micros": 412,
}


@router.get(
    "/v1/entitlements",
    **declared(
        "check_entitlement",
        "read",
        summary="May this customer use n more?",
        tag="entitlements",
        example=_ANSWER,
        problems=(409, 422, 503),
    ),
)
def check_entitlement(
    state: State,
    key: Annotated[ApiKey, Depends(Needs("read"))],
    meter_id: str,
    quantity: Annotated[ExactDecimal, Query(description="How much more; 0 asks where one stands.")],
    subject: Annotated[str | None, Query(description="Whose use; or contract_id, or customer_id.")] = None,
    contract_id: str | None = None,
    customer_id: str | None = None,
) -> ExactJSON:
    """Right to the last event acknowledged (`as_of_sequence`). The limits are the contract's
    `entitlements`; `remaining` is what is left before the question, and nothing is reserved by asking.

    Of several contracts, a subject is held to the strictest, a customer gets the one that allows most;
    `decided_by` names it. Every question is kept with its answer: `GET /v1/entitlements/checks`."""
    began, asked_at = perf_counter_ns(), state.clock.now()
    question = Question(meter_id, quantity, subject, contract_id, customer_id)
    verdict, sequence = state.entitlements.answer(question, at=asked_at)
    check = EntitlementCheck(
        check_id=uuid4().hex,
        asked_at=asked_at,
        asked_by=key.name,
        subject=subject or "",
        contract_id=contract_id or "",
        customer_id=customer_id or "",
        meter_id=meter_id,
        quantity=quantity,
        allowed=verdict.allowed,
        reason=verdict.reason,
        decided_by=verdict.contract_id or "",
        used=verdict.used,
        limit=verdict.limit,
        remaining=verdict.remaining,
        as_of_sequence=sequence,
        answered_micros=(perf_counter_ns() - began) // 1_000,
    )
    state.checks.keep(check)
    return ExactJSON(_answer(check, verdict, question))


def standing_answer(one: Standing) -> dict[str, Any]:
    """A limit with what stands against it."""
    return {
        "meter_id": one.meter_id,
        "mode": one.mode,
        "period": _period(one),
        "used": one.used,
        "limit": one.limit,
        "remaining": one.remaining,
        "event_count": one.event_count,
        "unusable_events": one.unusable_events,
    }


def _period(standing: Standing) -> dict[str, Any]:
    return {"name": standing.period, "start": standing.period_start, "end": standing.period_end}


def _answer(check: EntitlementCheck, verdict: Verdict, question: Question) -> dict[str, Any]:
    standing = verdict.standing
    period = _period(standing) if standing else None
    return {
        "check_id": check.check_id,
        "allowed": verdict.allowed,
        "reason": verdict.reason,
        "subject": question.subject,
        "contract_id": question.contract_id,
        "customer_id": question.customer_id,
        "meter_id": question.meter_id,
        "quantity": question.quantity,
        "used": verdict.used,
        "limit": verdict.limit,
        "remaining": verdict.remaining,
        "mode": standing.mode if standing else None,
        "period": period,
        "unusable_events": standing.unusable_events if standing else 0,
        "decided_by": verdict.contract_id,
        "as_of_sequence": check.as_of_sequence,
        "asked_at": check.asked_at,
    }


@router.get(
    "/v1/contracts/{contract_id}/entitlements",
    **declared(
        "contract_entitlements",
        "read",
        sees="contract",
        summary="Where a contract stands against its limits",
        tag="entitlements",
        example=_STANDINGS,
        problems=(404, 409, 503),
    ),
)
def contract_entitlements(state: State, contract_id: str) -> ExactJSON:
    """Every limit with what was used in its period, as of now and right to the last event acknowledged.
    Nothing is asked for, and nothing is kept."""
    now = state.clock.now()
    found, sequence = state.entitlements.standings(contract_id, at=now)
    items = [standing_answer(one) for one in found]
    return ExactJSON({"contract_id": contract_id, "as_of": now, "as_of_sequence": sequence, "items": items})


@router.get(
    "/v1/entitlements/checks",
    **declared(
        "list_entitlement_checks",
        "read",
        summary="What was asked and answered",
        tag="entitlements",
        example={"items": [_CHECK], "next_cursor": None},
        problems=(422,),
    ),
)
def list_all(
    state: State,
    subject: str | None = None,
    contract_id: Annotated[str | None, Query(description="Asked for, or decided by.")] = None,
    customer_id: str | None = None,
    meter_id: str | None = None,
    allowed: bool | None = None,
    asked_from: Instant = None,
    asked_to: Instant = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Latest first, asked in `[asked_from, asked_to)`, each with its answer, the time and the name of the
    key that asked."""
    state.checks.move()
    after = read_cursor(cursor, fields=2)
    found = list_checks(
        state.event_store,
        limit=limit + 1,
        subject=subject,
        contract_id=contract_id,
        customer_id=customer_id,
        meter_id=meter_id,
        allowed=allowed,
        asked_from=instant(asked_from, "asked_from"),
        asked_to=instant(asked_to, "asked_to"),
        after=None if after is None else (int(after[0]), str(after[1])),
    )
    answer = page(found, limit=limit, position=_position)
    answer["items"] = [asdict(one) for one in answer["items"]]
    return ExactJSON(answer)


def _position(check: EntitlementCheck) -> tuple[int, str]:
    asked: datetime = check.asked_at
    return to_micros(asked), check.check_id
