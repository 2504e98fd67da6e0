"""Billing runs under way: each works in its own thread and tells how far it has come."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from api.problem import problem, problem_of
from ingest.errors import RatemillError

Progress = Callable[[str, int, int], None]
Work = Callable[[Progress], Mapping[str, Any]]

REMEMBERED_RUNS_MAX: Final = 100
"""Finished runs kept in memory for their progress; their reports are in the ledger for ever."""

_logger = logging.getLogger("ratemill.api")


@dataclass(slots=True)
class Run:
    """One run: ``state`` is running, finished or failed; ``stages`` maps a stage to (done, total)."""

    run_id: str
    as_of: date
    state: str = "running"
    stages: dict[str, tuple[int, int]] = field(default_factory=dict)
    report: Mapping[str, Any] | None = None
    problem: dict[str, Any] | None = None
    finished: threading.Event = field(default_factory=threading.Event)

    def to_dict(self) -> dict[str, Any]:
        stages = [
            {"stage": name, "done": done, "total": total} for name, (done, total) in self.stages.items()
        ]
        return {
            "run_id": self.run_id,
            "as_of": self.as_of,
            "state": self.state,
            "stages": stages,
            "report": self.report,
            "problem": self.problem,
        }


class RunBook:
    """The runs this process started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}

    def start(self, run_id: str, *, as_of: date, work: Work) -> Run:
        """Start ``work`` in a thread."""
        with self._lock:
            run = self._runs[run_id] = Run(run_id, as_of)
            finished = [old for old, other in self._runs.items() if other.state != "running"]
            for old in finished[:-REMEMBERED_RUNS_MAX]:
                del self._runs[old]
        threading.Thread(
            target=_carry_out, args=(run, work), name=f"billing-run-{run_id}", daemon=True
        ).start()
        return run

    def under_way(self) -> Run | None:
        """The run that is at work now, if any."""
        with self._lock:
            return next((run for run in self._runs.values() if run.state == "running"), None)

    def get(self, run_id: str) -> Run | None:
        with self._lock:
            return self._runs.get(run_id)

    def wait(self) -> None:
        """Until no run is under way."""
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.finished.wait()


def _carry_out(run: Run, work: Work) -> None:
    def note(stage: str, done: int, total: int) -> None:
        run.stages[stage] = (done, total)

    try:
        run.report = work(note)
        run.state = "finished"
    except RatemillError as error:
        run.problem = problem_of(error)
        run.state = "failed"
    except Exception as error:  # the last frame of this thread: the run must not stay "running"
        _logger.error("billing run %s failed", run.run_id, exc_info=error)
        run.problem = problem(
            500, "internal_error", f"the billing run {run.run_id} failed; the log says where."
        )
        run.state = "failed"
    finally:
        run.finished.set()
