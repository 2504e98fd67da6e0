"""Goal: warming up compiles every kernel for good, so that no request or run stops to compile.

In a process of its own, because in this one other tests have long compiled everything.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import rating.added_kernel
import rating.kernels
import rating.line_hash
import rating.percent_kernel
import rating.short_kernel
import rating.wide
import rating.wide_columns
import rollup.level_kernels
from api.warm_up import warm_up
from rating.compile import compile_price_book
from rating.rate import rate_usage
from rating.wider_usage import EarlierUsage, WiderUsage
from tests.rating.plans import METERS, periods, plan, usage, usage_charge, versions

ROOT = Path(__file__).parent.parent.parent
MODULES = (
    rating.added_kernel,
    rating.kernels,
    rating.line_hash,
    rating.percent_kernel,
    rating.short_kernel,
    rating.wide,
    rating.wide_columns,
    rollup.level_kernels,
)
TIERS = [{"up_to": "10", "unit_price": "2", "flat_amount": "1"}, {"unit_price": "1"}]


def compiled_variants() -> dict[str, int]:
    kernels: dict[str, Any] = {
        f"{module.__name__}.{name}": part
        for module in MODULES
        for name, part in vars(module).items()
        if hasattr(part, "py_func")
    }
    return {name: len(kernel.signatures) for name, kernel in kernels.items()}


def rate_every_model() -> None:
    prices: list[dict[str, Any]] = [
        {"model": "flat", "amount": "5"},
        {"model": "per_unit", "unit_price": "0.5"},
        {"model": "graduated", "tiers": TIERS},
        {"model": "volume", "tiers": TIERS},
        {"model": "package", "package_size": "3", "package_price": "2"},
        {"model": "graduated_percentage", "tiers": [{"up_to": "10", "percent": "2"}, {"percent": "1"}]},
        {"model": "dynamic", "currency": "EUR"},
        {"model": "percentage", "percent": "2.9", "fixed_per_event": "0.3"},
    ]
    bounds = {"minimum_amount": "1", "maximum_amount": "900"}
    for price, bounded in product(prices, ({}, bounds)):
        document = plan(
            usage_charge("hours", price, free_units="1", **bounded),
            {
                "charge_id": "fee",
                "name": "Fee",
                "kind": "recurring",
                "price": {"model": "flat", "amount": "9"},
            },
            minimum_spend="50",
            discounts=[{"discount_id": "d", "name": "D", "percent": "10"}],
        )
        for quantity, start in product(("12.5", "-3", "99999999999999999999"), (1, 15)):
            rate_usage(
                periods=periods({"start": date(2026, 1, start), "full_days": 31}),
                usage=usage((0, "hours", quantity, 4)),
                price_book=compile_price_book(versions(document), METERS),
                run_id="run",
            )


def rate_what_goes_on() -> None:
    """Months of a year, in one batch with other rows."""
    price = {"model": "volume", "tiers": TIERS}
    yearly = usage_charge("hours", price, tiers_count="year", charge_id="yearly")
    used = usage((0, "hours", "12.5", 4), (1, "hours", "3", 4))
    nobody, nothing = periods({}).slice(0, 0), used.slice(0, 0)
    wider = WiderUsage({"year": EarlierUsage(used, np.array([False, True]))}, nobody, nothing, np.full(2, -1))
    rate_usage(
        periods=periods({}, {}),
        usage=used,
        price_book=compile_price_book(versions(plan(usage_charge("hours", price), yearly)), METERS),
        run_id="run",
        wider=wider,
    )


def main() -> int:
    warm_up()
    before = compiled_variants()
    rate_every_model()
    rate_what_goes_on()
    late = {name: count for name, count in compiled_variants().items() if count != before[name]}
    sys.stdout.write(f"{sum(before.values())} compiled, late: {late}")
    return 1 if late or not sum(before.values()) else 0


def test_nothing_is_left_to_compile() -> None:
    command = [sys.executable, "-m", "tests.api.test_warm_up"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    raise SystemExit(main())
