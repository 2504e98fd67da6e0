"""A small business to bill: real stores, and short words to put events, plans and contracts in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.event import STORED_EVENT_SCHEMA
from ingest.meter import Meter
from ingest.meter_store import save_meter
from invoicing.billing_run import run_billing
from invoicing.customer_store import save_customer
from invoicing.report import BillingReport
from invoicing.settings import BillingSettings
from invoicing.store import InvoiceFilter, StoredInvoice, get_invoice, list_invoices
from rating.catalogue import save_contracts, save_price_plan
from rollup.stored_usage import StoredUsage
from tests.invoicing.support import CALLS, MONTHLY_FEE

LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)
METERS = (
    Meter(meter_id="calls", event_type="call", aggregation="sum", unit="call"),
    Meter(meter_id="seats", event_type="seat", aggregation="time_weighted", reading="average", unit="seat"),
    Meter(meter_id="transfer", event_type="transfer", aggregation="sum", unit="GB", group_by=("region",)),
)


def unseen(*step: object) -> None:
    """Progress nobody looks at."""


def at(text: str) -> datetime:
    """``2025-02-15`` or ``2025-02-15T10:00`` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass(slots=True)
class World:
    """stored_usage: what billing runs read usage from; None: they count events. received: when the events to
    come come in."""

    event_store: EventStore
    ledger: Engine
    sent: int = field(default=0)
    stored_usage: StoredUsage | None = None
    received: datetime = LONG_AGO

    def __post_init__(self) -> None:
        for meter in METERS:
            save_meter(self.ledger, meter, now=LONG_AGO)
        save_customer(self.ledger, {"customer_id": "acme", "name": "Acme"}, now=LONG_AGO)

    def plan(
        self, *charges: Mapping[str, Any], plan_id: str = "gold", start: str = "2020-01-01", **more: Any
    ) -> None:
        document = {
            "plan_id": plan_id,
            "name": plan_id.title(),
            "currency": "EUR",
            "effective_from": date.fromisoformat(start),
            "charges": list(charges) or [MONTHLY_FEE, CALLS],
            **more,
        }
        save_price_plan(self.ledger, document, now=LONG_AGO)

    def contract(self, contract_id: str = "c1", **changes: Any) -> None:
        self.contracts([contract_id], **changes)

    def contracts(self, contract_ids: Sequence[str], **changes: Any) -> None:
        documents = [
            {
                "contract_id": contract_id,
                "customer_id": "acme",
                "plan_id": "gold",
                "subjects": [f"{contract_id}-subject"],
                "start_date": date(2025, 1, 15),
                "time_zone": "UTC",
                **changes,
            }
            for contract_id in contract_ids
        ]
        save_contracts(self.ledger, documents, now=LONG_AGO)

    def events(self, *events: tuple[str, str, str, str] | tuple[str, str, str, str, dict[str, str]]) -> None:
        """(type, subject, time, value[, properties]) each."""
        rows = []
        for kind, subject, time, value, *properties in events:
            self.sent += 1
            rows.append(
                {
                    "source": "test",
                    "id": f"e{self.sent}",
                    "type": kind,
                    "subject": subject,
                    "time": at(time),
                    "value": None if value == "" else Decimal(value),
                    "properties": sorted(properties[0].items()) if properties else [],
                    "identity": self.sent.to_bytes(16, "big"),
                    "body_hash": self.sent,
                    "sequence": self.sent,
                    "ingested_at": self.received,
                    "batch_id": "b",
                }
            )
        self.event_store.insert("events", pa.Table.from_pylist(rows, schema=STORED_EVENT_SCHEMA))

    def bill(
        self, as_of: str, *, now: datetime | None = None, run_id: str | None = None, **settings: Any
    ) -> BillingReport:
        return run_billing(
            run_id=run_id,
            as_of=date.fromisoformat(as_of),
            event_store=self.event_store,
            stored_usage=self.stored_usage,
            ledger=self.ledger,
            now=now or at("2026-01-01"),
            settings=BillingSettings(**settings),
            progress=unseen,
        )

    def invoices(self, **chosen: Any) -> list[StoredInvoice]:
        """By contract and billing date."""
        page = list_invoices(self.ledger, chosen=InvoiceFilter(**chosen), limit=10_000)
        found = [get_invoice(self.ledger, summary.invoice_id) for summary in page.invoices]
        return sorted(found, key=lambda stored: (stored.summary.contract_id, stored.summary.billing_date))


def readable(stored: StoredInvoice) -> list[str]:
    """``2025-02-15 calls 2025-01-15..2025-02-15 120 call 1.20`` a line."""
    invoice = stored.invoice
    rows = []
    for line in invoice.lines:
        shown = "".join(f" {value}" for value in line.dimensions.values())
        amount = Decimal(line.amount_minor).scaleb(-invoice.minor_digits)
        rows.append(
            f"{invoice.billing_date} {line.charge_id}{shown} {line.period_start}..{line.period_end} "
            f"{line.quantity} {line.unit} {amount}"
        )
    return rows
