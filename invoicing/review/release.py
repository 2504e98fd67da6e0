"""Issues drafts that are approved, in the order of their billing dates: each draws its number now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from ingest.errors import Conflict
from invoicing.issue import issue_invoice
from invoicing.review.review_store import approved_ids
from invoicing.store import StoredInvoice


@dataclass(frozen=True, slots=True)
class NotReleased:
    """An approved draft that could not be issued, and why."""

    invoice_id: str
    reason_code: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Released:
    """What came of the approved drafts."""

    issued: tuple[StoredInvoice, ...]
    refused: tuple[NotReleased, ...]


def release_approved(
    ledger: Engine, *, by_itself: bool, series_prefix: str, credit_note_prefix: str, actor: str, now: datetime
) -> Released:
    """Issue every approved draft; by_itself: only those whose rules let the scheduler do so. One that cannot
    be issued keeps no other waiting. series_prefix, credit_note_prefix: as of ``issue_invoice``."""
    with ledger.connect() as connection:
        ids = approved_ids(connection, by_itself=by_itself)
    issued, refused = [], []
    for invoice_id in ids:
        try:
            stored = issue_invoice(
                ledger,
                invoice_id=invoice_id,
                now=now,
                series_prefix=series_prefix,
                credit_note_prefix=credit_note_prefix,
                actor=actor,
            )
        except Conflict as conflict:
            refused.append(NotReleased(invoice_id, conflict.reason_code, str(conflict)))
        else:
            issued.append(stored)
    return Released(tuple(issued), tuple(refused))
