"""What credit notes took back of issued documents, summed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, case, func, select

from invoicing.bulk import select_by_ids
from invoicing.credit_note_tables import CREDIT_NOTES


@dataclass(frozen=True, slots=True)
class Credited:
    """What credit notes took back of an invoice, minor units above zero: ``gross_minor`` with tax, of which
    ``returned_minor`` went to prepaid credit. voided: nothing is left of it."""

    gross_minor: int
    returned_minor: int
    voided: bool


NOTHING_CREDITED: Final = Credited(0, 0, voided=False)


def credited_of(connection: Connection, invoice_ids: Sequence[str]) -> dict[str, Credited]:
    """What was credited of each invoice of which anything was."""
    table = CREDIT_NOTES
    statement = select(
        table.c.invoice_id,
        func.sum(table.c.net_minor + table.c.tax_minor),
        func.sum(table.c.credit_minor),
        func.max(case((table.c.voids, 1), else_=0)),
    ).group_by(table.c.invoice_id)
    return {
        row[0]: Credited(-int(row[1]), -int(row[2]), voided=bool(row[3]))
        for row in select_by_ids(connection, statement, table.c.invoice_id, invoice_ids)
    }
