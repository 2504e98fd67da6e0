"""How customers pay, what that suggests, and the one action that does it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from api.json import ExactJSON
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import read_document, validate_document
from invoicing.billing_structure import StructureChange, change_structure
from invoicing.payer_report import report_payers

router = APIRouter()

_HABIT: Final[dict[str, Any]] = {
    "customer_id": "united",
    "documents": 4,
    "late": 3,
    "median_days_late": "18.5",
    "longest_days_late": 40,
    "overdue": [{"currency": "USD", "overdue_minor": 125000}],
    "suggestion": "advance",
    "reason": "3 of 4 documents late, 18.5 days beyond due in the median: a median above 15 days.",
}
_CHANGE: Final[dict[str, Any]] = {
    "mode": "shorter_terms",
    "payment_days": 14,
    "contract_ids": ["united-gate-13"],
    "reason": "three of four invoices were late",
}
_CHANGED: Final[dict[str, Any]] = {
    "contract_id": "united-gate-13",
    "version": 2,
    "changed": True,
    "effective_from": "2013-03-01",
    "amount": None,
    "payment_days": 14,
}


@router.get(
    "/v1/reports/payers",
    **declared(
        "report_payers",
        "read",
        summary="How late customers pay, and what that suggests",
        tag="payments",
        example={"as_of": "2013-06-01", "days": 365, "items": [_HABIT]},
        problems=(422,),
    ),
)
def report(
    state: State,
    as_of: Annotated[date | None, Query(description="At the end of this day. Left out: today (UTC).")] = None,
    days: Annotated[int, Query(ge=1, le=3660, description="Documents due in so many days before.")] = 365,
    customer_id: str | None = None,
) -> ExactJSON:
    """The latest payer first: documents that were due, how many late, days beyond due in the median (those in
    time count 0, open ones so far), what is overdue, and a suggestion with its reason. Acting on it is
    `POST /v1/customers/{customer_id}/billing-structure`."""
    day = as_of or state.clock.now().astimezone(UTC).date()
    found = report_payers(state.ledger, as_of=day, days=days, customer_id=customer_id)
    return ExactJSON({"as_of": day, "days": days, "items": [asdict(one) for one in found]})


@router.post(
    "/v1/customers/{customer_id}/billing-structure",
    **declared(
        "change_billing_structure",
        "bill",
        summary="Switch a customer to a deposit, advance billing or shorter terms",
        tag="contracts",
        example={"items": [_CHANGED]},
        problems=(400, 404, 409, 422),
        body={"application/json": _CHANGE},
    ),
)
def change(state: State, customer_id: str, body: DocumentBody, actor: Actor) -> ExactJSON:
    """From the next billing period on, all running contracts (or those named) in one step: `advance` sells
    each period's amount before it, `deposit` once, `shorter_terms` sets the days to pay, `regular` ends
    payment in advance. The reason stands in the audit trail. Again changes nothing."""
    wanted = validate_document(StructureChange, read_document(body), what="the change")
    found = change_structure(state.ledger, customer_id, wanted, actor=actor, now=state.clock.now())
    state.entitlements.forget()
    return ExactJSON({"items": [asdict(one) for one in found]})
