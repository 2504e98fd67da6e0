"""Which charges of which plan apply: look-up arrays over the charges of a price book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.event import QUANTITY_SCALE
from rating.price_plan import Charge, MatrixPrice, is_licence_in_advance
from rating.wide_columns import scaled_integer

FIXED_SLOTS: Final = 4
"""Slots of a plan row: recurring or one-time (0, 2), in advance or in arrears (0, 1)."""
_WORD: Final = 2**64


@dataclass(frozen=True, slots=True)
class ChargeIndex:
    """Charge rows by what makes them due; one entry a charge row in the plain arrays.

    meter_codes: meter_id -> code. usage_start, usage_charge: charges of plan row p on meter m are
    usage_charge[usage_start[k] : usage_start[k + 1]] with k = p x meters + m, in plan order.
    fixed_start, fixed_charge: the same with k = p x FIXED_SLOTS + slot. zero_start, zero_charge: the
    same with k = p, of the charges that are due without usage too (``zero_usage: charge``).
    formula_charges: plan row -> its charges whose quantity is a formula; they are in none of the others.
    is_unprorated: charges that are due whole, with the part their billing period begins with.
    is_licence_in_advance: what they count is billed for periods in advance.
    """

    meter_codes: Mapping[str, int]
    usage_start: NDArray[np.int64]
    usage_charge: NDArray[np.int64]
    fixed_start: NDArray[np.int64]
    fixed_charge: NDArray[np.int64]
    zero_start: NDArray[np.int64]
    zero_charge: NDArray[np.int64]
    plan_row: NDArray[np.int64]
    order: NDArray[np.int64]
    price_row: NDArray[np.int32]
    is_matrix: NDArray[np.bool_]
    is_fixed: NDArray[np.bool_]
    is_one_time: NDArray[np.bool_]
    is_formula: NDArray[np.bool_]
    formula_charges: Mapping[int, Sequence[int]]
    is_unprorated: NDArray[np.bool_]
    is_licence_in_advance: NDArray[np.bool_]
    quantity: NDArray[np.uint64]


def index_charges(
    charges: Sequence[tuple[int, int, Charge, int]], *, unprorated: Sequence[bool], plan_count: int
) -> ChargeIndex:
    """charges: (plan row, order in the plan, charge, first price row), a charge row each; unprorated: of
    each, see ``ChargeIndex``."""
    meter_ids = sorted({charge.meter_id for _, _, charge, _ in charges if charge.meter_id})
    meter_codes = {meter_id: code for code, meter_id in enumerate(meter_ids)}
    usage_keys: list[tuple[int, int]] = []
    fixed_keys: list[tuple[int, int]] = []
    zero_keys = [
        (entry[0], row)
        for row, entry in enumerate(charges)
        if entry[2].zero_usage == "charge" and entry[2].formula is None
    ]
    formula_charges: dict[int, list[int]] = {}
    for row, (plan_row, _, charge, _) in enumerate(charges):
        if charge.formula is not None:
            formula_charges.setdefault(plan_row, []).append(row)
        elif charge.meter_id is not None:
            usage_keys.append((plan_row * len(meter_ids) + meter_codes[charge.meter_id], row))
        elif charge.kind != "item":  # items are priced one by one (``rating/item_line.py``)
            slot = 2 * (charge.kind == "one_time") + (charge.timing == "arrears")
            fixed_keys.append((plan_row * FIXED_SLOTS + slot, row))
    usage_start, usage_charge = _compressed(usage_keys, plan_count * len(meter_ids))
    fixed_start, fixed_charge = _compressed(fixed_keys, plan_count * FIXED_SLOTS)
    zero_start, zero_charge = _compressed(zero_keys, plan_count)
    return ChargeIndex(
        meter_codes=meter_codes,
        usage_start=usage_start,
        usage_charge=usage_charge,
        fixed_start=fixed_start,
        fixed_charge=fixed_charge,
        zero_start=zero_start,
        zero_charge=zero_charge,
        plan_row=np.array([entry[0] for entry in charges], np.int64),
        order=np.array([entry[1] for entry in charges], np.int64),
        price_row=np.array([entry[3] for entry in charges], np.int32),
        is_matrix=np.array([isinstance(entry[2].price, MatrixPrice) for entry in charges], np.bool_),
        is_fixed=np.array([not entry[2].meter_ids() for entry in charges], np.bool_),
        is_one_time=np.array([entry[2].kind == "one_time" for entry in charges], np.bool_),
        is_formula=np.array([entry[2].formula is not None for entry in charges], np.bool_),
        formula_charges=formula_charges,
        is_unprorated=np.array(unprorated, np.bool_),
        is_licence_in_advance=np.array([is_licence_in_advance(entry[2]) for entry in charges], np.bool_),
        quantity=np.array([_words(entry[2].quantity) for entry in charges], np.uint64).reshape(-1, 2),
    )


def _compressed(pairs: list[tuple[int, int]], keys: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    key = np.array([pair[0] for pair in pairs], np.int64)
    value = np.array([pair[1] for pair in pairs], np.int64)
    start = np.zeros(keys + 1, np.int64)
    np.cumsum(np.bincount(key, minlength=keys), out=start[1:])
    return start, value[np.argsort(key, kind="stable")]


def _words(quantity: Decimal | None) -> tuple[int, int]:
    scaled = 10**QUANTITY_SCALE if quantity is None else scaled_integer(quantity)
    return scaled % _WORD, scaled // _WORD
