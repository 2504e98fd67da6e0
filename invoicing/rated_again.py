"""Billed dates rated again: the lines they would have by usage and prices as they are now.

Made by the function that made the invoices, each date by the version of the contract that it was billed by,
so that a line has the id it was billed under.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine, select

from ingest.clickhouse import EventStore
from ingest.errors import Issue
from invoicing.amendment_rows import with_credits
from invoicing.billed_lines import load_billed_lines
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.bulk import select_by_ids
from invoicing.fee_return import CreditAgain, FeeReturn, credits_again
from invoicing.given_back_at_most import give_back_at_most
from invoicing.history import (
    BillingDates,
    late_subjects,
    numbered,
    periods_of_dates,
    roll_up_spans,
    spans_of,
    usage_of_periods,
)
from invoicing.hold import Held, Key, hold_changed_contracts, hold_unrated, hold_unusable
from invoicing.pricing import PricedPeriods
from invoicing.rerate_versions import PeriodsAsBilled, periods_as_billed
from invoicing.run_blocks import billing_dates, dates_without, lines_without
from invoicing.seat_changes import CutRow, RowKey
from invoicing.seats_in_advance import prices_seats, seat_usage, settled_until, with_seats
from invoicing.tables import SETTLED_BILLING_DATES
from invoicing.true_up import add_true_ups
from invoicing.wider_periods import count_wider, wider_periods
from rating.line_item import RATED_LINE_SCHEMA
from rating.needed_meters import needed_meters
from rating.rate import rate_usage
from rollup.roll_up import RolledUp
from rollup.stored_usage import StoredUsage


@dataclass(frozen=True, slots=True)
class RatingInputs:
    """What dates are rated again from. changed: what ``changed_behind_bill`` found. run_id: written on the
    lines. billed_now: by contract_id, the instant of the date that is billed now, up to which levels are
    known; of others they are known up to the last billed date. cuts, returns: what the bill that is made
    now cuts, and gives back of fees."""

    event_store: EventStore
    stored_usage: StoredUsage | None
    ledger: Engine
    catalogue: BillingCatalogue
    changed: Mapping[str, Sequence[Issue]]
    dates: BillingDates
    now: datetime
    run_id: str
    billed_now: Mapping[str, int] = field(default_factory=dict)
    cuts: Sequence[CutRow] = ()
    returns: Sequence[FeeReturn] = ()


@dataclass(frozen=True, slots=True)
class RatedAgain:
    """compared: the settled dates that can be rated now; not_billed: how many dates have come and are not
    settled. lines: RATED_LINE_SCHEMA of the compared dates. added: those of licences in advance as they would
    be if nothing had been taken away in their periods, of the same ids. billed: their lines, see
    ``give_back_at_most``. catalogue: with all prices the lines name. held: dates that cannot be rated now."""

    compared: Sequence[Key]
    not_billed: int
    lines: pa.Table
    added: pa.Table
    billed: pl.DataFrame
    catalogue: BillingCatalogue
    held: Sequence[Held]


def rate_settled_dates(inputs: RatingInputs, contracts: pa.Table) -> RatedAgain:
    """Rate the settled dates of some contracts of the catalogue again. Nothing is written."""
    ids = contracts["contract_id"].to_pylist()
    with inputs.ledger.connect() as connection:
        settled = _settled_keys(connection, ids, inputs.dates)
        billed = load_billed_lines(connection, ids, inputs.dates)
    periods = periods_of_dates(
        inputs.catalogue, contracts, inputs.catalogue.plan_versions, inputs.dates, now=inputs.now
    )
    past = periods_as_billed(
        inputs.catalogue,
        periods,
        inputs.dates,
        event_store=inputs.event_store,
        ledger=inputs.ledger,
        now=inputs.now,
        cuts=inputs.cuts,
    )
    inputs = replace(inputs, catalogue=past.catalogue)
    due = billing_dates(past.periods)
    lines, added, then, held = _rate_again(inputs, contracts, _only(past.periods, settled), past)
    gone = {(entry.contract_id, entry.billing_date) for entry in held}
    kept = [key for key in settled if key not in gone]
    chosen = pl.DataFrame(kept, schema={"contract_id": pl.String, "billing_date": pl.Date}, orient="row")
    standing = give_back_at_most(
        billed.join(chosen, on=["contract_id", "billing_date"]),
        then=[one for one in then if _key_of(one) not in gone],
        at_once=credits_again(inputs.returns, lines),
    )
    return RatedAgain(
        compared=kept,
        not_billed=sum(key not in settled for key in due),
        lines=lines,
        added=added,
        billed=standing,
        catalogue=past.catalogue,
        held=held,
    )


def _rate_again(
    inputs: RatingInputs, contracts: pa.Table, periods: pa.Table, past: PeriodsAsBilled
) -> tuple[pa.Table, pa.Table, list[CreditAgain], list[Held]]:
    """The lines of all periods whose dates can be priced with their credits, those of licences in advance
    with nothing taken away, the credits, and why others cannot."""
    catalogue = inputs.catalogue
    ids = contracts["contract_id"].combine_chunks()
    spans = spans_of([periods])
    with inputs.ledger.connect() as connection:
        late = late_subjects(connection, ids.to_pylist(), inputs.dates)
    rolled = roll_up_spans(
        inputs.event_store,
        spans=spans,
        subjects=catalogue.subjects.filter(pc.is_in(catalogue.subjects["contract_id"], value_set=ids)),
        late=late,
        meters=needed_meters(catalogue.price_book, periods, catalogue.meters),
        stored_usage=inputs.stored_usage,
    )
    counted = usage_of_periods(periods, spans, rolled)
    used = with_seats(counted, _seats(inputs, periods, ids, past.cut))
    wider = wider_periods(
        ledger=inputs.ledger,
        catalogue=catalogue,
        versions=catalogue.plan_versions,
        periods=periods,
        meters=catalogue.meters,
    )
    beyond, unusable = count_wider(
        wider, used, event_store=inputs.event_store, stored_usage=inputs.stored_usage
    )
    rated = rate_usage(
        periods=periods, usage=used.usage, price_book=catalogue.price_book, run_id=inputs.run_id, wider=beyond
    )
    more = _seats(inputs, periods, ids, past.cut, only_added=True)
    added = rated.lines.slice(0, 0)
    if more is not None:
        added = rate_usage(
            periods=periods,
            usage=with_seats(counted, more).usage,
            price_book=catalogue.price_book,
            run_id=inputs.run_id,
            wider=beyond,
        ).lines
        added = added.filter(pc.equal(added["charge_kind"].cast(pa.string()), "licence"))
    dates = billing_dates(periods)
    changed = {entry.contract_id: entry for entry in hold_changed_contracts(dates, changed=inputs.changed)}
    held = [
        *(replace(changed[key], billing_date=day) for key, day in dates if key in changed),
        *hold_unusable(unusable, periods=periods, plan_versions=catalogue.plan_versions),
        *hold_unrated(rated.unrated, periods=periods),
    ]
    kept = _only(periods, dict.fromkeys(dates_without(dates, held), ""))
    then = credits_again(past.returns, rated.lines)
    given_back = [one.now for one in then if one.now is not None]
    table = pa.Table.from_pylist(given_back, schema=RATED_LINE_SCHEMA)
    lines = lines_without(with_credits(rated.lines, table), held)
    priced = PricedPeriods(lines, rated.unrated.slice(0, 0), unusable)
    priced = add_true_ups(
        priced,
        periods=kept,
        contracts=contracts,
        catalogue=catalogue,
        event_store=inputs.event_store,
        ledger=inputs.ledger,
        run_id=inputs.run_id,
    )
    untrued = hold_unrated(priced.unrated, periods=kept)
    return lines_without(priced.lines, untrued), added, then, [*held, *untrued]


def _key_of(one: CreditAgain) -> Key | None:
    line = one.was or one.now
    return None if line is None else (line["contract_id"], line["billing_date"])


def _seats(
    inputs: RatingInputs,
    periods: pa.Table,
    ids: pa.Array,
    cut: frozenset[RowKey],
    *,
    only_added: bool = False,
) -> RolledUp | None:
    """What licences in advance count. Their periods end on the next billing date, so a subject counts that
    the contract had by then."""
    catalogue = inputs.catalogue
    if not prices_seats(catalogue.plan_versions):
        return None
    every = BillingDates(inputs.dates.first, date.max)
    with inputs.ledger.connect() as connection:
        settled = _settled_keys(connection, ids.to_pylist(), every)
        late = late_subjects(connection, ids.to_pylist(), every).rows
    following = pl.DataFrame(list(settled), schema={"contract_id": pl.String, "next": pl.Date}, orient="row")
    following = following.sort("contract_id", "next").with_columns(
        billing_date=pl.col("next").shift(1).over("contract_id")
    )
    without = following.join(late.rename({"billing_date": "next"}), on=["contract_id", "next"])
    return seat_usage(
        inputs.event_store,
        periods=periods,
        subjects=catalogue.subjects.filter(pc.is_in(catalogue.subjects["contract_id"], value_set=ids)),
        price_book=catalogue.price_book,
        meters=needed_meters(catalogue.price_book, periods, catalogue.meters),
        known=settled_until(catalogue, inputs.billed_now),
        without=without.select("contract_id", "billing_date", "subject"),
        cut=cut,
        only_added=only_added,
    )


def _only(periods: pa.Table, settled: Mapping[Key, object]) -> pa.Table:
    keys = pl.DataFrame(periods.select(["contract_id", "billing_date"])).with_row_index()
    names = {"contract_id": pl.String, "billing_date": pl.Date}
    chosen = keys.join(
        pl.DataFrame(list(settled), schema=names, orient="row"),
        on=list(names),
        how="semi",
        maintain_order="left",
    )
    return numbered(periods.take(chosen["index"].to_arrow()))


def _settled_keys(connection: Connection, ids: Sequence[str], dates: BillingDates) -> dict[Key, str]:
    table = SETTLED_BILLING_DATES
    statement = select(table.c.contract_id, table.c.billing_date, table.c.outcome).where(
        table.c.billing_date >= dates.first.isoformat(), table.c.billing_date < dates.end.isoformat()
    )
    rows = select_by_ids(connection, statement, table.c.contract_id, ids)
    return {(row[0], date.fromisoformat(row[1])): row[2] for row in rows}
