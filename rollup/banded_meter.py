"""A meter that counts the events of another one by the size of their number: in bands, free ones apart.

Prices with a least and a most for each event are made of it (``rating/event_bounds.py``), and tiers that
begin again with each event (``rating/event_tiers.py``). It is derived from a meter on record and never saved
itself; usage has one row a band, with the band as the last group key.

Bands add up over events, so they are kept as stored usage. With free events they do not: which
are free depends on all that came before in the period, so they are counted from events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

import orjson
from pydantic import Field

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.meter import Meter

BAND_KEY: Final = "(band)"
"""The group key that is no property: ``0`` below the first threshold, ``1`` below the second and so on;
``free`` for an event that is free."""
FREE_BAND: Final = "free"


class BandPackages(Document):
    """Events of ``band`` count as packages: how many of ``size`` their number has above ``above``, a started
    one whole (``up``) or not at all (``down``). size: 1 or more: no count is larger than its number."""

    band: int = Field(ge=0)
    above: Decimal
    size: Decimal = Field(ge=1)
    round: Literal["up", "down"]

    def count(self, number: Fraction) -> Fraction:
        """How many packages the number has."""
        packages, rest = divmod(number - Fraction(self.above), Fraction(self.size))
        return Fraction(packages + (1 if rest and self.round == "up" else 0))


class BandedMeter(Meter):
    """thresholds: the least numbers of bands 1, 2 ... packages: bands that count packages. free_events: so
    many of a period's first events are free; free_value: so much of their value is, in order of time and
    arrival (None: nothing).
    banded_meter_id: the meter whose events these are."""

    banded_meter_id: str
    thresholds: tuple[Decimal, ...]
    packages: tuple[BandPackages, ...] = ()
    free_events: int = 0
    free_value: ExactDecimal | None = None

    @property
    def adds_up(self) -> bool:
        """Whether the bands of two sets of events are the sums of both."""
        return not self.free_events and self.free_value is None


def banded_meter(
    meter: Meter,
    *,
    thresholds: tuple[Decimal, ...],
    packages: tuple[BandPackages, ...] = (),
    free_events: int = 0,
    free_value: Decimal | None = None,
) -> BandedMeter:
    """``meter`` (one that sums) by bands; equal arguments give an equal meter with the same id."""
    parts: Sequence[object] = [
        meter.meter_id,
        [decimal_text(bound) for bound in thresholds],
        free_events,
        None if free_value is None else decimal_text(free_value),
        # Only where there are some: other ids must stay, usage is stored under them.
        *([[entry.band, str(entry.above), str(entry.size), entry.round] for entry in packages]),
    ]
    key = hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]
    kept = {name: value for name, value in meter if name not in {"meter_id", "group_by", "fraction_digits"}}
    return BandedMeter(
        **kept,
        meter_id=f"banded:{key}",
        group_by=(*meter.group_by, BAND_KEY),
        banded_meter_id=meter.meter_id,
        thresholds=thresholds,
        packages=packages,
        free_events=free_events,
        free_value=free_value,
    )


def is_stored(meter: Meter) -> bool:
    """Whether usage of the meter is kept as it arrives. Levels are read from licence events, of which there
    are few; bands with free events and the highest of parts do not add up."""
    if isinstance(meter, BandedMeter):
        return meter.adds_up
    return meter.aggregation != "time_weighted" and meter.parts is None


def read_meter(document: str) -> Meter:
    """A meter of stored usage from its canonical text."""
    if "banded_meter_id" in orjson.loads(document):
        return BandedMeter.model_validate_json(document)
    return Meter.model_validate_json(document)


def charged_by_band(meter: BandedMeter, numbers: Iterable[Fraction]) -> dict[str, list[Fraction]]:
    """Band -> what is charged of each of its events, said plainly. numbers: of the events of a period, in
    order of time and arrival. The event that reaches ``free_value`` is charged for what is past it."""
    packages = {entry.band: entry for entry in meter.packages}
    free_left = None if meter.free_value is None else Fraction(meter.free_value)
    found: dict[str, list[Fraction]] = {}
    for place, number in enumerate(numbers, start=1):
        charged = number
        if free_left is None:
            free = meter.free_value is None and place <= meter.free_events
        elif number < free_left:
            free, free_left = True, free_left - number
        else:
            free, charged, free_left = False, number - free_left, None
        band = sum(charged >= Fraction(bound) for bound in meter.thresholds)
        counted = packages[band].count(charged) if band in packages else charged
        found.setdefault(FREE_BAND if free else str(band), []).append(counted)
    return found
