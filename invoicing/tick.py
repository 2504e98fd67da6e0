"""Bills by itself when a billing date has come: called again and again by whoever keeps time."""

from __future__ import annotations

from datetime import UTC, date, datetime

from sqlalchemy import Connection, Engine

from ingest.clickhouse import EventStore
from ingest.clock import Clock
from invoicing.accrue import recognise_last_month
from invoicing.billing_catalogue import load_billing_catalogue
from invoicing.billing_run import run_billing
from invoicing.credit_expiry import expire_credit
from invoicing.due import due_service_periods
from invoicing.item_invoice_issue import issue_item_invoices
from invoicing.lock import billing_lock
from invoicing.number import issue_day
from invoicing.numbering import load_prefixes
from invoicing.pricing import Progress
from invoicing.report import BillingReport
from invoicing.review.moves import escalate_overdue
from invoicing.review.release import release_approved
from invoicing.run_blocks import billing_dates
from invoicing.run_record import last_finished_run, open_run_id
from invoicing.search_index import SCHEDULED_MAX, catch_up
from invoicing.settings import BillingSettings
from invoicing.top_up import top_up_credit
from rollup.stored_usage import StoredUsage


def tick(
    *,
    clock: Clock,
    event_store: EventStore,
    stored_usage: StoredUsage | None = None,
    ledger: Engine,
    settings: BillingSettings,
    progress: Progress,
) -> BillingReport | None:
    """Run billing if any contract's billing date has begun in its own time zone, else do nothing.

    The issue date is today in UTC, or the last of a series of invoices that is a day ahead. The runs of a
    day are ``tick-<date>``, ``tick-<date>-2`` and so on, one each time the day reaches contracts in further
    time zones; one that did not finish is taken up again. Returns None when nothing is due but what the
    day's last run held: that is tried again the next day, or by a run started by hand. After it reviews
    that were left lying are handed on, what is approved is issued where the rules want that, invoices for
    items whose day has come are written, credit that has expired lapses and credit that has become low is
    topped up, what was issued becomes searchable, and where the settings want it what is unbilled at the
    end of a month is recognised, whether anything was due or not. Raises what ``run_billing`` raises.
    """
    now = clock.now()
    as_of = _issue_date(ledger, settings, now)
    report = _bill_due(
        as_of,
        now=now,
        event_store=event_store,
        stored_usage=stored_usage,
        ledger=ledger,
        settings=settings,
        progress=progress,
    )
    if report is None:
        with billing_lock(ledger):
            issue_item_invoices(
                event_store=event_store, ledger=ledger, settings=settings, as_of=as_of, now=now
            )
    escalate_overdue(ledger, now=now)
    release_approved(
        ledger,
        by_itself=True,
        series_prefix=settings.series,
        credit_note_prefix=settings.credit_note_series,
        actor=settings.actor,
        now=now,
    )
    expire_credit(ledger, as_of=as_of, now=now)
    top_up_credit(event_store=event_store, ledger=ledger, settings=settings, now=now, issue_date=as_of)
    catch_up(ledger, most=SCHEDULED_MAX)
    if settings.accrue:
        recognise_last_month(event_store=event_store, ledger=ledger, now=now, actor=settings.actor)
    return report


def _bill_due(
    as_of: date,
    *,
    now: datetime,
    event_store: EventStore,
    stored_usage: StoredUsage | None,
    ledger: Engine,
    settings: BillingSettings,
    progress: Progress,
) -> BillingReport | None:
    catalogue = load_billing_catalogue(ledger)
    periods = due_service_periods(
        contracts=catalogue.contracts,
        plan_versions=catalogue.plan_versions,
        segments=catalogue.segments,
        agreements=catalogue.agreements,
        settled=catalogue.settled,
        invoice_days=catalogue.invoice_days,
        as_of=as_of,
        now=now,
    )
    due = {(contract_id, day.isoformat()) for contract_id, day in billing_dates(periods)}
    with ledger.connect() as connection:
        if due <= _held_last(connection, as_of):
            return None
        run_id = open_run_id(connection, prefix="tick", as_of=as_of)
    return run_billing(
        run_id=run_id,
        as_of=as_of,
        event_store=event_store,
        stored_usage=stored_usage,
        ledger=ledger,
        now=now,
        settings=settings,
        progress=progress,
    )


def _held_last(connection: Connection, as_of: date) -> set[tuple[str, str]]:
    """What the day's last finished run held: (contract_id, billing date as text)."""
    last = last_finished_run(connection, as_of=as_of)
    if last is None or last.report is None:
        return set()
    return {(held["contract_id"], held["billing_date"]) for held in last.report["held_dates"]}


def _issue_date(ledger: Engine, settings: BillingSettings, now: datetime) -> date:
    """Today, or the last issue date of any series of invoices: from where it is tomorrow already somebody may
    have issued one."""
    today = now.astimezone(UTC).date()
    with ledger.connect() as connection:
        prefixes = load_prefixes(connection, invoice=settings.series, credit_note=settings.credit_note_series)
        series = prefixes.all_of("invoice")
        return max(issue_day(connection, prefix=prefix, today=today, now=now) for prefix in series)
