"""Which drafts of a billing run wait for people: what rules look at, read for many drafts at once, and the
reviews entered with the drafts.

A run hands its drafts over after their lines are on disk. Those without a reason are issued in that very run;
the others stay drafts, and nothing waits for them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import orjson
import pyarrow as pa
from sqlalchemy import Connection, Engine, select

from ingest.clickhouse import EventStore
from invoicing.audit_trail import Change, record_changes
from invoicing.bulk import insert_rows, select_by_ids
from invoicing.customer_store import load_customers
from invoicing.draft import Draft
from invoicing.price_text import used_price
from invoicing.review.flags import (
    PLAN_KINDS,
    BilledCharge,
    DraftFacts,
    EarlierBill,
    Flag,
    ReviewLine,
    reviewers_of,
    why_review,
)
from invoicing.review.rules import ReviewRules, load_review_rules, rules_for
from invoicing.review.tables import REVIEWS, stamp
from invoicing.saved_document import StoredDocument
from invoicing.tables import INVOICES
from rating.plan_version import PlanVersion
from rating.price_plan import SimplePrice, TieredPrice
from rating.steps import ADJUSTMENT_KIND, FEE_CREDIT_KIND

IN_REVIEW: Final = "in_review"
INVOICE_OBJECT: Final = "invoice"
"""What the audit trail calls what is reviewed."""
_LINE_COLUMNS: Final = (
    "charge_id",
    "charge_kind",
    "plan_id",
    "plan_version",
    "agreement",
    "dimensions",
    "quantity",
    "rated_quantity",
    "amount",
    "amount_minor",
    "discount_number",
)
_PRICES: Final = (
    "amount",
    "unit_price",
    "flat_amount",
    "package_price",
    "percent",
    "fixed_per_event",
    "minimum_per_event",
    "multiplier",
)
"""The fields of prices that say how much."""
_OF_NO_PRICE: Final = frozenset({ADJUSTMENT_KIND, FEE_CREDIT_KIND})

Rules = Mapping[str, StoredDocument[ReviewRules]]
Plans = Mapping[tuple[str, int, str], PlanVersion]


@dataclass(frozen=True, slots=True)
class NeededReview:
    """Why a draft waits, for whom, and the rules that say so."""

    flags: tuple[Flag, ...]
    reviewers: tuple[str, ...]
    rules: StoredDocument[ReviewRules]


@dataclass(frozen=True, slots=True)
class ReviewDesk:
    """What a run knows of reviews. rules: empty while nothing is reviewed, and then nothing is read."""

    rules: Rules
    event_store: EventStore
    ledger: Engine


def open_review_desk(event_store: EventStore, ledger: Engine) -> ReviewDesk:
    """With the rules in force now."""
    with ledger.connect() as connection:
        return ReviewDesk(load_review_rules(connection), event_store, ledger)


def needed_reviews(
    desk: ReviewDesk,
    drafts: Sequence[Draft],
    lines: pa.Table,
    plan_versions: Sequence[PlanVersion],
    *,
    issue: bool,
) -> dict[str, NeededReview]:
    """By invoice id, the drafts that wait.

    lines: RATED_LINE_SCHEMA, those of the drafts in their order and on disk. plan_versions: that they name.
    issue: whether drafts that do not wait are issued now.
    """
    ruled = [rules_for(desk.rules, draft.entity_id) for draft in drafts]
    if not any(one is not None and one.document.policy != "none" for one in ruled):
        return {}
    columns = {name: lines[name].to_pylist() for name in _LINE_COLUMNS}
    plans = {(one.plan.plan_id, one.version, one.agreement): one for one in plan_versions}
    earlier, unissued = _earlier(desk, drafts), _unissued(desk, drafts)
    owners = _owners(desk, drafts)
    needed: dict[str, NeededReview] = {}
    start = 0
    for draft, rules in zip(drafts, ruled, strict=True):
        stop = start + len(draft.line_ids)
        if rules is not None:
            rows = (
                dict(zip(columns, row, strict=True))
                for row in zip(*(c[start:stop] for c in columns.values()), strict=True)
            )
            found = [_line(line_id, row, plans) for line_id, row in zip(draft.line_ids, rows, strict=True)]
            bills = _before(earlier.get(draft.owner, {}), draft, unissued)
            owner = owners.get(draft.customer_id, "")
            facts = DraftFacts(draft.currency, draft.total_minor, owner, found, bills)
            flags = why_review(rules.document, facts)
            if flags:
                needed[draft.invoice_id] = NeededReview(flags, reviewers_of(rules.document, facts), rules)
        if draft.invoice_id in needed or not issue:
            unissued.add((draft.owner, draft.billing_date))
        start = stop
    return needed


def enter_reviews(
    connection: Connection,
    drafts: Sequence[Draft],
    needed: Mapping[str, NeededReview],
    *,
    actor: str,
    reason: str,
    now: datetime,
) -> None:
    """Enter the reviews of drafts in the transaction that writes them, with an audit entry each."""
    rows, changes, at = [], list[Change](), stamp(now)
    for draft in drafts:
        review = needed[draft.invoice_id]
        rules, reviewer = review.rules.document, review.reviewers[0]
        rows.append(
            (
                draft.invoice_id,
                IN_REVIEW,
                reviewer,
                0,
                orjson.dumps(review.reviewers).decode(),
                orjson.dumps([flag.to_dict() for flag in review.flags]).decode(),
                orjson.dumps([actor]).decode(),
                rules.four_eyes,
                rules.issue_approved,
                rules.escalate_after_hours,
                rules.escalate_to,
                False,
                0,
                rules.rules_id,
                review.rules.version,
                at,
                at,
                at,
            )
        )
        after = {
            "state": IN_REVIEW,
            "reviewer": reviewer,
            "flags": [flag.reason_code for flag in review.flags],
        }
        changes.append(
            Change(actor, "submitted", INVOICE_OBJECT, draft.invoice_id, {"state": "draft"}, after, reason)
        )
    insert_rows(connection, REVIEWS, rows)
    record_changes(connection, changes, now=now)


def _line(line_id: str, row: Mapping[str, Any], plans: Plans) -> ReviewLine:
    return ReviewLine(
        line_id=line_id,
        charge_id=row["charge_id"],
        charge_kind=row["charge_kind"],
        plan_id=row["plan_id"],
        quantity=row["quantity"],
        amount_minor=row["amount_minor"],
        unpriced=_is_unpriced(row, plans),
    )


def _is_unpriced(row: Mapping[str, Any], plans: Plans) -> bool:
    """Free units, a free first tier and a discount of everything are prices; a price list of zeros is
    none."""
    if (
        row["rated_quantity"] <= 0
        or row["amount"]
        or row["discount_number"]
        or row["charge_kind"] in _OF_NO_PRICE
    ):
        return False
    version = plans[row["plan_id"], row["plan_version"], row["agreement"]]
    charge = next((one for one in version.plan.charges if one.charge_id == row["charge_id"]), None)
    price = None if charge is None else used_price(charge, dict(row["dimensions"]))
    return price is not None and not _says_more_than_zero(price)


def _says_more_than_zero(price: SimplePrice) -> bool:
    entries = price.tiers if isinstance(price, TieredPrice) else (price,)
    return any(getattr(entry, name, None) for entry in entries for name in _PRICES)


def _earlier(desk: ReviewDesk, drafts: Sequence[Draft]) -> dict[str, dict[date, dict[str, BilledCharge]]]:
    """What was billed by contract, billing date and charge: of each charge the last dates that rules ask
    for."""
    asking = [one.document for one in desk.rules.values() if one.document.policy == "exception"]
    if not asking:
        return {}
    dates = Counter(draft.owner for draft in drafts)
    answer = desk.event_store.query(
        "SELECT contract_id, billing_date, charge_id, max(charge_kind) AS kind, sum(quantity) AS units, "
        "sum(amount_minor) AS amount FROM rated_lines FINAL "
        "WHERE contract_id IN (SELECT arrayJoin({ids:Array(String)})) "
        "AND charge_kind IN (SELECT arrayJoin({kinds:Array(String)})) "
        "GROUP BY contract_id, billing_date, charge_id "
        "ORDER BY contract_id, charge_id, billing_date DESC LIMIT {dates:UInt32} BY contract_id, charge_id",
        {
            "ids": list(dates),
            "kinds": sorted(PLAN_KINDS),
            "dates": max(rules.trailing_dates for rules in asking) + max(dates.values()),
        },
    )
    found: dict[str, dict[date, dict[str, BilledCharge]]] = defaultdict(lambda: defaultdict(dict))
    for row in answer.to_pylist():
        charge = BilledCharge(row["kind"], Decimal(row["units"]), int(row["amount"]))
        found[row["contract_id"]][row["billing_date"]][row["charge_id"]] = charge
    return found


def _before(
    billed: Mapping[date, Mapping[str, BilledCharge]], draft: Draft, unissued: set[tuple[str, date]]
) -> list[EarlierBill]:
    return [
        EarlierBill(day, (draft.owner, day) not in unissued, billed[day])
        for day in sorted(billed)
        if day < draft.billing_date
    ]


def _unissued(desk: ReviewDesk, drafts: Sequence[Draft]) -> set[tuple[str, date]]:
    """Drafts of the same contracts that have not left the house."""
    columns = INVOICES.c
    statement = select(columns.contract_id, columns.billing_date).where(columns.state == "draft")
    owners = sorted({draft.owner for draft in drafts})
    with desk.ledger.connect() as connection:
        rows = select_by_ids(connection, statement, columns.contract_id, owners)
        return {(row[0], date.fromisoformat(row[1])) for row in rows}


def _owners(desk: ReviewDesk, drafts: Sequence[Draft]) -> dict[str, str]:
    """Who looks after each customer; read only where a route asks for it."""
    if not any(route.account_owners for one in desk.rules.values() for route in one.document.routes):
        return {}
    with desk.ledger.connect() as connection:
        customers = load_customers(connection, sorted({draft.customer_id for draft in drafts}))
    return {key: customer.account_owner for key, customer in customers.items()}
