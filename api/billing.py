"""Starts billing runs: one at a time, each in its own thread with its progress."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date
from typing import Any

from api.runs import Progress, Run
from api.settings import Settings
from api.state import Ratemill
from ingest.errors import Conflict
from invoicing.audit_trail import SYSTEM_ACTOR
from invoicing.billing_run import run_billing
from invoicing.lock import billing_lock
from invoicing.report import BillingReport
from invoicing.run_record import FAILED, RUNNING, begin_run, end_run, get_run
from invoicing.settings import BillingSettings, Seller
from invoicing.tick import tick

_logger = logging.getLogger("ratemill.scheduler")


def start_billing(state: Ratemill, *, as_of: date, issue: bool, actor: str, run_id: str | None = None) -> Run:
    """Start a run in the background, for ``actor`` of the audit trail. Asked for the same date again while
    it works: that same run.

    Raises Conflict when a run for another date is at work, here or in another process, and
    StoreUnavailable when another process writes to the event store.
    """
    state.event_store.writing.claim()
    with state.billing_lock:
        at_work = state.runs.under_way()
        if at_work is not None:
            if at_work.as_of == as_of and run_id in (None, at_work.run_id):
                return at_work
            raise Conflict(
                f"billing run {at_work.run_id} is at work, as of {at_work.as_of}. Wait for it to end: "
                f"GET /v1/billing-runs/{at_work.run_id} tells how far it is.",
                reason_code="billing_run_in_progress",
            )
        with billing_lock(state.ledger):
            chosen_id = begin_run(state.ledger, run_id=run_id, as_of=as_of, now=state.clock.now())

        def work(progress: Progress) -> Mapping[str, Any]:
            try:
                report = run_billing(
                    run_id=chosen_id,
                    as_of=as_of,
                    event_store=state.event_store,
                    stored_usage=state.stored_usage,
                    ledger=state.ledger,
                    now=state.clock.now(),
                    settings=billing_settings(state, issue=issue, actor=actor),
                    progress=progress,
                )
            except BaseException:
                _end_refused(state, chosen_id)
                raise
            return report.to_dict()

        return state.runs.start(chosen_id, as_of=as_of, work=work)


def tick_once(state: Ratemill) -> None:
    """Bill what has become due by itself, unless a run is at work: then the next look does it."""
    if state.event_store.turn() is None:
        return  # the process that writes to the store does it
    try:
        report = tick_now(state, actor=SYSTEM_ACTOR)
    except Conflict as busy:
        _logger.info("scheduled billing waits: %s", busy)
        return
    if report is not None:
        _logger.info("scheduled billing: %s", report.summary())


def tick_now(state: Ratemill, *, actor: str) -> BillingReport | None:
    """One look at the clock, by the scheduler or because somebody asked: see ``tick``. Raises Conflict while
    a billing run is at work, and StoreUnavailable when another process writes to the event store."""
    state.event_store.writing.claim()
    with state.billing_lock:
        at_work = state.runs.under_way()
        if at_work is not None:
            raise Conflict(
                f"billing run {at_work.run_id} is at work, as of {at_work.as_of}: the next look does what is "
                "due then.",
                reason_code="billing_run_in_progress",
            )
        return tick(
            clock=state.clock,
            event_store=state.event_store,
            stored_usage=state.stored_usage,
            ledger=state.ledger,
            settings=billing_settings(state, issue=True, actor=actor),
            progress=lambda *_: None,
        )


def billing_settings(state: Ratemill, *, issue: bool, actor: str) -> BillingSettings:
    """What the settings say about billing. actor: who bills."""
    return BillingSettings(
        series=state.settings.invoice_series,
        credit_note_series=state.settings.credit_note_series,
        negative_total=state.settings.negative_total,
        issue=issue,
        seller=seller_of(state.settings),
        actor=actor,
        accrue=state.settings.accruals == "on",
    )


def seller_of(settings: Settings) -> Seller | None:
    """Who the settings say sends the invoices; None when they name nobody."""
    if not settings.seller_name:
        return None
    lines = (line.strip() for line in settings.seller_address.split(";"))
    return Seller(
        name=settings.seller_name,
        address_lines=tuple(line for line in lines if line),
        country=settings.seller_country,
        tax_id=settings.seller_tax_id,
        email=settings.seller_email,
        bank_account=settings.seller_bank_account,
    )


def _end_refused(state: Ratemill, run_id: str) -> None:
    """A run refused before its work began has no end on record yet."""
    if get_run(state.ledger, run_id).state == RUNNING:
        end_run(state.ledger, run_id=run_id, state=FAILED, now=state.clock.now(), report=None)
