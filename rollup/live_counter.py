"""One figure of usage in memory: what some subjects used by one meter in one period, up to the last event.

An event adds to it in any order, and two counters of different events add up to that of all of them. The
rules of what an event contributes are those of ``counted_events.py``, said here in whole numbers.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from ingest.event import OPERATION_PROPERTY, OPERATIONS, QUANTITY_SCALE, VALUE_INTEGER_DIGITS_MAX
from ingest.meter import Meter, MeterFilter

LIVE_AGGREGATIONS: Final = ("count", "sum", "max", "latest", "unique_count", "time_weighted")
"""What a limit can be set on: a reading to which more can be added."""

_SCALE: Final = 10**QUANTITY_SCALE
_BOUND: Final = 10 ** (QUANTITY_SCALE + VALUE_INTEGER_DIGITS_MAX)
_NUMBER: Final = re.compile(
    rf"([+-]?)([0-9]{{1,{VALUE_INTEGER_DIGITS_MAX}}})(?:[.]([0-9]{{1,{QUANTITY_SCALE}}}))?"
)
_SET, _ADD, _REMOVE = OPERATIONS

_Change = tuple[int, int, int | None, str]
"""(micros, sequence, scaled value, operation)"""


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """An event as a counter takes it. scaled: ``value`` times 10**12, None without one."""

    subject: str
    micros: int
    sequence: int
    scaled: int | None
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LiveReading:
    """quantity: what was used; of a ``time_weighted`` meter the level at the instant asked. unusable_events:
    those that should count and cannot; while there are any, the quantity is not whole."""

    quantity: Decimal
    event_count: int
    unusable_events: int


@dataclass(slots=True)
class LiveCounter:
    """See the module. Numbers are scaled by 10**12; of events of [start_micros, end_micros).

    levels: of a time_weighted meter, the changes of each (subject, group keys) by (time, sequence).
    """

    meter: Meter
    start_micros: int
    end_micros: int
    event_count: int = 0
    unusable_events: int = 0
    total: int = 0
    highest: int | None = None
    latest: tuple[int, int, int] | None = None
    distinct: set[str] = field(default_factory=set)
    levels: dict[tuple[str, ...], list[_Change]] = field(default_factory=dict)

    def add(self, event: LiveEvent) -> None:
        """Count one event of the meter's type, if it is in the period and passes the filters."""
        if not self.start_micros <= event.micros < self.end_micros:
            return
        if not all(passes(one, event.properties) for one in self.meter.filters):
            return
        if self.meter.aggregation == "time_weighted":
            self._add_level(event)
            return
        if self.meter.aggregation == "unique_count":
            text = event.properties.get(self.meter.unique_property or "")
            if text is not None:
                self.distinct.add(text)
            self._counted(usable=text is not None)
            return
        number = 1 if self.meter.aggregation == "count" else contribution(self.meter, event)
        self._counted(usable=number is not None)
        if number is None:
            return
        self.total += number
        self.highest = number if self.highest is None else max(self.highest, number)
        this = (event.micros, event.sequence, number)
        self.latest = this if self.latest is None else max(self.latest, this)

    def merge(self, other: LiveCounter) -> None:
        """Take in what another counter of the same meter and period has counted, of other events."""
        self.event_count += other.event_count
        self.unusable_events += other.unusable_events
        self.total += other.total
        if other.highest is not None:
            self.highest = other.highest if self.highest is None else max(self.highest, other.highest)
        if other.latest is not None:
            self.latest = other.latest if self.latest is None else max(self.latest, other.latest)
        self.distinct |= other.distinct
        for key, changes in other.levels.items():
            self.levels[key] = sorted([*self.levels.get(key, ()), *changes])

    def reading(self, *, at_micros: int) -> LiveReading:
        """What was used; at_micros: when, for levels, changes of that very instant included."""
        aggregation = self.meter.aggregation
        if aggregation == "time_weighted":
            return self._level(at_micros)
        if aggregation == "count":
            scaled = self.event_count * _SCALE
        elif aggregation == "unique_count":
            scaled = len(self.distinct) * _SCALE
        elif aggregation == "max":
            scaled = self.highest or 0
        elif aggregation == "latest":
            scaled = self.latest[2] if self.latest else 0
        else:
            scaled = self.total
        return LiveReading(_decimal(scaled), self.event_count, self.unusable_events)

    def _counted(self, *, usable: bool) -> None:
        if usable:
            self.event_count += 1
        else:
            self.unusable_events += 1

    def _add_level(self, event: LiveEvent) -> None:
        key = (event.subject, *(event.properties.get(name, "") for name in self.meter.group_by))
        operation = event.properties.get(OPERATION_PROPERTY, _SET)
        insort(self.levels.setdefault(key, []), (event.micros, event.sequence, event.scaled, operation))

    def _level(self, at_micros: int) -> LiveReading:
        """The sum of all levels. A change that cannot be applied spoils its level until the next ``set``."""
        total = events = unusable = 0
        for changes in self.levels.values():
            level, spoiled = 0, 0
            for micros, _, scaled, operation in changes:
                if micros > at_micros:
                    break
                after = _after(level, scaled, operation)
                if after is None:
                    spoiled += 1
                    continue
                spoiled = 0 if operation == _SET else spoiled
                level = after
                events += 1
            total += level
            unusable += spoiled
        return LiveReading(_decimal(total), events, unusable)


def contribution(meter: Meter, event: LiveEvent) -> int | None:
    """The product of the meter's factors, scaled; None when the event is unusable."""
    product: int | None = None
    for factor in meter.factors:
        scaled = event.scaled if factor == "value" else _property_number(event, factor)
        if scaled is None:
            return None
        if product is None:
            product = scaled
            continue
        exact = product * scaled
        if exact % _SCALE or abs(exact) >= _BOUND * _SCALE:
            return None
        product = exact // _SCALE
    return product


def passes(one: MeterFilter, properties: Mapping[str, str]) -> bool:
    """Whether an event with these properties passes one filter."""
    if one.present is not None:
        answer = (one.property in properties) == one.present
    else:
        answer = properties.get(one.property) in one.values
    return answer != one.negate


def _property_number(event: LiveEvent, factor: str) -> int | None:
    found = _NUMBER.fullmatch(event.properties.get(factor.removeprefix("properties."), ""))
    if found is None:
        return None
    sign, whole, fraction = found.groups()
    scaled = int(whole) * _SCALE + int((fraction or "").ljust(QUANTITY_SCALE, "0"))
    return -scaled if sign == "-" else scaled


def _after(level: int, scaled: int | None, operation: str) -> int | None:
    """The level after a change; None when it cannot be applied."""
    if scaled is None or operation not in OPERATIONS:
        return None
    after = {_SET: scaled, _ADD: level + scaled, _REMOVE: level - scaled}[operation]
    return None if after < 0 else after


def _decimal(scaled: int) -> Decimal:
    return Decimal(f"{scaled}E-{QUANTITY_SCALE}")
