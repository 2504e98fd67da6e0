"""A meter of the part of a level that lies between two bounds: of 14 seats, the 4 above 10.

Tiers that hold at each moment are made of it (``rating/level_tiers.py``): the parts of a level over time
sum to the level. It is derived from a ``time_weighted`` meter on record and never saved itself.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from fractions import Fraction

import orjson

from ingest.document import decimal_text
from ingest.meter import Meter


class LevelPart(Meter):
    """The level above ``above`` and up to ``up_to`` (None: all the rest), read as ``reading`` says.
    whole_meter_id: the meter whose level it is a part of."""

    whole_meter_id: str
    above: Decimal
    up_to: Decimal | None = None

    def part_of(self, level: Fraction) -> Fraction:
        """What of a level lies between the bounds."""
        upper = level if self.up_to is None else min(level, Fraction(self.up_to))
        return max(Fraction(0), upper - Fraction(self.above))


def level_part(meter: Meter, *, above: Decimal, up_to: Decimal | None) -> LevelPart:
    """The part of ``meter`` (a time_weighted one); equal arguments give an equal meter with the same id."""
    parts = [meter.meter_id, decimal_text(above), None if up_to is None else decimal_text(up_to)]
    key = hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]
    kept = {name: value for name, value in meter if name not in {"meter_id", "fraction_digits"}}
    return LevelPart(**kept, meter_id=f"part:{key}", whole_meter_id=meter.meter_id, above=above, up_to=up_to)
