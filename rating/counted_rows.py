"""Rows whose tiers were counted one by one (events, levels) or that are parts of pools, in whole numbers.

The same as the fractions of ``event_tiers.py``, ``level_tiers.py`` and ``special_price.py``, digit for digit:
quantities and prices are integers at scale 12, amounts at scale 24 until the one division by the days of the
period. What does not fit (packages, percentages, unit conversion, a minimum or maximum, inputs that do not
belong together, anything below zero or past the digits of a line) is left to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.event import QUANTITY_DIGITS, QUANTITY_SCALE
from rating.added_rows import AddedRows
from rating.event_tiers import EVENT_MODELS, event_tiers
from rating.kernel_types import Results, Rows
from rating.kernels import OK
from rating.level_tiers import input_name
from rating.price_plan import GRADUATED_MODELS, RoundingMode, Tier
from rating.reference import Priced, PriceTerms
from rating.special_price import (
    BEFORE_EVENTS,
    BEFORE_QUANTITY,
    POOL_CONTRACTS,
    POOL_EVENTS,
    POOL_PART,
    POOL_QUANTITY,
    Inputs,
    pool_amount,
)
from rating.unrateable import Unrateable
from rating.wide_columns import scaled_integer

_SCALE: Final = 10**QUANTITY_SCALE
_LIMIT: Final = 10**QUANTITY_DIGITS
_MINOR_LIMIT: Final = 2**63
_WORDS: Final = 16


class _Tiers(NamedTuple):
    """A price by its tiers, at scale 12. starts: what the units of each are counted above; widths: None for
    tiers that hold an event whole."""

    prices: tuple[int, ...]
    flats: tuple[int, ...]
    starts: tuple[int, ...]
    widths: tuple[int, ...] | None
    free: int
    by_moment: bool
    terms: PriceTerms


class _Line(NamedTuple):
    """A priced row: tiers are (number, units, amount), all but ``minor`` at scale 12."""

    rated: int
    tiers: list[tuple[int, int, int]]
    amount: int
    minor: int


def price_counted_rows(
    rows: Rows, terms: Sequence[PriceTerms], inputs: Mapping[int, Inputs]
) -> AddedRows | None:
    """Those of the rows in ``inputs`` that whole numbers can price; None when there are none."""
    chosen = np.array(sorted(inputs), np.int64)
    price_rows = rows.price_row[chosen].tolist()
    tiers = {price_row: _tiers_of(terms[price_row]) for price_row in set(price_rows)}
    if not any(tiers.values()) and not any(terms[price_row].pooled for price_row in tiers):
        return None
    pools: dict[tuple[Any, ...], Priced | None] = {}
    quantities = rows.quantity[chosen].tobytes()
    columns = (column[chosen].tolist() for column in (rows.event_count, rows.days, rows.full_days))
    found: list[tuple[int, _Line]] = []
    for place, (row, price_row, events, days, full_days) in enumerate(
        zip(chosen.tolist(), price_rows, *columns, strict=True)
    ):
        at = place * _WORDS
        quantity = int.from_bytes(quantities[at : at + _WORDS], "little", signed=True)
        own, given = tiers[price_row], inputs[row]
        if own is not None:
            line = _counted(own, quantity, events, days, full_days, given)
        elif POOL_QUANTITY in given:
            pool = _pool_of(price_row, terms[price_row], days, full_days, given, pools)
            line = None if pool is None else _part(terms[price_row], pool, quantity, given)
        else:
            line = None
        if line is not None:
            found.append((row, line))
    return _gathered(found) if found else None


def _tiers_of(terms: PriceTerms) -> _Tiers | None:
    """The tiers of a price whose events or levels are counted by them; None for any other."""
    by_moment = terms.tiers_count == "moment"
    if terms.tiers_count != "event" and not by_moment:
        return None
    bounded = terms.minimum_amount is not None or terms.maximum_amount is not None
    plain = [tier for tier in event_tiers(terms.price) if isinstance(tier, Tier) and not tier.package_size]
    whole = isinstance(terms.price, EVENT_MODELS) and len(plain) == len(event_tiers(terms.price))
    if bounded or terms.pooled or terms.unit_conversion is not None or not whole:
        return None
    graduated = isinstance(terms.price, GRADUATED_MODELS)
    ends = [scaled_integer(tier.up_to or Decimal(0)) for tier in plain]
    starts = [0, *ends[:-1]] if graduated else [0] * len(plain)
    return _Tiers(
        prices=tuple(scaled_integer(tier.unit_price or Decimal(0)) for tier in plain),
        flats=tuple(scaled_integer(tier.flat_amount or Decimal(0)) for tier in plain),
        starts=tuple(starts),
        widths=tuple(end - start for end, start in zip(ends, starts, strict=True)) if graduated else None,
        free=scaled_integer(terms.free_units or Decimal(0)),
        by_moment=by_moment,
        terms=terms,
    )


def _counted(
    own: _Tiers, quantity: int, events: int, days: int, full_days: int, given: Inputs
) -> _Line | None:
    parts = _by_moment(own, quantity, given) if own.by_moment else _by_event(own, quantity, events, given)
    if parts is None:
        return None
    above, below = (days, full_days) if own.terms.prorated else (1, 1)
    return _finished(parts, above, below * _SCALE, own.terms)


def _by_moment(own: _Tiers, quantity: int, given: Inputs) -> list[tuple[int, int, int]] | None:
    """(number, units at scale 12, amount at scale 24) of each tier that a level reached."""
    zero = Decimal(0)
    read = [scaled_integer(given.get(input_name(number), zero)) for number in range(1, len(own.prices) + 1)]
    off = quantity - sum(read)
    if min(read) < 0 or off < -len(read) or (not own.free and off > len(read)):
        return None
    reaches = own.terms.zero_reaches
    return [
        (number, units, units * price + flat * _SCALE)
        for number, (units, price, flat) in enumerate(zip(read, own.prices, own.flats, strict=True), start=1)
        if units or (number == 1 and reaches)
    ]


def _by_event(own: _Tiers, quantity: int, events: int, given: Inputs) -> list[tuple[int, int, int]] | None:
    """The same of events that are priced each by itself."""
    counts, values = [0] * len(own.prices), [0] * len(own.prices)
    all_events = all_value = 0
    for name, number in given.items():
        word, _, band = name.partition("_")
        scaled = scaled_integer(number)
        if band == "negative" or word not in ("events", "value"):
            return None
        if word == "events":
            all_events += scaled
        else:
            all_value += scaled
        if band.startswith("tier_"):
            (counts if word == "events" else values)[int(band[5:]) - 1] = scaled
    if all_events != events * _SCALE or all_value != quantity:
        return None
    passing = sum(counts) // _SCALE
    found: list[tuple[int, int, int]] = []
    for place, (price, flat, start) in enumerate(zip(own.prices, own.flats, own.starts, strict=True)):
        ended = counts[place] // _SCALE
        passing -= ended
        units = values[place] - ended * (own.free + start)
        amount = units * price + ended * flat * _SCALE
        if own.widths is not None and passing:
            width = own.widths[place]
            units, amount = units + passing * width, amount + passing * (width * price + flat * _SCALE)
        if units < 0:
            return None
        if units or amount:
            found.append((place + 1, units, amount))
    return found


def _finished(
    parts: Iterable[tuple[int, int, int]], above: int, below: int, terms: PriceTerms
) -> _Line | None:
    """Tiers with amounts at scale 24, times above / below, as a line: tiers cut so that they sum up."""
    running = rated = before = 0
    tiers: list[tuple[int, int, int]] = []
    for number, units, amount in parts:
        running += amount
        rated += units
        cut = running * above // below
        tiers.append((number, units, cut - before))
        before = cut
    minor = _rounded(running * above, below * (_SCALE // 10**terms.minor_digits), terms.rounding)
    if max(rated, before + 1) >= _LIMIT or minor >= _MINOR_LIMIT or running < 0:
        return None
    return _Line(rated, tiers, before, minor)


def _rounded(number: int, whole: int, mode: RoundingMode) -> int:
    """number / whole, both at or above zero, in whole units."""
    units, rest = divmod(number, whole)
    up = 2 * rest >= whole if mode == "half_up" else 2 * rest > whole or (2 * rest == whole and units % 2)
    return units + 1 if up else units


def _pool_of(
    price_row: int,
    terms: PriceTerms,
    days: int,
    full_days: int,
    given: Inputs,
    pools: dict[tuple[Any, ...], Priced | None],
) -> Priced | None:
    """What a pool comes to, priced once for all of its contracts; None when it has no price."""
    counted = (POOL_QUANTITY, POOL_EVENTS, BEFORE_QUANTITY, BEFORE_EVENTS)
    key = (price_row, days, full_days, *(given.get(name) for name in counted))
    if key not in pools:
        try:
            pools[key] = pool_amount(
                terms,
                quantity=given[POOL_QUANTITY],
                event_count=int(given[POOL_EVENTS]),
                share=Fraction(days, full_days),
                before=given,
            )
        except Unrateable:
            pools[key] = None
    return pools[key]


def _part(terms: PriceTerms, pool: Priced, quantity: int, given: Inputs) -> _Line | None:
    """A contract's part of its pool, as ``_price_part`` has it."""
    total, part = scaled_integer(given[POOL_QUANTITY]), scaled_integer(given[POOL_PART])
    minor, rest = divmod(part, _SCALE // 10**terms.minor_digits)
    weight, whole = (quantity, total) if total else (1, int(given[POOL_CONTRACTS]))
    pool_part, pool_cut = int(pool.amount_minor), int(pool.amount * _SCALE)
    if quantity < 0 or pool_cut < 0 or rest or abs(minor * whole - pool_part * weight) >= whole:
        return None
    tiers: list[tuple[int, int, int]] = []
    units = amounts = units_before = amounts_before = 0
    for tier, tier_amount in zip(pool.tiers, pool.tier_amounts(), strict=True):
        own_units, odd = divmod(tier.units.numerator * _SCALE, tier.units.denominator)
        if odd or own_units < 0 or tier_amount < 0:
            return None
        units += own_units
        amounts += int(tier_amount * _SCALE)
        cut_units = units * weight // whole
        cut_amounts = amounts * part // pool_cut if pool_cut else 0
        tiers.append((tier.number, cut_units - units_before, cut_amounts - amounts_before))
        units_before, amounts_before = cut_units, cut_amounts
    rated = pool.rated_quantity * _SCALE * weight / whole
    return _Line(rated.numerator // rated.denominator, tiers, part, minor) if rated >= 0 else None


def _gathered(found: Sequence[tuple[int, _Line]]) -> AddedRows:
    lines = [line for _, line in found]
    flat = [tier for line in lines for tier in line.tiers]
    starts = np.concatenate([[0], np.cumsum([len(line.tiers) for line in lines])]).astype(np.int64)
    results = Results(
        status=np.full(len(lines), OK, np.int8),
        rated_quantity=_words(line.rated for line in lines),
        amount=_words(line.amount for line in lines),
        amount_minor=np.array([line.minor for line in lines], np.int64),
        tier_start=starts,
        tier_number=np.array([number for number, _, _ in flat], np.uint16),
        tier_units=_words(units for _, units, _ in flat),
        tier_amount=_words(amount for *_, amount in flat),
    )
    return AddedRows(np.array([row for row, _ in found], np.int64), results)


def _words(numbers: Iterable[int]) -> NDArray[np.uint64]:
    joined = b"".join(number.to_bytes(_WORDS, "little", signed=True) for number in numbers)
    return np.frombuffer(joined, np.uint64).reshape(-1, 2)
