"""Price plans as flat arrays: what the kernels walk instead of documents.

Every version of every plan gets a *plan row*; each of its charges a *charge row*; each price (a
matrix charge has one a cell) a *price row*. Nothing here reads a store or a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from ingest.document import canonical_json
from ingest.errors import BrokenState
from ingest.event import QUANTITY_SCALE
from ingest.meter import Meter
from rating.charge_index import ChargeIndex, index_charges
from rating.group_minimum import GroupIndex, index_groups
from rating.kernel_types import Prices
from rating.line_hash import hash_all
from rating.line_words import LineWords, line_words
from rating.money import minor_digits
from rating.plan_version import PlanVersion
from rating.price_arrays import price_arrays
from rating.price_plan import Charge, GroupMinimum, MatrixPrice, SimplePrice, simple_prices
from rating.priced_meters import banded_meter_of, level_parts_of
from rating.proration import is_unprorated
from rating.reference import PriceTerms, matching_cell, minimum_spend_terms, terms_of
from rating.steps import is_prorated

NO_PRICE: Final = -1


@dataclass(frozen=True, slots=True)
class ChargeRow:
    """One charge of one plan version, with where its prices stand.

    price_row: of its only price, or the first of a matrix charge's cells. default_row: the matrix
    default, or NO_PRICE. order: its place among the charges of the plan.
    """

    plan_row: int
    order: int
    charge: Charge
    price_row: int
    default_row: int

    def resolve(self, dimensions: Mapping[str, str]) -> int:
        """The price row for these dimension values: the first cell that matches, else the default,
        else NO_PRICE."""
        if not isinstance(self.charge.price, MatrixPrice):
            return self.price_row
        position = matching_cell(self.charge.price, dimensions)
        return self.default_row if position is None else self.price_row + position


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Everything a run prices by. Rows are numbered from 0 in the order of ``versions``.

    plan_rows: (plan_id, version, agreement key) -> plan row. minimum_rows: plan row -> price row of its
    minimum spend, or NO_PRICE. groups: the minimums of groups of charges, None for none. prices: the arrays
    of the kernels; terms: the same prices for the reference; price_hash: (price rows, 2) uint64, of
    everything in a price row that decides amounts.
    special: by price row, whether more than the quantity does (``rating/special_rows.py``). event_meters:
    price row -> what counts its events by their bounds; level_meters: what reads its level in each tier.
    """

    versions: tuple[PlanVersion, ...]
    plan_rows: Mapping[tuple[str, int, str], int]
    charges: tuple[ChargeRow, ...]
    minimum_rows: NDArray[np.int32]
    prices: Prices
    terms: tuple[PriceTerms, ...]
    price_hash: NDArray[np.uint64]
    index: ChargeIndex
    words: LineWords
    groups: GroupIndex | None
    special: NDArray[np.bool_]
    event_meters: Mapping[int, str]
    level_meters: Mapping[int, tuple[str, ...]]


def compile_price_book(versions: Sequence[PlanVersion], meters: Mapping[str, Meter]) -> PriceBook:
    """Flatten the plan versions. Raises BrokenState for a plan that breaks a rule kept when plans are
    saved (unknown meter, negative price), InvalidInput for an unknown currency."""
    terms: list[PriceTerms] = []
    charges: list[ChargeRow] = []
    minimum_rows: list[int] = []
    event_meters: dict[int, str] = {}
    level_meters: dict[int, tuple[str, ...]] = {}
    groups: list[tuple[int, GroupMinimum, int]] = []
    for plan_row, entry in enumerate(versions):
        plan = entry.plan
        digits = minor_digits(plan.currency)
        for order, charge in enumerate(plan.charges):
            own = _meters_of(charge, meters, plan_id=plan.plan_id)
            simple, default = _prices_of(charge)
            first = len(terms)
            for place, price in enumerate(simple):
                banded = banded_meter_of(charge, price, meters)
                if banded is not None:
                    event_meters[first + place] = banded.meter_id
                parts = level_parts_of(charge, price, meters)
                if parts:
                    level_meters[first + place] = tuple(part.meter_id for part in parts)
            terms.extend(
                terms_of(
                    charge,
                    price,
                    prorated=is_prorated(charge, own),
                    minor_digits=digits,
                    rounding=plan.rounding,
                )
                for price in simple
            )
            default_row = len(terms) - 1 if default else NO_PRICE
            charges.append(ChargeRow(plan_row, order, charge, first, default_row))
        # A minimum of 0, as a trial has, is none: it must not raise a period that comes to less than nothing.
        minimum_rows.append(len(terms) if plan.minimum_spend else NO_PRICE)
        if plan.minimum_spend:
            terms.append(minimum_spend_terms(plan.minimum_spend, plan))
        for group in plan.group_minimums:
            groups.append((plan_row, group, len(terms)))
            terms.append(minimum_spend_terms(group.amount, plan))
    charge_rows = {(row.plan_row, row.charge.charge_id): number for number, row in enumerate(charges)}
    return PriceBook(
        versions=tuple(versions),
        plan_rows={
            (entry.plan.plan_id, entry.version, entry.agreement): row for row, entry in enumerate(versions)
        },
        charges=tuple(charges),
        minimum_rows=np.array(minimum_rows, np.int32),
        prices=price_arrays(terms),
        terms=tuple(terms),
        price_hash=hash_all([_terms_text(entry) for entry in terms]),
        index=index_charges(
            [(row.plan_row, row.order, row.charge, row.price_row) for row in charges],
            unprorated=[is_unprorated(row.charge, versions[row.plan_row].plan) for row in charges],
            plan_count=len(versions),
        ),
        words=line_words(
            [(row.plan_row, row.charge) for row in charges],
            versions,
            meters,
            groups=[(plan_row, group.charge_id) for plan_row, group, _ in groups],
        ),
        groups=index_groups(groups, charge_rows, plan_count=len(versions)),
        special=np.array([entry.is_special for entry in terms], np.bool_),
        event_meters=event_meters,
        level_meters=level_meters,
    )


def _meters_of(charge: Charge, meters: Mapping[str, Meter], *, plan_id: str) -> list[Meter]:
    for meter_id in charge.meter_ids():
        if meter_id not in meters:
            raise BrokenState(
                f"price plan {plan_id!r} charges for meter {meter_id!r}, which is not on record; "
                "nothing can be rated until the meter is restored."
            )
    return [meters[meter_id] for meter_id in charge.meter_ids()]


def _prices_of(charge: Charge) -> tuple[list[SimplePrice], bool]:
    """The charge's simple prices, and whether the last one is a matrix default."""
    price = charge.price
    default = isinstance(price, MatrixPrice) and price.default is not None
    return list(simple_prices(price)), default


def _terms_text(terms: PriceTerms) -> str:
    conversion = "" if terms.unit_conversion is None else canonical_json(terms.unit_conversion)
    bounds = [terms.free_units, terms.minimum_amount, terms.maximum_amount]
    numbers = ["" if bound is None else f"{bound:.{QUANTITY_SCALE}f}" for bound in bounds]
    parts = [_price_text(terms.price), conversion, *numbers, str(terms.prorated)]
    parts += ["zero reaches"] if terms.zero_reaches else []
    parts += [f"tiers count {terms.tiers_count}"] if terms.tiers_count != "period" else []
    parts += ["pooled"] if terms.pooled else []
    return "\x1f".join([*parts, str(terms.minor_digits), terms.rounding])


def _price_text(price: SimplePrice) -> str:
    # Without defaults: a field that a later release adds must not change the hash of every old price.
    return orjson.dumps(
        price.model_dump(mode="json", exclude_defaults=True), option=orjson.OPT_SORT_KEYS
    ).decode()
