"""The words on rated lines, as dictionary codes by charge row; made once a price book.

Entry ``len(charges) + plan_row`` of every code array is the minimum spend line of that plan; behind these
stand the minimums of groups, in the order of the book's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.meter import Meter
from rating.line_hash import Hashes, hash_all
from rating.plan_version import PlanVersion
from rating.price_plan import Charge
from rating.spend_ids import MINIMUM_SPEND_CHARGE_ID
from rating.steps import MINIMUM_SPEND_KIND

_DEFAULT_UNIT: Final = "unit"

Coded = tuple[NDArray[np.int64], list[str]]
"""Codes by charge row, and the words they stand for."""


@dataclass(frozen=True, slots=True)
class LineWords:
    """The words a line shows, by charge row; minimum spends follow the charges, one a plan row."""

    charge_id: Coded
    charge_kind: Coded
    price_model: Coded
    meter_id: Coded
    unit: Coded
    currency: Coded
    charge_hash: Hashes


def line_words(
    charges: Sequence[tuple[int, Charge]],
    versions: Sequence[PlanVersion],
    meters: Mapping[str, Meter],
    *,
    groups: Sequence[tuple[int, str]] = (),
) -> LineWords:
    """charges: (plan row, charge), a charge row each. groups: (plan row, charge_id) of minimums of groups."""
    currencies = [versions[plan_row].plan.currency for plan_row, _ in charges]
    plan_currencies = [entry.plan.currency for entry in versions]
    plan_currencies += [plan_currencies[plan_row] for plan_row, _ in groups]
    count = len(plan_currencies)
    ids = [charge.charge_id for _, charge in charges] + [MINIMUM_SPEND_CHARGE_ID] * len(versions)
    ids += [charge_id for _, charge_id in groups]
    return LineWords(
        charge_id=_coded(ids),
        charge_kind=_coded([charge.kind for _, charge in charges] + [MINIMUM_SPEND_KIND] * count),
        price_model=_coded([charge.price.model for _, charge in charges] + ["flat"] * count),
        meter_id=_coded([charge.meter_id or "" for _, charge in charges] + [""] * count),
        unit=_coded([unit_of(charge, meters) for _, charge in charges] + plan_currencies),
        currency=_coded(currencies + plan_currencies),
        charge_hash=hash_all(ids),
    )


def unit_of(charge: Charge, meters: Mapping[str, Meter]) -> str:
    """The unit on the line: the charge's own, else its meter's when nothing is converted."""
    if charge.unit != _DEFAULT_UNIT or charge.meter_id is None or charge.unit_conversion is not None:
        return charge.unit
    return meters[charge.meter_id].unit


def _coded(words: Sequence[str]) -> Coded:
    distinct = list(dict.fromkeys(words))
    codes = {word: code for code, word in enumerate(distinct)}
    return np.array([codes[word] for word in words], np.int64), distinct
