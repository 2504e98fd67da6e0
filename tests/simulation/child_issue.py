"""A process that issues drafts and may be killed: ``python -m tests.simulation.child_issue LEDGER_URL SEED``.

It takes the drafts of a prepared ledger in an order of its own, so that several of these processes reach for
the same drafts and always for the same numbers, and prints each number once its transaction has ended.
"""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from random import Random

from sqlalchemy import Engine, select

from ingest.errors import Conflict
from ingest.ledger import ledger_transaction, open_ledger
from invoicing.bulk import insert_rows
from invoicing.invoice import Invoice, invoice_hash, invoice_text
from invoicing.issue import issue_invoice
from invoicing.tables import INVOICE_LINES, INVOICES
from tests.invoicing.credit_case import invoice, line

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)


def main(ledger_url: str, seed: str) -> None:
    """Issue what is still a draft, until nothing is."""
    ledger = open_ledger(ledger_url)
    random = Random(int(seed))
    while drafts := _drafts(ledger):
        random.shuffle(drafts)
        for invoice_id in drafts[:50]:
            try:
                issued = issue_invoice(
                    ledger, invoice_id=invoice_id, now=NOW, series_prefix="INV", actor=seed
                )
            except Conflict:
                continue  # another process was faster
            sys.stdout.write(f'{{"number": "{issued.invoice.number}", "invoice_id": "{invoice_id}"}}\n')
            sys.stdout.flush()
    sys.stdout.write('{"done": true}\n')


def prepare(ledger: Engine, count: int) -> None:
    """That many drafts, of one line each."""
    drafts = [_draft(number) for number in range(count)]
    with ledger_transaction(ledger) as connection:
        insert_rows(connection, INVOICES, map(_row, drafts))
        lines = (
            (draft.invoice_id, 1, draft.lines[0].line_id, draft.lines[0].charge_id, draft.total_minor, None)
            for draft in drafts
        )
        insert_rows(connection, INVOICE_LINES, lines)


def _drafts(ledger: Engine) -> list[str]:
    with ledger.connect() as connection:
        waiting = select(INVOICES.c.invoice_id).where(INVOICES.c.state == "draft")
        return sorted(connection.execute(waiting).scalars())


def _draft(number: int) -> Invoice:
    billed = line(100 + number, line_id=f"line-{number}")
    contract = {"contract_id": f"c{number}", "time_zone": "UTC"}
    return invoice(billed, invoice_id=f"i{number}", contract=contract, billing_date=date(2026, 2, 1))


def _row(draft: Invoice) -> tuple[object, ...]:
    text = invoice_text(draft)
    return (
        draft.invoice_id,
        draft.contract["contract_id"],
        "acme",
        draft.billing_date.isoformat(),
        "draft",
        *(None, None, None, None),
        draft.currency,
        draft.total_minor,
        text,
        invoice_hash(text),
        "prepared",
        *(0, 0, None),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
