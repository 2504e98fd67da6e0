"""Goal: the CloudKitty peer prices the same rows by rules that mean the same, and is never absent in silence.

That its cents are ours is checked by the race itself, which ends without figures where they are not.
"""

from __future__ import annotations

import ast
import sys
from decimal import Decimal
from pathlib import Path

import pytest

import benchmarks.peer_cloudkitty as peer
from benchmarks.__main__ import main
from benchmarks.by_level import VOLUME_METERS, plan_versions_by_level
from benchmarks.canonical import EVENT_TYPES, SIZES
from benchmarks.peer_cloudkitty import check_total, rules, unit_price

FLAT, LEVELS = ("plan", EVENT_TYPES[0]), ("plan", EVENT_TYPES[1])
TIERS = [
    (Decimal(0), Decimal(10), Decimal("0.5")),
    (Decimal(10), Decimal("20.5"), Decimal("0.25")),
    (Decimal("20.5"), None, Decimal("0.125")),
]


def test_rules_are_a_flat_price_or_levels_that_begin_just_above_our_bounds() -> None:
    assert rules(FLAT, TIERS) == [("mapping", "", "0.5", "flat")]
    assert rules(LEVELS, TIERS) == [
        ("mapping", "", "1", "flat"),
        ("threshold", "0", "0.5", "rate"),
        ("threshold", "10.00000001", "0.25", "rate"),
        ("threshold", "20.50000001", "0.125", "rate"),
    ]


@pytest.mark.parametrize(
    ("charge", "quantity", "price"),
    [
        (FLAT, "500", "0.5"),
        (LEVELS, "0.000000001", "0.5"),
        (LEVELS, "10", "0.5"),
        (LEVELS, "10.00000001", "0.25"),
        (LEVELS, "20.5", "0.25"),
        (LEVELS, "1000000", "0.125"),
    ],
)
def test_the_independent_sum_takes_the_price_of_the_level(
    charge: tuple[str, str], quantity: str, price: str
) -> None:
    assert unit_price(charge, TIERS, Decimal(quantity)) == Decimal(price)


def test_a_quantity_the_peer_cannot_tell_from_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="just above 10"):
        unit_price(LEVELS, TIERS, Decimal("10.000000009"))


def test_a_price_that_is_off_by_its_last_digit_ends_the_run() -> None:
    services = {LEVELS: [(0, Decimal("10")), (1, Decimal("12.5"))]}
    exact = [(0, Decimal("5")), (1, Decimal("3.125"))]
    check_total(exact, services, {LEVELS: (2, TIERS)})
    with pytest.raises(ValueError, match="independent sum"):
        check_total([exact[0], (1, Decimal("3.12500000000000000001"))], services, {LEVELS: (2, TIERS)})


def test_every_other_meter_has_a_volume_price() -> None:
    version = plan_versions_by_level(SIZES["tiny"])[0]
    models = {charge.meter_id: charge.price.model for charge in version.plan.charges}
    assert {meter for meter, model in models.items() if model == "volume"} == VOLUME_METERS
    assert {model for meter, model in models.items() if meter not in VOLUME_METERS} == {"per_unit"}


def test_without_its_interpreter_the_peer_is_left_out_and_one_line_says_how_to_have_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    systems = ["cloudkitty", "cloudkitty_worker"]
    assert main(["rating", "--size", "tiny", "--cases", "by_level", "--systems", *systems]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("left out; to have it: python -m venv DIR") == 1
    assert "by_level: cloudkitty and cloudkitty_worker left out" in said


def test_what_runs_in_the_other_interpreter_imports_nothing_of_ours() -> None:
    source = Path(peer.__file__).with_name("cloudkitty_core.py").read_text(encoding="utf-8")
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]  # type: ignore[union-attr]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported - set(sys.stdlib_module_names) == {"cloudkitty", "oslo_config"}
