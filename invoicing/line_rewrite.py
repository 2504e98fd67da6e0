"""The rows of a draft's lines, when what they come to changes: by credit before tax, or a correction."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, update

from invoicing.credit_allowance import allowed_minor
from invoicing.invoice import Invoice
from invoicing.tables import INVOICE_LINES, LINE_ALLOWANCES
from invoicing.tax_again import inclusive_minor


def rewrite_lines(connection: Connection, before: Invoice, after: Invoice) -> None:
    """Enter what the lines of a draft come to now, and what is taken off them, in the caller's transaction.
    before: as it stands in the tables. after: with the same lines, others behind them are left alone."""
    for old, new in zip(before.lines, after.lines, strict=False):
        values = {"amount_minor": new.amount_minor, "priced_minor": inclusive_minor(new)}
        if values != {"amount_minor": old.amount_minor, "priced_minor": inclusive_minor(old)}:
            of_line = update(INVOICE_LINES).where(INVOICE_LINES.c.line_id == new.line_id)
            connection.execute(of_line.values(**values))
    if any(line.allowances for line in before.lines):
        own = LINE_ALLOWANCES.c.invoice_id == after.invoice_id
        connection.execute(delete(LINE_ALLOWANCES).where(own))
    rows = [
        {"line_id": line.line_id, "invoice_id": after.invoice_id, "amount_minor": allowed_minor(line)}
        for line in after.lines
        if line.allowances
    ]
    if rows:
        connection.execute(insert(LINE_ALLOWANCES), rows)
