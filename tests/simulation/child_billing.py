"""A process that bills and may be killed: ``python -m tests.simulation.child_billing FOLDER ACTION``.

``prepare`` fills both stores; ``bill`` runs billing and prints a line before and after each ledger
transaction's worth of work, and the report at the end. ``bill-late`` first sends one more call a contract,
most of them of months that are billed, and bills April.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ingest.clickhouse import EventStore, default_events_url, open_event_store
from ingest.ledger import default_ledger_url, open_ledger
from ingest.load import ingest_batch, open_ingest
from ingest.meter import Meter
from ingest.meter_store import save_meter
from ingest.settings import IngestSettings
from invoicing.billing_run import BillingSettings, run_billing
from invoicing.customer_store import save_customer
from rating.catalogue import save_price_plan
from rating.contract_store import save_contracts

CONTRACTS = 90
MONTHS = 3
NOW = datetime(2025, 4, 1, 12, tzinfo=UTC)
AS_OF = {"bill": date(2025, 4, 1), "bill-late": date(2025, 5, 1)}
METER = Meter(meter_id="calls", event_type="call", aggregation="sum")
PLAN = {
    "plan_id": "metered",
    "name": "Metered",
    "currency": "EUR",
    "effective_from": date(2024, 1, 1),
    "charges": [
        {
            "charge_id": "calls",
            "name": "Calls",
            "kind": "usage",
            "meter_id": "calls",
            "price": {"model": "per_unit", "unit_price": "0.35"},
        },
        {
            "charge_id": "fee",
            "name": "Fee",
            "kind": "recurring",
            "timing": "arrears",
            "price": {"model": "flat", "amount": "9.99"},
        },
    ],
}


def main(folder: str, action: str) -> None:
    events = open_event_store(default_events_url(Path(folder)))
    ledger = open_ledger(default_ledger_url(Path(folder)))
    if action == "bill-late":
        _send(events, [_event(number, 1 + number % 4, name="late") for number in range(CONTRACTS)])
    if action in AS_OF:
        report = run_billing(
            run_id=None,
            as_of=AS_OF[action],
            event_store=events,
            ledger=ledger,
            now=NOW + timedelta(days=30),
            settings=BillingSettings(pricing_contracts=30, chunk_contracts=2),
            progress=lambda stage, done, total: _say({"stage": stage, "done": done, "total": total}),
        )
        _say({"report": report.to_dict()})
    else:
        save_meter(ledger, METER, now=NOW)
        save_price_plan(ledger, PLAN, now=NOW)
        save_customer(ledger, {"customer_id": "acme", "name": "Acme"}, now=NOW)
        save_contracts(ledger, [_contract(number) for number in range(CONTRACTS)], now=NOW)
        months = range(1, MONTHS + 1)
        _send(events, [_event(number, month) for number in range(CONTRACTS) for month in months])
    ledger.dispose()
    events.close()


def _send(events: EventStore, lines: list[str]) -> None:
    ingest_batch(
        "\n".join(lines).encode(),
        content_type="application/x-ndjson",
        content_encoding=None,
        received_at=NOW,
        ingest=open_ingest(events, meters=lambda: (METER,), settings=IngestSettings()),
    )


def _contract(number: int) -> dict[str, object]:
    return {
        "contract_id": f"c{number:03d}",
        "customer_id": "acme",
        "plan_id": "metered",
        "subjects": [f"s{number}"],
        "start_date": date(2025, 1, 1),
        "time_zone": "UTC",
    }


def _event(number: int, month: int, name: str = "e") -> str:
    event = {
        "source": "sender",
        "id": f"{name}{number}-{month}",
        "type": "call",
        "subject": f"s{number}",
        "time": f"2025-{month:02d}-{number % 28 + 1:02d}T10:00:00Z",
        "value": f"{number * month}.25",
        "properties": {},
    }
    return json.dumps(event)


def _say(line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
