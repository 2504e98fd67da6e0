"""Goal: the benchmarks cannot rot: the tiny size runs, systems agree, and disagreement is loud."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import EXIT_NOT_BUILT, main, results_table
from benchmarks.result import CaseResult, read_results
from benchmarks.run import ResultsDiffer, check_equal, ratio
from benchmarks.stages import NOT_BUILT, STAGES

ROOT = Path(__file__).resolve().parent.parent
RESULT = CaseResult(
    stage="job",
    case="three_months",
    system="ratemill",
    rows=100,
    seconds=2.0,
    rows_per_second=50.0,
    peak_mb=1.0,
    exact=True,
    result_hash="aa",
    size="tiny",
    machine="test",
)


@pytest.mark.parametrize("stage", ["rating", "job"])
def test_the_tiny_size_runs_and_all_exact_systems_agree(stage: str, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    command = [sys.executable, "-m", "benchmarks", stage, "--size", "tiny", "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = read_results(report)
    wanted = {(case.name, contender.system) for case in STAGES[stage] for contender in case.contenders}
    assert wanted <= {(result.case, result.system) for result in results}
    for case in {result.case for result in results}:
        assert len({result.result_hash for result in results if result.case == case}) == 1
    assert all(result.rows_per_second > 0 and result.peak_mb > 50 for result in results)


def test_a_stage_that_is_not_built_says_so_with_its_own_exit_code() -> None:
    assert {main([stage, "--size", "tiny"]) for stage in NOT_BUILT} == {EXIT_NOT_BUILT}


def test_the_report_has_exactly_the_promised_fields() -> None:
    fields = "stage case system rows seconds rows_per_second peak_mb exact result_hash size machine"
    assert list(CaseResult.__dataclass_fields__) == fields.split()


def test_exact_systems_that_disagree_end_the_run() -> None:
    other = replace(RESULT, system="duckdb", result_hash="bb")
    with pytest.raises(ResultsDiffer, match="ratemill aa, duckdb bb"):
        check_equal([RESULT, other])
    check_equal([RESULT, replace(other, exact=False)])


def test_the_ratio_is_ours_over_theirs_in_the_same_case() -> None:
    slow = replace(RESULT, system="duckdb", rows_per_second=10.0)
    elsewhere = replace(RESULT, case="one_month", rows_per_second=1_000.0)
    assert ratio(slow, [elsewhere, RESULT, slow]) == 5.0
    assert ratio(slow, [slow]) is None
    assert results_table([RESULT, slow]).row_count == 2
