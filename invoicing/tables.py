"""The ledger tables of this room, as migration 0001 creates them.

Timestamps are ISO 8601 text in UTC, dates are ISO text (``2026-02-01``), both sort as they read.
Amounts are whole minor units of the invoice's currency.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

CUSTOMERS: Final = sa.Table(
    "customers",
    LEDGER,
    sa.Column("customer_id", sa.String(128), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("updated_at", sa.String(32), nullable=False),
)

BILLING_RUNS: Final = sa.Table(
    "billing_runs",
    LEDGER,
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("as_of", sa.String(10), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("started_at", sa.String(32), nullable=False),
    sa.Column("finished_at", sa.String(32), nullable=True),
    sa.Column("report", sa.Text, nullable=True),
)
"""``state``: running, finished, interrupted (the process died), failed (an error stopped it)."""

BESIDE: Final = "/"
"""What stands behind a contract's id in the key of an invoice beside those of its billing dates; in no id."""


def contract_of(owner: str) -> str:
    """The contract of an invoice's or a rated line's key."""
    return owner.partition(BESIDE)[0]


TOP_UP_SUFFIX: Final = "/top-up"
"""Invoices for topped up credit stand beside those of the billing dates: in ``contract_id`` the contract's id
and this, which no id can end with. So there is at most one a contract and day."""

LATE_USAGE_SUFFIX: Final = "/late-usage"
"""As ``TOP_UP_SUFFIX``, of bills for late usage of ended contracts."""

INVOICES: Final = sa.Table(
    "invoices",
    LEDGER,
    sa.Column("invoice_id", sa.String(64), primary_key=True),
    sa.Column("contract_id", sa.String(128), nullable=False, index=True),
    sa.Column("customer_id", sa.String(128), nullable=False, index=True),
    sa.Column("billing_date", sa.String(10), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("series", sa.String(32), nullable=True),
    sa.Column("number", sa.BigInteger, nullable=True),
    sa.Column("issue_date", sa.String(10), nullable=True),
    sa.Column("due_date", sa.String(10), nullable=True),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("total_minor", sa.BigInteger, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("credit_minor", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("tax_minor", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("entity_id", sa.String(128), nullable=True),
    sa.UniqueConstraint("contract_id", "billing_date", name="one_invoice_per_billing_date"),
    sa.UniqueConstraint("series", "number", name="one_invoice_per_number"),
    # A run adds up what it invoiced without reading its documents again: these are half of its ledger.
    sa.Index("ix_invoices_of_run", "run_id", "invoice_id", "currency", "total_minor", "document_hash"),
)
"""``total_minor``: the lines, net. ``tax_minor``: on top of it. ``credit_minor``: of both, what credit paid
when it was issued; 0 for a draft. entity_id: the billing entity that sends it, null where none is stated."""

ISSUED_DOCUMENTS: Final = sa.Table(
    "issued_documents",
    LEDGER,
    sa.Column("document_id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("entity_id", sa.String(128), nullable=True),
    sa.Column("series", sa.String(32), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("customer_id", sa.String(128), nullable=False, index=True),
    sa.Column("contract_id", sa.String(128), nullable=True),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("issue_date", sa.String(10), nullable=False, index=True),
    sa.Column("due_date", sa.String(10), nullable=True),
    sa.Column("net_minor", sa.BigInteger, nullable=False),
    sa.Column("tax_minor", sa.BigInteger, nullable=False),
    sa.Column("credit_minor", sa.BigInteger, nullable=False),
    sa.Column("refers_to", sa.String(64), nullable=True, index=True),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.Column("chain_hash", sa.String(64), nullable=False),
    sa.Column("issued_at", sa.String(32), nullable=False),
    sa.UniqueConstraint("series", "number", name="one_document_per_number"),
)
"""The register: one row a document that left the house, whatever its kind, added in the transaction that
issues it and never changed. Journal, payments and delivery refer to it.

kind: ``invoice``, ``credit_note`` or another of ``invoicing/register.py``. contract_id: of the contract
billed, without ``TOP_UP_SUFFIX``; null for a document of no contract. net_minor, tax_minor: signed as the
customer owes them, so negative on a credit note; net + tax is the gross amount, credit_minor of it was paid
by prepaid credit. refers_to: the document that this one corrects. chain_hash: SHA-256 over the chain hash of
the number before and this document's text.
"""

INVOICE_LINES: Final = sa.Table(
    "invoice_lines",
    LEDGER,
    sa.Column("invoice_id", sa.String(64), sa.ForeignKey("invoices.invoice_id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("line_id", sa.String(32), nullable=False, unique=True),
    sa.Column("charge_id", sa.String(128), nullable=False),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
    sa.Column("priced_minor", sa.BigInteger, nullable=True),
)
"""``amount_minor``: net. ``priced_minor``: as rated, tax included, where prices include tax; else null, and
as rated is net."""

SAVED_DOCUMENTS: Final = sa.Table(
    "saved_documents",
    LEDGER,
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("document_hash", sa.String(64), nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
)
"""Billing entities, tax rates and country profiles: every version, the highest is in force."""

LOGOS: Final = sa.Table(
    "logos",
    LEDGER,
    sa.Column("logo_hash", sa.String(64), primary_key=True),
    sa.Column("media_type", sa.String(32), nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
)
"""By the SHA-256 of their bytes and never changed, so that an old invoice prints as it did."""

SETTLED_BILLING_DATES: Final = sa.Table(
    "settled_billing_dates",
    LEDGER,
    sa.Column("contract_id", sa.String(128), primary_key=True),
    sa.Column("billing_date", sa.String(10), primary_key=True),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("contract_version", sa.Integer, nullable=False),
    sa.Column("looked_through", sa.BigInteger, nullable=True),
)
"""One row a billing date that is done with. ``outcome``: invoiced or nothing_due.

looked_through: number of the last event or correction that its run knew of when it looked for late usage of
earlier dates; later ones are looked at by the contract's next bill. Null where nothing was looked for.

contract_version: the version of the contract it was billed by, which later versions are held to.
"""

LINE_ALLOWANCES: Final = sa.Table(
    "line_allowances",
    LEDGER,
    sa.Column("line_id", sa.String(32), primary_key=True),
    sa.Column("invoice_id", sa.String(64), nullable=False, index=True),
    sa.Column("amount_minor", sa.BigInteger, nullable=False),
)
"""Credit that was taken off a line of an invoice before tax, minor units as the line is priced: the line
comes to so much less than it was rated at. Below zero: what the line gives back to credit."""

LINE_ADJUSTMENTS: Final = sa.Table(
    "line_adjustments",
    LEDGER,
    sa.Column("line_id", sa.String(32), primary_key=True),
    sa.Column("adjusted_line_id", sa.String(32), nullable=False),
    sa.Column("contract_id", sa.String(128), nullable=False, index=True),
    sa.Column("billing_date", sa.String(10), nullable=False),
    sa.Column("charge_kind", sa.String(32), nullable=False),
)
"""Invoice lines that adjust lines of earlier billing dates. adjusted_line_id, billing_date, charge_kind: of
the line adjusted, which has no invoice line of its own when nothing was billed of it then."""

LINE_MONTH_SHARES: Final = sa.Table(
    "line_month_shares",
    LEDGER,
    sa.Column("line_id", sa.String(32), primary_key=True),
    sa.Column("month_end", sa.String(10), primary_key=True),
    sa.Column("share", sa.String(48), nullable=False),
)
"""What of an invoice line's amount is of which calendar month, of lines over several months whose usage adds
up over days; written with the line and never changed. month_end: the last day of the month within the line's
period. share: a decimal number, in proportion to which the amount is recognised: of usage the quantity
consumed in the month, of an adjustment the minor units the month gets. Months without any have no row."""

NUMBER_SERIES: Final = sa.Table(
    "number_series",
    LEDGER,
    sa.Column("series", sa.String(32), primary_key=True),
    sa.Column("next_number", sa.BigInteger, nullable=False),
    sa.Column("chain_hash", sa.String(64), nullable=False, server_default=""),
)
"""``chain_hash``: of the last document numbered, empty before the first."""
