"""Billable items to rated lines: which charge prices each, which make one line, what that line says. Pure.

Items of one charge with the same values of the fields it groups and prices by, one unit and one tax class
are one line. Stated prices are grouped by project, list, description and the price itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Context, Decimal
from typing import Any, Final

import pyarrow as pa

from ingest.document import decimal_text
from ingest.event import QUANTITY_DIGITS
from invoicing.billable_item import BillableItem, StoredItem
from rating.item_line import (
    ITEM_KIND,
    STATED_PRICE,
    ItemGroup,
    item_line,
    stated_charge,
)
from rating.line_item import RATED_LINE_SCHEMA
from rating.plan_version import PlanVersion
from rating.price_plan import Charge, item_fields
from rating.spend_ids import STATED_CHARGE_ID
from rating.unrateable import Unrateable
from rollup.period import local_midnight

_A_DAY: Final = timedelta(days=1)
_STATED_FIELDS: Final = ("project", "list", "description")
_EXACT: Final = Context(prec=2 * QUANTITY_DIGITS)
_QUANTITY_END: Final = Decimal(10) ** 26
"""What a line can keep."""


@dataclass(frozen=True, slots=True)
class PlacedItem:
    """An item and where it is billed: a line of ``owner`` (the contract, or an invoice of its own) on
    ``billing_date``."""

    stored: StoredItem
    contract_id: str
    owner: str
    billing_date: date
    time_zone: str
    version: PlanVersion | None


@dataclass(frozen=True, slots=True)
class ItemProblem:
    """Why an item cannot be billed."""

    placed: PlacedItem
    reason_code: str
    message: str


@dataclass(frozen=True, slots=True)
class ItemLines:
    """lines: RATED_LINE_SCHEMA by owner, billing date and description. items: (item_id, version) behind each
    line, descriptions: what it says, tax_classes: how it is taxed where its items say so; by line id in
    hex."""

    lines: pa.Table
    items: Mapping[str, Sequence[tuple[str, int]]]
    descriptions: Mapping[str, str]
    tax_classes: Mapping[str, str]
    problems: Sequence[ItemProblem]


@dataclass(frozen=True, slots=True)
class _Part:
    """One item, ready to be grouped."""

    placed: PlacedItem
    charge: Charge
    quantity: Decimal
    dimensions: tuple[tuple[str, str], ...]
    words: tuple[str, ...]

    @property
    def key(self) -> tuple[Any, ...]:
        version, placed = self.placed.version, self.placed
        named = ("", 0, "") if version is None else (version.plan.plan_id, version.version, version.agreement)
        item = placed.stored.item
        dimensions, unit = self.dimensions, _unit(item, self.charge)
        return (
            placed.owner,
            placed.billing_date,
            *named,
            self.charge.charge_id,
            dimensions,
            unit,
            item.tax_class,
        )


def price_items(placed: Iterable[PlacedItem], *, run_id: str) -> ItemLines:
    """Group the items and price each group. An item without a price is a problem and on no line."""
    groups: dict[tuple[Any, ...], list[_Part]] = {}
    problems: list[ItemProblem] = []
    for one in placed:
        part = _part(one)
        if isinstance(part, ItemProblem):
            problems.append(part)
        else:
            groups.setdefault(part.key, []).append(part)
    made: list[tuple[str, dict[str, Any], list[_Part]]] = []
    for parts in groups.values():
        try:
            made.append((_description(parts[0]), _line(parts, run_id), parts))
        except Unrateable as error:
            problems += [ItemProblem(part.placed, "item_unpriced", f"{error}") for part in parts]
    made.sort(key=lambda one: (one[1]["contract_id"], one[1]["billing_date"], one[0], one[1]["line_id"]))
    return ItemLines(
        pa.Table.from_pylist([line for _, line, _ in made], schema=RATED_LINE_SCHEMA),
        {
            line["line_id"].hex(): [
                (part.placed.stored.item_id, part.placed.stored.version) for part in parts
            ]
            for _, line, parts in made
        },
        {line["line_id"].hex(): words for words, line, _ in made},
        {
            line["line_id"].hex(): tax_class
            for _, line, parts in made
            if (tax_class := parts[0].placed.stored.item.tax_class)
        },
        problems,
    )


def _part(placed: PlacedItem) -> _Part | ItemProblem:
    item, version = placed.stored.item, placed.version
    if version is None:
        return ItemProblem(placed, "plan_not_in_force", f"no price plan is in force on {item.date}.")
    plan = version.plan
    if item.is_stated:
        if item.currency != plan.currency:
            said = f"it states {item.currency} and the contract's plan is in {plan.currency}."
            return ItemProblem(placed, "item_currency", said)
        quantity, unit_price = item.stated
        dimensions = {name: value for name in _STATED_FIELDS if (value := item.value_of(name))}
        dimensions[STATED_PRICE] = decimal_text(unit_price)
        charge = stated_charge(dimensions, unit=item.unit or "unit")
        return _Part(
            placed, charge, quantity, tuple(sorted(dimensions.items())), _words(item, _STATED_FIELDS)
        )
    charges = [charge for charge in plan.charges if charge.kind == ITEM_KIND]
    chosen = (
        [charge for charge in charges if charge.charge_id == item.charge_id] if item.charge_id else charges
    )
    if len(chosen) != 1:
        return ItemProblem(placed, "item_unpriced", _no_rate_card(item, plan.plan_id, charges))
    charge = chosen[0]
    names = item_fields(charge)
    found = {name: value for name in names if (value := item.value_of(name))}
    return _Part(placed, charge, item.quantity, tuple(sorted(found.items())), _words(item, names))


def _no_rate_card(item: BillableItem, plan_id: str, charges: Sequence[Charge]) -> str:
    if item.charge_id:
        return f"plan {plan_id!r} has no charge {item.charge_id!r} of kind item on {item.date}."
    if not charges:
        return f"plan {plan_id!r} has no charge of kind item on {item.date}, and the item states no price."
    named = ", ".join(charge.charge_id for charge in charges)
    return f"plan {plan_id!r} has several rate cards ({named}); the item must name one as its charge_id."


def _line(parts: Sequence[_Part], run_id: str) -> dict[str, Any]:
    first = parts[0]
    placed, version = first.placed, first.placed.version
    if version is None:
        raise Unrateable("there is no price plan.", reason_code="plan_not_in_force")
    quantity = Decimal(0)
    for part in parts:
        quantity = _EXACT.add(quantity, part.quantity)
    if abs(quantity) >= _QUANTITY_END:
        raise Unrateable("the quantities come to more than a line can keep.", reason_code="amount_too_large")
    days = [part.placed.stored.item.date for part in parts]
    item = placed.stored.item
    group = ItemGroup(
        owner=placed.owner,
        billing_date=placed.billing_date,
        plan_version=version.version,
        agreement=version.agreement,
        start=local_midnight(min(days), placed.time_zone),
        end=local_midnight(max(days) + _A_DAY, placed.time_zone),
        tax_class=item.tax_class,
        dimensions=dict(first.dimensions),
        unit=_unit(item, first.charge),
        quantity=quantity,
        item_count=len(parts),
    )
    return item_line(group, plan=version.plan, charge=first.charge, run_id=run_id)


def _unit(item: BillableItem, charge: Charge) -> str:
    return item.unit or charge.unit


def _words(item: BillableItem, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(value for name in names if (value := item.value_of(name)))


def _description(part: _Part) -> str:
    """``Website relaunch: senior, Review`` under the name of a rate card; stated prices say what they are."""
    name = part.charge.name
    if part.charge.charge_id == STATED_CHARGE_ID:
        name, words = (part.words[0], part.words[1:]) if part.words else (part.placed.stored.item.source, ())
    else:
        words = part.words
    return f"{name}: {', '.join(words)}" if words else name
