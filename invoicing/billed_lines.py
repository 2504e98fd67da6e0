"""Invoice lines as they stand today: as billed, with all adjustments that were made of them since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import polars as pl
from sqlalchemy import Connection, func, select

from ingest.clickhouse import EventStore
from ingest.errors import BrokenState
from invoicing.billable_tables import BILLABLE_ITEMS
from invoicing.bulk import select_by_ids
from invoicing.history import BillingDates
from invoicing.review.tables import REVIEW_CORRECTIONS
from invoicing.tables import INVOICE_LINES, INVOICES, LINE_ADJUSTMENTS, LINE_ALLOWANCES
from rating.store import line_to_python, read_rated_lines

_ALLOWED: Final = func.coalesce(LINE_ALLOWANCES.c.amount_minor, 0)
_CHARGED: Final = func.coalesce(INVOICE_LINES.c.priced_minor, INVOICE_LINES.c.amount_minor)
_IS_ALLOWED: Final = LINE_ALLOWANCES.c.line_id == INVOICE_LINES.c.line_id
_COLUMNS: Final = {
    "contract_id": pl.String,
    "billing_date": pl.String,
    "line_id": pl.String,
    "charged_minor": pl.Int64,
    "allowed_minor": pl.Int64,
    "adjusted_by": pl.String,
    "charge_kind": pl.String,
    "order": pl.String,
}


def load_billed_lines(connection: Connection, ids: Sequence[str], dates: BillingDates) -> pl.DataFrame:
    """One row a line of the billing dates of some contracts: contract_id, billing_date, line_id (bytes),
    charged_minor, allowed_minor.

    charged_minor: as billed and all adjustments since, on whatever invoices, after credit that was taken off
    before tax; allowed_minor: that credit. Both in the terms the line is priced in, together as it was rated.
    adjusted_by: the last adjustment (bytes), charge_kind: what the line was before; null for a line that was
    never adjusted. A line that was not billed on its date and was adjusted later has a row, an adjustment
    itself has none.
    """
    rows = [*_as_billed(connection, ids, dates), *_adjustments(connection, ids, dates)]
    frame = pl.DataFrame(rows, schema=_COLUMNS, orient="row").sort("order")
    lines = frame.group_by("contract_id", "billing_date", "line_id", maintain_order=True).agg(
        pl.col("charged_minor", "allowed_minor").sum(),
        pl.col("adjusted_by").last(),
        pl.col("charge_kind").last(),
    )
    return lines.with_columns(
        pl.col("billing_date").str.to_date("%Y-%m-%d"),
        pl.col("line_id").str.decode("hex"),
        pl.col("adjusted_by").str.decode("hex"),
    )


def load_lines_billed(connection: Connection, line_ids: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Of some billed lines, each itself and every adjustment of it: (line_id, the id of that one, what it
    came to net, in minor units). Ids in hex."""
    line_id, adjusts = INVOICE_LINES.c.line_id, LINE_ADJUSTMENTS.c.adjusted_line_id
    own = select(line_id, line_id, INVOICE_LINES.c.amount_minor)
    adjusting = select(adjusts, line_id, INVOICE_LINES.c.amount_minor).join(
        LINE_ADJUSTMENTS, LINE_ADJUSTMENTS.c.line_id == line_id
    )
    for statement, key in ((own, line_id), (adjusting, adjusts)):
        for row in select_by_ids(connection, statement, key, line_ids):
            yield row[0], row[1], int(row[2])


def billed_again_as(store: EventStore, billed: Iterable[Mapping[str, Any]]) -> dict[bytes, dict[str, Any]]:
    """The rated lines of rows of ``load_billed_lines``, by line_id, as Python values; of an adjusted one the
    last adjustment of it, under the name of the line it adjusts. Raises BrokenState for one that is missing.
    """
    rows = list(billed)
    wanted = [row["adjusted_by"] or row["line_id"] for row in rows]
    found = read_rated_lines(store, line_ids=wanted)
    lines = {line["line_id"]: line for line in (line_to_python(found, row) for row in range(found.num_rows))}
    missing = next((key for key in wanted if key not in lines), None)
    if missing is not None:
        raise BrokenState(
            f"invoice line {missing.hex()} has no rated line in the event store; restore both stores of one "
            "moment."
        )
    return {row["line_id"]: _named(lines[key], row) for key, row in zip(wanted, rows, strict=True)}


def _named(line: dict[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    if row["adjusted_by"] is None:
        return line
    # The adjustment of an ended contract stands under the key of its bill.
    return {**line, **{name: row[name] for name in ("contract_id", "line_id", "billing_date", "charge_kind")}}


def _as_billed(connection: Connection, ids: Sequence[str], dates: BillingDates) -> Iterable[tuple[Any, ...]]:
    of_items = select(BILLABLE_ITEMS.c.line_id)
    statement = (
        select(
            INVOICES.c.contract_id,
            INVOICES.c.billing_date,
            INVOICE_LINES.c.line_id,
            _CHARGED,
            _ALLOWED,
        )
        .join(INVOICE_LINES, INVOICE_LINES.c.invoice_id == INVOICES.c.invoice_id)
        .outerjoin(LINE_ALLOWANCES, _IS_ALLOWED)
        .where(
            INVOICES.c.billing_date >= dates.first.isoformat(),
            INVOICES.c.billing_date < dates.end.isoformat(),
            INVOICE_LINES.c.line_id.not_in(select(LINE_ADJUSTMENTS.c.line_id)),
            # What reviewers changed stands, whatever the usage turns out to be.
            INVOICE_LINES.c.line_id.not_in(select(REVIEW_CORRECTIONS.c.line_id)),
            # What items came to does not come of usage, and late usage changes none of it.
            INVOICE_LINES.c.line_id.not_in(of_items.where(of_items.selected_columns.line_id.is_not(None))),
        )
    )
    for row in select_by_ids(connection, statement, INVOICES.c.contract_id, ids):
        yield (*row, None, None, "")


def _adjustments(
    connection: Connection, ids: Sequence[str], dates: BillingDates
) -> Iterable[tuple[Any, ...]]:
    table = LINE_ADJUSTMENTS
    statement = (
        select(
            table.c.contract_id,
            table.c.billing_date,
            table.c.adjusted_line_id,
            _CHARGED,
            _ALLOWED,
            table.c.line_id,
            table.c.charge_kind,
            INVOICES.c.billing_date,
            INVOICE_LINES.c.position,
        )
        .join(INVOICE_LINES, INVOICE_LINES.c.line_id == table.c.line_id)
        .join(INVOICES, INVOICES.c.invoice_id == INVOICE_LINES.c.invoice_id)
        .outerjoin(LINE_ALLOWANCES, _IS_ALLOWED)
        .where(table.c.billing_date >= dates.first.isoformat(), table.c.billing_date < dates.end.isoformat())
    )
    for row in select_by_ids(connection, statement, table.c.contract_id, ids):
        *named, day, position = row
        yield *named, f"{day} {position:06d}"
