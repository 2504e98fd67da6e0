"""Goal: a generated set of events, rated through the real stores, equals an independent exact
computation to the cent, line by line. The full size is ``python -m benchmarks proof --size full``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sqlalchemy import Engine

from benchmarks.canonical import SIZES, Workload, event_numbers, event_table, sent_order
from benchmarks.exact import exact_lines, exact_usage
from benchmarks.ours_stores import Stores
from benchmarks.proof import compare, fill_and_rate
from ingest.clickhouse import EventStore

SCALE = Workload("test", events_sent=200_000, contracts=2_000, plans=60, seed=20_250_401, mixed_models=True)


@pytest.mark.requirement("MET-12")
def test_every_rated_line_of_200_000_events_equals_the_independent_computation(
    event_store: EventStore, ledger: Engine
) -> None:
    stores = Stores(event_store, ledger)
    fill_and_rate(stores, SCALE, say=lambda _text: None)
    found = compare(stores, SCALE)
    assert found.differing_lines == 0, found.examples
    assert found.stored_lines == found.exact_lines > 20_000
    assert found.stored_total_minor == found.exact_total_minor > 0


def test_the_comparison_sees_one_cent_on_one_line(event_store: EventStore, ledger: Engine) -> None:
    stores = Stores(event_store, ledger)
    workload = replace(SIZES["tiny"], events_sent=2_000, contracts=50, mixed_models=True)
    fill_and_rate(stores, workload, say=lambda _text: None)
    assert compare(stores, workload).equal
    event_store.command(
        "ALTER TABLE rated_lines UPDATE amount_minor = amount_minor + 1 "
        "WHERE line_id = (SELECT min(line_id) FROM rated_lines) SETTINGS mutations_sync = 1"
    )
    found = compare(stores, workload)
    assert not found.equal
    assert found.differing_lines == 1
    assert found.stored_total_minor == found.exact_total_minor + 1


def test_resends_are_three_percent_and_carry_the_same_body() -> None:
    workload = SIZES["tiny"]
    sent = sent_order(workload)
    assert len(sent) == workload.events_sent
    assert len(np.unique(sent)) == workload.events == 9_700
    rows = pl.DataFrame(event_table(workload, sent).drop_columns(["properties"]).to_pydict())
    assert rows.unique().height == rows.select("source", "id").unique().height == workload.events


def test_some_events_arrive_late_and_all_fall_into_the_three_months() -> None:
    workload = SIZES["tiny"]
    times = event_numbers(workload, np.arange(workload.events)).time_micros
    day = 86_400_000_000
    late = np.count_nonzero(times < np.maximum.accumulate(times) - day)
    assert 0.003 < late / workload.events < 0.02
    assert exact_usage(workload).events.sum() == workload.events


def test_the_independent_side_prices_every_model() -> None:
    """A few lines by hand: 4 contracts, quantities and prices read from the generator's numbers."""
    workload = replace(SIZES["tiny"], events_sent=4_000, contracts=40, mixed_models=True)
    lines = exact_lines(workload)
    usage = exact_usage(workload)
    assert lines.height == len(usage.quantity_nanos)
    assert lines["event_count"].sum() == workload.events
    assert lines["amount_minor"].min() is not None
    assert lines.select("contract_id", "meter_id", "period_start").is_unique().all()
