"""Keeps the usage of what will be billed next, so that the billing run finds it added up.

Rolled-up usage knows no contracts; this is where somebody who does asks for their periods.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from ingest.event import TIMESTAMP
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from invoicing.due import calendar_of, due_service_periods
from rollup.period import cadence_step
from rollup.stored_usage import StoredUsage

_DAYS: Final = {"weeks": 7, "months": 31}


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
        calendar_of(periods=periods, contract_subjects=catalogue.subjects)
        for periods in begun_periods(catalogue, settled=catalogue.settled, now=now)
    ]
    return pa.concat_tables(parts)


def begun_periods(
    catalogue: BillingCatalogue, *, settled: pa.Table, now: datetime, contracts: pa.Table | None = None
) -> Iterator[pa.Table]:
    """SERVICE_PERIOD_SCHEMA of the periods behind the last date in ``settled`` that have begun by ``now``,
    a table for each cadence, numbered in itself. contracts: those of the catalogue; None: all."""
    contracts = catalogue.contracts if contracts is None else contracts
    for cadence in pc.unique(contracts["cadence"]).to_pylist() or ["monthly"]:
        unit, count = cadence_step(cadence)
        days = _DAYS[unit] * count + 1  # longer than the longest such period: the open one ends within it
        periods = due_service_periods(
            contracts=contracts.filter(pc.equal(contracts["cadence"], cadence)),
            plan_versions=catalogue.plan_versions,
            segments=catalogue.segments,
            agreements=catalogue.agreements,
            settled=settled,
            as_of=now.date() + timedelta(days=days),
        )
        yield periods.filter(pc.less_equal(periods["period_start"], pa.scalar(now, TIMESTAMP)))
