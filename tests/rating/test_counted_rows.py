"""Goal: whole numbers give what the fractions give, digit for digit, or leave a row to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest

from rating.batch import UNRATED_CODES, price_batch
from rating.counted_rows import price_counted_rows
from rating.kernel_types import Rows
from rating.price_arrays import price_arrays
from rating.reference import Priced, PriceTerms, applicable_price, terms_of
from rating.special_price import Inputs, pool_inputs, price_line
from rating.unrateable import Unrateable
from rating.wide_columns import integer_of, words_of
from tests.rating.plans import plan, usage_charge

SCALE = 10**12


def number(source: Random, most: int) -> Decimal:
    """Up to ``most``, with 0 to 12 digits after the point."""
    digits = source.choice([0, 2, 5, 12])
    return Decimal(source.randrange(most * 10**digits + 1)).scaleb(-digits)


def tiers(source: Random, *, flats: bool = True) -> list[dict[str, Any]]:
    bounds = sorted(source.sample(range(1, 60), source.randint(0, 3)))
    return [
        {
            "up_to": None if bound is None else str(bound),
            "unit_price": str(number(source, 9)),
            "flat_amount": str(number(source, 3)) if flats and source.random() < 0.4 else None,
        }
        for bound in (*bounds, None)
    ]


def terms(source: Random, price: dict[str, Any], **charge: Any) -> PriceTerms:
    made = plan(usage_charge("hours", price, **charge)).charges[0]
    return terms_of(
        made,
        applicable_price(made, {}),
        prorated=source.random() < 0.5,
        minor_digits=source.choice([0, 2, 3]),
        rounding=source.choice(["half_up", "half_even"]),
    )


Row = tuple[PriceTerms, Decimal, int, Inputs]


def by_moment(source: Random) -> Row:
    price = {"model": "graduated", "tiers": tiers(source)}
    more = {"free_units": "2"} if source.random() < 0.3 else {}
    found = terms(source, price, tiers_count="moment", zero_usage=source.choice(["skip", "charge"]), **more)
    read = [number(source, 20) if source.random() < 0.8 else Decimal(0) for _ in price["tiers"]]
    quantity = sum(read, Decimal(source.choice([0, 0, 0, 2])))  # sometimes more than the tiers hold
    return found, quantity, 3, {f"level_tier_{n}": part for n, part in enumerate(read, start=1)}


def by_event(source: Random) -> Row:
    """Real events, so that values and counts are such as usage gives."""
    kind = source.choice(["graduated", "volume", "stairstep", "per_unit", "package"])
    price: dict[str, Any] = {"model": kind, "tiers": tiers(source)}
    if kind == "stairstep":
        price["tiers"] = [{"up_to": tier["up_to"], "flat_amount": "1.005"} for tier in price["tiers"]]
    if kind == "per_unit":
        price = {"model": kind, "unit_price": str(number(source, 5))}
    if kind == "package":
        price = {"model": kind, "package_size": "5", "package_price": "1.5"}
    free = Decimal(source.choice([0, 0, 3]))
    more = {"minimum_amount": "4"} if source.random() < 0.2 else {}
    found = terms(source, price, tiers_count="event", free_units=str(free) if free else None, **more)
    bounds = [Decimal(tier["up_to"]) for tier in price.get("tiers", [])[:-1]]
    given: dict[str, Decimal] = {}
    events = [number(source, 80) for _ in range(source.randint(0, 6))]
    for value in events:
        units = value - free
        place = 1 + sum(units > bound for bound in bounds)
        word = "nothing" if units <= 0 else f"tier_{place}"
        amount = Decimal(-(-units // 5)) if kind == "package" and units > 0 else value
        name = f"{'packages' if kind == 'package' and units > 0 else 'value'}_{word}"
        given[f"events_{word}"] = given.get(f"events_{word}", Decimal(0)) + 1
        given[name] = given.get(name, Decimal(0)) + amount
    wrong = source.random() < 0.1
    return found, sum(events, Decimal(0)), len(events) + wrong, given


def by_pool(source: Random) -> list[Row]:
    price = {"model": source.choice(["graduated", "volume"]), "tiers": tiers(source)}
    found = terms(source, price, pooled_over="customer")
    quantities = [number(source, 90) if source.random() < 0.8 else Decimal(0) for _ in range(4)]
    given = pool_inputs(found, quantities, event_count=9, share=Fraction(17, 31))
    return [(found, quantity, 2, one) for quantity, one in zip(quantities, given, strict=True)]


def batch(rows: Sequence[Row]) -> tuple[Rows, list[PriceTerms], Mapping[int, Inputs]]:
    count = len(rows)
    quantities = [words_of(int(quantity * SCALE)) for _, quantity, *_ in rows]
    return (
        Rows(
            np.arange(count, dtype=np.int32),
            np.array(quantities, np.uint64).reshape(-1, 2),
            np.array([events for _, _, events, _ in rows], np.uint64),
            np.full(count, 17, np.int64),
            np.full(count, 31, np.int64),
        ),
        [each for each, *_ in rows],
        {place: given for place, (*_, given) in enumerate(rows)},
    )


def plainly(each: PriceTerms, quantity: Decimal, events: int, given: Inputs) -> Priced | str:
    """By fractions, or why there is no price."""
    try:
        return price_line(each, quantity=quantity, event_count=events, share=Fraction(17, 31), inputs=given)
    except Unrateable as error:
        return error.reason_code


def check(rows: Sequence[Row]) -> int:
    """Compare with the plain way, row by row; how many whole numbers priced."""
    columns, terms_, inputs = batch(rows)
    counted = price_counted_rows(columns, terms_, inputs)
    priced = price_batch(columns, price_arrays(terms_), terms_, threads=1, inputs=inputs)
    results = priced.results
    for place, (each, quantity, events, given) in enumerate(rows):
        plain = plainly(each, quantity, events, given)
        if isinstance(plain, str):
            assert counted is None or place not in counted.rows
            assert UNRATED_CODES[int(results.status[place])] == plain
            continue
        own = slice(int(results.tier_start[place]), int(results.tier_start[place + 1]))
        assert integer_of(results.amount[place]) == plain.amount * SCALE
        assert results.amount_minor[place] == plain.amount_minor
        assert integer_of(results.rated_quantity[place]) == int(plain.rated_quantity * SCALE)
        assert results.tier_number[own].tolist() == [tier.number for tier in plain.tiers]
        units = [integer_of(words) for words in results.tier_units[own]]
        assert units == [int(tier.units * SCALE) for tier in plain.tiers]
        amounts = [integer_of(words) for words in results.tier_amount[own]]
        assert amounts == [amount * SCALE for amount in plain.tier_amounts()]
    return 0 if counted is None else len(counted.rows)


@pytest.mark.parametrize("seed", range(3))
def test_whole_numbers_are_the_fractions(seed: int) -> None:
    source = Random(seed)
    assert check([by_moment(source) for _ in range(300)]) > 150
    assert check([by_event(source) for _ in range(300)]) > 100
    assert check([row for _ in range(60) for row in by_pool(source)]) > 200


def test_what_does_not_fit_is_left_to_the_fractions() -> None:
    source = Random(7)
    price = {"model": "graduated", "tiers": [{"up_to": None, "unit_price": "999999999999"}]}
    large = terms(source, price, tiers_count="moment")
    most = Decimal("99999999999999.999999999999")
    assert check([(large, most, 1, {"level_tier_1": most})]) == 0
    taken_back = {"level_tier_1": Decimal(-2)}
    assert check([(large, Decimal(-2), 1, taken_back)]) == 0
