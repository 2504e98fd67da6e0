"""Goal: the benchmarks cannot rot: the tiny size runs, systems agree, and disagreement is loud."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from benchmarks.__main__ import EXIT_NOT_BUILT, main, results_table
from benchmarks.result import CaseResult, explained_hash, read_results
from benchmarks.run import ResultsDiffer, check_equal, ratio
from benchmarks.scale import gate_hash
from benchmarks.stages import NOT_BUILT, STAGES
from rating.line_item import RATED_LINE_SCHEMA

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


@pytest.mark.parametrize(
    ("stage", "cases"),
    [
        ("rating", ("rated_lines", "mixed_tiers", "by_level")),  # `amounts` races as `mixed_tiers` does
        ("job", ("three_months", "one_month_from_events", "one_month_bare")),  # each of the ways to run it
        ("billing_run", ("invoices",)),
        ("reports", ()),
        ("whatif", ()),
    ],
)
def test_the_tiny_size_runs_and_all_exact_systems_agree(
    stage: str, cases: tuple[str, ...], tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    command = [sys.executable, "-m", "benchmarks", stage, "--size", "tiny", "--json", str(report)]
    command += ["--cases", *cases] if cases else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = read_results(report)
    chosen = [case for case in STAGES[stage] if not cases or case.name in cases]
    wanted = {
        (case.name, contender.system)
        for case in chosen
        for contender in case.contenders
        if not contender.needs_cloudkitty
    }
    assert wanted <= {(result.case, result.system) for result in results}
    for case in {result.case for result in results}:
        assert len({result.result_hash for result in results if result.case == case}) == 1
    assert all(result.rows_per_second > 0 and result.peak_mb > 50 for result in results)


def test_the_scale_stage_takes_a_number_of_events_and_both_gates_agree(tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    command = [sys.executable, "-m", "benchmarks", "scale", "--size", "tiny", "--events", "100000"]
    command += ["--cases", "closing", "gate", "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    closing, *gates = read_results(report)
    # Of 100,000 sent, 3 % are resends.
    assert (closing.case, closing.rows) == ("closing_100000", 97_000)
    assert [(gate.case, gate.system, gate.rows) for gate in gates] == [
        ("gate_100000", "ratemill", 97_000),
        ("gate_100000", "ratemill_in_memory", 97_000),
    ]
    assert gates[0].result_hash == gates[1].result_hash
    # Every question about what was never sent is "new", and the known 3 % are duplicates.
    assert gates[0].result_hash == gate_hash(97_000, [97_000, 3_000, 0])


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


LINE: dict[str, Any] = {
    "line_id": bytes(16),
    "run_id": "benchmark",
    "contract_id": "contract-1",
    "plan_id": "plan-1",
    "plan_version": 1,
    "charge_id": "tokens",
    "charge_kind": "usage",
    "price_model": "graduated",
    "meter_id": "tokens",
    "unit": "unit",
    "billing_date": date(2025, 2, 1),
    "period_start": datetime(2025, 1, 1, tzinfo=UTC),
    "period_end": datetime(2025, 2, 1, tzinfo=UTC),
    "days": 31,
    "full_days": 31,
    "dimensions": [],
    "quantity": Decimal("3"),
    "rated_quantity": Decimal("3"),
    "event_count": 2,
    "tier_number": [1, 2],
    "tier_units": [Decimal("1"), Decimal("2")],
    "tier_amount": [Decimal("0.100000000000"), Decimal("0.200000000001")],
    "amount": Decimal("0.300000000001"),
    "amount_minor": 30,
    "currency": "EUR",
    "input_hash": bytes(16),
}


def lines_table(*lines: dict[str, Any], amount_digits: int = 12) -> pa.Table:
    kind = pa.decimal128(38, amount_digits)
    kinds = {"tier_amount": pa.list_(kind), "amount": kind}
    schema = pa.schema([(field.name, kinds.get(field.name, field.type)) for field in RATED_LINE_SCHEMA])
    return pa.Table.from_pylist(list(lines), schema=schema)


def test_amounts_kept_to_20_digits_hash_as_those_cut_to_12() -> None:
    exact = LINE | {
        "tier_amount": [Decimal("0.1000000000006"), Decimal("0.2000000000006")],
        "amount": Decimal("0.3000000000012"),
    }
    assert explained_hash(lines_table(exact, amount_digits=20)) == explained_hash(lines_table(LINE))


@pytest.mark.parametrize(
    "change",
    [
        {"tier_number": [1, 3]},
        {"tier_units": [Decimal("2"), Decimal("1")]},
        {"tier_amount": [Decimal("0.100000000001"), Decimal("0.200000000000")]},
        {"amount": Decimal("0.300000000002")},
        {"dimensions": [("region", "eu-1")]},
        {"event_count": 3},
        {"currency": "JPY"},
        {"period_end": datetime(2025, 2, 2, tzinfo=UTC)},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_the_hash_of_explained_lines_sees_every_part_of_a_line(change: dict[str, Any]) -> None:
    assert explained_hash(lines_table(LINE | change)) != explained_hash(lines_table(LINE))


def test_two_lines_with_one_line_id_end_the_comparison() -> None:
    other = LINE | {"contract_id": "contract-2"}
    with pytest.raises(ValueError, match="one line_id"):
        explained_hash(lines_table(LINE, other))
    assert explained_hash(lines_table(LINE, other | {"line_id": bytes(15) + b"1"}))


def test_a_job_is_raced_with_explained_lines_and_with_bare_ones() -> None:
    systems = {case.name: [contender.system for contender in case.contenders] for case in STAGES["job"]}
    explained = {name for name in systems if not name.endswith(("_bare", "_from_events"))}
    assert explained == {"three_months", "one_month"}
    assert {f"{name}_bare" for name in explained} | {f"{name}_from_events" for name in explained} < set(
        systems
    )
    assert {tuple(names[:3]) for names in systems.values()} == {("ratemill", "duckdb", "clickhouse")}
