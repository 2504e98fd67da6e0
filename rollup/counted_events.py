"""The SQL of one event: which events a meter counts, and what number each contributes.

Names and values people chose (types, properties, filter values) travel as query parameters, never
as text.

Products are taken in Int256, scaled by 10**12, and a product that has more than 12 fraction digits
or reaches 10**15 makes the event unusable: ``value * factor`` on decimals would wrap without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any, Final

from ingest.document import decimal_text
from ingest.event import OPERATION_PROPERTY, OPERATIONS, QUANTITY_SCALE, VALUE_INTEGER_DIGITS_MAX
from ingest.in_force import EventCut, in_force_sql
from ingest.meter import Meter, MeterFilter
from rollup.banded_meter import BAND_KEY, BandedMeter

DECIMAL_SQL: Final = f"Decimal(38, {QUANTITY_SCALE})"
"""The type of every quantity in the store."""

_SCALE: Final = f"toInt256('1{'0' * QUANTITY_SCALE}')"
_BOUND: Final = f"toInt256('1{'0' * (QUANTITY_SCALE + VALUE_INTEGER_DIGITS_MAX)}')"
_DECIMAL_TEXT: Final = rf"^[+-]?[0-9]{{1,{VALUE_INTEGER_DIGITS_MAX}}}([.][0-9]{{1,{QUANTITY_SCALE}}})?$"
_WIDE: Final = Context(prec=60)
_PROPERTY: Final = "properties."


@dataclass(slots=True)
class Parameters:
    """Collects parameters while SQL is built; equal values share a name."""

    values: dict[str, Any] = field(default_factory=dict)

    def text(self, value: str) -> str:
        return self._add(value, "String")

    def texts(self, values: Sequence[str]) -> str:
        return self._add(list(values), "Array(String)")

    def whole(self, value: int) -> str:
        return self._add(value, "Int64")

    def instant(self, micros: int) -> str:
        return f"fromUnixTimestamp64Micro({self.whole(micros)}, 'UTC')"

    def _add(self, value: Any, type_name: str) -> str:
        for name, known in self.values.items():
            if type(known) is type(value) and known == value:
                return f"{{{name}:{type_name}}}"
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{type_name}}}"


def counted_events_sql(meter: Meter, cut: EventCut, parameters: Parameters) -> str:
    """The events of a meter: those of its type that are in force in the cut and pass its filters.

    Columns: source, id, subject, time, sequence, replaces, value, properties, dimension_0 ..., number (what
    the event contributes, null when it cannot be counted), reason_code (why not; empty if usable).
    """
    event_type = parameters.text(meter.event_type)
    where = [f"type = {event_type}"]
    where += in_force_sql(cut, event_types=[meter.event_type], types_sql=event_type)
    where += [filter_sql(one, parameters) for one in meter.filters]
    number, reason = _number(meter, parameters)
    dimensions = "".join(
        f"        {_dimension(meter, key, number, parameters)} AS dimension_{place},\n"
        for place, key in enumerate(meter.group_by)
    )
    return (
        "    SELECT source, id, subject, time, sequence, replaces, value, properties,\n"
        f"{dimensions}"
        f"        {_counted_sql(meter, number)} AS number,\n"
        f"        {reason} AS reason_code\n"
        "    FROM events\n"
        f"    WHERE {' AND '.join(where)}"
    )


def _dimension(meter: Meter, key: str, number: str, parameters: Parameters) -> str:
    if isinstance(meter, BandedMeter) and key == BAND_KEY:
        return band_sql(meter, f"({number})")
    return f"CAST(properties[{parameters.text(key)}] AS String)"


def band_sql(meter: BandedMeter, number: str) -> str:
    """The band of a number as text; empty when there is none."""
    steps = "".join(
        f"{number} < toDecimal128('{decimal_text(bound)}', {QUANTITY_SCALE}), '{band}', "
        for band, bound in enumerate(meter.thresholds)
    )
    return f"multiIf(isNull({number}), '', {steps}'{len(meter.thresholds)}')"


def _counted_sql(meter: Meter, number: str) -> str:
    """What is added up of a number: of bands that are sold in packages, how many it has."""
    if not isinstance(meter, BandedMeter) or not meter.packages:
        return number
    band, scaled = band_sql(meter, f"({number})"), f"toInt256(reinterpretAsInt128(assumeNotNull({number})))"
    branches = []
    for entry in meter.packages:
        above, size = _scaled_text(entry.above), _scaled_text(entry.size)
        started = f" + {size} - 1" if entry.round == "up" else ""
        packages = f"intDiv({scaled} - {above}{started}, {size}) * {_SCALE}"
        branches.append(f"{band} = '{entry.band}', reinterpret(toInt128({packages}), '{DECIMAL_SQL}')")
    return f"multiIf(isNull({number}), NULL, {', '.join(branches)}, {number})"


def _scaled_text(number: Decimal) -> str:
    return f"toInt256('{int(number.scaleb(QUANTITY_SCALE, context=_WIDE))}')"


def _number(meter: Meter, parameters: Parameters) -> tuple[str, str]:
    """What an event contributes, null when unusable, and the reason code for that."""
    if meter.aggregation in ("count", "highest_count"):
        return "toUInt8(1)", "''"
    if meter.aggregation == "unique_count":
        name = parameters.text(meter.unique_property or "")
        there = f"mapContains(properties, {name})"
        return (
            f"if({there}, CAST(properties[{name}] AS Nullable(String)), NULL)",
            f"if({there}, '', 'unique_property_missing')",
        )
    if meter.aggregation == "time_weighted":
        known = f"{operation_sql(parameters)} < {len(OPERATIONS)}"
        return (
            f"if({known}, value, NULL)",
            f"multiIf(isNull(value), 'value_missing', NOT ({known}), 'unknown_operation', '')",
        )
    if meter.factors == ("value",):
        return "value", "if(isNull(value), 'value_missing', '')"
    return _product(meter.factors, parameters)


def _product(factors: Sequence[str], parameters: Parameters) -> tuple[str, str]:
    """The factors multiplied from left to right, every step exact; see the module.

    An event with an unreadable factor is reported for that, whatever the other factors multiply to.
    """
    unreadable: list[str] = []
    inexact: list[str] = []
    steps: list[str] = []
    for factor in factors:
        scaled, tests = _scaled_factor(factor, parameters)
        unreadable += tests
        if not steps:
            steps.append(scaled)
            continue
        product = f"({steps[-1]} * {scaled})"
        inexact += [
            f"{product} % {_SCALE} != 0, 'product_too_precise'",
            f"abs({product}) >= {_BOUND} * {_SCALE}, 'product_too_large'",
        ]
        steps.append(f"intDiv({product}, {_SCALE})")
    reason = f"multiIf({', '.join([*unreadable, *inexact])}, '')"
    number = f"if(({reason}) = '', reinterpret(toInt128(assumeNotNull({steps[-1]})), '{DECIMAL_SQL}'), NULL)"
    return number, reason


def _scaled_factor(factor: str, parameters: Parameters) -> tuple[str, list[str]]:
    """A factor as Int256 in 10**-12, and what makes it unusable."""
    if factor == "value":
        scaled = "toInt256(reinterpretAsInt128(assumeNotNull(value)))"
        return scaled, ["isNull(value), 'value_missing'"]
    name = parameters.text(factor.removeprefix(_PROPERTY))
    text = f"CAST(properties[{name}] AS String)"
    scaled = f"reinterpretAsInt256(toDecimal256OrZero({text}, {QUANTITY_SCALE}))"
    return scaled, [
        f"NOT mapContains(properties, {name}), 'factor_missing'",
        f"NOT match({text}, '{_DECIMAL_TEXT}'), 'factor_not_a_number'",
    ]


def filter_sql(one: MeterFilter, parameters: Parameters) -> str:
    """The condition that an event passes one filter of a meter."""
    name = parameters.text(one.property)
    test = f"mapContains(properties, {name})"
    if one.present is None:
        # An absent property reads as '', so presence is asked too.
        test += f" AND properties[{name}] IN ({parameters.texts(one.values)})"
    wanted = one.present is not False
    return f"NOT ({test})" if wanted == one.negate else f"({test})"


def operation_sql(parameters: Parameters, table: str = "") -> str:
    """Place of the event's operation in OPERATIONS; an event without one sets the level."""
    name = parameters.text(OPERATION_PROPERTY)
    known = parameters.texts(OPERATIONS)
    place = f"indexOf({known}, CAST({table}properties[{name}] AS String))"
    return (
        f"multiIf(NOT mapContains({table}properties, {name}), 0, {place} = 0, {len(OPERATIONS)}, {place} - 1)"
    )
