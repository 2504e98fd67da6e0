"""What the meters on record need from an event of their type, so that it is asked for at the door.

Only meters without filters count here: a filter may leave the event out, and then it needs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingest.meter import NEEDS_VALUE, Meter

PROPERTY_FACTOR_PREFIX = "properties."


@dataclass(frozen=True, slots=True)
class MeterNeeds:
    """By event type, the meter that needs it (the first by order, for the message).

    value: types whose events must have a value.
    operation: types whose ``operation`` property, if there, must be a licence operation.
    numbers: type -> property name -> meter: properties that must be decimals if they are there.
    """

    value: Mapping[str, str]
    operation: Mapping[str, str]
    numbers: Mapping[str, Mapping[str, str]]


def meter_needs(meters: Sequence[Meter]) -> MeterNeeds:
    """The needs of all these meters together."""
    value: dict[str, str] = {}
    operation: dict[str, str] = {}
    numbers: dict[str, dict[str, str]] = {}
    for meter in meters:
        if meter.filters or meter.aggregation not in NEEDS_VALUE:
            continue
        if "value" in meter.factors:
            value.setdefault(meter.event_type, meter.meter_id)
        if meter.aggregation == "time_weighted":
            operation.setdefault(meter.event_type, meter.meter_id)
        for factor in meter.factors:
            if factor.startswith(PROPERTY_FACTOR_PREFIX):
                name = factor.removeprefix(PROPERTY_FACTOR_PREFIX)
                numbers.setdefault(meter.event_type, {}).setdefault(name, meter.meter_id)
    return MeterNeeds(value, operation, numbers)
