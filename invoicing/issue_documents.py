"""The one way a document leaves the house and reaches the books: register, journal, money on account."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from invoicing.customer_credit import apply_customer_credit
from invoicing.journal_store import lock_journal
from invoicing.number import DrawnNumbers
from invoicing.posting_store import post_documents
from invoicing.register import IssuedDocument, Issuer, enter_issued


def issue_documents(
    connection: Connection, drawn: DrawnNumbers, documents: Sequence[IssuedDocument], issuer: Issuer
) -> None:
    """Enter documents in the register, post them, and let money on account pay them where the customer's
    settings say so; in the transaction of ``draw_for``, after the credit they draw and sell is entered.

    The journal is taken before the audit trail, as everywhere: two that waited for each other never end.
    """
    lock_journal(connection)
    enter_issued(connection, drawn, documents, issuer)
    post_documents(connection, documents, now=issuer.now)
    apply_customer_credit(connection, documents, now=issuer.now)
