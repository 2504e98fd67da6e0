"""What is counted: a meter names one event type, an aggregation, filters and group keys.

A meter is immutable: usage already billed was counted by it. A changed definition is a new meter.
It works on events already stored, whenever it is defined.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from ingest.document import Document
from ingest.errors import Issue

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
"""A key people choose: letters, digits, dot, underscore, colon, dash; up to 128."""

Aggregation = Literal["count", "sum", "max", "min", "avg", "latest", "unique_count", "time_weighted"]
Reading = Literal["average", "high_water", "peak", "end", "unit_days"]

NEEDS_VALUE: Final = frozenset({"sum", "max", "min", "avg", "latest", "time_weighted"})


class MeterFilter(Document):
    """Keeps the events whose property is (not) among the values, or is (not) there at all."""

    property: str = Field(min_length=1)
    values: tuple[str, ...] = ()
    negate: bool = False
    present: bool | None = None

    @model_validator(mode="after")
    def _one_test(self) -> MeterFilter:
        if (self.present is None) == (not self.values):
            raise ValueError("a filter has either `values` or `present`")
        return self


class Meter(Document):
    """See the module. ``factors``: the number an event contributes is the product of these: ``value``
    and/or ``properties.NAME`` (a decimal in text), so seat-miles are ``[value, properties.seats]``.

    reading: of a ``time_weighted`` meter (licence seats): the time-weighted ``average`` level, the
    ``peak``, the level at the ``end`` of the period, or ``unit_days`` (level x days of 86,400 s);
    ``high_water`` is the average of the highest level so far in the period.
    fraction_digits: the metered quantity is rounded half-up to so many digits.
    """

    meter_id: Key
    name: str = ""
    event_type: str = Field(min_length=1)
    aggregation: Aggregation
    factors: tuple[str, ...] = ("value",)
    unique_property: str | None = None
    reading: Reading | None = None
    filters: tuple[MeterFilter, ...] = ()
    group_by: tuple[str, ...] = ()
    unit: str = "unit"
    fraction_digits: int = Field(default=12, ge=0, le=12)


def meter_rules(meter: Meter) -> Iterator[Issue]:
    """What a meter document must keep beyond its field types."""
    if meter.aggregation == "unique_count" and not meter.unique_property:
        yield Issue(
            "unique_property_missing",
            "unique_property",
            "A unique_count meter counts values of a property.",
            "the name of that property.",
        )
    if meter.aggregation != "unique_count" and meter.unique_property:
        yield Issue(
            "unique_property_unused",
            "unique_property",
            f"A {meter.aggregation} meter has no use for it.",
            "no unique_property, or aggregation unique_count.",
        )
    if (meter.aggregation == "time_weighted") != (meter.reading is not None):
        yield Issue(
            "reading_mismatch",
            "reading",
            f"reading is {meter.reading!r} on a {meter.aggregation} meter.",
            "a reading on every time_weighted meter and on no other.",
        )
    for position, factor in enumerate(meter.factors):
        if factor != "value" and not (factor.startswith("properties.") and len(factor) > len("properties.")):
            yield Issue(
                "unknown_factor",
                f"factors[{position}]",
                f"{factor!r} is not something an event carries.",
                "`value` or `properties.NAME`.",
            )
    if not meter.factors:
        yield Issue("no_factors", "factors", "The list is empty.", "at least `value`.")
    if meter.aggregation == "time_weighted" and meter.factors != ("value",):
        yield Issue(
            "factors_unused", "factors", "A time_weighted meter reads levels from `value` alone.", "[value]."
        )
    if len(set(meter.group_by)) != len(meter.group_by):
        yield Issue("group_key_twice", "group_by", "A group key is named twice.", "each key once.")
