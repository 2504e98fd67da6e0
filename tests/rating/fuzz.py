"""Runs kernels, reference and verifier against each other on millions of random prices and quantities.

    python -m tests.rating.fuzz --cases 2000000 --seed 1

By hand, beside the tests: one process, memory of one block. Three in four quantities stand on the edge of a
tier or package or one unit of the last place beside it, come to half a minor unit, or are past what a line
can hold; prices have up to 12 decimals, quantities go to 1e15 and over. Some go on from what was counted
before (then nothing is prorated: such meters add up). The first difference is printed with all that makes it
again, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np

from ingest.document import decimal_text
from rating import verify
from rating.batch import PricedRows, price_batch
from rating.kernels import OK, measure_rows
from rating.price_arrays import price_arrays
from rating.price_plan import (
    PackagePrice,
    PerUnitPrice,
    SimplePrice,
    Tier,
    TieredPrice,
    VolumePrice,
    tiers_of,
)
from rating.reference import Priced, PriceTerms
from rating.special_price import BEFORE_EVENTS, BEFORE_QUANTITY, NO_INPUTS, Inputs, price_line
from rating.unrateable import Unrateable
from rating.wider_rules import goes_on
from tests.rating.random_prices import SCALE, random_terms, scaled
from tests.rating.test_kernels import CODES, integers, rows_of

BLOCK: Final = 20_000
TERMS: Final = 200
_DAYS: Final = (1, 7, 28, 29, 30, 31, 90, 365, 366, 2_674_800, 31_622_400)


@dataclass(frozen=True, slots=True)
class Case:
    """One quantity and all that decides its amount."""

    price_row: int
    quantity: Decimal
    event_count: int
    days: int
    full_days: int
    inputs: Inputs


def random_block(source: random.Random, size: int) -> tuple[list[PriceTerms], list[Case]]:
    """Prices and quantities for them."""
    terms = [random_terms(source, digits_max=source.choice((14, 19, 19, 30))) for _ in range(TERMS)]
    terms += [_tie_terms(source) for _ in range(TERMS // 4)]
    edges = [_edges(entry) for entry in terms]
    return terms, [_case(source, terms, edges) for _ in range(size)]


def _tie_terms(source: random.Random) -> PriceTerms:
    """Whole units come to whole and half minor units."""
    half = Decimal(source.randrange(1, 2000)) / 200
    tiers = (Tier(up_to=Decimal(source.randrange(1, 50)), unit_price=half), Tier(flat_amount=half))
    return PriceTerms(
        price=source.choice(
            (PerUnitPrice(model="per_unit", unit_price=half), VolumePrice(model="volume", tiers=tiers))
        ),
        unit_conversion=None,
        free_units=None,
        minimum_amount=None,
        maximum_amount=None,
        prorated=source.random() < 0.5,
        minor_digits=source.choice((0, 2, 3)),
        rounding=source.choice(("half_up", "half_even")),
    )


def _edges(terms: PriceTerms) -> list[int]:
    """Where a tier, a package, the free units or nothing ends, as metered numbers at scale 12."""
    bounds = [tier.up_to for tier in tiers_of(terms.price)] if isinstance(terms.price, TieredPrice) else []
    bounds += _package_ends(terms.price)
    free = Fraction(terms.free_units or 0)
    found = [Fraction(0), free, *(Fraction(bound) + free for bound in bounds if bound is not None)]
    conversion = terms.unit_conversion
    if conversion is not None:
        factor = Fraction(conversion.factor)
        factor = factor if conversion.operation == "multiply" else 1 / factor
        found = [bound / factor for bound in found]
    return [int(bound * SCALE) for bound in found]


def _package_ends(price: SimplePrice) -> list[Decimal]:
    """The first and the third package of a price, and the first one of each tier that is sold in them."""
    if isinstance(price, PackagePrice):
        return [price.package_size, 3 * price.package_size]
    found, lower = [], Decimal(0)
    for tier in tiers_of(price) if isinstance(price, TieredPrice) else ():
        if isinstance(tier, Tier) and tier.package_size is not None:
            found.append(lower + tier.package_size)
        lower = tier.up_to or lower
    return found


def _case(source: random.Random, terms: Sequence[PriceTerms], edges: Sequence[list[int]]) -> Case:
    row = source.randrange(len(terms))
    kind = source.random()
    if kind < 0.5:
        number = source.choice(edges[row]) + source.choice((-1, 0, 0, 1))
    elif kind < 0.7:
        number = source.randrange(200) * SCALE  # with the prices of ties
    elif kind < 0.75:
        number = source.randrange(10**38)  # past what most lines can hold
    else:
        number = source.randrange(10 ** source.randint(1, 27))
    number = min(number, 10**38 - 1)
    quantity = scaled(-number if source.random() < 0.05 else number)
    full_days = source.choice(_DAYS)
    days = full_days if source.random() < 0.5 else source.randint(1, full_days)
    inputs = NO_INPUTS
    if source.random() < 0.2 and not terms[row].prorated and goes_on(terms[row].price):
        before = max(0, source.choice(edges[row]) + source.choice((-1, 0, 1)))
        inputs = {
            BEFORE_QUANTITY: scaled(min(before, 10**37)),
            BEFORE_EVENTS: Decimal(source.randrange(10)),
        }
    return Case(row, quantity, source.randrange(10), days, full_days, inputs)


def check_block(terms: Sequence[PriceTerms], cases: Sequence[Case]) -> tuple[Counter[str], list[str]]:
    """What became of the cases, and the differences."""
    rows = rows_of([(c.price_row, c.quantity, c.event_count, c.days, c.full_days) for c in cases])
    prices = price_arrays(terms)
    inputs = {row: case.inputs for row, case in enumerate(cases) if case.inputs}
    found = _Lines(price_batch(rows, prices, terms, threads=1, inputs=inputs))
    status = np.empty(len(cases), np.int8)
    measure_rows(
        rows,
        prices,
        status,
        np.zeros((len(cases), 2), np.uint64),
        np.zeros(len(cases), np.int64),
        0,
        len(cases),
    )
    printed = [_terms_inputs(entry) for entry in terms]
    tally: Counter[str] = Counter(cases=len(cases), kernels=int(np.count_nonzero(status == OK)))
    wrong = []
    for row, case in enumerate(cases):
        tally["going on"] += bool(case.inputs)
        said = found.line(row)
        try:
            reference = price_line(
                terms[case.price_row],
                quantity=case.quantity,
                event_count=case.event_count,
                share=Fraction(case.days, case.full_days),
                inputs=case.inputs,
            )
        except Unrateable as error:
            tally[error.reason_code] += 1
            if said != error.reason_code:
                wrong.append(f"{terms[case.price_row]} {case}: kernels {said}, reference {error.reason_code}")
            continue
        verified = verify.recompute({**printed[case.price_row], **_case_inputs(case)})
        if said != _of_reference(reference):
            wrong.append(f"{terms[case.price_row]} {case}: kernels {said}, reference {reference}")
        if _of_reference(reference) != _of_verifier(verified, reference):
            wrong.append(f"{terms[case.price_row]} {case}: reference {reference}, verifier {verified}")
    return tally, wrong


class _Lines:
    """The results of a batch as Python numbers."""

    def __init__(self, priced: PricedRows) -> None:
        results = priced.results
        self.status = results.status.tolist()
        self.start = results.tier_start.tolist()
        self.minor = results.amount_minor.tolist()
        self.numbers = results.tier_number.tolist()
        self.amount, self.rated = integers(results.amount), integers(results.rated_quantity)
        self.units, self.parts = integers(results.tier_units), integers(results.tier_amount)

    def line(self, row: int) -> Any:
        """(amount, minor units, rated quantity, tiers), or why there is none."""
        if self.status[row] != OK:
            return CODES[self.status[row]]
        span = slice(self.start[row], self.start[row + 1])
        tiers = list(zip(self.numbers[span], self.units[span], self.parts[span], strict=True))
        return self.amount[row], self.minor[row], self.rated[row], tiers


def _of_reference(priced: Priced) -> Any:
    amounts = priced.tier_amounts()
    tiers = [
        (tier.number, tier.units * SCALE, amount * SCALE)
        for tier, amount in zip(priced.tiers, amounts, strict=True)
    ]
    return priced.amount * SCALE, priced.amount_minor, priced.rated_quantity * SCALE, tiers


def _of_verifier(line: verify.Recomputed, priced: Priced) -> Any:
    """The verifier works out no rated quantity of its own."""
    tiers = [(number, units * SCALE, amount * SCALE) for number, units, amount in line.tiers]
    return line.amount * SCALE, line.amount_minor, priced.rated_quantity * SCALE, tiers


def _terms_inputs(terms: PriceTerms) -> dict[str, Any]:
    def text(number: Decimal | None) -> str | None:
        return None if number is None else decimal_text(number)

    conversion = terms.unit_conversion
    return {
        "unit_conversion": None if conversion is None else conversion.model_dump(mode="json"),
        "free_units": text(terms.free_units),
        "zero_usage": "charge" if terms.zero_reaches else "skip",
        "price": terms.price.model_dump(mode="json"),
        "prorated": terms.prorated,
        "minimum_amount": text(terms.minimum_amount),
        "maximum_amount": text(terms.maximum_amount),
        "minor_digits": terms.minor_digits,
        "rounding": terms.rounding,
        "discounts": [],
    }


def _case_inputs(case: Case) -> Mapping[str, Any]:
    return {
        "quantity": str(case.quantity),
        "event_count": case.event_count,
        "days": case.days,
        "full_days": case.full_days,
        "beside": {name: str(number) for name, number in case.inputs.items()},
    }


def run(cases: int, seed: int) -> Iterator[tuple[Counter[str], list[str]]]:
    """Block by block, each from a seed of its own, so that one can be run again alone."""
    for block, first in enumerate(range(0, cases, BLOCK)):
        source = random.Random(f"{seed}:{block}")
        yield check_block(*random_block(source, min(BLOCK, cases - first)))


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.rating.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    started, total = time.perf_counter(), Counter[str]()
    for tally, wrong in run(chosen.cases, chosen.seed):
        total += tally
        if wrong:
            sys.stdout.write(f"{len(wrong)} of a block differ; the first:\n{wrong[0]}\n")
            return 1
        seconds = time.perf_counter() - started
        if total["cases"] % (BLOCK * 10) == 0:
            sys.stdout.write(f"{total['cases']:,} cases, {total['cases'] / seconds:,.0f} a second\n")
            sys.stdout.flush()
    seconds = time.perf_counter() - started
    parts = ", ".join(f"{count:,} {name}" for name, count in total.most_common())
    sys.stdout.write(f"kernels, reference and verifier agree: {parts}; {seconds:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
