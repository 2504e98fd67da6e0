"""Prices and the steps around them as the arrays of ``rating/kernels.py``, scaled by 10**12."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.errors import BrokenState
from ingest.event import QUANTITY_SCALE
from rating import kernels
from rating.kernel_types import Prices
from rating.price_plan import (
    GRADUATED_MODELS,
    NEGATIVE_MODELS,
    DynamicPrice,
    FlatPrice,
    GraduatedPercentagePrice,
    PackagePrice,
    PercentagePrice,
    PercentTier,
    PerUnitPrice,
    SimplePrice,
    Tier,
    TieredPrice,
    UnitConversion,
)
from rating.reference import PriceTerms
from rating.short_kernel import SHORT
from rating.wide_columns import scaled_integer

_ROUNDINGS: Final = {"half_up": kernels.ROUND_HALF_UP, "half_even": kernels.ROUND_HALF_EVEN}
_CONVERSIONS: Final = {
    "half_up": kernels.CONVERT_HALF_UP,
    "up": kernels.CONVERT_UP,
    "down": kernels.CONVERT_DOWN,
}
_WORD: Final = 2**64
_DIVISOR_MAX: Final = 2**63
"""Twice a remainder of it must still fit a word."""
_AMOUNT_MAX: Final = 2**104
"""Flat amounts (a hundredfold too) and bounds below this cannot overflow 192 bits in any sum, at scale 24 and
times the seconds of a year."""
_TIERS_MAX: Final = 2**16


def price_arrays(terms: Sequence[PriceTerms]) -> Prices:
    """The arrays; a price with a number too large for them is marked ``fits`` False."""
    built = [_PriceNumbers(entry) for entry in terms]
    tiers = [tier for entry in built for tier in entry.tiers]
    starts = np.cumsum([0, *(len(entry.tiers) for entry in built)], dtype=np.int64)
    return Prices(
        fits=_flags([entry.fits for entry in built]),
        plain=_flags([entry.plain for entry in built]),
        graduated=_flags([isinstance(entry.price, GRADUATED_MODELS) for entry in built]),
        per_cent=_flags([entry.per_cent for entry in built]),
        takes_negative=_flags([isinstance(entry.price, NEGATIVE_MODELS) for entry in built]),
        zero_reaches=_flags([entry.zero_reaches for entry in built]),
        fixed=_words([entry.fixed for entry in built]),
        free_events=_words([entry.free_events for entry in built]),
        free_units=_pairs([entry.free_units for entry in built]),
        convert_multiply=_words([entry.conversion[0] for entry in built]),
        convert_divide=_words([entry.conversion[1] for entry in built]),
        convert_step=_words([entry.conversion[2] for entry in built]),
        convert_round=np.array([entry.convert_round for entry in built], np.int8),
        has_minimum=_flags([entry.terms.minimum_amount is not None for entry in built]),
        minimum=_pairs([entry.minimum for entry in built]),
        has_maximum=_flags([entry.terms.maximum_amount is not None for entry in built]),
        maximum=_pairs([entry.maximum for entry in built]),
        prorated=_flags([entry.terms.prorated for entry in built]),
        minor_unit=_words([10 ** (QUANTITY_SCALE - entry.terms.minor_digits) for entry in built]),
        rounding=np.array([_ROUNDINGS[entry.terms.rounding] for entry in built], np.int8),
        tier_start=starts,
        tier_up_to=_pairs([tier.up_to for tier in tiers]),
        tier_price=_words([tier.price for tier in tiers]),
        tier_flat=_pairs([tier.flat for tier in tiers]),
        tier_size=_words([tier.size for tier in tiers]),
        tier_up=_flags([tier.up for tier in tiers]),
    )


@dataclass(frozen=True, slots=True)
class _TierNumbers:
    """The scaled integers of one tier; price: of a unit, or of a package of ``size`` units."""

    up_to: int
    price: int
    flat: int
    size: int
    up: bool


class _PriceNumbers:
    """The scaled integers of one price; ``fits`` says whether all are within the kernels' words."""

    def __init__(self, terms: PriceTerms) -> None:
        price = terms.price
        self.terms = terms
        self.price = price
        self.fits = True
        self.per_cent = isinstance(price, PercentagePrice | GraduatedPercentagePrice)
        self.zero_reaches = terms.zero_reaches or not isinstance(price, TieredPrice)
        self.fixed, self.free_events = 0, 0
        if isinstance(price, PercentagePrice):
            self.fixed, self.free_events = self._word(price.fixed_per_event), price.free_events
        self.free_units = self._scaled(terms.free_units, below=10**38)
        self.minimum = self._amount(terms.minimum_amount)
        self.maximum = self._amount(terms.maximum_amount)
        self.conversion = self._conversion(terms.unit_conversion)
        conversion = terms.unit_conversion
        self.convert_round = _CONVERSIONS[conversion.round if conversion else "down"]
        self.tiers = self._tiers(price)
        amounts = (self.minimum, self.maximum, *(tier.flat for tier in self.tiers))
        self.plain = max(amounts) < SHORT and not (self.per_cent or self.fixed)

    def _scaled(self, number: Decimal | None, *, below: int) -> int:
        if not number:
            return 0
        scaled = scaled_integer(number)
        if scaled < 0:
            raise BrokenState(
                f"a saved price plan holds the negative number {number}; it cannot be compiled."
            )
        if scaled >= below:
            self.fits = False
            return 0
        return scaled

    def _word(self, number: Decimal | None) -> int:
        return 0 if number is None else self._scaled(number, below=_WORD)

    def _amount(self, number: Decimal | None) -> int:
        return 0 if number is None else self._scaled(number, below=_AMOUNT_MAX)

    def _tiers(self, price: SimplePrice) -> list[_TierNumbers]:
        if not isinstance(price, TieredPrice):
            return [self._tier(_only_tier(price))]
        if not price.tiers or price.tiers[-1].up_to is not None or len(price.tiers) >= _TIERS_MAX:
            raise BrokenState("a saved price plan has tiers without an open last one; it cannot be compiled.")
        return [self._tier(tier) for tier in price.tiers]

    def _tier(self, tier: Tier | PercentTier) -> _TierNumbers:
        up_to, flat = self._scaled(tier.up_to, below=10**38), self._amount(tier.flat_amount)
        if isinstance(tier, PercentTier):
            return _TierNumbers(up_to, self._word(tier.percent), flat * 100, 0, False)
        if tier.package_size is None:
            return _TierNumbers(up_to, self._word(tier.unit_price), flat, 0, False)
        size = self._word(tier.package_size)
        return _TierNumbers(up_to, self._word(tier.package_price), flat, size, tier.round == "up")

    def _conversion(self, conversion: UnitConversion | None) -> tuple[int, int, int]:
        """(multiply, divide, step) over scaled quantities, in lowest terms; divide 0 for none."""
        if conversion is None:
            return 0, 0, 0
        one = 10**QUANTITY_SCALE
        factor = scaled_integer(conversion.factor)
        multiply, divide = (factor, one) if conversion.operation == "multiply" else (one, factor)
        step = 10 ** (QUANTITY_SCALE - conversion.fraction_digits)
        common = gcd(multiply, divide * step)
        multiply, divide = multiply // common, divide * step // common
        if multiply >= _WORD or divide >= _DIVISOR_MAX:
            self.fits = False
            return 0, 0, 0
        return multiply, divide, step


def _only_tier(
    price: FlatPrice | PerUnitPrice | PackagePrice | PercentagePrice | DynamicPrice,
) -> Tier | PercentTier:
    """A price without tiers as the open tier that it is to the kernels."""
    if isinstance(price, FlatPrice):
        return Tier(flat_amount=price.amount)
    if isinstance(price, PerUnitPrice):
        return Tier(unit_price=price.unit_price)
    if isinstance(price, DynamicPrice):
        return Tier(unit_price=price.multiplier)
    if isinstance(price, PercentagePrice):
        return PercentTier(percent=price.percent)
    return Tier(package_size=price.package_size, package_price=price.package_price, round=price.round)


def _flags(flags: Sequence[bool]) -> NDArray[np.bool_]:
    return np.array(flags, np.bool_)


def _words(numbers: Sequence[int]) -> NDArray[np.uint64]:
    return np.array(numbers, np.uint64)


def _pairs(numbers: Sequence[int]) -> NDArray[np.uint64]:
    words = b"".join([number.to_bytes(16, "little") for number in numbers])
    return np.frombuffer(words, "<u8").reshape(-1, 2).astype(np.uint64)  # a copy that may be written
