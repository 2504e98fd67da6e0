"""Draws credit for invoices: in the transaction that issues them, or on paper for drafts and previews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import orjson
from sqlalchemy import Connection

from invoicing.credit import CreditEntry, StoredGrant
from invoicing.credit_draw import draw_credit, drawn_entries
from invoicing.credit_store import lock_grants, open_grants, write_entries
from invoicing.draft import Draft
from invoicing.invoice import Invoice, InvoiceCredit, credit_document, parse_invoice


@dataclass(slots=True)
class CreditAccounts:
    """The open grants of some customers, and what is left of each as invoices draw on them in turn."""

    grants: Mapping[str, Sequence[StoredGrant]]
    remaining: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for stored in (stored for grants in self.grants.values() for stored in grants):
            self.remaining[stored.grant.grant_id] = stored.remaining_minor

    def draw(
        self, invoice: Invoice, *, customer_id: str, entry_date: date
    ) -> tuple[Invoice, list[CreditEntry]]:
        """The invoice with what it draws, and the entries for it; both stay on paper here."""
        invoice = replace(invoice, drawn_credit=())
        grants = self.grants.get(customer_id, ())
        draws = draw_credit(invoice, grants, remaining=self.remaining)
        if not draws:
            return invoice, []
        entries = drawn_entries(
            draws, remaining=self.remaining, invoice_id=invoice.invoice_id, entry_date=entry_date
        )
        credit = []
        for draw in draws:
            grant = draw.grant.grant
            self.remaining[grant.grant_id] -= draw.amount_minor
            left = self.remaining[grant.grant_id]
            credit.append(InvoiceCredit(grant.grant_id, grant.name, grant.kind, draw.amount_minor, left))
        return replace(invoice, drawn_credit=tuple(credit)), entries


def load_accounts(connection: Connection, customer_ids: Sequence[str]) -> CreditAccounts:
    """The customers' credit as it is now, to show what would be drawn."""
    return CreditAccounts(open_grants(connection, customer_ids))


def lock_accounts(connection: Connection, customer_ids: Sequence[str]) -> CreditAccounts:
    """The customers' credit, theirs alone to this transaction until it ends."""
    return CreditAccounts(lock_grants(connection, customer_ids))


def draw_for_drafts(
    connection: Connection, drafts: Sequence[Draft], *, issue_date: date | None, now: datetime
) -> list[Draft]:
    """The drafts with the credit they draw, one after the other. Issued ones enter it in the caller's
    transaction; without an issue date each shows what it would draw if it were issued next."""
    ids = [draft.customer_id for draft in drafts]
    if issue_date is None:
        held = load_accounts(connection, ids).grants
        return [_with_credit(draft, CreditAccounts(held), draft.billing_date)[0] for draft in drafts]
    accounts = lock_accounts(connection, ids)
    if not accounts.grants:
        return list(drafts)
    drawn = [_with_credit(draft, accounts, issue_date) for draft in drafts]
    write_entries(connection, [entry for _, entries in drawn for entry in entries], now=now)
    return [draft for draft, _ in drawn]


def _with_credit(draft: Draft, accounts: CreditAccounts, entry_date: date) -> tuple[Draft, list[CreditEntry]]:
    if draft.customer_id not in accounts.grants:
        return draft, []
    plain = parse_invoice(draft.text(number=None, issue_date=None))
    invoice, entries = accounts.draw(plain, customer_id=draft.customer_id, entry_date=entry_date)
    if not entries:
        return draft, []
    text = orjson.dumps(credit_document(invoice), option=orjson.OPT_SORT_KEYS).decode()
    return replace(draft, credit=text, credit_minor=invoice.credit_minor), entries
