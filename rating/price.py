"""Prices one quantity or a few events for one charge: what ``ratemill price`` answers.

It uses the reference alone, so it starts without compiled kernels and without a store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final

from pydantic import Field

from ingest.document import Document, ExactDecimal, decimal_text, validate_document
from ingest.errors import InvalidInput, Issue
from ingest.meter import Aggregation, Meter, MeterParts, Reading, parts_rules
from rating.event_bounds import band_inputs
from rating.event_tiers import tier_inputs
from rating.formula import formula_quantity
from rating.level_tiers import input_name
from rating.money import format_minor, minor_digits
from rating.plan_rules import price_plan_rules
from rating.price_plan import (
    Charge,
    CurrencyCode,
    MatrixPrice,
    PricePlan,
    RoundingMode,
    SimplePrice,
    counts_before,
)
from rating.priced_meters import banded_meter_of, level_parts_of
from rating.reference import Priced, PriceTerms, applicable_price, cut_decimal, terms_of
from rating.special_price import (
    BEFORE_EVENTS,
    BEFORE_QUANTITY,
    NO_INPUTS,
    Inputs,
    pool_inputs,
    price_line,
)
from rating.steps import is_prorated
from rating.tier_rows import tier_rows
from rating.unrateable import Unrateable
from rating.wider_rules import goes_on
from rollup.banded_meter import BandedMeter, charged_by_band
from rollup.level_part import LevelPart

_INLINE_METER: Final = "inline"
_FROM_EVENTS: Final = frozenset({"sum", "count"})


class PriceEvent(Document):
    """An event to be counted; ``properties`` choose the matrix cell."""

    value: ExactDecimal | None = None
    properties: dict[str, str] = Field(default_factory=dict)


class PriceMeter(Document):
    """What the quantity is: of a meter that reads a level the price is prorated. ``events`` can only
    be summed or counted. reading: of a time_weighted meter, as every licence meter is. parts: a meter's."""

    aggregation: Aggregation = "sum"
    reading: Reading = "average"
    parts: MeterParts | None = None


class PriceBefore(Document):
    """What was counted before: in the year or contract, for a charge with such ``tiers_count``; else earlier
    in the period, so that the answer is what the quantity adds, at its place in the tiers."""

    quantity: ExactDecimal
    event_count: int = Field(default=0, ge=0, lt=2**63)


class PriceLevel(Document):
    """A level that stands for so many days."""

    level: ExactDecimal = Field(ge=0)
    days: int = Field(ge=1)


class PriceRequest(Document):
    """One of ``quantity`` (with ``event_count``), ``events``, for tiers of each moment ``levels``, and for a
    charge with a formula ``meters``: what each of them counted. ``charge`` may leave out what only a plan
    needs (charge_id, name, kind, meter_id). before: what the tiers go on from. pool: quantities of the other
    contracts of the customer, for a charge pooled over them. days / full_days: of a partial period."""

    charge: dict[str, Any]
    currency: CurrencyCode
    rounding: RoundingMode = "half_up"
    quantity: ExactDecimal | None = None
    event_count: int = Field(default=1, ge=0, lt=2**63)
    dimensions: dict[str, str] = Field(default_factory=dict)
    events: Annotated[tuple[PriceEvent, ...], Field(max_length=100_000)] | None = None
    meters: dict[str, ExactDecimal] | None = None
    levels: Annotated[tuple[PriceLevel, ...], Field(min_length=1, max_length=10_000)] | None = None
    before: PriceBefore | None = None
    pool: Annotated[tuple[ExactDecimal, ...], Field(max_length=10_000)] = ()
    meter: PriceMeter = PriceMeter()
    days: int = Field(default=1, ge=1)
    full_days: int = Field(default=1, ge=1)


def price_request(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Price one request; answers a rated line with its tier rows, all numbers as text.

    Raises InvalidDocument for a charge or field that breaks a rule, InvalidInput (with a
    ``reason_code``) for a quantity without a price.
    """
    request = validate_document(PriceRequest, dict(obj), what="price request", rules=_request_rules)
    charge, meter = _charge(request)
    prorated = is_prorated(charge, [meter])
    try:
        groups = _groups(request, charge)
    except Unrateable as error:
        raise InvalidInput(str(error), reason_code=error.reason_code) from error
    lines = [_line(request, charge, group, meter, prorated=prorated) for group in groups]
    total = sum(line["amount_minor"] for line in lines)
    answer = lines[0] if len(lines) == 1 else {"lines": lines, "currency": request.currency}
    return {**answer, "amount_minor": total, "billed": format_minor(total, request.currency)}


@dataclass(frozen=True, slots=True)
class _Group:
    """What one line is for. values: of its events, in their order; None when only the sum was given."""

    quantity: Decimal
    event_count: int
    dimensions: dict[str, str]
    values: Sequence[Decimal] | None


def _request_rules(request: PriceRequest) -> list[Issue]:
    issues = []
    if [request.quantity, request.events, request.meters, request.levels].count(None) != 3:
        issues.append(
            Issue(
                "quantity_or_events",
                "quantity",
                "Exactly one of the four says what to price.",
                "quantity, events, levels for tiers_count: moment, or meters for a charge with a formula.",
            )
        )
    if request.levels is not None and request.charge.get("tiers_count") != "moment":
        issues.append(
            Issue(
                "levels_unused",
                "levels",
                "Only tiers that hold at each moment need to know when each level stood.",
                "quantity (the average level), or tiers_count: moment on the charge.",
            )
        )
    if (request.meters is None) != (request.charge.get("formula") is None):
        issues.append(
            Issue(
                "meters_of_formula",
                "meters",
                "A formula is worked out from what its meters counted, and nothing else is.",
                "meters with a formula, quantity or events without.",
            )
        )
    if request.events is not None and request.meter.aggregation not in _FROM_EVENTS:
        issues.append(
            Issue(
                "events_not_counted",
                "meter.aggregation",
                f"Events are not counted by {request.meter.aggregation} here.",
                "quantity instead of events, or aggregation sum or count.",
            )
        )
    issues += _wider_issues(request)
    issues += [
        replace(one, pointer=f"meter.{one.pointer}")
        for one in parts_rules(request.meter.aggregation, request.meter.parts)
    ]
    if request.days > request.full_days:
        issues.append(
            Issue(
                "days_above_full_days",
                "days",
                "A part cannot be longer than the whole.",
                "days <= full_days.",
            )
        )
    return issues


def _wider_issues(request: PriceRequest) -> list[Issue]:
    issues = []
    if request.before is not None and request.charge.get("tiers_count") in ("event", "moment"):
        issues.append(
            Issue(
                "before_unused",
                "before",
                "Tiers of the charge do not go on from anything.",
                "no before, or tiers_count: period, whole_period, year or contract on the charge.",
            )
        )
    if request.pool and request.charge.get("pooled_over", "contract") == "contract":
        issues.append(
            Issue(
                "pool_unused",
                "pool",
                "The charge counts its own contract only.",
                "no pool, or pooled_over: customer on the charge.",
            )
        )
    if request.pool and min(request.pool) < 0:
        issues.append(
            Issue(
                "negative_number",
                "pool",
                "Less than nothing takes no part in a pool.",
                "numbers of at least 0.",
            )
        )
    return issues


def _charge(request: PriceRequest) -> tuple[Charge, Meter]:
    """The charge, checked by the rules of a plan that holds it alone, and its meter."""
    metered = request.charge.get("kind", "usage") in {"usage", "licence"}
    given = {"charge_id": "charge", "name": "charge", "kind": "usage", **request.charge}
    if metered and given.get("formula") is None:
        given.setdefault("meter_id", _INLINE_METER)
    price = given.get("price")
    dimensions = price.get("dimensions", []) if isinstance(price, Mapping) else []
    aggregation = "time_weighted" if given["kind"] == "licence" else request.meter.aggregation
    meter = Meter.model_construct(
        meter_id=str(given.get("meter_id", _INLINE_METER)),
        event_type=_INLINE_METER,
        aggregation=aggregation,
        reading=request.meter.reading if aggregation == "time_weighted" else None,
        parts=None if aggregation == "time_weighted" else request.meter.parts,
        group_by=tuple(dimensions) if isinstance(dimensions, Sequence) else (),
    )
    document = {
        "plan_id": "request",
        "name": "request",
        "currency": request.currency,
        "rounding": request.rounding,
        "effective_from": "1970-01-01",
        "charges": [given],
    }
    plan = validate_document(
        PricePlan,
        document,
        what="price request",
        rules=lambda parsed: price_plan_rules(parsed, meters=_meters(parsed.charges[0], meter)),
    )
    return plan.charges[0], meter


def _meters(charge: Charge, meter: Meter) -> dict[str, Meter]:
    """The meters that a charge may name: all of its formula, each like ``meter``."""
    named = charge.meter_ids() or (meter.meter_id,)
    return {meter_id: meter.model_copy(update={"meter_id": meter_id}) for meter_id in named}


def _groups(request: PriceRequest, charge: Charge) -> list[_Group]:
    """A line each: events are grouped by matrix dimensions."""
    if request.meters is not None:
        quantity = formula_quantity(charge.formula or "", request.meters)
        return [_Group(quantity, request.event_count, {}, None)]
    if request.levels is not None:
        return [_Group(_average(request.levels), request.event_count, dict(request.dimensions), None)]
    if request.events is None:
        quantity = charge.quantity or request.quantity or Decimal(0)
        return [_Group(quantity, request.event_count, dict(request.dimensions), None)]
    names = charge.price.dimensions if isinstance(charge.price, MatrixPrice) else ()
    groups: dict[tuple[str, ...], list[PriceEvent]] = {(): []} if not names else {}
    for event in request.events:
        groups.setdefault(tuple(event.properties.get(name, "") for name in names), []).append(event)
    return [
        _Group(
            _quantity(events, request.meter),
            len(events),
            dict(zip(names, key, strict=True)),
            [event.value or Decimal(0) for event in events],
        )
        for key, events in sorted(groups.items())
    ] or [_Group(Decimal(0), 0, {}, [])]


def _quantity(events: Sequence[PriceEvent], meter: PriceMeter) -> Decimal:
    if meter.aggregation == "count":
        return Decimal(len(events))
    total = Fraction(0)
    for position, event in enumerate(events):
        if event.value is None:
            raise InvalidInput(
                f"event {position} has no value to sum; give one, or meter: {{aggregation: count}}.",
                reason_code="no_value",
            )
        total += Fraction(event.value)
    return cut_decimal(total)


def _line(
    request: PriceRequest, charge: Charge, group: _Group, meter: Meter, *, prorated: bool
) -> dict[str, Any]:
    share = Fraction(request.days, request.full_days)
    quantity, event_count, dimensions = group.quantity, group.event_count, group.dimensions
    try:
        price = applicable_price(charge, dimensions)
        terms = terms_of(
            charge,
            price,
            prorated=prorated,
            minor_digits=minor_digits(request.currency),
            rounding=request.rounding,
        )
        inputs = _inputs(request, charge, price, group, meter, terms)
        priced = price_line(terms, quantity=quantity, event_count=event_count, share=share, inputs=inputs)
    except Unrateable as error:
        raise InvalidInput(str(error), reason_code=error.reason_code) from error
    goes_on = BEFORE_QUANTITY in inputs or counts_before(charge)
    rows = tier_rows(price, priced, digits=minor_digits(request.currency), goes_on=goes_on)
    return {
        "charge_id": charge.charge_id,
        "price_model": price.model,
        "dimensions": dimensions,
        "quantity": decimal_text(quantity),
        "rated_quantity": decimal_text(cut_decimal(priced.rated_quantity)),
        "unit": charge.unit,
        "event_count": event_count,
        "tiers": [row.to_dict() for row in rows],
        "bound": _bound(priced),
        "amount": decimal_text(cut_decimal(priced.amount)),
        "amount_minor": priced.amount_minor,
        "currency": request.currency,
        "rounding": request.rounding,
    }


def _inputs(
    request: PriceRequest, charge: Charge, price: SimplePrice, group: _Group, meter: Meter, terms: PriceTerms
) -> Inputs:
    """What the price needs beside the quantity."""
    banded = banded_meter_of(charge, price, {meter.meter_id: meter})
    if banded is not None:
        return _band_inputs(charge, price, banded, group)
    parts = level_parts_of(charge, price, {meter.meter_id: meter})
    if parts:
        stood = request.levels or (PriceLevel(level=group.quantity, days=1),)
        return {input_name(number): _average(stood, part) for number, part in enumerate(parts, start=1)}
    if request.before is not None:
        if terms.prorated or not goes_on(price):
            raise InvalidInput(
                f"a {price.model} price has no use for what was counted before; leave `before` out.",
                reason_code="before_unused",
            )
        return {
            BEFORE_QUANTITY: request.before.quantity,
            BEFORE_EVENTS: Decimal(request.before.event_count),
        }
    if request.pool:
        members = [group.quantity, *request.pool]
        share = Fraction(request.days, request.full_days)
        return pool_inputs(terms, members, event_count=group.event_count, share=share)[0]
    return NO_INPUTS


def _average(levels: Sequence[PriceLevel], part: LevelPart | None = None) -> Decimal:
    """The average of what stood, or of a part of it, rounded half-up as a meter rounds it."""
    held = [(Fraction(one.level), one.days) for one in levels]
    total = sum(
        ((level if part is None else part.part_of(level)) * days for level, days in held), Fraction(0)
    )
    return cut_decimal(total / sum(days for _, days in held) + Fraction(1, 2 * 10**12))


def _band_inputs(charge: Charge, price: SimplePrice, banded: BandedMeter, group: _Group) -> Inputs:
    if group.values is None:
        raise InvalidInput(
            "each event is priced by itself here, so a quantity is not enough; give the events.",
            reason_code="events_needed",
        )
    charged = charged_by_band(banded, [Fraction(value) for value in group.values])
    bands = {
        band: (cut_decimal(sum(numbers, Fraction(0))), len(numbers)) for band, numbers in charged.items()
    }
    return tier_inputs(price, bands) if charge.tiers_count == "event" else band_inputs(bands)


def _bound(priced: Priced) -> str | None:
    """Which bound decided the amount, if one did."""
    if priced.bounded_amount == priced.model_amount:
        return None
    return "minimum" if priced.bounded_amount > priced.model_amount else "maximum"
