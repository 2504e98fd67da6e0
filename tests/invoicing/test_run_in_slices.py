"""Goal: a run that has few contracts in memory at a time bills the same bytes under the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Engine

from ingest.clickhouse import EventStore
from ingest.ledger import default_ledger_url, open_ledger
from invoicing import billing_run
from invoicing.billing_catalogue import load_billing_catalogue
from invoicing.billing_run import run_billing
from invoicing.settings import BillingSettings
from rating.catalogue import load_contract_ids, load_contract_subjects, load_contracts
from tests.invoicing.support import CALLS
from tests.invoicing.world import World, at

JANUARY = {"start_date": date(2025, 1, 1)}
POOLED = {
    **CALLS,
    "pooled_over": "customer",
    "price": {
        "model": "graduated",
        "tiers": [{"up_to": "100", "unit_price": "1"}, {"unit_price": "0.5"}],
    },
}


def _two_months(world: World, contracts_max: int) -> tuple[list[tuple[str | None, str]], list[str]]:
    """Numbers and texts of the invoices of two runs, and both manifests. ``ended`` is over after the first
    and used late, so is ``later``."""
    world.event_store.command("TRUNCATE TABLE events")
    world.event_store.command("TRUNCATE TABLE rated_lines")
    world.plan(POOLED, start="2025-01-01")
    world.contracts(["a", "later", "z"], **JANUARY)
    world.contract("ended", **JANUARY, end_date=date(2025, 2, 1))
    used = [("call", f"{name}-subject", "2025-01-10", "60") for name in ("a", "ended", "later", "z")]
    world.events(*used)
    first = world.bill("2025-02-01", pricing_contracts=contracts_max)
    world.events(*[("call", f"{name}-subject", "2025-01-11", "7") for name in ("ended", "later")])
    second = world.bill("2025-03-01", pricing_contracts=contracts_max)
    assert (first.due, first.invoiced, second.due, first.held, second.held) == (4, 4, 4, (), ())
    texts = [(stored.summary.number, stored.text) for stored in world.invoices()]
    return texts, [first.manifest_hash, second.manifest_hash]


@pytest.mark.requirement("GEN-14")
def test_slices_of_any_size_bill_the_same_under_the_same_numbers(
    event_store: EventStore, tmp_path: Path
) -> None:
    """Four contracts share the tiers of their customer, whichever are read together; what an ended one used
    late is billed after all others."""
    found = []
    for contracts_max in (100, 2, 1):
        ledger = open_ledger(default_ledger_url(tmp_path / str(contracts_max)))
        found.append(_two_months(World(event_store, ledger), contracts_max))
        ledger.dispose()
    assert found[0] == found[1] == found[2]
    numbers = [number for number, _ in found[0][0]]
    assert numbers[0] == "INV-2025-000001"
    last = next(text for number, text in found[0][0] if number == max(filter(None, numbers)))
    assert '"contract_id":"ended"' in last


def test_no_more_contracts_than_a_slice_are_read_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Sequence[str] | None] = []

    def reading(ledger: Engine, contract_ids: Sequence[str] | None = None) -> Any:
        read.append(contract_ids)
        return load_billing_catalogue(ledger, contract_ids)

    monkeypatch.setattr(billing_run, "load_billing_catalogue", reading)
    world.plan(CALLS)
    world.contracts([f"c{number}" for number in range(5)], **JANUARY)
    assert world.bill("2025-02-01", pricing_contracts=2).due == 5
    assert read == [["c0", "c1"], ["c2", "c3"], ["c4"]]


def test_progress_never_says_less_than_is_done(event_store: EventStore, ledger: Engine) -> None:
    """Slices tell of themselves, so the whole is an estimate until the last one."""
    told: list[tuple[str, int, int]] = []
    world = World(event_store, ledger)
    world.plan(CALLS)
    world.contracts([f"c{number}" for number in range(5)], **JANUARY)
    run_billing(
        run_id=None,
        as_of=date(2025, 2, 1),
        event_store=event_store,
        ledger=ledger,
        now=at("2025-02-02"),
        settings=BillingSettings(pricing_contracts=2),
        progress=lambda *step: told.append(step),
    )
    assert all(done <= total for _, done, total in told)
    last = {stage: (done, total) for stage, done, total in told}
    assert last == {"find due": (5, 5), "roll up and rate": (5, 5), "issue": (5, 5)}


def test_contracts_of_some_ids_are_read_as_those_of_all(any_ledger: Engine, event_store: EventStore) -> None:
    """In the order of their bytes, whatever the ledger makes of letters; unknown ids are left out."""
    world = World(event_store, any_ledger)
    world.plan(CALLS)
    names = ["b", "B", "a", "a.b", "a:b", "a-b", "a_b", "ab"]
    world.contracts(names, **JANUARY)
    in_order = sorted(names, key=str.encode)
    assert load_contract_ids(any_ledger).to_pylist() == in_order
    every = load_contracts(any_ledger)
    assert every["contract_id"].to_pylist() == in_order
    assert load_contracts(any_ledger, [*reversed(names), "unknown"]).equals(every)
    assert load_contracts(any_ledger, ["ab", "B"])["contract_id"].to_pylist() == ["B", "ab"]
    subjects = load_contract_subjects(any_ledger)
    assert load_contract_subjects(any_ledger, names).equals(subjects)
    assert load_contracts(any_ledger, []).equals(every.slice(0, 0))
    assert load_contract_ids(any_ledger).type == pa.string()
