"""Documents put straight into the register and the journal, without a billing run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Engine

from ingest.ledger import ledger_transaction
from invoicing.customer_credit import apply_customer_credit
from invoicing.customer_store import save_customer
from invoicing.journal_store import JournalFilter, trial_balance
from invoicing.number import draw_numbers, number_text
from invoicing.payment_store import record_payment
from invoicing.posting_store import post_documents
from invoicing.register import IssuedDocument, register_documents
from invoicing.tables import INVOICES
from tests.invoicing.world import LONG_AGO

D = date.fromisoformat
SERIES = "INV-2026"


def _kept(document: IssuedDocument) -> dict[str, Any]:
    """The row that keeps a document's text, whatever its kind."""
    return {
        "invoice_id": document.document_id,
        "contract_id": f"{document.contract_id}/{document.document_id}",
        "customer_id": document.customer_id,
        "billing_date": document.issue_date.isoformat(),
        "state": "issued",
        "currency": document.currency,
        "total_minor": document.net_minor,
        "document": document.text,
        "document_hash": document.document_hash,
        "run_id": "books",
    }


@dataclass(slots=True)
class Books:
    """A ledger with the customers acme and other; ``now`` is when the next thing becomes known."""

    ledger: Engine
    now: datetime
    made: int = field(default=0)

    def __post_init__(self) -> None:
        for customer in ("acme", "other"):
            save_customer(self.ledger, {"customer_id": customer, "name": customer.title()}, now=LONG_AGO)

    def issue(
        self,
        net: int,
        tax: int = 0,
        *,
        issued: str = "2026-02-01",
        customer: str = "acme",
        currency: str = "EUR",
        refers_to: str | None = None,
        service: tuple[str, str] = ("2026-01-01", "2026-02-01"),
    ) -> str:
        """The printed number of a document with one line of usage; a credit note when it refers to one."""
        self.made += 1
        document_id = f"{self.made:032x}"
        line = {
            "line_id": f"{self.made:032x}",
            "charge_id": "calls",
            "charge_kind": "usage",
            "period_start": service[0],
            "period_end": service[1],
            "amount_minor": net,
        }
        with ledger_transaction(self.ledger) as connection:
            number = draw_numbers(connection, series=SERIES, count=1)
            document = IssuedDocument(
                document_id=document_id,
                kind="invoice" if refers_to is None else "credit_note",
                entity_id=None,
                number=number,
                customer_id=customer,
                contract_id=f"{customer}-1",
                currency=currency,
                issue_date=D(issued),
                due_date=D(issued) + timedelta(days=30),
                net_minor=net,
                tax_minor=tax,
                credit_minor=0,
                refers_to=refers_to,
                document_hash="",
                text=orjson.dumps({"lines": [line]}).decode(),
            )
            register_documents(connection, [document], series=SERIES, issued_at=self.now.isoformat())
            connection.execute(INVOICES.insert().values(**_kept(document)))
            post_documents(connection, [document], now=self.now)
            apply_customer_credit(connection, [document], now=self.now)
        return number_text(series=SERIES, number=number)

    def pay(self, amount: str, text: str = "", *, on: str = "2026-02-10", **more: Any) -> str:
        """The id of a payment of acme's."""
        document = {
            "currency": "EUR",
            "customer_id": "acme",
            "amount": amount,
            "value_date": on,
            "text": text,
            **more,
        }
        return record_payment(self.ledger, document, actor="anna", now=self.now)[0]

    def balances(self, **chosen: Any) -> dict[str, int]:
        """By account, those that are not zero."""
        rows = trial_balance(self.ledger, chosen=JournalFilter(**chosen))
        return {row.account: row.balance_minor for row in rows if row.balance_minor}
