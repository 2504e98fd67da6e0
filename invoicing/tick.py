"""Bills by itself when a billing date has come: called again and again by whoever keeps time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.clock import Clock
from invoicing.billing_catalogue import load_billing_catalogue
from invoicing.billing_run import run_billing
from invoicing.due import due_service_periods
from invoicing.number import last_issue_date, series_of
from invoicing.pricing import Progress
from invoicing.report import BillingReport
from invoicing.settings import BillingSettings


def tick(
    *,
    clock: Clock,
    event_store: EventStore,
    ledger: Engine,
    settings: BillingSettings,
    progress: Progress,
) -> BillingReport | None:
    """Run billing if any contract's billing date has begun in its own time zone, else do nothing.

    The issue date is today in UTC. All ticks of a day are one billing run, ``tick-<date>``, taken
    up again as the day reaches further time zones. Returns None when nothing was due. Raises what
    ``run_billing`` raises.
    """
    now = clock.now()
    as_of = _issue_date(ledger, settings.series, now)
    catalogue = load_billing_catalogue(ledger)
    periods = due_service_periods(
        contracts=catalogue.contracts,
        plan_versions=catalogue.plan_versions,
        settled=catalogue.settled,
        as_of=as_of,
        now=now,
    )
    if not periods.num_rows:
        return None
    return run_billing(
        run_id=f"tick-{as_of.isoformat()}",
        as_of=as_of,
        event_store=event_store,
        ledger=ledger,
        now=now,
        settings=settings,
        progress=progress,
    )


def _issue_date(ledger: Engine, series_prefix: str, now: datetime) -> date:
    """Today, or the last issue date if somebody billed from where it is tomorrow already."""
    today = now.astimezone(UTC).date()
    with ledger.connect() as connection:
        days = (
            last_issue_date(connection, series=series_of(prefix=series_prefix, issue_date=day))
            for day in (today, today + timedelta(days=1))
        )
        return max(day or today for day in [today, *days])
