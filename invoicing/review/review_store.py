"""Reviews in the ledger: read, listed by whose turn it is, and held against issuing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, Engine, Row, select, update

from ingest.errors import Conflict, NotFound
from invoicing.review.review import APPROVED, HOUR, IN_REVIEW, Review
from invoicing.review.tables import REVIEWS, stamp
from invoicing.tables import INVOICES, contract_of

_JSON: Final = ("reviewers", "flags", "prepared_by")
_INSTANTS: Final = ("opened_at", "waiting_since")
_AGES: Final = ((24, "up_to_24_hours"), (72, "up_to_72_hours"))
_OLDER: Final = "over_72_hours"


@dataclass(frozen=True, slots=True)
class ListedReview:
    """A review with what its invoice says. total_minor: net. invoice_state: draft or issued."""

    review: Review
    customer_id: str
    contract_id: str
    billing_date: date
    currency: str
    total_minor: int
    invoice_state: str

    def to_dict(self, *, now: datetime) -> dict[str, Any]:
        """Plain values; waiting_hours: whole hours with the present reviewer, or since it was decided."""
        review = self.review
        names = (name for name in Review.__slots__ if name not in {"escalate_after_hours", "escalate_to"})
        values = {name: getattr(review, name) for name in names}
        own = {name: getattr(self, name) for name in self.__slots__ if name != "review"}
        return values | own | {"waiting_hours": (now - review.waiting_since) // HOUR}


def refuse_unreviewed(connection: Connection, invoice_id: str) -> None:
    """Raises Conflict while people still look at the draft."""
    row = connection.execute(select(REVIEWS).where(REVIEWS.c.invoice_id == invoice_id)).one_or_none()
    if row is None or row.state == APPROVED:
        return
    with_whom = f"with {row.reviewer}" if row.reviewer else "sent back to whoever bills"
    raise Conflict(
        f"invoice {invoice_id} is not approved: it is {with_whom}. `ratemill review show {invoice_id}` "
        f"says why, "
        "and nothing is issued before.",
        reason_code="not_approved",
    )


def locked_review(connection: Connection, invoice_id: str) -> Review:
    """The review of a draft, held until the transaction ends. Raises NotFound, Conflict when it is issued."""
    invoice = select(INVOICES.c.state).where(INVOICES.c.invoice_id == invoice_id).with_for_update()
    state = connection.execute(invoice).scalar_one_or_none()
    row = connection.execute(select(REVIEWS).where(REVIEWS.c.invoice_id == invoice_id)).one_or_none()
    if row is None:
        raise _nothing(invoice_id)
    if state != "draft":
        raise Conflict(
            f"invoice {invoice_id} is issued, so there is nothing to review. A credit note corrects it.",
            reason_code="review_state",
        )
    return _review(row)


def write_review(connection: Connection, review: Review, *, now: datetime) -> None:
    """Keep the review as it is now."""
    values = {name: getattr(review, name) for name in Review.__slots__ if name != "invoice_id"}
    values |= {name: orjson.dumps(values[name]).decode() for name in _JSON}
    values |= {name: stamp(values[name]) for name in _INSTANTS}
    statement = update(REVIEWS).where(REVIEWS.c.invoice_id == review.invoice_id)
    connection.execute(statement.values(**values, updated_at=stamp(now)))


def get_review(ledger: Engine, invoice_id: str) -> ListedReview:
    """One review, by the id of its invoice. Raises NotFound."""
    with ledger.connect() as connection:
        row = connection.execute(_listed().where(REVIEWS.c.invoice_id == invoice_id)).one_or_none()
    if row is None:
        raise _nothing(invoice_id)
    return _read(row)


def find_review(ledger: Engine, invoice_id: str) -> ListedReview | None:
    """The same, None when the invoice is not reviewed."""
    try:
        return get_review(ledger, invoice_id)
    except NotFound:
        return None


def list_reviews(
    ledger: Engine,
    *,
    limit: int,
    reviewer: str | None = None,
    state: str | None = None,
    after: tuple[str, str] | None = None,
) -> list[ListedReview]:
    """Of drafts only, those that wait longest first. after: (waiting_since as stamped, invoice_id)."""
    columns = REVIEWS.c
    query = _listed().where(INVOICES.c.state == "draft")
    if reviewer is not None:
        query = query.where(columns.reviewer == reviewer)
    if state is not None:
        query = query.where(columns.state == state)
    if after is not None:
        same = (columns.waiting_since == after[0]) & (columns.invoice_id > after[1])
        query = query.where((columns.waiting_since > after[0]) | same)
    query = query.order_by(columns.waiting_since, columns.invoice_id).limit(limit)
    with ledger.connect() as connection:
        return [_read(row) for row in connection.execute(query)]


def listed_reviews(ledger: Engine, chosen: ColumnElement[bool], *, limit: int) -> list[ListedReview]:
    """Those that a condition on their rows chooses, whatever became of them, the longest wait first."""
    query = _listed().where(chosen).order_by(REVIEWS.c.waiting_since, REVIEWS.c.invoice_id).limit(limit)
    with ledger.connect() as connection:
        return [_read(row) for row in connection.execute(query)]


def open_reviews(connection: Connection) -> list[Review]:
    """Of all drafts it is somebody's turn to look at."""
    joined = REVIEWS.join(INVOICES, INVOICES.c.invoice_id == REVIEWS.c.invoice_id)
    query = select(REVIEWS).select_from(joined)
    query = query.where(REVIEWS.c.state == IN_REVIEW, INVOICES.c.state == "draft")
    return [_review(row) for row in connection.execute(query)]


def approved_ids(connection: Connection, *, by_itself: bool) -> Sequence[str]:
    """Ids of the drafts that are approved, in the order of their billing dates. by_itself: only those that
    the scheduler issues."""
    joined = REVIEWS.join(INVOICES, INVOICES.c.invoice_id == REVIEWS.c.invoice_id)
    query = select(REVIEWS.c.invoice_id).select_from(joined)
    query = query.where(REVIEWS.c.state == APPROVED, INVOICES.c.state == "draft")
    if by_itself:
        query = query.where(REVIEWS.c.issue_approved)
    order = (INVOICES.c.billing_date, INVOICES.c.contract_id)
    return list(connection.execute(query.order_by(*order)).scalars())


def ageing(ledger: Engine, *, now: datetime) -> list[dict[str, Any]]:
    """How many drafts wait for each reviewer, by how long; reviewers by name."""
    columns = REVIEWS.c
    joined = REVIEWS.join(INVOICES, INVOICES.c.invoice_id == columns.invoice_id)
    query = select(columns.reviewer, columns.waiting_since).select_from(joined)
    query = query.where(columns.reviewer != "", INVOICES.c.state == "draft")
    counts: dict[str, Counter[str]] = {}
    with ledger.connect() as connection:
        for reviewer, since in connection.execute(query):
            hours = (now - datetime.fromisoformat(since)) / HOUR
            age = next((name for most, name in _AGES if hours <= most), _OLDER)
            counts.setdefault(reviewer, Counter())[age] += 1
    names = [*(name for _, name in _AGES), _OLDER]
    return [
        {"reviewer": reviewer, "waiting": found.total(), **{name: found[name] for name in names}}
        for reviewer, found in sorted(counts.items())
    ]


def _listed() -> Any:
    names = ("customer_id", "contract_id", "billing_date", "currency", "total_minor")
    columns = (INVOICES.c[name] for name in names)
    joined = REVIEWS.join(INVOICES, INVOICES.c.invoice_id == REVIEWS.c.invoice_id)
    return select(REVIEWS, *columns, INVOICES.c.state.label("invoice_state")).select_from(joined)


def _read(row: Row[Any]) -> ListedReview:
    return ListedReview(
        review=_review(row),
        customer_id=row.customer_id,
        contract_id=contract_of(row.contract_id),
        billing_date=date.fromisoformat(row.billing_date),
        currency=row.currency,
        total_minor=row.total_minor,
        invoice_state=row.invoice_state,
    )


def _review(row: Row[Any]) -> Review:
    values = {name: getattr(row, name) for name in Review.__slots__}
    values |= {name: tuple(orjson.loads(values[name])) for name in _JSON}
    values |= {name: datetime.fromisoformat(values[name]) for name in _INSTANTS}
    values |= {name: bool(values[name]) for name in ("four_eyes", "issue_approved", "escalated")}
    return Review(**values)


def _nothing(invoice_id: str) -> NotFound:
    return NotFound(f"invoice {invoice_id!r} is not reviewed. `ratemill review list` shows those that are.")
