"""The rules of a charge whose quantity is a formula of meters (``rating/formula.py``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ingest.errors import Issue
from ingest.meter import Meter
from rating.formula import FormulaError, formula_meters, parse_formula
from rating.price_plan import Charge, MatrixPrice


def formula_rules(charge: Charge, pointer: str, meters: Mapping[str, Meter]) -> Iterator[Issue]:
    """Every rule the formula breaks; none for a charge without one. meters: all on record, by id."""
    if charge.formula is None:
        return
    at = f"{pointer}.formula"
    try:
        parse_formula(charge.formula)
    except FormulaError as error:
        yield Issue(
            "formula_unreadable",
            at,
            f"At character {error.position}: {error.problem}.",
            "a formula like max(0, calls - 100 * seats).",
        )
        return
    if charge.meter_id is not None:
        yield Issue(
            "formula_and_meter",
            f"{pointer}.meter_id",
            "The formula and the meter both give the quantity.",
            "meter_id or formula.",
        )
    if charge.kind != "usage":
        yield Issue(
            "formula_not_for_kind",
            f"{pointer}.kind",
            f"The quantity of a {charge.kind} charge is no formula.",
            "kind: usage.",
        )
    if isinstance(charge.price, MatrixPrice):
        yield Issue(
            "formula_of_matrix",
            f"{pointer}.price",
            "A formula has one quantity a period, without group keys to choose a cell by.",
            "another price model, or a charge for each combination.",
        )
    yield from _meter_rules(charge.formula, at, meters)


def _meter_rules(formula: str, at: str, meters: Mapping[str, Meter]) -> Iterator[Issue]:
    named = formula_meters(formula)
    if not named:
        yield Issue("formula_without_meter", at, "It names no meter.", "at least one meter.")
    for meter_id in named:
        meter = meters.get(meter_id)
        if meter is None:
            yield Issue(
                "unknown_meter",
                at,
                f"{meter_id!r} is not a meter on record.",
                "meters saved before the plan; `ratemill meter list` shows them.",
            )
        elif meter.group_by:
            yield Issue(
                "formula_meter_grouped",
                at,
                f"Meter {meter_id!r} has a quantity for each of {', '.join(meter.group_by)}.",
                "a meter without group keys.",
            )
