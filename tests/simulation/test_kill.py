"""Goal: kill -9 at any moment loses nothing acknowledged, and billing again makes nothing twice.

Each child has a data folder of its own and is killed at points drawn from a seed.
``RATEMILL_KILLS=100`` kills more often, ``RATEMILL_KILL_SEED`` draws other points.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.simulation.child_billing import CONTRACTS, MONTHS
from tests.simulation.child_correct import EVENTS_A_BATCH as CORRECTED_A_BATCH
from tests.simulation.child_correct import corrections
from tests.simulation.child_ingest import EVENTS_A_BATCH, batch_ids

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("RATEMILL_KILLS", "2"))
GATES = ["memory", "bounded"] if KILLS > 3 else ["memory"]
"""Which gates all kills are for; the suite kills one way of coming in with both."""
SEED = int(os.environ.get("RATEMILL_KILL_SEED", "20250401"))


class Child:
    """A running child process; its lines of JSON, and a kill that nothing can catch."""

    def __init__(self, module: str, *arguments: object) -> None:
        command = [sys.executable, "-m", f"tests.simulation.{module}", *map(str, arguments)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Whole lines, as they come; what a kill cut off is not among them."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                yield json.loads(line)

    def kill(self) -> None:
        self.process.kill()


@contextmanager
def child(module: str, *arguments: object) -> Iterator[Child]:
    running = Child(module, *arguments)
    try:
        yield running
    finally:
        running.kill()
        running.process.wait()
        assert running.process.stdout is not None
        running.process.stdout.close()


def killed_after(random: Random, running: Child, lines_max: int) -> list[dict[str, Any]]:
    """Read a random number of lines, wait a random moment, kill; every line the child got out."""
    wanted, heard = random.randint(1, lines_max), []
    delay = random.choice([0.0, random.uniform(0, 0.02), random.uniform(0, 0.1)])
    for line in running.lines():
        heard.append(line)
        if len(heard) == wanted:
            time.sleep(delay)
            running.kill()
    return heard


def finished(module: str, *arguments: object) -> list[dict[str, Any]]:
    with child(module, *arguments) as running:
        heard = list(running.lines())
        assert running.process.wait() == 0, f"{module} {arguments} failed"
    return heard


@pytest.mark.parametrize("gate", ["memory", "bounded"])
def test_every_acknowledged_event_survives_every_kill_exactly_once(tmp_path: Path, gate: str) -> None:
    random = Random(SEED)
    acknowledged: list[int] = []
    last = KILLS * 12
    for kill in range(KILLS):
        first = acknowledged[-1] + 1 if acknowledged else 0
        with child("child_ingest", tmp_path, first, last, gate) as running:
            heard = killed_after(random, running, lines_max=12)
        assert_stored(heard[0], acknowledged, first, f"seed {SEED}, kill {kill}")
        acknowledged += [line["batch"] for line in heard[1:]]
    assert acknowledged == sorted(set(acknowledged))
    # The sender, who does not know what was heard, sends everything again from the start.
    answers = finished("child_ingest", tmp_path, 0, last, gate)
    assert_stored(answers[0], acknowledged, len(acknowledged), "last")
    sent = {batch: len(batch_ids(batch)) for batch in range(last + 1)}
    assert {line["batch"]: line["accepted"] + line["duplicates"] for line in answers[1:]} == sent
    assert all(line["accepted"] == 0 for line in answers[1:] if line["batch"] in acknowledged)
    everything = finished("child_ingest", tmp_path, 0, -1, gate)[0]
    count = (last + 1) * EVENTS_A_BATCH
    assert sorted(everything["stored"]) == sorted(f"e{number}" for number in range(count))
    assert sum(map(float, everything["values"])) == sum(number + 0.5 for number in range(count))


def assert_stored(opened: dict[str, Any], acknowledged: list[int], first: int, where: str) -> None:
    """What the reopened store holds: all acknowledged batches, at most the one in flight, all once."""
    stored = opened["stored"]
    assert len(stored) == len(set(stored)), where
    wanted = {name for batch in acknowledged for name in batch_ids(batch)}
    assert wanted <= set(stored), f"{where}: {len(wanted - set(stored))} acknowledged events are lost"
    in_flight = set(batch_ids(first)) if first > 0 or stored else set()
    surplus = set(stored) - wanted
    # A batch is one insert: all of the unacknowledged one is there, or nothing.
    assert surplus in (set(), in_flight - wanted), where


@pytest.mark.requirement("MET-09")
@pytest.mark.parametrize("gate", GATES)
def test_batches_that_share_commits_survive_every_kill_whole_and_once(tmp_path: Path, gate: str) -> None:
    random = Random(SEED + 1)
    acknowledged: set[int] = set()
    kills = max(3, KILLS // 2)
    last = kills * 16
    for kill in range(kills):
        # The sender sends again whatever it has no answer for.
        first = min(set(range(last + 1)) - acknowledged)
        with child("child_group", tmp_path, first, last, gate) as running:
            heard = killed_after(random, running, lines_max=16)
        assert_whole(heard[0]["stored"], acknowledged, last, f"seed {SEED}, kill {kill}")
        acknowledged |= {line["batch"] for line in heard[1:]}
    answers = finished("child_group", tmp_path, 0, last, gate)
    assert_whole(answers[0]["stored"], acknowledged, last, "last")
    assert all(line["accepted"] == 0 for line in answers[1:] if line["batch"] in acknowledged)
    everything = finished("child_group", tmp_path, 0, -1, gate)[0]["stored"]
    assert sorted(everything) == sorted(f"e{number}" for number in range((last + 1) * EVENTS_A_BATCH))


def assert_whole(stored: list[str], acknowledged: set[int], last: int, where: str) -> None:
    """All acknowledged batches are there, no event twice, and no batch in part."""
    there = set(stored)
    assert len(stored) == len(there), where
    for batch in range(last + 1):
        # The first ten ids came with the batch before already, the last ten come again with the next.
        own = set(batch_ids(batch)[10:-10])
        assert not own & there or own <= there, f"{where}: batch {batch} is there in part"
        assert batch not in acknowledged or set(batch_ids(batch)) <= there, f"{where}: {batch} is lost"


@pytest.mark.parametrize("gate", GATES)
def test_a_kill_leaves_a_batch_of_corrections_in_force_or_not_never_both_or_neither_version(
    tmp_path: Path, gate: str
) -> None:
    random = Random(SEED)
    last = KILLS * 8
    events = (last + 1) * CORRECTED_A_BATCH
    acknowledged = 0
    for kill in range(KILLS):
        with child("child_correct", tmp_path, acknowledged, last, events, gate) as running:
            heard = killed_after(random, running, lines_max=8)
        in_force = heard[0]["in_force"]
        possible = [after_corrections(events, count) for count in (acknowledged, acknowledged + 1)]
        assert in_force in possible, f"seed {SEED}, kill {kill}, {acknowledged} batches acknowledged"
        acknowledged += len(heard) - 1
    answers = finished("child_correct", tmp_path, 0, last, events, gate)
    for answer in answers[1:]:
        assert answer["accepted"] + answer["duplicates"] == len(corrections(answer["batch"]))
        assert answer["accepted"] == 0 or answer["batch"] >= acknowledged
    everything = finished("child_correct", tmp_path, 0, -1, events, gate)[0]
    assert everything["in_force"] == after_corrections(events, last + 1)


def after_corrections(events: int, batches: int) -> list[list[str]]:
    """[event, value] of every event that counts after that many batches, as the child says it."""
    values: dict[int, str | None] = dict.fromkeys(range(events), "1")
    for batch in range(batches):
        values |= dict(corrections(batch))
    return sorted([f"e{number}", value] for number, value in values.items() if value is not None)


@pytest.mark.requirement("RAT-07", "GEN-14")
def test_a_billing_run_killed_anywhere_bills_everything_once_without_a_gap(tmp_path: Path) -> None:
    random = Random(SEED)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished("child_billing", whole, "prepare")
    finished("child_billing", killed, "prepare")
    reference = finished("child_billing", whole, "bill")[-1]["report"]
    kills = 0
    while kills < KILLS:
        with child("child_billing", killed, "bill") as running:
            heard = killed_after(random, running, lines_max=max(2, 40 // KILLS))
        if "report" in heard[-1]:
            pytest.fail(f"seed {SEED}: the run ended after {kills} kills; make it longer")
        kills += 1
        assert_books_are_whole(killed, f"seed {SEED}, kill {kills}")
    final = finished("child_billing", killed, "bill")[-1]["report"]
    assert final["manifest_hash"] == reference["manifest_hash"]
    for report in (reference, final):
        rate = report["invoiced"] / float(report["seconds"])
        assert float(report["invoices_per_second"]) == pytest.approx(rate, rel=0.01, abs=0.1)
    invoices = invoices_of(killed)
    assert len(invoices) == CONTRACTS * MONTHS
    assert sum(total for *_, total in invoices) == sum(reference["totals_minor"].values())
    assert invoices == invoices_of(whole)
    again = finished("child_billing", killed, "bill")[-1]["report"]
    assert (again["due"], again["invoiced"], again["manifest_hash"]) == (0, 0, reference["manifest_hash"])
    assert_late_usage_is_billed_once(random, whole, killed)


def assert_late_usage_is_billed_once(random: Random, whole: Path, killed: Path) -> None:
    """One late call a contract, three of four in months that are billed; the run after it is killed too."""
    reference = finished("child_billing", whole, "bill-late")[-1]["report"]
    for kill in range(max(1, KILLS // 4)):
        with child("child_billing", killed, "bill-late") as running:
            heard = killed_after(random, running, lines_max=12)
        assert "report" not in heard[-1], f"seed {SEED}: the run ended after {kill} kills"
        assert_books_are_whole(killed, f"seed {SEED}, kill {kill} of late usage")
    final = finished("child_billing", killed, "bill-late")[-1]["report"]
    assert final["manifest_hash"] == reference["manifest_hash"]
    assert invoices_of(killed) == invoices_of(whole)
    assert adjustments_of(killed) == adjustments_of(whole)
    assert len(adjustments_of(killed)) == sum(number % 4 < MONTHS for number in range(CONTRACTS))


def assert_books_are_whole(folder: Path, where: str) -> None:
    """Numbers 1, 2, 3 ...; one invoice a contract and date; lines that add up to their invoice."""
    invoices = invoices_of(folder)
    assert [number for number, *_ in invoices] == list(range(1, len(invoices) + 1)), where
    assert len({(contract, day) for _, contract, day, _ in invoices}) == len(invoices), where
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        apart = ledger.execute(
            "SELECT count(*) FROM invoices i WHERE total_minor <> "
            "(SELECT coalesce(sum(amount_minor), 0) FROM invoice_lines l WHERE l.invoice_id = i.invoice_id)"
        ).fetchone()[0]
    ledger.close()
    assert apart == 0, where


def adjustments_of(folder: Path) -> list[tuple[str, str, int]]:
    """(contract, adjusted billing date, amount)."""
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        rows = ledger.execute(
            "SELECT contract_id, billing_date, amount_minor FROM line_adjustments JOIN invoice_lines "
            "USING (line_id) ORDER BY contract_id"
        ).fetchall()
    ledger.close()
    return rows


def invoices_of(folder: Path) -> list[tuple[int, str, str, int]]:
    """(number, contract, billing date, total) in the order of the numbers."""
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        rows = ledger.execute(
            "SELECT number, contract_id, billing_date, total_minor FROM invoices ORDER BY number"
        ).fetchall()
    ledger.close()
    return rows
