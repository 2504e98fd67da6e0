"""History again: what billed dates come to by usage and prices as they are now, against what was billed.

The lines are made by the function that made the invoices and have the same ids, because an id says what
a line is for. So the two sides are compared line by line, and every difference is the credit or the debit
that would settle it. What was billed of a line is its bill and every adjustment of it since. Nothing is
stored or posted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import polars as pl
import pyarrow as pa
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.errors import BrokenState
from invoicing.billed_time import changed_behind_bill
from invoicing.billing_catalogue import load_billing_catalogue
from invoicing.history import CONTRACTS_AT_ONCE, BillingDates, refuse_unknown_contracts
from invoicing.hold import Held
from invoicing.line_differences import LineDifference, line_differences
from invoicing.pricing import Progress
from invoicing.rated_again import RatedAgain, RatingInputs, rate_settled_dates
from invoicing.rerate_answer import CREDIT, DEBIT, RERATED_SCHEMA, Rerated, RerateTotal
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
    inputs = RatingInputs(event_store, stored_usage, ledger, catalogue, changed, dates, now, _RUN_ID)
    tally = _Tally()
    contracts = catalogue.contracts
    for first in range(0, contracts.num_rows, CONTRACTS_AT_ONCE):
        part = contracts.slice(first, CONTRACTS_AT_ONCE)
        _compare(event_store, rate_settled_dates(inputs, part), tally)
        progress("rate again", first + part.num_rows, contracts.num_rows)
    return Rerated(
        dates=dates,
        compared=tally.compared,
        not_billed=tally.not_billed,
        totals=tuple(_total(tally, currency) for currency in sorted(tally.lines)),
        changes=tuple(tally.changes),
        held=tuple(tally.held),
    )


def _compare(store: EventStore, again: RatedAgain, tally: _Tally) -> None:
    tally.not_billed += again.not_billed
    tally.held += again.held
    tally.compared += len(again.compared)
    found = line_differences(store, again.lines, again.billed)
    _add_up(again.lines, found, again.billed, tally)
    if found:
        changes = [_row(one) for one in found]
        changes.sort(
            key=lambda row: (row["contract_id"], row["billing_date"], row["charge_id"], row["line_id"])
        )
        tally.changes.append(pa.Table.from_pylist(changes, schema=RERATED_SCHEMA))


def _row(one: LineDifference) -> dict[str, Any]:
    names = ("contract_id", "billing_date", "line_id", "charge_id", "period_start", "period_end", "currency")
    difference = one.difference_minor
    return {
        **{name: one.line[name] for name in names},
        "dimensions": list(one.line["dimensions"].items()),
        "change": one.change,
        "billed_quantity": one.was and one.was["quantity"],
        "quantity": one.now and one.now["quantity"],
        "billed_minor": one.billed_minor,
        "now_minor": one.now_minor,
        "difference_minor": difference,
        "implies": DEBIT if difference > 0 else CREDIT,
    }


def _add_up(lines: pa.Table, found: Sequence[LineDifference], billed: pl.DataFrame, tally: _Tally) -> None:
    """Raises BrokenState unless what was billed and all differences come to what the lines are now."""
    fresh = pl.DataFrame(
        {
            "now_minor": pl.Series(lines["amount_minor"].combine_chunks()),
            "currency": pl.Series(lines["currency"].cast(pa.string()).combine_chunks()),
        }
    )
    sums = fresh.group_by("currency").agg(pl.len(), pl.col("now_minor").cast(pl.Int128).sum())
    for currency, count, total in sums.iter_rows():
        tally.lines[currency] += count
        tally.now_minor[currency] += int(total)
    for one in found:
        tally.lines[one.line["currency"]] += one.change == "vanished"
        tally.differences[one.line["currency"]].append(one.difference_minor)
    was = int(billed["billed_minor"].cast(pl.Int128).sum() or 0)
    becomes = int(fresh["now_minor"].cast(pl.Int128).sum() or 0)
    difference = sum(one.difference_minor for one in found)
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
