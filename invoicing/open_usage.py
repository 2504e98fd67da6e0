"""Keeps the usage of what will be billed next, so that the billing run finds it added up.

Rolled-up usage knows no contracts; this is where somebody who does asks for their periods.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from ingest.event import TIMESTAMP
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from invoicing.due import calendar_of, due_service_periods
from rollup.stored_usage import StoredUsage

_DAYS_AHEAD: Final = {"weekly": 8, "monthly": 32, "quarterly": 93, "semiannual": 185, "annual": 367}
"""Longer than the longest period of each cadence: the open period ends within it."""


def keep_open_usage(stored: StoredUsage, *, ledger: Engine, now: datetime) -> int:
    """Add up the usage of every period that has begun and is not billed, and go on doing so for events
    to come; returns how many (period, subject) pairs that are. Doing it again adds only what is new."""
    catalogue = load_billing_catalogue(ledger)
    calendar = open_calendar(catalogue, now=now)
    stored.refresh(calendar=calendar, meters=catalogue.meters)
    return int(calendar.num_rows)


def open_calendar(catalogue: BillingCatalogue, *, now: datetime) -> pa.Table:
    """CALENDAR_SCHEMA of the arrears periods that have begun by ``now`` and are not settled."""
    parts = [
        _calendar_of_cadence(catalogue, cadence, last=now.date() + timedelta(days=days), now=now)
        for cadence, days in _DAYS_AHEAD.items()
    ]
    return pa.concat_tables(parts)


def _calendar_of_cadence(catalogue: BillingCatalogue, cadence: str, *, last: date, now: datetime) -> pa.Table:
    contracts = catalogue.contracts
    periods = due_service_periods(
        contracts=contracts.filter(pc.equal(contracts["cadence"], cadence)),
        plan_versions=catalogue.plan_versions,
        segments=catalogue.segments,
        agreements=catalogue.agreements,
        settled=catalogue.settled,
        as_of=last,
    )
    begun = pc.less_equal(periods["period_start"], pa.scalar(now, TIMESTAMP))
    return calendar_of(periods=periods.filter(begun), contract_subjects=catalogue.subjects)
