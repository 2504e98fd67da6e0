"""Goal: an explained line can be checked without Ratemill, and an altered one does not pass."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from api.json import to_json
from rating import verify
from rating.compile import compile_price_book
from rating.explain import explain_line
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan
from rating.rate import rate_usage
from rating.store import line_to_python
from tests.rating.plans import METERS, periods, plan, usage, usage_charge
from tests.rating.random_prices import MODELS, random_price, random_terms
from tests.rating.test_golden import CASES, Case, each_case, rated_lines

FEE = {"charge_id": "fee", "name": "Fee", "kind": "recurring", "price": {"model": "flat", "amount": "9.99"}}
HALF = {"start": date(2026, 1, 15), "full_days": 31}


def exported(line: dict[str, Any], gold: PricePlan) -> dict[str, Any]:
    """What `ratemill explain --json` writes of the line, as its reader finds it."""
    found: dict[str, Any] = json.loads(to_json(explain_line(line, gold).to_dict()))
    return found


def lines_of(gold: PricePlan, used: Any, **period: Any) -> Iterator[dict[str, Any]]:
    book = compile_price_book([PlanVersion(gold, 1)], METERS)
    lines = rate_usage(periods=periods(period), usage=used, price_book=book, run_id="r", threads=1).lines
    for row in range(lines.num_rows):
        yield exported(line_to_python(lines, row), gold)


def random_charge(source: random.Random, number: int, meter_id: str) -> dict[str, Any]:
    terms = random_terms(source, digits_max=13)
    steps = {
        "unit_conversion": terms.unit_conversion and terms.unit_conversion.model_dump(mode="json"),
        "free_units": terms.free_units,
        "minimum_amount": terms.minimum_amount,
        "maximum_amount": terms.maximum_amount,
        "zero_usage": "charge" if terms.zero_reaches else "skip",
    }
    price = random_price(source, digits_max=13).model_dump(mode="json")
    return usage_charge(meter_id, price) | {"charge_id": f"c{number}", **steps}


@pytest.mark.requirement("RAT-08")
@pytest.mark.parametrize("seed", range(6))
def test_every_line_of_a_random_plan_verifies(seed: int) -> None:
    source = random.Random(seed)
    charges = [
        random_charge(source, number, source.choice(["hours", "bytes", "seats"])) for number in range(60)
    ]
    rounding = source.choice(["half_up", "half_even"])
    gold = plan(*charges, FEE, rounding=rounding)
    models = set()
    for period in ({}, HALF):
        quantity = Decimal(source.randrange(10**10)) / 1000
        used = usage((0, "hours", quantity, 9), (0, "bytes", quantity * 7, 3), (0, "seats", quantity, 0))
        lines = list(lines_of(gold, used, **period))
        assert len(lines) > 50
        for line in lines:
            assert verify.differences(line) == []
            models.add(line["inputs"].get("price", {}).get("model"))
    assert models >= set(MODELS)


@pytest.mark.parametrize("rounding", ["half_up", "half_even"])
def test_a_minimum_spend_verifies(rounding: str) -> None:
    """17/31 of 100 are 54.838709677419..., and the fee comes to 5.48 for those days, not counted."""
    for period in ({}, HALF):
        gold = plan(FEE, usage_charge("calls", {"model": "per_unit", "unit_price": "0.125"}),
                    minimum_spend="100", rounding=rounding)  # fmt: skip
        *_, line = lines_of(gold, usage((0, "calls", "3")), **period)
        assert "minimum_spend" in line["inputs"]
        assert verify.differences(line) == []
        line["inputs"]["minimum_spend"] = "100.01"
        assert verify.differences(line)


@pytest.mark.requirement("RAT-08")
@each_case
def test_every_golden_line_verifies(case: Case) -> None:
    lines = rated_lines(case).lines
    for row in range(lines.num_rows):
        assert verify.differences(exported(line_to_python(lines, row), case.plan())) == []


def test_the_golden_lines_are_of_every_model() -> None:
    assert {case.charge["price"]["model"] for case in CASES} == set(MODELS)


GRADUATED = {
    "model": "graduated",
    "tiers": [{"up_to": "100", "unit_price": "0.10", "flat_amount": "5"}, {"unit_price": "0.08"}],
}


def one_line() -> dict[str, Any]:
    gold = plan(usage_charge("calls", GRADUATED, free_units="50", maximum_amount="100"))
    (line,) = lines_of(gold, usage((0, "calls", "1650.5", 12)))
    return line


@pytest.mark.requirement("RAT-08")
@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("amount",), "99.99", "amount says 99.99, the inputs give 100"),
        (("amount_minor",), 10_001, "amount_minor says 10001, the inputs give 10000"),
        (("billed",), "100.01 EUR", "billed says '100.01 EUR', the inputs give '100.00 EUR'"),
        (("tiers", 0, "amount"), "16", "tiers say 1: 100 = 16"),
        (("tiers", 1, "units"), "1500", "tiers say"),
        (("tiers", 1, "number"), 3, "tiers say"),
        (("inputs", "quantity"), "1650", "tiers say"),
        (("inputs", "free_units"), "51", "tiers say"),
        (("inputs", "free_units"), None, "tiers say"),
        (("inputs", "price", "tiers", 1, "unit_price"), "0.09", "tiers say"),
        (("inputs", "price", "tiers", 0, "up_to"), "99", "tiers say"),
        (("inputs", "price", "tiers", 0, "flat_amount"), None, "tiers say"),
        (("inputs", "price", "model"), "volume", "tiers say"),
        (("inputs", "prorated"), True, None),
        (("inputs", "maximum_amount"), "101", "amount says 100, the inputs give 101"),
        (("inputs", "minimum_amount"), "100.5", None),
        (("inputs", "currency"), "USD", "billed says"),
        (("inputs", "days"), 30, "amount says 100, the inputs give 96.774193548387"),
    ],
)
def test_an_altered_line_does_not_verify(path: tuple[Any, ...], value: Any, said: str | None) -> None:
    """None: what the alteration touches has no part in the amount (a whole period; a lower bound
    below the upper one that decided)."""
    line = one_line()
    assert verify.differences(line) == []
    place = line
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    found = verify.differences(line)
    assert (found == []) if said is None else any(row.startswith(said) for row in found)


def test_what_discounts_took_off_is_subtracted_before_the_one_rounding() -> None:
    """100.00 less a third of it, cut to 12 digits, and 1.50."""
    line = one_line()
    line["inputs"]["discounts"] = ["33.333333333333", "1.5"]
    assert verify.differences(line)
    line |= {"amount": "65.166666666667", "amount_minor": 6517, "billed": "65.17 EUR"}
    assert verify.differences(line) == []


def test_an_altered_number_of_any_model_does_not_verify() -> None:
    """Every number of every price is part of some line: doubled, the line no longer follows."""
    prices: dict[str, dict[str, Any]] = {
        "per_unit": {"unit_price": "2"},
        "dynamic": {"currency": "EUR", "multiplier": "1.5"},
        "flat": {"amount": "7"},
        "package": {"package_size": "10", "package_price": "3"},
        "percentage": {"percent": "2", "fixed_per_event": "0.5", "free_events": 2},
        "volume": {"tiers": [{"up_to": None, "package_size": "7", "package_price": "3", "flat_amount": "1"}]},
        "graduated_percentage": {"tiers": [{"up_to": None, "percent": "3", "flat_amount": "1"}]},
        "stairstep": {"tiers": [{"up_to": None, "flat_amount": "1"}]},
    }
    for model, numbers in prices.items():
        (line,) = lines_of(
            plan(usage_charge("calls", {"model": model, **numbers})), usage((0, "calls", "55", 9))
        )
        assert verify.differences(line) == []
        price = line["inputs"]["price"]
        for holder in [price, *price.get("tiers", [])]:
            for name, number in holder.items():
                if name in {"model", "currency", "round", "tiers"} or number is None:
                    continue
                altered = deepcopy(line)
                target = altered["inputs"]["price"]
                target = target if holder is price else target["tiers"][0]
                target[name] = number * 2 if isinstance(number, int) else str(Decimal(number) * 2)
                assert verify.differences(altered), (model, name)


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rating.verify", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def test_the_command_verifies_files_and_fails_on_a_wrong_one(tmp_path: Path) -> None:
    right, wrong = one_line(), {**one_line(), "amount_minor": 1}
    path = tmp_path / "lines.json"
    path.write_text(json.dumps([right, right]))
    said = run(str(path))
    assert (said.returncode, said.stdout.count("agrees")) == (0, 2)
    said = run("-", stdin=f"{json.dumps(right)}\n{json.dumps(wrong)}\n")
    assert said.returncode == 1
    assert "agrees" in said.stdout
    assert "DIFFERS: amount_minor says 1, the inputs give 10000" in said.stdout
    for text in ("{}", "no json", json.dumps({**right, "inputs": {}}), "[1]"):
        said = run("-", stdin=text)
        assert (said.returncode, "cannot verify" in said.stderr) == (2, True)
    assert run("-", stdin="[]").returncode == 1
    assert run().returncode == 2
    assert run(str(tmp_path / "none.json")).returncode == 2


def test_it_stands_alone() -> None:
    """Not a line of the engine it checks, and nothing that has to be installed."""
    code = (
        "import sys; import rating.verify; ours = {'ingest', 'rollup', 'rating', 'invoicing', 'api'}; "
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in ours), "
        "sorted({'pydantic', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['rating', 'rating.verify', 'rating.verify_rounding'] []"
