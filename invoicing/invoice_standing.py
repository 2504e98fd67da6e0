"""Where an invoice stands: its state, what may be done with it, what happens next by itself and when. Pure.

The state is never set by hand: it follows from what is on record, and changes when a number is drawn, a
credit note is issued or a payment is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, Literal

StandingState = Literal["draft", "issued", "partially_paid", "paid", "uncollectible", "void"]

MOVES: Final[Mapping[StandingState, frozenset[StandingState]]] = {
    "draft": frozenset({"issued", "paid"}),
    "issued": frozenset({"partially_paid", "paid", "uncollectible", "void"}),
    "partially_paid": frozenset({"issued", "paid", "uncollectible", "void"}),
    "paid": frozenset({"issued", "partially_paid", "void"}),
    "uncollectible": frozenset({"issued", "partially_paid", "paid", "void"}),
    "void": frozenset(),
}
"""Which state may follow which. A draft is paid at once when prepaid credit pays all of it, or nothing is
due; a payment that is taken back leads back, as does a write-off that is; nothing leads
out of void or back to draft."""

ACTIONS: Final[Mapping[StandingState, tuple[str, ...]]] = {
    "draft": ("issue",),
    "issued": ("credit", "write_off", "print"),
    "partially_paid": ("credit", "write_off", "print"),
    "paid": ("credit", "print"),
    "uncollectible": ("credit", "claim_again", "print"),
    "void": ("print",),
}
"""What may be done with an invoice, by state; with a draft that is not approved yet, ``UNREVIEWED``."""
UNREVIEWED: Final = ("review",)

_REQUESTS: Final = {
    "issue": ("POST", "/v1/invoices/{id}/issue"),
    "review": ("GET", "/v1/reviews/{id}"),
    "credit": ("POST", "/v1/invoices/{id}/credit-notes"),
    "write_off": ("POST", "/v1/documents/{id}/write-offs"),
    "claim_again": ("POST", "/v1/documents/{id}/write-offs/take-back"),
    "print": ("GET", "{under}/{id}/pdf"),
}
_A_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What is on record of an invoice, minor units above zero: what it comes to with tax, what of it prepaid
    credit paid, what credit notes took back, what of that went back to prepaid credit, what payments pay,
    and what is written off."""

    gross_minor: int
    drawn_minor: int
    credited_minor: int
    returned_minor: int
    allocated_minor: int
    written_off_minor: int

    @property
    def open_minor(self) -> int:
        """What is still to be paid and not given up; below zero, what was paid too much."""
        return (
            self.gross_minor
            - self.drawn_minor
            - (self.credited_minor - self.returned_minor)
            - self.allocated_minor
            - self.written_off_minor
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """``next_step``: what happens by itself on ``next_step_on``; None where nothing does."""

    state: StandingState
    overdue: bool
    credited_minor: int
    paid_minor: int
    written_off_minor: int
    open_minor: int
    actions: tuple[str, ...]
    next_step: str | None
    next_step_on: date | None

    def to_dict(self, document_id: str, *, under: str) -> dict[str, Any]:
        """With the request that does each action. under: where the document is, like ``/v1/invoices``."""
        actions = [
            {
                "action": name,
                "method": _REQUESTS[name][0],
                "path": _REQUESTS[name][1].format(id=document_id, under=under),
            }
            for name in self.actions
        ]
        return {name: getattr(self, name) for name in self.__slots__} | {"actions": actions}


def standing_of(
    *,
    issued: bool,
    voided: bool,
    amounts: Amounts,
    due_date: date | None,
    today: date,
    creditable: bool,
    unreviewed: bool = False,
) -> Standing:
    """Where an invoice stands on a day. voided: credit notes left nothing of it. creditable: False of a bill
    below zero and of what a final invoice deducted. unreviewed: people look at the draft, and it is not
    approved."""
    state = _state(issued=issued, voided=voided, amounts=amounts)
    waits = state in ("issued", "partially_paid") and due_date is not None
    overdue = waits and due_date is not None and due_date < today
    becomes = waits and not overdue and due_date is not None
    return Standing(
        state=state,
        overdue=overdue,
        credited_minor=amounts.credited_minor,
        paid_minor=amounts.drawn_minor - amounts.returned_minor + amounts.allocated_minor,
        written_off_minor=amounts.written_off_minor,
        open_minor=amounts.open_minor,
        actions=UNREVIEWED if unreviewed and state == "draft" else _actions(state, creditable),
        next_step="becomes overdue" if becomes else None,
        next_step_on=due_date + _A_DAY if becomes and due_date is not None else None,
    )


def _actions(state: StandingState, creditable: bool) -> tuple[str, ...]:
    return tuple(action for action in ACTIONS[state] if creditable or action != "credit")


def _state(*, issued: bool, voided: bool, amounts: Amounts) -> StandingState:
    if not issued:
        return "draft"
    if voided:
        return "void"
    if amounts.open_minor <= 0:
        return "uncollectible" if amounts.written_off_minor > 0 else "paid"
    return "partially_paid" if amounts.allocated_minor > 0 else "issued"
