"""The ledger tables of billable items, as migration 0170 creates them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

BILLABLE_ITEMS: Final = sa.Table(
    "billable_items",
    LEDGER,
    sa.Column("item_id", sa.String(32), primary_key=True),
    sa.Column("source_system", sa.String(128), nullable=False),
    sa.Column("external_id", sa.String(256), nullable=False),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("customer_id", sa.String(128), nullable=True),
    sa.Column("contract_id", sa.String(128), nullable=True),
    sa.Column("project", sa.String(256), nullable=False),
    sa.Column("item_date", sa.String(10), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("line_id", sa.String(32), nullable=True, index=True),
    sa.Column("invoice_id", sa.String(64), nullable=True),
    sa.Column("item_invoice_id", sa.String(32), nullable=True, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("updated_at", sa.String(32), nullable=False),
    sa.UniqueConstraint("source_system", "external_id", name="one_item_per_external_id"),
    sa.Index("ix_billable_items_contract", "state", "contract_id"),
    sa.Index("ix_billable_items_customer", "state", "customer_id"),
)
"""One row an item. state: of ``invoicing/billable_item.py``. line_id, invoice_id: set in the transaction that
writes the invoice, and never again: so an item is on one invoice. item_invoice_id: the invoice of its own
that it waits for; while it is set, no other takes it. reason: why it is closed or cancelled."""

BILLABLE_ITEM_CONFLICTS: Final = sa.Table(
    "billable_item_conflicts",
    LEDGER,
    sa.Column("item_id", sa.String(32), primary_key=True),
    sa.Column("document_hash", sa.String(64), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("received_at", sa.String(32), nullable=False),
)
"""Other bodies that came under the id of an item on record; what is on record stays in force."""

ITEM_INVOICES: Final = sa.Table(
    "item_invoices",
    LEDGER,
    sa.Column("item_invoice_id", sa.String(32), primary_key=True),
    sa.Column("contract_id", sa.String(128), nullable=False, index=True),
    sa.Column("invoice_on", sa.String(10), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("as_draft", sa.Boolean, nullable=False),
    sa.Column("invoice_id", sa.String(64), nullable=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("updated_at", sa.String(32), nullable=False),
)
"""Invoices for items outside the billing dates. state: scheduled, invoiced or cancelled (with a reason).
invoice_on: the contract's local day from which it is due."""
