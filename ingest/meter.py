"""What is counted: a meter names one event type, an aggregation, filters and group keys.

A meter is immutable: usage already billed was counted by it. A changed definition is a new meter.
It works on events already stored, whenever it is defined.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ingest.document import Document
from ingest.errors import Issue

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
"""A key people choose: letters, digits, dot, underscore, colon, dash; up to 128."""

Aggregation = Literal[
    "count", "sum", "max", "min", "avg", "latest", "unique_count", "time_weighted",
    "highest_sum", "highest_count", "sum_of_highest",
]  # fmt: skip
Reading = Literal["average", "high_water", "peak", "end", "unit_days"]

OF_PARTS: Final = frozenset({"highest_sum", "highest_count", "sum_of_highest"})
"""Aggregations in two steps: first within each part of a period, then over the parts."""

NEEDS_VALUE: Final = frozenset(
    {"sum", "max", "min", "avg", "latest", "time_weighted", "highest_sum", "sum_of_highest"}
)
PROPERTY_PREFIX: Final = "properties."


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


class MeterParts(Document):
    """What the parts of a period are: its days in a time zone, the hours of the clock in UTC, or the events
    that have one value of a property (all that lack it are one part)."""

    by: str
    time_zone: str | None = None

    @property
    def are_times(self) -> bool:
        """Whether the parts are days or hours, one after the other."""
        return self.by in ("day", "hour")


class Meter(Document):
    """See the module. ``factors``: the number an event contributes is the product of these: ``value``
    and/or ``properties.NAME`` (a decimal in text), so seat-miles are ``[value, properties.seats]``.

    reading: of a ``time_weighted`` meter (licence seats): the time-weighted ``average`` level, the
    ``peak``, the level at the ``end`` of the period, or ``unit_days`` (level x days of 86,400 s);
    ``high_water`` is the average of the highest level so far in the period.
    parts: of an aggregation in OF_PARTS. ``highest_sum`` and ``highest_count`` are the sum and the number of
    events of the part that has the most, ``sum_of_highest`` adds up the greatest value of each.
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
    parts: MeterParts | None = None

    @model_serializer(mode="wrap")
    def _said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A meter without parts is written as it was before there were any: its hash says it is the same."""
        written: dict[str, Any] = write(self)
        if self.parts is None:
            written.pop("parts", None)
        return written


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
        if factor != "value" and not _names_property(factor):
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
    yield from parts_rules(meter.aggregation, meter.parts)


def parts_rules(aggregation: str, parts: MeterParts | None) -> Iterator[Issue]:
    """What the parts of a meter of that aggregation must keep."""
    if (aggregation in OF_PARTS) != (parts is not None):
        yield Issue(
            "parts_mismatch",
            "parts",
            f"A {aggregation} meter " + ("says no parts." if parts is None else "has no parts."),
            "parts on every highest_sum, highest_count and sum_of_highest meter and on no other.",
        )
    if parts is None:
        return
    if not parts.are_times and not _names_property(parts.by):
        yield Issue(
            "unknown_parts",
            "parts.by",
            f"{parts.by!r} is nothing a period is parted by.",
            "`day`, `hour` or `properties.NAME`.",
        )
    if (parts.by == "day") != (parts.time_zone is not None):
        yield Issue(
            "parts_time_zone",
            "parts.time_zone",
            "Days begin at midnight somewhere; hours of UTC and properties do not.",
            "a time_zone (like Europe/Berlin) by day and by nothing else.",
        )


def _names_property(text: str) -> bool:
    return text.startswith(PROPERTY_PREFIX) and len(text) > len(PROPERTY_PREFIX)
