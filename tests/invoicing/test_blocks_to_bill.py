"""Goal: a run that reads nothing but stored usage bills few contracts at once, with the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest.clickhouse import EventStore
from ingest.ledger import default_ledger_url, open_ledger
from invoicing import price_due
from invoicing.open_usage import keep_open_usage
from invoicing.pricing import price_periods
from rollup.stored_usage import StoredUsage
from tests.invoicing.world import World, at

CONTRACTS = 7


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many contracts each block of a run had."""
    found: list[int] = []

    def counted(**asked: Any) -> Any:
        found.append(len(asked["periods"]["contract_id"].unique()))
        return price_periods(**asked)

    monkeypatch.setattr(price_due, "price_periods", counted)
    return found


def test_stored_usage_is_billed_in_small_blocks_with_the_same_bytes(
    event_store: EventStore, tmp_path: Path, priced: list[int]
) -> None:
    manifests, texts = [], []
    for name in ("events", "kept"):
        world = World(event_store, open_ledger(default_ledger_url(tmp_path / name)))
        world.plan()
        world.contracts([f"c{number}" for number in range(CONTRACTS)])
        if name == "events":
            world.events(*[("call", f"c{n % 7}-subject", f"2025-01-{16 + n % 9}", "7") for n in range(50)])
        else:
            world.stored_usage = StoredUsage(event_store)
            assert keep_open_usage(world.stored_usage, ledger=world.ledger, now=at("2025-01-20")) == CONTRACTS
        report = world.bill("2025-02-15", stored_contracts=3, chunk_contracts=2)
        manifests.append(report.manifest_hash)
        texts.append([stored.text for stored in world.invoices()])
        world.ledger.dispose()
    assert priced == [7, 3, 3, 1]  # events: in one pass
    assert manifests[0] == manifests[1]
    assert texts[0] == texts[1]


def test_a_period_that_is_not_kept_keeps_the_block_whole(world: World, priced: list[int]) -> None:
    world.stored_usage = StoredUsage(world.event_store)
    world.plan()
    world.contracts([f"c{number}" for number in range(CONTRACTS)])
    report = world.bill("2025-02-15", stored_contracts=2, chunk_contracts=2)
    assert (report.invoiced, priced) == (2 * CONTRACTS, [CONTRACTS])
