"""Reviews of drafts: the rules, whose turn it is, and what reviewers do."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field

from api.auth import ApiKey
from api.documents import keyed_document, saved_answer
from api.examples import REVIEW_RULES, SAVED_VERSION
from api.json import ExactJSON
from api.page import Cursor, Limit, page, read_cursor
from api.routing import Actor, DocumentBody, State, declared
from ingest.document import Document, read_document, validate_document
from ingest.errors import Forbidden
from invoicing.review import moves
from invoicing.review.correct import correct
from invoicing.review.correction import CorrectionRequest
from invoicing.review.release import release_approved
from invoicing.review.review import Acting
from invoicing.review.review_store import ageing, get_review, list_reviews
from invoicing.review.rules import REVIEW_RULES as KIND
from invoicing.review.rules import Reviewer, load_review_rules, save_review_rules
from invoicing.review.tables import stamp

router = APIRouter()

_STORED: Final = {"rules_id": "default", "version": 1, "document": REVIEW_RULES}
_REVIEW: Final[dict[str, Any]] = {
    "invoice_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
    "state": "in_review",
    "reviewer": "anna",
    "step": 0,
    "reviewers": ["anna", "ben"],
    "flags": [
        {
            "reason_code": "above_threshold",
            "line_id": "",
            "charge_id": "",
            "message": "The net total 12,500.00 USD is more than 10000.",
        }
    ],
    "prepared_by": ["finance"],
    "four_eyes": True,
    "issue_approved": False,
    "escalated": False,
    "corrections": 0,
    "rules_id": "default",
    "rules_version": 1,
    "opened_at": "2013-02-01T05:00:00+00:00",
    "waiting_since": "2013-02-01T05:00:00+00:00",
    "waiting_hours": 2,
    "customer_id": "united",
    "contract_id": "united-2013",
    "billing_date": "2013-02-01",
    "currency": "USD",
    "total_minor": 1250000,
    "invoice_state": "draft",
}
_AGES: Final[dict[str, Any]] = {
    "reviewer": "anna",
    "waiting": 1,
    "up_to_24_hours": 1,
    "up_to_72_hours": 0,
    "over_72_hours": 0,
}
_RELEASED: Final[dict[str, Any]] = {
    "issued": [{"invoice_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85", "number": "INV-2013-000001"}],
    "refused": [
        {
            "invoice_id": "4e1b8d0c6a2f4b7d9c3e5f7a1b2c3d4e",
            "reason_code": "number_order",
            "message": "why it cannot be issued, and what to do",
        }
    ],
}
_AS: Final = "The reviewer it is done for. Left out: the key's own name; another name needs the scope admin."


class Approval(Document):
    """reviewer: see the routes. reason: what the reviewer has to say; it stays on record."""

    reviewer: Reviewer | None = Field(default=None, description=_AS)
    reason: str = ""


class SendingBack(Document):
    """Why it goes back."""

    reviewer: Reviewer | None = Field(default=None, description=_AS)
    reason: str


class Correction(CorrectionRequest):
    """A correction and whose it is."""

    reviewer: Reviewer | None = Field(default=None, description=_AS)


class Delegation(Document):
    """To whom it goes instead."""

    reviewer: Reviewer | None = Field(default=None, description=_AS)
    to: Reviewer
    reason: str = ""


@router.put(
    "/v1/review-rules/{rules_id}",
    **declared(
        "put_review_rules",
        "admin",
        summary="Save which drafts are reviewed, and by whom",
        tag="reviews",
        status=201,
        example={"rules_id": "default", **SAVED_VERSION},
        problems=(400, 422),
        body={"application/json": REVIEW_RULES},
    ),
)
def put_rules(state: State, rules_id: str, body: DocumentBody) -> ExactJSON:
    """Under `default` for all invoices, under the id of a billing entity for those that it sends. They count
    for drafts made from now on; while there are none, nothing is reviewed."""
    document = keyed_document(body, field="rules_id", key=rules_id, what="review rules")
    return saved_answer("rules_id", save_review_rules(state.ledger, document, now=state.clock.now()))


@router.get(
    "/v1/review-rules",
    **declared(
        "list_review_rules", "read", summary="All review rules", tag="reviews", example={"items": [_STORED]}
    ),
)
def list_rules(state: State) -> ExactJSON:
    """By key."""
    with state.ledger.connect() as connection:
        found = load_review_rules(connection)
    items = [
        {"rules_id": key, "version": stored.version, "document": stored.document}
        for key, stored in found.items()
    ]
    return ExactJSON({"items": items})


@router.get(
    "/v1/review-rules/{rules_id}",
    **declared(
        "get_review_rules",
        "read",
        summary="One set of review rules",
        tag="reviews",
        example=_STORED,
        problems=(404,),
    ),
)
def get_rules(state: State, rules_id: str) -> ExactJSON:
    """Those in force."""
    stored = KIND.get(state.ledger, rules_id)
    return ExactJSON({"rules_id": rules_id, "version": stored.version, "document": stored.document})


@router.get(
    "/v1/reviews",
    **declared(
        "list_reviews",
        "read",
        summary="Drafts that wait for people",
        tag="reviews",
        example={"items": [_REVIEW], "next_cursor": None, "ageing": [_AGES]},
        problems=(422,),
    ),
)
def list_all(
    state: State,
    reviewer: Annotated[str | None, Query(description="Only those whose turn it is this person's.")] = None,
    review_state: Annotated[Literal["in_review", "returned", "approved"] | None, Query(alias="state")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ExactJSON:
    """Those that wait longest first, with why. `ageing`: how many wait for each reviewer, by how long. Issued
    invoices are not in the list."""
    position = read_cursor(cursor, fields=2)
    now = state.clock.now()
    found = list_reviews(
        state.ledger,
        limit=limit + 1,
        reviewer=reviewer,
        state=review_state,
        after=None if position is None else (str(position[0]), str(position[1])),
    )
    answer = page(
        [one.to_dict(now=now) for one in found],
        limit=limit,
        position=lambda item: (stamp(item["waiting_since"]), item["invoice_id"]),
    )
    return ExactJSON({**answer, "ageing": ageing(state.ledger, now=now)})


@router.get(
    "/v1/reviews/{invoice_id}",
    **declared(
        "get_review",
        "read",
        summary="One review: why, whose turn it is, who comes next",
        tag="reviews",
        example=_REVIEW,
        problems=(404,),
    ),
)
def get_one(state: State, invoice_id: str) -> ExactJSON:
    """By the id of its invoice; issued ones are still there. `GET /v1/audit?object_id=` has every step."""
    return _answer(state, invoice_id)


@router.post(
    "/v1/reviews/{invoice_id}/approve",
    **declared(
        "approve_invoice",
        "review",
        summary="Approve a draft, or hand it to the next reviewer",
        tag="reviews",
        example=_REVIEW,
        problems=(400, 404, 409, 422),
        body={"application/json": {"reviewer": "anna", "reason": "as agreed by telephone"}},
    ),
)
def approve(state: State, invoice_id: str, body: DocumentBody, request: Request) -> ExactJSON:
    """The last reviewer's approval lets it be issued. Who drafted or corrected it cannot (`own_invoice`)."""
    said = validate_document(Approval, read_document(body), what="the approval")
    acting = _acting(request, said.reviewer)
    moves.approve(state.ledger, invoice_id, acting, reason=said.reason, now=state.clock.now())
    return _answer(state, invoice_id)


@router.post(
    "/v1/reviews/{invoice_id}/send-back",
    **declared(
        "send_invoice_back",
        "review",
        summary="Send a draft back to the reviewer before",
        tag="reviews",
        example=_REVIEW,
        problems=(400, 404, 409, 422),
        body={"application/json": {"reviewer": "anna", "reason": "the fee is last year's"}},
    ),
)
def send_back(state: State, invoice_id: str, body: DocumentBody, request: Request) -> ExactJSON:
    """From the first reviewer it is `returned` to whoever bills, who corrects it and submits it again."""
    said = validate_document(SendingBack, read_document(body), what="the request")
    acting = _acting(request, said.reviewer)
    moves.send_back(state.ledger, invoice_id, acting, reason=said.reason, now=state.clock.now())
    return _answer(state, invoice_id)


@router.post(
    "/v1/reviews/{invoice_id}/delegate",
    **declared(
        "delegate_review",
        "review",
        summary="Let somebody else review it",
        tag="reviews",
        example=_REVIEW,
        problems=(400, 404, 409, 422),
        body={"application/json": {"reviewer": "ben", "to": "carl", "reason": "on leave"}},
    ),
)
def delegate(state: State, invoice_id: str, body: DocumentBody, request: Request) -> ExactJSON:
    """`to` takes the reviewer's place."""
    said = validate_document(Delegation, read_document(body), what="the request")
    acting = _acting(request, said.reviewer)
    now = state.clock.now()
    moves.delegate(state.ledger, invoice_id, acting, to=said.to, reason=said.reason, now=now)
    return _answer(state, invoice_id)


@router.post(
    "/v1/reviews/{invoice_id}/escalate",
    **declared(
        "escalate_review",
        "review",
        summary="Hand it at once to whom the rules escalate",
        tag="reviews",
        example=_REVIEW,
        problems=(400, 404, 409, 422),
        body={"application/json": {"reviewer": "carl", "reason": "beyond what I may decide"}},
    ),
)
def escalate(state: State, invoice_id: str, body: DocumentBody, request: Request) -> ExactJSON:
    """To `escalate_to` of the rules it was drafted under, with a reason, before it is left lying."""
    said = validate_document(SendingBack, read_document(body), what="the request")
    acting = _acting(request, said.reviewer)
    moves.escalate(state.ledger, invoice_id, acting, reason=said.reason, now=state.clock.now())
    return _answer(state, invoice_id)


@router.post(
    "/v1/reviews/{invoice_id}/submit",
    **declared(
        "submit_invoice",
        "review",
        summary="Bring a returned draft before its reviewers again",
        tag="reviews",
        example=_REVIEW,
        problems=(400, 404, 409, 422),
        body={"application/json": {"reviewer": "clerk", "reason": "the fee is as agreed"}},
    ),
)
def submit(state: State, invoice_id: str, body: DocumentBody, request: Request) -> ExactJSON:
    """From the first reviewer on."""
    said = validate_document(SendingBack, read_document(body), what="the request")
    acting = _acting(request, said.reviewer)
    moves.submit(state.ledger, invoice_id, acting, reason=said.reason, now=state.clock.now())
    return _answer(state, invoice_id)


@router.post(
    "/v1/reviews/{invoice_id}/corrections",
    **declared(
        "correct_invoice",
        "review",
        summary="Correct a line of a draft",
        tag="reviews",
        example=_REVIEW,
        problems=(400, 404, 409, 422),
        body={
            "application/json": {
                "reviewer": "clerk",
                "line_id": "7c9e6679f7f1b5a4a1d90b31e6b0a9d2",
                "amount": "10.00",
                "reason": "one landing was diverted",
            }
        },
    ),
)
def correct_line(state: State, invoice_id: str, body: DocumentBody, request: Request) -> ExactJSON:
    """A line beside it says the difference and why; total and tax are counted anew, and the audit trail has
    both. `amount`: what the line is to come to, as it is priced. What was approved is reviewed again."""
    said = validate_document(Correction, read_document(body), what="the correction")
    wanted = CorrectionRequest(line_id=said.line_id, amount=said.amount, reason=said.reason)
    correct(state.ledger, invoice_id, _acting(request, said.reviewer), wanted, now=state.clock.now())
    return _answer(state, invoice_id)


@router.post(
    "/v1/reviews/release",
    **declared(
        "release_invoices",
        "send",
        summary="Issue all approved drafts",
        tag="reviews",
        example=_RELEASED,
    ),
)
def release(state: State, actor: Actor) -> ExactJSON:
    """Each gets its number now, in the order of billing dates. `refused` says which could not be issued."""
    done = release_approved(
        state.ledger,
        by_itself=False,
        series_prefix=state.settings.invoice_series,
        credit_note_prefix=state.settings.credit_note_series,
        actor=actor,
        now=state.clock.now(),
    )
    issued = [
        {"invoice_id": stored.summary.invoice_id, "number": stored.summary.number} for stored in done.issued
    ]
    return ExactJSON({"issued": issued, "refused": [one.to_dict() for one in done.refused]})


def _acting(request: Request, reviewer: str | None) -> Acting:
    """Raises Forbidden when a key that is no admin's acts for somebody else."""
    key: ApiKey = request.state.api_key
    if reviewer is not None and reviewer != key.name and not key.allows("admin"):
        raise Forbidden(
            f"the API key {key.key_id} ({key.name}) cannot act for {reviewer}. Use {reviewer}'s own "
            f"key, or one "
            "with the scope admin.",
            reason_code="not_your_name",
        )
    return Acting(key.name, reviewer or key.name)


def _answer(state: State, invoice_id: str) -> ExactJSON:
    return ExactJSON(get_review(state.ledger, invoice_id).to_dict(now=state.clock.now()))
