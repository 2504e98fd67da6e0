"""The proof at scale: every rated line of the workload against an independent exact computation.

Ratemill's side goes all the way: every event and resend through the gate into the store, contracts
from the ledger, due periods, rollup, rating, lines written and read back. The other side is
``exact.py``, which shares nothing with it but the generator. Plans use six price models and three
currencies. Every line is compared to the minor unit, and its event count too.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from benchmarks.canonical import SIZES, Workload
from benchmarks.exact import exact_lines
from benchmarks.ours_job import keep_usage, price_months
from benchmarks.ours_stores import Stores, ingest_workload, open_stores, save_documents
from rollup.stored_usage import StoredUsage

KEYS: Final = ("contract_id", "meter_id", "period_start")
_READ: Final = """
SELECT contract_id, meter_id, toDate32(period_start) AS period_start, amount_minor, event_count
FROM rated_lines FINAL
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """lines and totals of both sides (total: sum of minor units over all currencies), and how many
    lines differ or stand on one side only."""

    stored_lines: int
    exact_lines: int
    stored_total_minor: int
    exact_total_minor: int
    differing_lines: int
    examples: list[dict[str, Any]]

    @property
    def equal(self) -> bool:
        return self.differing_lines == 0 and self.stored_total_minor == self.exact_total_minor


def prove(size: str, folder: Path, *, say: Callable[[str], None]) -> bool:
    """Run the proof at a size in a new folder and say what came out; True when nothing differs."""
    workload = replace(SIZES[size], mixed_models=True)
    shutil.rmtree(folder, ignore_errors=True)
    started = time.perf_counter()
    with open_stores(folder) as stores:
        fill_and_rate(stores, workload, say=say)
        say(f"  {time.perf_counter() - started:.1f} s so far; computing the same independently")
        found = compare(stores, workload)
    say(f"events sent {workload.events_sent:,}, of them resends {workload.resends:,}")
    say(f"lines: stored {found.stored_lines:,}, independent {found.exact_lines:,}")
    say(f"sum of minor units: stored {found.stored_total_minor:,}, independent {found.exact_total_minor:,}")
    say(f"differing lines: {found.differing_lines:,}; {time.perf_counter() - started:.1f} s in all")
    for example in found.examples:
        say(f"  differs: {example}")
    return found.equal


def fill_and_rate(stores: Stores, workload: Workload, *, say: Callable[[str], None]) -> None:
    """Documents, events and resends in; rated lines of all three months stored. Periods are kept before
    the first event, so all usage is added up step by step."""
    say(f"saving {workload.contracts:,} contracts on {workload.plans} plans")
    save_documents(stores, workload)
    keep_usage(stores)
    say(f"ingesting {workload.events_sent:,} events through the gate")
    ingest_workload(stores, workload)
    say("rating three months")
    price_months(stores, months=3, stored=StoredUsage(stores.events))


def compare(stores: Stores, workload: Workload) -> Comparison:
    """Stored lines against the independent ones."""
    read: Any = pl.from_arrow(stores.events.query(_READ))
    stored = read.with_columns(
        pl.col("contract_id", "meter_id").cast(pl.String),
        pl.col("period_start").cast(pl.Date),
        pl.col("event_count").cast(pl.Int64),
    )
    exact = exact_lines(workload)
    joined = exact.join(stored, on=KEYS, how="full", suffix="_stored", coalesce=True)
    differing = joined.filter(
        pl.col("amount_minor").ne_missing(pl.col("amount_minor_stored"))
        | pl.col("event_count").ne_missing(pl.col("event_count_stored"))
    )
    return Comparison(
        stored_lines=len(stored),
        exact_lines=len(exact),
        stored_total_minor=int(stored["amount_minor"].sum()),
        exact_total_minor=int(exact["amount_minor"].sum()),
        differing_lines=len(differing),
        examples=differing.head(5).to_dicts(),
    )
