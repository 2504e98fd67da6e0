"""Runs the cases of a stage, every system in turn on the same data, and compares their results."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.canonical import SIZES
from benchmarks.case import request_text
from benchmarks.dataset import write_dataset
from benchmarks.request import CaseRequest
from benchmarks.result import CaseResult, read_results
from benchmarks.stages import BY_CONTRACTS, OURS, OWN_WORKLOAD, REPEATS, STAGES, Case, Contender

ROOT: Final = Path(__file__).resolve().parent.parent
Say = Callable[[str], None]
HOW_TO_HAVE_CLOUDKITTY: Final = (
    "to have it: python -m venv DIR, DIR/bin/pip install cloudkitty==25.0.0, "
    "--cloudkitty-python DIR/bin/python"
)


class ResultsDiffer(Exception):
    """Two exact systems gave different results on the same data: nothing of the run may be quoted."""


@dataclass(frozen=True, slots=True)
class Place:
    """data: the dataset. work: stores of the systems. say: told what is going on. cloudkitty_python: an
    interpreter that has CloudKitty; None: it is left out."""

    data: Path
    work: Path
    say: Say
    cloudkitty_python: Path | None


@dataclass(frozen=True, slots=True)
class Numbers:
    """How many events and contracts there are instead of the size's."""

    events: int | None
    contracts: int | None


def run_stage(
    stage: str,
    size: str,
    place: Place,
    *,
    systems: Sequence[str],
    cases: Sequence[str],
    events: int | None = None,
    contracts: int | None = None,
) -> Iterator[CaseResult]:
    """The results of the stage's cases as they come in. systems, cases: only these; empty: all. events: how
    many are sent instead of the size's, in a stage of OWN_WORKLOAD that asks for it; named with the case.
    contracts: the same of contracts, in cases of BY_CONTRACTS; such a case runs once and not before.

    Raises ResultsDiffer after a case in which exact systems disagree, subprocess.CalledProcessError
    when a system fails.
    """
    if stage not in OWN_WORKLOAD:
        place.say(f"writing the {size} workload")
        write_dataset(SIZES[size], place.data, ndjson=stage == "ingest")
    for case in STAGES[stage]:
        if cases and case.name not in cases:
            continue
        results = []
        numbers = Numbers(events, contracts if (stage, case.name) in BY_CONTRACTS else None)
        for contender in _able(case, place):
            if systems and contender.system not in systems:
                continue
            for result in _run_contender(stage, size, case, contender, place, numbers):
                results.append(result)
                yield result
        check_equal(results)


def _able(case: Case, place: Place) -> Sequence[Contender]:
    """The contenders without those whose interpreter is not named, which is said once."""
    left_out = [contender.system for contender in case.contenders if contender.needs_cloudkitty]
    if not left_out or place.cloudkitty_python is not None:
        return case.contenders
    place.say(f"{case.name}: {' and '.join(left_out)} left out; {HOW_TO_HAVE_CLOUDKITTY}")
    return [contender for contender in case.contenders if not contender.needs_cloudkitty]


def check_equal(results: Sequence[CaseResult]) -> None:
    """Raises ResultsDiffer unless all exact results of one case have one hash."""
    hashes = {result.system: result.result_hash for result in results if result.exact}
    if len(set(hashes.values())) > 1:
        where = f"{results[0].stage} {results[0].case} at size {results[0].size}"
        found = ", ".join(f"{system} {text[:16]}" for system, text in hashes.items())
        raise ResultsDiffer(
            f"{where}: exact systems disagree ({found}). Do not quote any figure of this run."
        )


def ratio(result: CaseResult, results: Sequence[CaseResult]) -> float | None:
    """How many times the rows a second of this result ours has, in the same case; None without ours."""
    ours = [
        other
        for other in results
        if other.system == OURS and (other.stage, other.case) == (result.stage, result.case)
    ]
    if not ours or result.rows_per_second <= 0:
        return None
    return ours[0].rows_per_second / result.rows_per_second


def _run_contender(
    stage: str, size: str, case: Case, contender: Contender, place: Place, numbers: Numbers
) -> Iterator[CaseResult]:
    events, contracts = numbers.events, numbers.contracts
    counted = "".join(f"_{number}" for number in (events, contracts) if number is not None)
    work = place.work / f"{contender.owner}-{contender.store}{counted}"
    request = CaseRequest(
        stage=stage,
        case=f"{case.name}{counted}",
        system=contender.system,
        size=size,
        data=place.data,
        work=work,
        months=case.months,
        repeat=min(REPEATS[size], contender.repeat_max) if contracts is None else 1,
        warm_up=contender.warm_up and contracts is None,
        fresh=False,
        started_at=0.0,
        events=events,
        contracts=contracts,
        cloudkitty_python=place.cloudkitty_python,
    )
    loaded = work / "loaded.txt"
    if not loaded.exists():
        shutil.rmtree(work, ignore_errors=True)
        place.say(f"{stage} {case.name}: {contender.system} loads")
        _start("load", contender.load, request)
        loaded.write_text("whole\n", encoding="utf-8")
    place.say(f"{stage} {case.name}: {contender.system} runs")
    yield _start("run", contender.run, request)[0]
    if case.fresh:
        fresh = replace(request, case=f"{case.name}_fresh_process", fresh=True)
        yield _start("run", contender.run, fresh)[0]


def _start(phase: str, function: str, request: CaseRequest) -> list[CaseResult]:
    request.work.mkdir(parents=True, exist_ok=True)
    answer = request.work / "answer.json"
    answer.unlink(missing_ok=True)
    request = replace(request, started_at=time.time())
    command = [sys.executable, "-m", "benchmarks.case", phase, function, request_text(request), str(answer)]
    subprocess.run(command, check=True, cwd=ROOT)
    return read_results(answer) if phase == "run" else []
