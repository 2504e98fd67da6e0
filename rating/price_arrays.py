"""Prices and the steps around them as the arrays of ``rating/kernels.py``, scaled by 10**12."""

from __future__ import annotations

from collections.abc import Sequence
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
    FlatPrice,
    GraduatedPrice,
    PackagePrice,
    PercentagePrice,
    PerUnitPrice,
    SimplePrice,
    StairstepPrice,
    Tier,
    UnitConversion,
    VolumePrice,
)
from rating.reference import PriceTerms
from rating.wide_columns import scaled_integer

_MODELS: Final = {
    "flat": kernels.FLAT,
    "per_unit": kernels.PER_UNIT,
    "graduated": kernels.GRADUATED,
    "volume": kernels.VOLUME,
    "stairstep": kernels.STAIRSTEP,
    "package": kernels.PACKAGE,
    "percentage": kernels.PERCENTAGE,
}
_ROUNDINGS: Final = {"half_up": kernels.ROUND_HALF_UP, "half_even": kernels.ROUND_HALF_EVEN}
_CONVERSIONS: Final = {
    "half_up": kernels.CONVERT_HALF_UP,
    "up": kernels.CONVERT_UP,
    "down": kernels.CONVERT_DOWN,
}
_WORD: Final = 2**64
_DIVISOR_MAX: Final = 2**63
"""Twice a remainder of it must still fit a word."""
_AMOUNT_MAX: Final = 2**120
"""Flat amounts and bounds below this (10**24 units of money) cannot overflow 192 bits in any sum."""
_TIERS_MAX: Final = 2**16


def price_arrays(terms: Sequence[PriceTerms]) -> Prices:
    """The arrays; a price with a number too large for them is marked ``fits`` False."""
    built = [_PriceNumbers(entry) for entry in terms]
    tiers = [tier for entry in built for tier in entry.tiers]
    starts = np.cumsum([0, *(len(entry.tiers) for entry in built)], dtype=np.int64)
    return Prices(
        model=np.array([entry.model for entry in built], np.int8),
        fits=np.array([entry.fits for entry in built], np.bool_),
        price=_words([entry.price for entry in built]),
        extra=_words([entry.extra for entry in built]),
        package_up=np.array([entry.package_up for entry in built], np.bool_),
        flat=_pairs([entry.flat for entry in built]),
        free_units=_pairs([entry.free_units for entry in built]),
        convert_multiply=_words([entry.conversion[0] for entry in built]),
        convert_divide=_words([entry.conversion[1] for entry in built]),
        convert_step=_words([entry.conversion[2] for entry in built]),
        convert_round=np.array([entry.convert_round for entry in built], np.int8),
        has_minimum=np.array([entry.terms.minimum_amount is not None for entry in built], np.bool_),
        minimum=_pairs([entry.minimum for entry in built]),
        has_maximum=np.array([entry.terms.maximum_amount is not None for entry in built], np.bool_),
        maximum=_pairs([entry.maximum for entry in built]),
        prorated=np.array([entry.terms.prorated for entry in built], np.bool_),
        minor_unit=_words([10 ** (QUANTITY_SCALE - entry.terms.minor_digits) for entry in built]),
        rounding=np.array([_ROUNDINGS[entry.terms.rounding] for entry in built], np.int8),
        tier_start=starts,
        tier_up_to=_pairs([up_to for up_to, _, _ in tiers]),
        tier_price=_words([unit_price for _, unit_price, _ in tiers]),
        tier_flat=_pairs([flat for _, _, flat in tiers]),
    )


class _PriceNumbers:
    """The scaled integers of one price; ``fits`` says whether all are within the kernels' words."""

    def __init__(self, terms: PriceTerms) -> None:
        price = terms.price
        self.terms = terms
        self.model = _MODELS[price.model]
        self.fits = True
        self.price = self._word(_unit_price(price))
        self.extra = self._word(_extra(price))
        self.package_up = isinstance(price, PackagePrice) and price.round == "up"
        self.flat = self._amount(price.amount if isinstance(price, FlatPrice) else None)
        self.free_units = self._scaled(terms.free_units, below=10**38)
        self.minimum = self._amount(terms.minimum_amount)
        self.maximum = self._amount(terms.maximum_amount)
        self.conversion = self._conversion(terms.unit_conversion)
        conversion = terms.unit_conversion
        self.convert_round = _CONVERSIONS[conversion.round if conversion else "down"]
        self.tiers = self._tiers(price)

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

    def _tiers(self, price: SimplePrice) -> list[tuple[int, int, int]]:
        if not isinstance(price, GraduatedPrice | VolumePrice | StairstepPrice):
            return []
        if not price.tiers or price.tiers[-1].up_to is not None or len(price.tiers) >= _TIERS_MAX:
            raise BrokenState("a saved price plan has tiers without an open last one; it cannot be compiled.")
        return [self._tier(tier) for tier in price.tiers]

    def _tier(self, tier: Tier) -> tuple[int, int, int]:
        up_to = self._scaled(tier.up_to, below=10**38)
        return up_to, self._word(tier.unit_price), self._amount(tier.flat_amount)

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


def _unit_price(price: SimplePrice) -> Decimal | None:
    if isinstance(price, PerUnitPrice):
        return price.unit_price
    if isinstance(price, PackagePrice):
        return price.package_price
    return price.percent if isinstance(price, PercentagePrice) else None


def _extra(price: SimplePrice) -> Decimal | None:
    if isinstance(price, PackagePrice):
        return price.package_size
    return price.fixed_per_event if isinstance(price, PercentagePrice) else None


def _words(numbers: Sequence[int]) -> NDArray[np.uint64]:
    return np.array(numbers, np.uint64)


def _pairs(numbers: Sequence[int]) -> NDArray[np.uint64]:
    words = b"".join([number.to_bytes(16, "little") for number in numbers])
    return np.frombuffer(words, "<u8").reshape(-1, 2).astype(np.uint64)  # a copy that may be written
