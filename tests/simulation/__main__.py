"""``python -m tests.simulation --seeds 1000``: both simulations over many seeds, by hand.

Every seed is a month-by-month life of senders, corrections and bills (``test_simulation.py``) and three doors
at once with deaths (``doors.py``), each held to an auditor made of dictionaries. A failure names its seed and
the run goes on; the exit status is 1 if there was any.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from ingest.clickhouse import EventStore, default_events_url, open_event_store
from ingest.ledger import default_ledger_url, open_ledger
from tests.conftest import EMPTIED_TABLES
from tests.simulation.doors import simulate
from tests.simulation.test_simulation import test_answers_usage_and_invoices_equal_the_auditors as bill_months

REPORT_EVERY = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    chosen = parser.parse_args()
    failed: list[int] = []
    deaths, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        store = open_event_store(default_events_url(folder))
        new_ledger = _new_ledger(folder / "new")
        for seed in range(chosen.first, chosen.first + chosen.seeds):
            try:
                deaths += _run(seed, store, new_ledger, folder / str(seed))
            except Exception:  # noqa: BLE001 - told with its seed, and the next one runs
                failed.append(seed)
                traceback.print_exc()
            done = seed - chosen.first + 1
            if done % REPORT_EVERY == 0 or done == chosen.seeds:
                words = f"{done} seeds, {deaths} deaths, {len(failed)} failed {failed}"
                sys.stdout.write(f"{words}, {int(time.monotonic() - began)} s\n")
                sys.stdout.flush()
        store.close()
    return 1 if failed else 0


def _new_ledger(folder: Path) -> Path:
    """The file of an empty ledger: to copy it is much cheaper than to migrate one for each seed."""
    folder.mkdir()
    open_ledger(default_ledger_url(folder)).dispose()
    (file,) = folder.glob("*.sqlite")
    return file


def _run(seed: int, store: EventStore, new_ledger: Path, folder: Path) -> int:
    """Both simulations; how often the process died."""
    folder.mkdir()
    shutil.copy(new_ledger, folder)
    _empty(store)
    ledger = open_ledger(default_ledger_url(folder))
    try:
        bill_months(seed, store, ledger)
    finally:
        ledger.dispose()
    _empty(store)
    return simulate(seed, store, folder)


def _empty(store: EventStore) -> None:
    for table in EMPTIED_TABLES:
        store.command(f"TRUNCATE TABLE {table}")


if __name__ == "__main__":
    raise SystemExit(main())
