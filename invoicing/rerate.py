"""History again: what billed dates come to by usage and prices as they are now, against what was billed.

The lines are made by the function that made the invoices and have the same ids, because an id says what
a line is for. So the two sides are compared line by line, and every difference is the credit or the debit
that would settle it. Nothing is stored or posted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine, select

from ingest.clickhouse import EventStore
from ingest.errors import BrokenState, Issue
from invoicing.amendment_rows import with_credits
from invoicing.billed_time import changed_behind_bill
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from invoicing.bulk import select_by_ids
from invoicing.history import (
    CONTRACTS_AT_ONCE,
    BillingDates,
    late_subjects,
    numbered,
    periods_of_dates,
    refuse_unknown_contracts,
    roll_up_spans,
    spans_of,
    usage_of_periods,
)
from invoicing.hold import Held, Key, hold_changed_contracts, hold_unrated, hold_unusable
from invoicing.pricing import PricedPeriods, Progress
from invoicing.rerate_answer import CREDIT, DEBIT, RERATED_SCHEMA, Rerated, RerateTotal
from invoicing.rerate_versions import periods_as_billed
from invoicing.run_blocks import billing_dates, dates_without, lines_without
from invoicing.tables import INVOICE_LINES, INVOICES, SETTLED_BILLING_DATES
from invoicing.true_up import add_true_ups
from invoicing.wider_periods import count_wider, wider_periods
from rating.needed_meters import needed_meters
from rating.rate import rate_usage
from rating.store import line_to_python, read_rated_lines
from rollup.stored_usage import StoredUsage

_RUN_ID: Final = "rerate"


@dataclass(slots=True)
class _Tally:
    """By currency: lines and sums. differences: of each changed line, by currency."""

    compared: int = 0
    not_billed: int = 0
    lines: Counter[str] = field(default_factory=Counter)
    now_minor: Counter[str] = field(default_factory=Counter)
    differences: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    changes: list[pa.Table] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Inputs:
    event_store: EventStore
    stored_usage: StoredUsage | None
    ledger: Engine
    catalogue: BillingCatalogue
    changed: Mapping[str, Sequence[Issue]]
    dates: BillingDates
    now: datetime


def rerate(
    *,
    dates: BillingDates,
    contract_ids: Sequence[str] | None,
    event_store: EventStore,
    stored_usage: StoredUsage | None,
    ledger: Engine,
    now: datetime,
    progress: Progress,
) -> Rerated:
    """Compare every settled billing date in ``dates`` with what it would be now.

    contract_ids: only these; None for all. stored_usage: read where it has the period. progress: told of
    contracts. Raises NotFound for an unknown contract, BrokenState when sums disagree.
    """
    catalogue = load_billing_catalogue(ledger, contract_ids)
    refuse_unknown_contracts(catalogue, contract_ids)
    with ledger.connect() as connection:
        changed = changed_behind_bill(
            connection,
            contracts=catalogue.contracts,
            settled=catalogue.settled,
            plan_versions=catalogue.plan_versions,
        )
    inputs = _Inputs(event_store, stored_usage, ledger, catalogue, changed, dates, now)
    tally = _Tally()
    contracts = catalogue.contracts
    for first in range(0, contracts.num_rows, CONTRACTS_AT_ONCE):
        part = contracts.slice(first, CONTRACTS_AT_ONCE)
        _compare_block(inputs, part, tally)
        progress("rate again", first + part.num_rows, contracts.num_rows)
    return Rerated(
        dates=dates,
        compared=tally.compared,
        not_billed=tally.not_billed,
        totals=tuple(_total(tally, currency) for currency in sorted(tally.lines)),
        changes=tuple(tally.changes),
        held=tuple(tally.held),
    )


def _compare_block(inputs: _Inputs, contracts: pa.Table, tally: _Tally) -> None:
    ids = contracts["contract_id"].to_pylist()
    with inputs.ledger.connect() as connection:
        settled = _settled_keys(connection, ids, inputs.dates)
        billed = _billed_lines(connection, ids, inputs.dates)
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
    )
    inputs = replace(inputs, catalogue=past.catalogue)
    due = billing_dates(past.periods)
    tally.not_billed += sum(key not in settled for key in due)
    lines, held = _rate_again(inputs, contracts, _only(past.periods, settled), past.credits)
    gone = {(entry.contract_id, entry.billing_date) for entry in held}
    kept = [key for key in settled if key not in gone]
    tally.held += held
    tally.compared += len(kept)
    chosen = pl.DataFrame(kept, schema={"contract_id": pl.String, "billing_date": pl.Date}, orient="row")
    _compare(inputs.event_store, lines, billed.join(chosen, on=["contract_id", "billing_date"]), tally)


def _rate_again(
    inputs: _Inputs, contracts: pa.Table, periods: pa.Table, credits_made: pa.Table
) -> tuple[pa.Table, list[Held]]:
    """The lines of all periods whose dates can be priced with their credits, and why others cannot."""
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
    used = usage_of_periods(periods, spans, rolled)
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
        periods=periods, usage=used.usage, price_book=catalogue.price_book, run_id=_RUN_ID, wider=beyond
    )
    dates = billing_dates(periods)
    changed = {entry.contract_id: entry for entry in hold_changed_contracts(dates, changed=inputs.changed)}
    held = [
        *(replace(changed[key], billing_date=day) for key, day in dates if key in changed),
        *hold_unusable(unusable, periods=periods, plan_versions=catalogue.plan_versions),
        *hold_unrated(rated.unrated, periods=periods),
    ]
    kept = _only(periods, dict.fromkeys(dates_without(dates, held), ""))
    lines = lines_without(with_credits(rated.lines, credits_made), held)
    priced = PricedPeriods(lines, rated.unrated.slice(0, 0), unusable)
    priced = add_true_ups(
        priced,
        periods=kept,
        contracts=contracts,
        catalogue=catalogue,
        event_store=inputs.event_store,
        run_id=_RUN_ID,
    )
    untrued = hold_unrated(priced.unrated, periods=kept)
    return lines_without(priced.lines, untrued), [*held, *untrued]


def _compare(store: EventStore, lines: pa.Table, billed: pl.DataFrame, tally: _Tally) -> None:
    """Pair both sides by line id, what is left by what the lines are for, and keep what differs."""
    fresh = pl.DataFrame(
        {
            "line_id": pl.Series(lines["line_id"].cast(pa.binary()).combine_chunks()),
            "now_minor": pl.Series(lines["amount_minor"].combine_chunks()),
            "currency": pl.Series(lines["currency"].cast(pa.string()).combine_chunks()),
        }
    ).with_row_index("row")
    both = fresh.join(billed, on="line_id", how="full", coalesce=True)
    odd = both.filter(pl.col("now_minor").ne_missing(pl.col("billed_minor")))
    past = _lines_by_id(store, odd.filter(pl.col("billed_minor").is_not_null())["line_id"].to_list())
    amounts = dict(odd.select("line_id", "billed_minor").iter_rows())
    now = {
        line_id: line_to_python(lines, row)
        for line_id, row in odd.select("line_id", "row").iter_rows()
        if row is not None
    }
    rows = [
        _row(
            None if was is None else past[was],
            None if becomes is None else now[becomes],
            0 if was is None else amounts[was],
        )
        for was, becomes in _paired(past, now)
    ]
    changes = [row for row in rows if row["difference_minor"] or row["change"] != "changed"]
    _add_up(fresh, rows, changes, billed, tally)
    if changes:
        changes.sort(
            key=lambda row: (row["contract_id"], row["billing_date"], row["charge_id"], row["line_id"])
        )
        tally.changes.append(pa.Table.from_pylist(changes, schema=RERATED_SCHEMA))


def _paired(
    past: Mapping[bytes, Mapping[str, Any]], now: Mapping[bytes, Mapping[str, Any]]
) -> list[tuple[bytes | None, bytes | None]]:
    """(billed line, line now): of one id, or else for the same thing under another plan version."""
    pairs: list[tuple[bytes | None, bytes | None]] = [(key, key) for key in past if key in now]
    waiting: dict[tuple[Any, ...], list[bytes]] = {}
    for key, line in now.items():
        if key not in past:
            waiting.setdefault(_purpose(line), []).append(key)
    for key, line in past.items():
        if key not in now:
            same = waiting.get(_purpose(line))
            pairs.append((key, same.pop() if same else None))
    return [*pairs, *((None, key) for keys in waiting.values() for key in keys)]


def _purpose(line: Mapping[str, Any]) -> tuple[Any, ...]:
    names = (
        "contract_id",
        "billing_date",
        "charge_id",
        "charge_kind",
        "period_start",
        "period_end",
        "currency",
    )
    return (*(line[name] for name in names), *sorted(line["dimensions"].items()))


def _row(
    was: Mapping[str, Any] | None, becomes: Mapping[str, Any] | None, billed_minor: int
) -> dict[str, Any]:
    line = was or becomes or {}
    before, after = billed_minor, becomes["amount_minor"] if becomes else 0
    names = ("contract_id", "billing_date", "line_id", "charge_id", "period_start", "period_end", "currency")
    return {
        **{name: line[name] for name in names},
        "dimensions": list(line["dimensions"].items()),
        "change": "new" if was is None else "vanished" if becomes is None else "changed",
        "billed_quantity": was and was["quantity"],
        "quantity": becomes and becomes["quantity"],
        "billed_minor": before,
        "now_minor": after,
        "difference_minor": after - before,
        "implies": DEBIT if after > before else CREDIT if after < before else "",
    }


def _add_up(
    fresh: pl.DataFrame,
    rows: Sequence[Mapping[str, Any]],
    changes: Sequence[Mapping[str, Any]],
    billed: pl.DataFrame,
    tally: _Tally,
) -> None:
    """Raises BrokenState unless what was billed and all differences come to what the lines are now."""
    sums = fresh.group_by("currency").agg(pl.len(), pl.col("now_minor").cast(pl.Int128).sum())
    for currency, count, total in sums.iter_rows():
        tally.lines[currency] += count
        tally.now_minor[currency] += int(total)
    for row in rows:
        tally.lines[row["currency"]] += row["change"] == "vanished"
    for row in changes:
        tally.differences[row["currency"]].append(row["difference_minor"])
    was = int(billed["billed_minor"].cast(pl.Int128).sum() or 0)
    becomes = int(fresh["now_minor"].cast(pl.Int128).sum() or 0)
    difference = sum(row["difference_minor"] for row in changes)
    if was + difference != becomes:
        raise BrokenState(
            f"{was} minor units were billed, the lines differ by {difference} and come to {becomes} now; the "
            "ledger's lines and the rated lines do not belong together. Restore both stores of one moment."
        )


def _total(tally: _Tally, currency: str) -> RerateTotal:
    differences, now = tally.differences[currency], tally.now_minor[currency]
    return RerateTotal(
        currency=currency,
        lines=tally.lines[currency],
        unchanged=tally.lines[currency] - len(differences),
        billed_minor=now - sum(differences),
        now_minor=now,
        difference_minor=sum(differences),
        credit_minor=sum(amount for amount in differences if amount < 0),
        debit_minor=sum(amount for amount in differences if amount > 0),
    )


def _lines_by_id(store: EventStore, line_ids: Sequence[bytes]) -> dict[bytes, Mapping[str, Any]]:
    found = read_rated_lines(store, line_ids=line_ids)
    lines: dict[bytes, Mapping[str, Any]] = {}
    for row in range(found.num_rows):
        line = line_to_python(found, row)
        lines[line["line_id"]] = line
    if len(lines) != len(line_ids):
        missing = next(key for key in line_ids if key not in lines)
        raise BrokenState(
            f"invoice line {missing.hex()} has no rated line in the event store; restore both stores of one "
            "moment."
        )
    return lines


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


def _billed_lines(connection: Connection, ids: Sequence[str], dates: BillingDates) -> pl.DataFrame:
    """contract_id, billing_date, line_id, billed_minor of every invoice line of the dates."""
    statement = (
        select(
            INVOICES.c.contract_id,
            INVOICES.c.billing_date,
            INVOICE_LINES.c.line_id,
            INVOICE_LINES.c.amount_minor,
        )
        .join(INVOICE_LINES, INVOICE_LINES.c.invoice_id == INVOICES.c.invoice_id)
        .where(
            INVOICES.c.billing_date >= dates.first.isoformat(),
            INVOICES.c.billing_date < dates.end.isoformat(),
        )
    )
    rows = [tuple(row) for row in select_by_ids(connection, statement, INVOICES.c.contract_id, ids)]
    text = {
        "contract_id": pl.String,
        "billing_date": pl.String,
        "line_id": pl.String,
        "billed_minor": pl.Int64,
    }
    return pl.DataFrame(rows, schema=text, orient="row").with_columns(
        pl.col("billing_date").str.to_date("%Y-%m-%d"), pl.col("line_id").str.decode("hex")
    )
