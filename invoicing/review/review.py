"""A review and what may become of it. Pure.

    draft -> in_review -> approved -> issued
               |   ^         |
               v   |         v
             returned    in_review (corrected)

While it is in review it is one reviewer's turn. Approving hands it to the next, and the last one approves the
invoice; sending back hands it to the one before, and from the first it is ``returned`` to whoever bills.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from ingest.errors import Conflict, Forbidden, InvalidInput

ReviewState = Literal["in_review", "returned", "approved"]
IN_REVIEW: Final = "in_review"
RETURNED: Final = "returned"
APPROVED: Final = "approved"
HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Review:
    """See ``REVIEWS``. waiting_since: when the present reviewer got it. escalated: whether it was handed on
    because the reviewer before left it lying."""

    invoice_id: str
    state: ReviewState
    reviewer: str
    step: int
    reviewers: tuple[str, ...]
    flags: tuple[Mapping[str, Any], ...]
    prepared_by: tuple[str, ...]
    four_eyes: bool
    issue_approved: bool
    escalate_after_hours: int | None
    escalate_to: str
    escalated: bool
    corrections: int
    rules_id: str
    rules_version: int
    opened_at: datetime
    waiting_since: datetime

    def facts(self) -> dict[str, Any]:
        """What the audit trail keeps of it."""
        return {
            "state": self.state,
            "reviewer": self.reviewer,
            "reviewers": list(self.reviewers),
            "step": self.step,
        }


@dataclass(frozen=True, slots=True)
class Acting:
    """Who does something: ``actor``, the API key's name, for ``reviewer``: the same, or with an admin key
    anybody."""

    actor: str
    reviewer: str


def approved(review: Review, acting: Acting, *, now: datetime) -> Review:
    """On to the next reviewer, or approved. Raises Conflict when it is not in review, Forbidden when it is
    somebody else's turn or the invoice is the reviewer's own."""
    check_turn(review, acting, "approve it")
    if review.four_eyes and acting.reviewer in review.prepared_by:
        raise Forbidden(
            f"{acting.reviewer} drafted or corrected invoice {review.invoice_id} and cannot "
            f"approve it. "
            "Delegate it to somebody else: `ratemill review delegate`.",
            reason_code="own_invoice",
        )
    step = review.step + 1
    if step == len(review.reviewers):
        return replace(review, state=APPROVED, reviewer="", step=step, waiting_since=now, escalated=False)
    return replace(review, reviewer=review.reviewers[step], step=step, waiting_since=now, escalated=False)


def sent_back(review: Review, acting: Acting, *, reason: str, now: datetime) -> Review:
    """Back to the reviewer before, or returned. Raises as ``approved``, InvalidInput without a reason."""
    check_turn(review, acting, "send it back")
    check_reason(reason, "it is sent back")
    if review.step == 0:
        return replace(review, state=RETURNED, reviewer="", waiting_since=now, escalated=False)
    step = review.step - 1
    return replace(review, reviewer=review.reviewers[step], step=step, waiting_since=now, escalated=False)


def delegated(review: Review, acting: Acting, *, to: str, now: datetime) -> Review:
    """To somebody else, who takes the reviewer's place. Raises as ``approved``."""
    check_turn(review, acting, "delegate it")
    return _handed_to(review, to, now=now)


def escalated(review: Review, *, now: datetime) -> Review | None:
    """To whom the rules say, once, when it has waited so long; None when it has not."""
    hours = review.escalate_after_hours
    if (
        review.state != IN_REVIEW
        or hours is None
        or review.escalated
        or review.reviewer == review.escalate_to
    ):
        return None
    if now - review.waiting_since < hours * HOUR:
        return None
    return replace(_handed_to(review, review.escalate_to, now=now), escalated=True)


def handed_up(review: Review, acting: Acting, *, reason: str, now: datetime) -> Review:
    """To whom the rules escalate, at once, because the reviewer does not want to decide. Raises as
    ``sent_back``, and Conflict when the rules name nobody, or it is with them already."""
    check_turn(review, acting, "escalate it")
    check_reason(reason, "it is escalated")
    if review.escalate_to in ("", review.reviewer):
        with_whom = f"it is with {review.reviewer} already" if review.escalate_to else "they name nobody"
        raise Conflict(
            f"invoice {review.invoice_id} cannot be escalated by the review rules it was drafted under: "
            f"{with_whom}. `ratemill review delegate` hands it to anybody.",
            reason_code="nobody_to_escalate_to",
        )
    return replace(_handed_to(review, review.escalate_to, now=now), escalated=True)


def submitted_again(review: Review, *, now: datetime) -> Review:
    """From the first reviewer on. Raises Conflict when it was not returned."""
    if review.state != RETURNED:
        raise _not(review, RETURNED, "submit it again")
    return restarted(review, now=now)


def restarted(review: Review, *, now: datetime) -> Review:
    """In review from the first reviewer on."""
    return replace(
        review, state=IN_REVIEW, reviewer=review.reviewers[0], step=0, waiting_since=now, escalated=False
    )


def check_turn(review: Review, acting: Acting, what: str) -> None:
    """Raises Conflict when it is not in review, Forbidden when it is somebody else's turn."""
    if review.state != IN_REVIEW:
        raise _not(review, IN_REVIEW, what)
    if acting.reviewer != review.reviewer:
        raise Forbidden(
            f"invoice {review.invoice_id} is with {review.reviewer}, and {acting.reviewer} cannot {what}. "
            f"{review.reviewer} can, or can delegate it.",
            reason_code="not_your_turn",
        )


def check_reason(reason: str, what: str) -> None:
    """Raises InvalidInput without a reason."""
    if not reason.strip():
        raise InvalidInput(
            f"Nothing says why {what}. Give a reason; it stays on record.", reason_code="reason_missing"
        )


def _handed_to(review: Review, name: str, *, now: datetime) -> Review:
    names = (*review.reviewers[: review.step], name, *review.reviewers[review.step + 1 :])
    return replace(review, reviewer=name, reviewers=names, waiting_since=now, escalated=False)


def _not(review: Review, state: ReviewState, what: str) -> Conflict:
    is_now, wanted = review.state.replace("_", " "), state.replace("_", " ")
    return Conflict(
        f"invoice {review.invoice_id} is {is_now}, not {wanted}: nobody can {what}. "
        f"`ratemill review show {review.invoice_id}` says what is next.",
        reason_code="review_state",
    )
