"""Adds the true-ups of commitments over a term to what was priced: for runs, previews, re-rating, what-if."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine, func, select

from ingest.clickhouse import EventStore
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.bulk import select_by_ids
from invoicing.pricing import PricedPeriods
from invoicing.tables import INVOICES, LATE_USAGE_SUFFIX, LINE_ADJUSTMENTS, contract_of
from rating.billed_spend import SPANS_SCHEMA, read_billed_spend
from rating.plan_version import PlanVersion
from rating.steps import ADJUSTMENT_KIND, FEE_ADJUSTMENT
from rating.true_up import BILLED_SPEND_SCHEMA, DueTrueUp, due_true_ups, with_true_up_lines


def add_true_ups(
    priced: PricedPeriods,
    *,
    periods: pa.Table,
    contracts: pa.Table,
    catalogue: BillingCatalogue,
    plan_versions: Sequence[PlanVersion] | None = None,
    event_store: EventStore,
    ledger: Engine,
    run_id: str,
) -> PricedPeriods:
    """``priced`` with a line for every commitment whose term ends with one of the periods, where less was
    spent than committed.

    periods: SERVICE_PERIOD_SCHEMA, what was priced. contracts: as ``load_contracts`` gives them, at least
    those of the periods. plan_versions: what was priced by; None for the catalogue's. Billing dates that
    were not priced here count as they were billed.
    """
    due = due_true_ups(periods, agreements=catalogue.agreements, contracts=contracts)
    if not due:
        return priced
    trued = with_true_up_lines(
        priced.lines,
        due=due,
        billed=_billed_elsewhere(event_store, ledger, due, periods, catalogue.settled),
        plan_versions=catalogue.plan_versions if plan_versions is None else plan_versions,
        run_id=run_id,
    )
    return replace(priced, lines=trued.lines, unrated=pa.concat_tables([priced.unrated, trued.unrated]))


def _billed_elsewhere(
    event_store: EventStore,
    ledger: Engine,
    due: Sequence[DueTrueUp],
    periods: pa.Table,
    settled: pa.Table,
) -> pa.Table:
    """What the contracts were billed in their terms of dates that are not priced here."""
    here = pl.DataFrame(periods.select(["contract_id", "billing_date"])).unique()
    spans = _spans(due, _billed_until(ledger, due, settled))
    billed = read_billed_spend(event_store, spans, without=_adjusting(ledger, due, set(here.iter_rows())))
    # An adjustment counts with the date it adjusts, on whatever invoice it stands.
    adjusting = pc.is_in(billed["charge_kind"], value_set=pa.array([ADJUSTMENT_KIND, FEE_ADJUSTMENT]))
    rows = pl.DataFrame(billed.select(here.columns)).with_row_index()
    elsewhere = rows.filter(pl.Series(adjusting)).vstack(
        rows.filter(~pl.Series(adjusting)).join(here, on=here.columns, how="anti", maintain_order="left")
    )
    return billed.take(elsewhere["index"].to_arrow()).cast(BILLED_SPEND_SCHEMA)


def _adjusting(ledger: Engine, due: Sequence[DueTrueUp], dates: Set[tuple[str, date]]) -> list[str]:
    """The ids of lines that adjust lines of some billing dates of contracts, in hex."""
    table = LINE_ADJUSTMENTS.c
    statement = select(table.contract_id, table.billing_date, table.line_id)
    contract_ids = sorted({entry.period["contract_id"] for entry in due})
    with ledger.connect() as connection:
        rows = list(select_by_ids(connection, statement, table.contract_id, contract_ids))
    return [line_id for contract_id, day, line_id in rows if (contract_id, date.fromisoformat(day)) in dates]


def _billed_until(ledger: Engine, due: Sequence[DueTrueUp], settled: pa.Table) -> dict[str, dict[str, date]]:
    """By contract_id and key, the last date that its lines of that key are billed up to: of its billing
    dates, and of its bills for late usage after its end. A contract that was never billed has none."""
    columns = (settled[name].to_pylist() for name in ("contract_id", "billing_date"))
    last = dict(zip(*columns, strict=True))
    found = {
        key: {key: last[key]} for key in sorted({row.period["contract_id"] for row in due}) if key in last
    }
    after_end = select(INVOICES.c.contract_id, func.max(INVOICES.c.billing_date)).group_by(
        INVOICES.c.contract_id
    )
    with ledger.connect() as connection:
        owners = [f"{key}{LATE_USAGE_SUFFIX}" for key in found]
        for owner, day in select_by_ids(connection, after_end, INVOICES.c.contract_id, owners):
            found[contract_of(owner)][owner] = day
    return {
        key: {owner: date.fromisoformat(str(day)) for owner, day in days.items()}
        for key, days in found.items()
    }


def _spans(due: Sequence[DueTrueUp], billed_until: Mapping[str, Mapping[str, date]]) -> pa.Table:
    """A span for each key of a contract, over all of its terms."""
    spans: dict[str, tuple[datetime, datetime]] = {}
    for entry in due:
        contract_id, end = entry.period["contract_id"], entry.term_end
        start, until = spans.get(contract_id, (entry.term_start, end))
        spans[contract_id] = (min(start, entry.term_start), max(until, end))
    rows: list[Mapping[str, Any]] = [
        {"owner": owner, "contract_id": contract_id, "span_start": start, "span_end": until, "settled": day}
        for contract_id, (start, until) in spans.items()
        for owner, day in billed_until.get(contract_id, {}).items()
    ]
    return pa.Table.from_pylist(rows, schema=SPANS_SCHEMA)
