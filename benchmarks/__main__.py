"""``python -m benchmarks STAGE --size tiny|small|full --json FILE``; see README.md beside this file."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.canonical import SIZES
from benchmarks.proof import prove
from benchmarks.result import CaseResult
from benchmarks.run import Place, ResultsDiffer, ratio, run_stage
from benchmarks.stages import BY_EVENTS, NOT_BUILT, STAGES

EXIT_FAILED = 1
EXIT_NOT_BUILT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: ran; 1: systems disagree or one failed; 2: the stage is not built yet."""
    options = _parse(arguments)
    console = Console(stderr=True)
    if options.stage in NOT_BUILT:
        console.print(f"{options.stage}: not built yet. Built: {', '.join(STAGES)}, proof, all.")
        return EXIT_NOT_BUILT
    with tempfile.TemporaryDirectory(prefix="ratemill-bench-") as scratch:
        folder = options.folder or Path(scratch)
        sized = folder / options.size
        place = Place(sized / "data", sized, console.print, options.cloudkitty_python)
        if options.stage == "proof":
            return 0 if prove(options.size, place.work / "proof", say=console.print) else EXIT_FAILED
        stages = list(STAGES) if options.stage == "all" else [options.stage]
        code = _run(stages, options, place, console)
    if options.stage == "all":
        console.print(f"not built yet: {', '.join(NOT_BUILT)}")
    return code


def _run(stages: Sequence[str], options: argparse.Namespace, place: Place, console: Console) -> int:
    results: list[CaseResult] = []
    code = 0
    for stage in stages:
        try:
            for result in _stage_results(stage, options, place):
                results.append(result)
                if options.json:
                    with options.json.open("ab") as file:
                        file.write(result.to_json() + b"\n")
        except ResultsDiffer as error:
            console.print(f"[bold red]{error}[/]")
            code = EXIT_FAILED
        except subprocess.CalledProcessError as error:
            console.print(f"[bold red]{stage}: a system failed: exit code {error.returncode}[/]")
            code = EXIT_FAILED
    Console(width=150 if not sys.stdout.isatty() else None).print(results_table(results))
    return code


def _stage_results(stage: str, options: argparse.Namespace, place: Place) -> Iterator[CaseResult]:
    """The results of a stage, once for each number of events that was given."""
    for events in options.events if options.events and stage in BY_EVENTS else [None]:
        yield from run_stage(
            stage,
            options.size,
            place,
            systems=options.systems,
            cases=options.cases,
            events=events,
            contracts=options.contracts,
        )


def results_table(results: Sequence[CaseResult]) -> Table:
    """One row a result; the last column is Ratemill's rows a second over this system's."""
    table = Table(title="Higher ratio: Ratemill is that many times as fast, in this run, on this machine")
    for name in ("stage", "case", "system", "result"):
        table.add_column(name)
    for name in ("rows", "seconds", "rows/s", "peak MB", "ratio"):
        table.add_column(name, justify="right")
    for result in results:
        times = ratio(result, results)
        table.add_row(
            result.stage,
            result.case,
            result.system,
            f"{'exact' if result.exact else 'NOT exact'} {result.result_hash[:12]}",
            f"{result.rows:,}",
            f"{result.seconds:.3f}",
            f"{result.rows_per_second:,.0f}",
            f"{result.peak_mb:,.0f}",
            "" if times is None else f"{times:.2f}x",
        )
    return table


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("stage", choices=[*STAGES, *NOT_BUILT, "proof", "all"])
    parser.add_argument("--size", choices=list(SIZES), required=True)
    parser.add_argument("--json", type=Path, help="append one JSON object a result to this file")
    parser.add_argument("--systems", nargs="*", default=[], help="only these systems")
    parser.add_argument("--cases", nargs="*", default=[], help="only these cases of the stage")
    parser.add_argument(
        "--events",
        type=int,
        nargs="*",
        default=[],
        help="scale: with so many events sent, one after the other",
    )
    parser.add_argument("--contracts", type=int, help="billing_run invoices: of so many contracts, run once")
    parser.add_argument(
        "--cloudkitty-python",
        type=Path,
        metavar="PATH",
        help="rating: an interpreter that has CloudKitty 25.0.0, to race its hashmap module too",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="keep data and stores here and use what is there (default: a temporary folder)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
