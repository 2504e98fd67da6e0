"""Goal: processes that issue at once, killed at random, leave no gap, no number twice and a whole chain.

``RATEMILL_ISSUES=10000`` issues more than the suite does; ``RATEMILL_KILL_SEED`` draws other kills.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Engine, select

from invoicing.audit_verify import verify_books
from invoicing.tables import ISSUED_DOCUMENTS
from tests.simulation.child_issue import prepare

ROOT = Path(__file__).resolve().parents[2]
ISSUES = int(os.environ.get("RATEMILL_ISSUES", "32"))
SEED = int(os.environ.get("RATEMILL_KILL_SEED", "20260201"))
PROCESSES = 2 if ISSUES < 1_000 else 3
KILLS_MAX = max(1, ISSUES // 100)


class Issuers:
    """Keeps processes issuing until no draft is left, and kills one of them every now and then."""

    def __init__(self, ledger_url: str, random: Random) -> None:
        self.acknowledged: list[tuple[str, str]] = []
        self.kills = 0
        self._url = ledger_url
        self._random = random
        self._lock = threading.Lock()

    def run(self) -> None:
        """Until one process has seen that nothing is left; then all have."""
        workers = [threading.Thread(target=self._keep_issuing, args=(number,)) for number in range(PROCESSES)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _keep_issuing(self, number: int) -> None:
        life = 0
        while not self._live(f"{SEED}{number}{life}"):
            life += 1

    def _live(self, seed: str) -> bool:
        """One process, from its start to its end or its death; whether it came to its end."""
        command = [sys.executable, "-m", "tests.simulation.child_issue", self._url, seed]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        with self._lock:
            dies = self.kills < KILLS_MAX
            self.kills += dies
            after, pause = self._random.randrange(1, ISSUES // 4), self._random.uniform(0, 0.01)
        assert process.stdout is not None
        done = False
        for heard, text in enumerate(process.stdout):
            if not text.endswith("\n"):
                break
            said = json.loads(text)
            done = "done" in said
            if not done:
                with self._lock:
                    self.acknowledged.append((said["number"], said["invoice_id"]))
            if dies and heard >= after:
                time.sleep(pause)  # somewhere inside the next transaction
                process.kill()
                dies = False
        process.wait()
        process.stdout.close()
        return done


@pytest.mark.requirement("TAX-06")
def test_concurrent_issues_with_kills_leave_no_gap_and_no_double(any_ledger: Engine) -> None:
    prepare(any_ledger, ISSUES)
    issuers = Issuers(any_ledger.url.render_as_string(hide_password=False), Random(SEED))
    issuers.run()
    where = f"seed {SEED}, {issuers.kills} kills"
    proof = verify_books(any_ledger)
    assert proof.broken == (), where
    (series,) = proof.series
    assert (series.count, series.first, series.last) == (
        ISSUES,
        "INV-2026-000001",
        f"INV-2026-{ISSUES:06d}",
    ), where
    assert proof.audit_trail.count == ISSUES, where
    with any_ledger.connect() as connection:
        rows = connection.execute(select(ISSUED_DOCUMENTS.c.number, ISSUED_DOCUMENTS.c.document_id)).all()
    stored = {f"INV-2026-{row.number:06d}": row.document_id for row in rows}
    assert len(set(stored.values())) == ISSUES, where
    # What a process was told is issued stays issued, under that number.
    assert len(issuers.acknowledged) == len(set(issuers.acknowledged)), where
    assert [pair for pair in issuers.acknowledged if stored[pair[0]] != pair[1]] == [], where
    assert issuers.kills > 0
