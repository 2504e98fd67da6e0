"""Goal: three senders at once, through three doors, with corrections and deaths between any two writes: the
answers and every total, counted, stored and live, are those of the auditor made of dictionaries.

``python -m tests.simulation --seeds 1000`` runs as many as you like, with the bills of the other simulation.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.clickhouse import EventStore
from tests.simulation.doors import simulate


@pytest.mark.requirement("MET-09")
@pytest.mark.parametrize("seed", range(3))
def test_three_doors_at_once_equal_the_auditor(seed: int, event_store: EventStore, tmp_path: Path) -> None:
    simulate(seed, event_store, tmp_path)
