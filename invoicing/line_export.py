"""Invoice lines as columns, for analysts: what was billed, of whom, for which product and which days.
Read only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, Final

import orjson
import pyarrow as pa
from sqlalchemy import Engine, select

from invoicing.number import number_text
from invoicing.tables import INVOICES, ISSUED_DOCUMENTS

INVOICES_PER_BLOCK: Final = 2_000
INVOICE_LINE_SCHEMA: Final = pa.schema(
    [
        ("document_id", pa.string()),
        ("number", pa.string()),
        ("customer_id", pa.string()),
        ("contract_id", pa.string()),
        ("issue_date", pa.date32()),
        ("position", pa.int32()),
        ("line_id", pa.string()),
        ("charge_id", pa.string()),
        ("charge_kind", pa.string()),
        ("description", pa.string()),
        ("plan_id", pa.string()),
        ("plan_version", pa.int32()),
        ("meter_id", pa.string()),
        ("dimensions", pa.string()),
        ("period_start", pa.date32()),
        ("period_end", pa.date32()),
        ("quantity", pa.decimal128(38, 12)),
        ("unit", pa.string()),
        ("event_count", pa.int64()),
        ("currency", pa.string()),
        ("amount_minor", pa.int64()),
    ]
)
"""One row a line of an issued invoice. dimensions: ``region=eu class=gold``. The period is half-open."""


def invoice_line_tables(
    ledger: Engine, *, issued_from: date | None = None, issued_to: date | None = None
) -> Iterator[pa.Table]:
    """The lines of invoices issued from ``issued_from`` and before ``issued_to``, in the order of the
    register, block by block."""
    register = ISSUED_DOCUMENTS.c
    conditions = [] if issued_from is None else [register.issue_date >= issued_from.isoformat()]
    if issued_to is not None:
        conditions.append(register.issue_date < issued_to.isoformat())
    statement = (
        select(ISSUED_DOCUMENTS, INVOICES.c.document)
        .select_from(ISSUED_DOCUMENTS.join(INVOICES, INVOICES.c.invoice_id == register.document_id))
        .where(*conditions)
        .order_by(register.series, register.number)
    )
    with ledger.connect() as connection:
        for rows in (
            connection.execution_options(yield_per=INVOICES_PER_BLOCK).execute(statement).partitions()
        ):
            lines = [line for row in rows for line in _lines(row)]
            yield pa.Table.from_pylist(lines, schema=INVOICE_LINE_SCHEMA)


def _lines(row: Any) -> Iterator[dict[str, Any]]:
    for position, line in enumerate(orjson.loads(row.document)["lines"], 1):
        yield {
            "document_id": row.document_id,
            "number": number_text(series=row.series, number=row.number),
            "customer_id": row.customer_id,
            "contract_id": row.contract_id,
            "issue_date": date.fromisoformat(row.issue_date),
            "position": position,
            "dimensions": " ".join(f"{key}={value}" for key, value in line["dimensions"].items()),
            "period_start": date.fromisoformat(line["period_start"]),
            "period_end": date.fromisoformat(line["period_end"]),
            "quantity": Decimal(line["quantity"]),
            "currency": row.currency,
            **{name: line[name] for name in _COPIED},
        }


_COPIED: Final = (
    "line_id",
    "charge_id",
    "charge_kind",
    "description",
    "plan_id",
    "plan_version",
    "meter_id",
    "unit",
    "event_count",
    "amount_minor",
)
