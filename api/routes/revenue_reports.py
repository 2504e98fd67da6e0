"""Reports out of the journal: revenue, and what is outstanding; and invoice lines as columns."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date
from itertools import chain, islice
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.routes.event_lists import instant
from api.routes.journal import KnownAt, OnDay
from api.routing import State, declared
from api.table_answer import ROWS_IN_JSON_MAX, TABLE_MEDIA_WITH_PARQUET, is_table, table_answer
from invoicing.line_export import INVOICE_LINE_SCHEMA, invoice_line_tables
from invoicing.outstanding import OUTSTANDING_SCHEMA, outstanding, outstanding_table
from invoicing.revenue import REVENUE_SCHEMA, By, Group, RevenueQuestion
from invoicing.revenue_answer import answer_revenue

router = APIRouter()

_ROW: Final[dict[str, Any]] = {
    "period": "2013-01",
    "key": "united",
    "currency": "USD",
    "recognised_minor": 2500,
    "billed_minor": 2500,
    "tax_minor": 0,
    "collected_minor": 0,
    "collected_net_minor": 0,
    "written_off_minor": 0,
    "unbilled_minor": 0,
    "deferred_minor": 0,
    "prepaid_credit_minor": 0,
    "suspense_minor": 0,
    "receivable_minor": 2500,
}
_OUTSTANDING: Final[dict[str, Any]] = {
    "as_of": "2013-03-31",
    "known_at": None,
    "totals": [
        {
            "currency": "USD",
            "documents": 1,
            "open_minor": 2500,
            "overdue_minor": 2500,
            "unapplied_minor": 0,
            "written_off_minor": 0,
        }
    ],
    "items": [
        {
            "document_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
            "number": "INV-2013-000001",
            "customer_id": "united",
            "contract_id": "united-2013",
            "currency": "USD",
            "issue_date": "2013-02-01",
            "due_date": "2013-03-03",
            "open_minor": 2500,
            "overdue_days": 28,
            "instalment": None,
        }
    ],
    "left_off": 0,
}
_LINE: Final[dict[str, Any]] = {
    "document_id": "3f2a9c0d5b7e41c8a6d2f09b1e4c7a85",
    "number": "INV-2013-000001",
    "customer_id": "united",
    "contract_id": "united-2013",
    "issue_date": "2013-02-01",
    "position": 1,
    "line_id": "7c9e6679f7f1b5a4a1d90b31e6b0a9d2",
    "charge_id": "landings",
    "charge_kind": "usage",
    "description": "Landings",
    "plan_id": "airport-2013",
    "plan_version": 1,
    "meter_id": "landings",
    "dimensions": "",
    "period_start": "2013-01-01",
    "period_end": "2013-02-01",
    "quantity": "2",
    "unit": "landing",
    "event_count": 2,
    "currency": "USD",
    "amount_minor": 2500,
}


@router.get(
    "/v1/reports/revenue",
    **declared(
        "report_revenue",
        "read",
        summary="Recognised, billed, collected",
        tag="journal",
        example={
            "as_of": "2013-12-31",
            "known_at": None,
            "by": "month",
            "group": "customer",
            "items": [_ROW],
        },
        problems=(422,),
        media=TABLE_MEDIA_WITH_PARQUET,
    ),
)
def report_revenue(
    state: State,
    request: Request,
    by: By = "month",
    group: Group = "customer",
    as_of: OnDay = None,
    known_at: KnownAt = None,
    date_from: Annotated[date | None, Query(description="The first day shown.")] = None,
    customer_id: str | None = None,
) -> Response:
    """Flows of each period (`recognised`, `billed` net of tax and drawn credit, its `tax`, `collected`)
    and balances at its end. In every row, recognised - billed is the change of unbilled - deferred -
    prepaid credit + suspense, and billed + tax - collected that of receivable. By day, revenue is on the
    days it was earned on. By product, nothing is collected: money pays documents. JSON, CSV, Arrow or
    Parquet by `Accept`."""
    day = as_of or state.clock.now().astimezone(UTC).date()
    known = instant(known_at, "known_at")
    question = RevenueQuestion(by, group, day, known, date_from, customer_id)
    found = answer_revenue(state.journal_mirror, question)
    first = list(islice(found, 1))  # what is wrong with the books is said before an answer begins
    return table_answer(
        request.headers.get("accept", ""),
        tables=chain(first, found),
        schema=REVENUE_SCHEMA,
        summary=lambda: {"as_of": day, "known_at": known, "by": by, "group": group},
    )


@router.get(
    "/v1/reports/outstanding",
    **declared(
        "report_outstanding",
        "read",
        summary="What is owed",
        tag="journal",
        example=_OUTSTANDING,
        problems=(422,),
        media=TABLE_MEDIA_WITH_PARQUET,
    ),
)
def report_outstanding(
    state: State,
    request: Request,
    as_of: OnDay = None,
    known_at: KnownAt = None,
    customer_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=ROWS_IN_JSON_MAX, description="Documents listed.")] = 1000,
) -> Response:
    """Open documents by due date, and totals by currency that are the balance of receivable on that day.
    `unapplied_minor` is money on account: shown apart and not taken off. Totals are of all documents;
    `left_off` says how many more there are than are listed. By `Accept`, CSV, Arrow and Parquet have all."""
    day = as_of or state.clock.now().astimezone(UTC).date()
    known = instant(known_at, "known_at")
    found = outstanding(state.ledger, as_of=day, known_at=known, customer_id=customer_id)
    rows = outstanding_table(found)
    accept = request.headers.get("accept", "")
    listed = rows if is_table(accept) else rows.slice(0, limit)
    return table_answer(
        accept,
        tables=[listed],
        schema=OUTSTANDING_SCHEMA,
        row_count=listed.num_rows,
        summary=lambda: {
            "as_of": day,
            "known_at": known,
            "totals": [asdict(total) for total in found.totals],
            "left_off": rows.num_rows - listed.num_rows,
        },
    )


@router.get(
    "/v1/reports/invoice-lines",
    **declared(
        "export_invoice_lines",
        "read",
        summary="Lines of issued invoices as columns",
        tag="journal",
        example={"items": [_LINE]},
        problems=(422,),
        media=TABLE_MEDIA_WITH_PARQUET,
    ),
)
def export_invoice_lines(
    state: State,
    request: Request,
    issued_from: Annotated[date | None, Query(description="Issued on or after that day.")] = None,
    issued_to: Annotated[date | None, Query(description="Issued before that day.")] = None,
) -> Response:
    """One row a line, in the order of invoice numbers: JSON, CSV, Arrow or Parquet by `Accept`."""
    tables = list(invoice_line_tables(state.ledger, issued_from=issued_from, issued_to=issued_to))
    return table_answer(
        request.headers.get("accept", ""),
        tables=tables,
        schema=INVOICE_LINE_SCHEMA,
        row_count=sum(table.num_rows for table in tables),
        summary=dict,
    )
