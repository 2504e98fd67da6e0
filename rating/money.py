"""Minor units of currencies, the one rounding, plain money text, and splitting without residue.

Amounts are exact until ``round_to_minor`` is called once; after it they are ``int`` minor units
(cents, yen, fils). Digits are those of ISO 4217, list one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from ingest.document import plain
from ingest.errors import InvalidInput
from rating.price_plan import RoundingMode

_TWO_DIGITS: Final = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE "
    "CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD "
    "HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK "
    "MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD "
    "RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH "
    "USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG"
)
_OTHER_DIGITS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
MINOR_DIGITS: Final = {
    **dict.fromkeys(_TWO_DIGITS.split(), 2),
    **{code: digits for digits, codes in _OTHER_DIGITS.items() for code in codes.split()},
}
"""Currency code -> fraction digits of its minor unit, for every current ISO 4217 currency. Metals,
test codes and units without a minor unit (XAU, XTS, XDR) are no currencies to invoice in."""


def minor_digits(currency: str) -> int:
    """Fraction digits of the currency's minor unit. Raises InvalidInput for an unknown code."""
    digits = MINOR_DIGITS.get(currency)
    if digits is None:
        raise InvalidInput(
            f"{currency!r} is not a current ISO 4217 currency code; write one like EUR or USD.",
            reason_code="unknown_currency",
        )
    return digits


def round_to_minor(amount: Fraction | Decimal, *, digits: int, mode: RoundingMode) -> int:
    """The exact amount in whole minor units: ties away from zero (half_up) or to even (half_even).

    >>> round_to_minor(Decimal("0.125"), digits=2, mode="half_up")
    13
    >>> round_to_minor(Decimal("0.125"), digits=2, mode="half_even")
    12
    """
    scaled: Fraction = Fraction(amount) * 10**digits
    if mode == "half_even":
        return round(scaled)
    magnitude: int = (2 * abs(scaled.numerator) + scaled.denominator) // (2 * scaled.denominator)
    return magnitude if scaled >= 0 else -magnitude


def minor_to_decimal(amount_minor: int, currency: str) -> Decimal:
    """Minor units as a decimal in major units, with all of the currency's digits."""
    return Decimal(amount_minor).scaleb(-minor_digits(currency))


def format_minor(amount_minor: int, currency: str) -> str:
    """Plain text without grouping and currency sign: ``1234.50``, ``-0.05``, yen ``1234``."""
    return f"{minor_to_decimal(amount_minor, currency):f}"


def exact_money(amount: Decimal, *, digits: int, grouped: bool = False) -> str:
    """All digits of a price or an exact amount, at least ``digits`` of them: ``620.00``, ``0.000085``.
    grouped: with thousands separators, for people only.

    >>> exact_money(Decimal("1234.5"), digits=2, grouped=True)
    '1,234.50'
    """
    exponent = plain(amount).as_tuple().exponent
    shown = max(digits, -exponent) if isinstance(exponent, int) else digits
    return f"{amount:{',' if grouped else ''}.{shown}f}"


def grouped_words(words: str) -> str:
    """The same words with thousands separators in the numbers among them: ``1,500.00 per month``."""
    return re.sub(r"(?<!\S)\d{4,}(?=(\.\d+)?(\s|$))", lambda found: f"{int(found[0]):,}", words)


def allocate(total_minor: int, weights: Sequence[int]) -> list[int]:
    """Split ``total_minor`` in proportion to ``weights`` by largest remainder; parts sum to it.

    Ties go to the earlier part. Raises InvalidInput when no weight is positive or one is negative.

    >>> allocate(100, [1, 1, 1])
    [34, 33, 33]
    """
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise InvalidInput(f"cannot split by the weights {list(weights)}: give weights >= 0 and one above 0.")
    magnitude = abs(total_minor)
    parts = [magnitude * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda index: -(magnitude * weights[index] % whole))
    for index in by_remainder[: magnitude - sum(parts)]:
        parts[index] += 1
    return parts if total_minor >= 0 else [-part for part in parts]
