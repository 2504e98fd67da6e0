"""The documents of the demo: meters, one price plan, and a customer and a contract for each airline.

Meters, plan and gate leases are files in ``documents/`` that a reader can open and change; customers
and contracts are the same form filled in sixteen times.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

import polars as pl

from ingest.document import read_document, read_documents

TIME_ZONE: Final = "America/New_York"
FIRST_DAY: Final = "2013-01-01"
END_DAY: Final = "2014-01-01"
"""The first day no longer covered, and the day as of which the year is billed."""

_DOCUMENTS: Final = files("api.demo") / "documents"


def meter_documents() -> list[dict[str, Any]]:
    """The five meters, as dictionaries with exact numbers."""
    return read_documents((_DOCUMENTS / "meters.yaml").read_bytes())


def price_plan_document() -> dict[str, Any]:
    """The price plan. Its prices are invented for the demo."""
    return read_document(price_plan_text())


def price_plan_text() -> bytes:
    """The price plan as written, comments and all: what a person would send."""
    return (_DOCUMENTS / "price_plan.yaml").read_bytes()


def gate_leases() -> bytes:
    """Licence events of gates, one JSON object a line. Numbers of gates are invented for the demo."""
    return (_DOCUMENTS / "gates.ndjson").read_bytes()


def customer_id(carrier: str) -> str:
    return f"airline-{carrier}"


def contract_id(carrier: str) -> str:
    return f"airport-use-{carrier}"


def customer_documents(airlines: pl.DataFrame) -> list[dict[str, Any]]:
    """One customer an airline; addresses are invented and mail goes to the reserved domain ``.example``."""
    return [
        {
            "customer_id": customer_id(carrier),
            "name": name,
            "email": f"payables@{carrier.lower()}.example",
            "address_lines": ["Accounts payable", "1 Terminal Road"],
            "country": "US",
        }
        for carrier, name in airlines.sort("carrier").iter_rows()
    ]


def contract_documents(airlines: pl.DataFrame) -> list[dict[str, Any]]:
    """One contract an airline for the local year 2013, billed monthly after the month."""
    plan_id = price_plan_document()["plan_id"]
    return [
        {
            "contract_id": contract_id(carrier),
            "customer_id": customer_id(carrier),
            "plan_id": plan_id,
            "subjects": [carrier],
            "start_date": FIRST_DAY,
            "end_date": END_DAY,
            "time_zone": TIME_ZONE,
            "billing": {"cadence": "monthly", "anchor_date": FIRST_DAY},
            "terms": {"payment_days": 30},
        }
        for (carrier,) in airlines.select("carrier").sort("carrier").iter_rows()
    ]
