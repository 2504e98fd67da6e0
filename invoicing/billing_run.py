"""The story of a billing run, top to bottom: find due, roll up, rate, hold, draft, issue, add up.

A run may be killed at any point and simply run again. Rated lines are keyed by what they are for,
so writing them again changes nothing; invoices, their numbers and the settlement of their billing
dates are one ledger transaction a chunk; a settled date is not due any more. A chunk is written while the
next is drafted, one at a time and in their order. Contracts are walked in slices: how many there are decides
how long a run takes, not how much memory.

The same catalogue, contracts, usage and as-of date give the same invoices, byte for byte.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial

import pyarrow as pa
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.errors import InvalidInput
from invoicing.accrue import take_back_overtaken
from invoicing.amendments_due import with_amendments
from invoicing.billable_read import count_conflicts
from invoicing.billed_time import all_changed_behind_bill
from invoicing.billing_catalogue import load_billing_catalogue
from invoicing.blocks_to_bill import blocks_to_bill
from invoicing.collector import collector_paused
from invoicing.credit_expiry import expire_credit
from invoicing.draft import Draft, draft_invoices
from invoicing.due import due_service_periods, without_plan
from invoicing.final_bill import write_final_bills
from invoicing.hold import Key, hold_without_plan
from invoicing.issue import Written, write_invoices
from invoicing.issue_policy import IssuePolicy
from invoicing.item_invoice_issue import issue_item_invoices
from invoicing.late_billing import lateness
from invoicing.late_usage import find_late_usage, newest_change
from invoicing.lock import billing_lock
from invoicing.price_due import DueWork, PricedDue, adjustments_of, draft_context, due_contracts, price_due
from invoicing.pricing import PricedPeriods, Progress, Stages, price_periods
from invoicing.report import BillingReport, check_accounted_for
from invoicing.review.open import needed_reviews, open_review_desk
from invoicing.run_blocks import (
    chunks_of_contracts,
    count_billing_dates,
    dates_without,
    lines_without,
    settled_of,
    slices_of_ids,
)
from invoicing.run_context import BillingRun, RunStart, issue_policy, numbered_as_of
from invoicing.run_record import (
    FAILED,
    FINISHED,
    begin_run,
    count_invoiced,
    count_settled,
    end_run,
    invoiced_totals,
    manifest_hash,
)
from invoicing.run_tally import Tally
from invoicing.settings import BillingSettings
from invoicing.tax_desk import open_tax_desk
from invoicing.write_behind import WriteBehind
from rating.catalogue import load_contract_ids
from rating.store import start_writing
from rating.unfinished_lines import delete_unsettled_lines
from rollup.stored_usage import StoredUsage

__all__ = ["BillingReport", "BillingSettings", "PricedPeriods", "price_periods", "run_billing"]

_EARTH_AHEAD = timedelta(hours=14)
"""The time zone furthest ahead of UTC: no place on earth has a later date."""


def run_billing(
    *,
    run_id: str | None,
    as_of: date,
    event_store: EventStore,
    stored_usage: StoredUsage | None = None,
    ledger: Engine,
    now: datetime,
    settings: BillingSettings,
    progress: Progress,
) -> BillingReport:
    """Bill every contract for every billing date up to ``as_of`` that is not settled yet.

    run_id: names the run; an id that was used before for the same date goes on with that run. None:
    takes up the interrupted run of that date, or names a new one. now: days that have not begun in
    a contract's own time zone are not due. The issue date of all invoices is ``as_of``. stored_usage: usage
    added up before, so that events need not be read again; the bills are the same without.

    Raises InvalidInput for a date in the future, Conflict when another run is at work or ``as_of``
    lies before the last issued invoice's date, BrokenState when sums disagree.
    """
    if as_of > (now + _EARTH_AHEAD).date():
        raise InvalidInput(
            f"billing as of {as_of} was asked for on {now.date()}; the usage of days to come is not known. "
            "Bill as of today or earlier, or preview the contract.",
            reason_code="as_of_in_the_future",
        )
    started = time.perf_counter()
    with billing_lock(ledger):
        settings = numbered_as_of(ledger, settings, as_of)
        run_id = begin_run(ledger, run_id=run_id, as_of=as_of, now=now)
        try:
            stages = Stages(progress)
            with stages.stage("find due"):
                start = _start(run_id, as_of, event_store, stored_usage, ledger, now, settings, stages)
            report = _bill(start)
        except BaseException:
            ended = now + timedelta(seconds=time.perf_counter() - started)
            end_run(ledger, run_id=run_id, state=FAILED, now=ended, report=None)
            raise
        ended = now + timedelta(seconds=time.perf_counter() - started)
        end_run(ledger, run_id=run_id, state=FINISHED, now=ended, report=report.to_dict())
    return report


def _start(
    run_id: str,
    as_of: date,
    event_store: EventStore,
    stored_usage: StoredUsage | None,
    ledger: Engine,
    now: datetime,
    settings: BillingSettings,
    stages: Stages,
) -> RunStart:
    """All that is read once, whatever the contracts."""
    with ledger.connect() as connection:
        invoiced_before = count_invoiced(connection, run_id)
        totals_before = invoiced_totals(connection, run_id)
    return RunStart(
        run_id=run_id,
        as_of=as_of,
        event_store=event_store,
        stored_usage=stored_usage,
        ledger=ledger,
        now=now,
        settings=settings,
        stages=stages,
        looked_through=newest_change(event_store),
        changed=all_changed_behind_bill(ledger, contracts_max=settings.pricing_contracts),
        invoiced_before=invoiced_before,
        totals_before=totals_before,
        reviews=open_review_desk(event_store, ledger),
    )


def _bill(start: RunStart) -> BillingReport:
    ledger, as_of, now, stages = start.ledger, start.as_of, start.now, start.stages
    with ledger.connect() as connection:
        settled_before = count_settled(connection, as_of=as_of)
    tally, late_after_end = Tally(), list[str]()
    with WriteBehind[Written]() as behind:
        contract_ids = load_contract_ids(ledger)
        for slice_ids in slices_of_ids(contract_ids, start.settings.pricing_contracts):
            late_after_end += _bill_slice(start, slice_ids, tally, behind, all_contracts=len(contract_ids))
        behind.finish()
    for slice_ids in slices_of_ids(pa.array(late_after_end, pa.string()), start.settings.pricing_contracts):
        _bill_ended(start, slice_ids, tally)
    with stages.stage("item invoices"):
        beside = issue_item_invoices(
            event_store=start.event_store, ledger=ledger, settings=start.settings, as_of=as_of, now=now
        )
    with stages.stage("expire credit"):
        expired = expire_credit(ledger, as_of=as_of, now=now)
    with stages.stage("take back accruals"):
        take_back_overtaken(ledger, now=now)
    with stages.stage("add up"), ledger.connect() as connection:
        tally.check(stored=invoiced_totals(connection, start.run_id), before=start.totals_before)
        manifest, conflicts = manifest_hash(connection, as_of=as_of), count_conflicts(connection)
    report = BillingReport(
        run_id=start.run_id,
        as_of=as_of,
        due=tally.due,
        late=tally.late,
        days_late_max=tally.days_late_max,
        invoiced=tally.invoiced,
        issued=tally.invoiced - tally.in_review if start.settings.issue else 0,
        in_review=tally.in_review,
        nothing_due=tally.nothing_due,
        already_settled=settled_before,
        lines=tally.lines,
        totals_minor=dict(sorted(tally.totals_minor.items())),
        invoiced_before=start.invoiced_before,
        totals_before_minor=dict(sorted(start.totals_before.items())),
        held=(*tally.unpriced, *tally.held),
        manifest_hash=manifest,
        credit_expired=(*tally.credit_expired, *beside.credit_expired, *expired.grants),
        item_invoices=beside.invoices,
        item_invoices_held=beside.held,
        item_invoices_in_review=beside.in_review,
        item_conflicts=conflicts,
        credit_waiting=expired.waiting,
        stage_seconds=stages.seconds,
        seconds=stages.passed(),
    )
    check_accounted_for(report)
    return report


def _bill_slice(
    start: RunStart,
    contract_ids: Sequence[str],
    tally: Tally,
    behind: WriteBehind[Written],
    *,
    all_contracts: int,
) -> list[str]:
    """Bill all due dates of some contracts; the rest of them is not in memory. Gives those that have ended
    and were used late: their bills come after all others."""
    with start.stages.stage("find due"):
        run, periods = _find_due(start, contract_ids, behind)
    catalogue = run.catalogue
    unpriced = hold_without_plan(
        without_plan(catalogue.contracts, catalogue.plan_versions), as_of=start.as_of
    )
    tally.due += len(unpriced)
    tally.unpriced += unpriced
    tally.find_late(*lateness(periods, catalogue.invoice_days, as_of=start.as_of))
    tally.find(len(contract_ids), count_billing_dates(periods), periods.num_rows, contracts=all_contracts)
    start.stages.count("find due", periods.num_rows, total=tally.periods_expected)
    for block in blocks_to_bill(run, periods):
        _bill_block(run, block, tally, behind)
    return [contract_id for contract_id in run.late.ended if contract_id in run.late.touched]


def _find_due(
    start: RunStart, contract_ids: Sequence[str], behind: WriteBehind[Written]
) -> tuple[BillingRun, pa.Table]:
    """The run at these contracts with all it reads before usage, and their periods: SERVICE_PERIOD_SCHEMA."""
    ledger, event_store, settings = start.ledger, start.event_store, start.settings
    catalogue = load_billing_catalogue(ledger, contract_ids)
    periods = due_service_periods(
        contracts=catalogue.contracts,
        plan_versions=catalogue.plan_versions,
        segments=catalogue.segments,
        agreements=catalogue.agreements,
        settled=catalogue.settled,
        as_of=start.as_of,
        now=start.now,
        invoice_days=catalogue.invoice_days,
    )
    amended = with_amendments(
        catalogue,
        periods,
        event_store=event_store,
        ledger=ledger,
        as_of=start.as_of,
        now=start.now,
        run_id=start.run_id,
    )
    if amended.agreements:
        behind.finish()  # two writers of one ledger would wait for each other's locks
        amended.keep_agreements(ledger)
    catalogue, periods = amended.catalogue, amended.periods
    late = find_late_usage(
        event_store,
        ledger,
        catalogue,
        periods,
        looked_through=start.looked_through,
        recounted=amended.recounted(),
    )
    work = DueWork(
        run_id=start.run_id,
        event_store=event_store,
        stored_usage=start.stored_usage,
        ledger=ledger,
        catalogue=catalogue,
        changed=start.changed,
        credits=amended.credits,
        returns=amended.returns,
        cuts=amended.cuts,
        late=late,
        tax=open_tax_desk(ledger, provider=settings.tax_provider, contract_ids=contract_ids),
        seller=settings.seller,
        negative_total=settings.negative_total,
        now=start.now,
    )
    return BillingRun(start, work, late), periods


def _bill_block(run: BillingRun, periods: pa.Table, tally: Tally, behind: WriteBehind[Written]) -> None:
    """Price the periods of many contracts at once, then write their invoices chunk by chunk."""
    contracts = due_contracts(run.catalogue, periods)

    def totals_minor() -> Mapping[str, int]:
        # As drafted: whoever waited for what is being written would draft nothing meanwhile.
        return Counter(run.start.totals_before) + tally.begun_minor

    due = price_due(run.work, periods, contracts, totals_minor=totals_minor, stages=run.stages)
    run.stages.count("roll up and rate", periods.num_rows, total=tally.periods_expected)
    tally.due += len(due.dates)
    tally.held += due.held
    delete_unsettled_lines(run.event_store, settled_of(contracts, run.catalogue.settled))
    lines, dates = lines_without(due.lines, due.held), dates_without(due.dates, due.held)
    _write_block(run, due, lines, dates, tally, behind)


def _write_block(
    run: BillingRun,
    due: PricedDue,
    lines: pa.Table,
    open_dates: Sequence[Key],
    tally: Tally,
    behind: WriteBehind[Written],
) -> None:
    """Write the rated lines of a block, and draft its invoices chunk by chunk, each issued while the next is
    drafted; the last may be under way when this returns."""
    stages, policy = run.stages, issue_policy(run, due)
    with stages.stage("write rated lines"):
        writing = start_writing(run.event_store, lines)
    with writing:  # the first chunk is drafted meanwhile
        for chunk_lines, chunk_dates in chunks_of_contracts(lines, open_dates, run.settings.chunk_contracts):
            ids = [contract_id for contract_id, _ in chunk_dates]
            with stages.stage("draft"), collector_paused():
                drafts = draft_invoices(lines=chunk_lines, context=draft_context(run.work, due, ids))
            invoiced = {(draft.contract_id, draft.billing_date) for draft in drafts}
            nothing_due = [key for key in chunk_dates if key not in invoiced]
            with stages.stage("write rated lines"):
                writing.wait()  # an invoice is not issued before its lines are on disk
            with stages.stage("review"):
                reviews = needed_reviews(
                    run.reviews,
                    drafts,
                    chunk_lines,
                    due.adjustments.catalogue.agreed_versions,
                    issue=run.settings.issue,
                )
            reviewed = replace(policy, reviews=reviews)
            tally.begin(drafts)
            behind.begin(
                partial(_issue, run.ledger, stages, drafts, nothing_due, reviewed),
                done=partial(_count_issued, stages, tally, nothing_due, len(chunk_dates)),
            )
            tally.in_review += len(reviews)


def _issue(
    ledger: Engine, stages: Stages, drafts: Sequence[Draft], nothing_due: Sequence[Key], policy: IssuePolicy
) -> Written:
    with stages.stage("issue"), collector_paused():  # of the run it holds no more: its slice may be over
        return write_invoices(ledger, drafts=drafts, nothing_due=nothing_due, policy=policy)


def _count_issued(
    stages: Stages, tally: Tally, nothing_due: Sequence[Key], dates: int, written: Written
) -> None:
    stages.count("issue", dates, total=tally.dates_expected - len(tally.held))
    tally.add(written.drafts, nothing_due)
    tally.credit_expired += written.credit_expired


def _bill_ended(start: RunStart, contract_ids: Sequence[str], tally: Tally) -> None:
    """Late usage of contracts that have no further billing date gets a bill of its own."""
    with start.stages.stage("find due"), WriteBehind[Written]() as behind:
        run, _ = _find_due(start, contract_ids, behind)
    with start.stages.stage("adjust"):
        found = adjustments_of(run.work, dict.fromkeys(run.late.ended, run.as_of))
        totals = Counter(start.totals_before) + tally.totals_minor
        bills = write_final_bills(run, found, totals_minor=totals)
    tally.due += len(bills.drafts) + len(bills.held)
    tally.held += bills.held
    tally.add(bills.drafts, [])
    tally.credit_expired += bills.credit_expired
