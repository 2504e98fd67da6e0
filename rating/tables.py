"""The ledger tables of this room: price plan versions, contract versions, contracts, subjects, agreements,
entitlements, billing entities.

They match migrations 0001, 0010, 0080, 0090 and 0130. A plan or contract version is a row for ever;
``contracts`` and ``contract_subjects`` hold the newest version of each contract as flat columns, which is
what a billing run reads without parsing a single document. Dates are ISO text, so that they sort.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, ForeignKey, Integer, String, Table, Text

from ingest.ledger import LEDGER

PRICE_PLAN_VERSIONS: Final = Table(
    "price_plan_versions",
    LEDGER,
    Column("plan_id", String(128), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("effective_from", String(10), nullable=False),
    Column("document", Text, nullable=False),
    Column("document_hash", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
)

CONTRACT_VERSIONS: Final = Table(
    "contract_versions",
    LEDGER,
    Column("contract_id", String(128), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", Text, nullable=False),
    Column("document_hash", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
)

CONTRACTS: Final = Table(
    "contracts",
    LEDGER,
    Column("contract_id", String(128), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("customer_id", String(128), nullable=False, index=True),
    Column("plan_id", String(128), nullable=False, index=True),
    Column("start_date", String(10), nullable=False),
    Column("end_date", String(10), nullable=True),
    Column("time_zone", String(64), nullable=False),
    Column("cadence", String(16), nullable=False),
    Column("anchor_date", String(10), nullable=False),
)

CONTRACT_SUBJECTS: Final = Table(
    "contract_subjects",
    LEDGER,
    Column("contract_id", String(128), ForeignKey("contracts.contract_id"), primary_key=True),
    Column("subject", String(512), primary_key=True, index=True),
)

AGREEMENTS: Final = Table(
    "agreements",
    LEDGER,
    Column("agreement_key", String(32), primary_key=True),
    Column("document", Text, nullable=False),
)
"""Every agreement a contract ever had, by the hash of its content: written once, never changed."""

CONTRACT_AGREEMENTS: Final = Table(
    "contract_agreements",
    LEDGER,
    Column("contract_id", String(128), ForeignKey("contracts.contract_id"), primary_key=True),
    Column("effective_from", String(10), primary_key=True),
    Column("plan_id", String(128), nullable=False, index=True),
    Column("agreement_key", String(32), nullable=False),
)
"""The segments of each contract that agrees something beyond its plan; others have no row. The key is
empty for a segment that takes the plan as it is."""

HOLIDAY_CALENDARS: Final = Table(
    "holiday_calendars",
    LEDGER,
    Column("calendar_id", String(128), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("document_hash", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
)

CONTRACT_INVOICE_DAYS: Final = Table(
    "contract_invoice_days",
    LEDGER,
    Column("contract_id", String(128), ForeignKey("contracts.contract_id"), primary_key=True),
    Column("business_day", String(16), nullable=False),
    Column("calendar_id", String(128), nullable=False),
)
"""Contracts that are invoiced on business days; others have no row. The calendar is empty for one of weekends
alone."""

CONTRACTS_WITHOUT_ADJUSTMENTS: Final = Table(
    "contracts_without_adjustments",
    LEDGER,
    Column("contract_id", String(128), ForeignKey("contracts.contract_id"), primary_key=True),
)
"""Contracts that let late usage be (``late_usage: ignore``); others have no row."""

CONTRACT_BILLING_ENTITIES: Final = Table(
    "contract_billing_entities",
    LEDGER,
    Column("contract_id", String(128), ForeignKey("contracts.contract_id"), primary_key=True),
    Column("entity_id", String(128), nullable=False),
)
"""Contracts that name who sends their invoices; others have no row."""

CONTRACT_ENTITLEMENTS: Final = Table(
    "contract_entitlements",
    LEDGER,
    Column("contract_id", String(128), ForeignKey("contracts.contract_id"), primary_key=True),
    Column("meter_id", String(128), primary_key=True),
    Column("period", String(16), primary_key=True),
)
"""Which contracts limit which meters, so that those that do are found without reading documents."""
