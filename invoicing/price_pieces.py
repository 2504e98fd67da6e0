"""The parts of invoice lines' text that their price decides, written once a price: names, words, tiers,
discounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ingest.document import decimal_text
from ingest.errors import BrokenState
from invoicing.price_text import (
    ChargeTerms,
    TierTerms,
    charge_terms,
    credit_terms,
    stated_terms,
    true_up_terms,
)
from rating.agreement import Agreement, is_overridden
from rating.discount import Discount
from rating.plan_version import PlanVersion
from rating.price_plan import MatrixPrice, PricePlan
from rating.spend_ids import STATED_CHARGE_ID
from rating.steps import ADJUSTMENT_KIND, FEE_CREDIT_KIND
from rating.term_commitment import COMMITMENT, TRUE_UP_CHARGE_ID

_PRICE_KEY: Final = (
    "plan_id",
    "plan_version",
    "agreement",
    "charge_id",
    "charge_kind",
    "price_model",
    "meter_id",
    "unit",
    "matrix_dimensions",
)


@dataclass(frozen=True, slots=True)
class PricePieces:
    """Fixed pieces of text: one row a price key (``key`` gives each line's), one row a tier
    (``tier_offset`` gives the first of each key; its last entry is their number), one row a discount."""

    key: NDArray[np.int64]
    pieces: pl.DataFrame
    tier_offset: NDArray[np.int64]
    tier_pieces: pl.DataFrame
    discount_offset: NDArray[np.int64]
    discount_pieces: pl.DataFrame


def price_pieces(
    lines: pa.Table,
    dimensions: pl.Series,
    plan_versions: Sequence[PlanVersion],
    agreements: Mapping[str, Agreement],
) -> PricePieces:
    """lines: RATED_LINE_SCHEMA. dimensions: their text, a line each. plan_versions, agreements: all that the
    lines name. Raises BrokenState for a plan version that is not among them."""
    plans = {(entry.plan.plan_id, entry.version, entry.agreement): entry.plan for entry in plan_versions}
    frame = _price_keys(lines, dimensions, plans)
    keys = frame.select(_PRICE_KEY).unique(maintain_order=True).with_row_index("key")
    numbered = frame.join(keys, on=list(_PRICE_KEY), how="left", maintain_order="left")
    pieces, tiers, offsets = [], [], [0]
    discounts, discount_offsets = [], [0]
    for row in keys.iter_rows(named=True):
        plan = plans.get((row["plan_id"], row["plan_version"], row["agreement"]))
        if plan is None:
            raise BrokenState(
                f"a rated line names price plan {row['plan_id']!r} version {row['plan_version']}, which the "
                "catalogue does not have. Restore the catalogue the lines were rated with."
            )
        terms = _terms(row, plan, agreements)
        agreed = row["agreement"] and is_overridden(row["charge_id"], agreements[row["agreement"]])
        source = "contract" if agreed else "plan"
        if row["charge_id"] == STATED_CHARGE_ID:
            source = "item"
        pieces.append(_pieces(row, terms, price_source=source))
        tiers += [_tier_pieces(number, tier) for number, tier in enumerate(terms.tiers, start=1)]
        offsets.append(len(tiers))
        discounts += [_discount_pieces(discount) for discount in terms.discounts]
        discount_offsets.append(len(discounts))
    return PricePieces(
        key=numbered["key"].cast(pl.Int64).to_numpy(),
        pieces=pl.DataFrame(pieces, orient="row"),
        tier_offset=np.array(offsets, np.int64),
        tier_pieces=pl.DataFrame(
            tiers,
            orient="row",
            schema={"before_amount": pl.String, "before_units": pl.String, "after": pl.String},
        ),
        discount_offset=np.array(discount_offsets, np.int64),
        discount_pieces=pl.DataFrame(discounts, orient="row", schema={"after": pl.String}),
    )


def _price_keys(
    lines: pa.Table, dimensions: pl.Series, plans: Mapping[tuple[str, int, str], PricePlan]
) -> pl.DataFrame:
    """_PRICE_KEY and the dimensions of each line: what decides the words of its price."""
    matrix = [
        {
            "plan_id": plan_id,
            "plan_version": version,
            "agreement": agreement,
            "charge_id": charge.charge_id,
            "matrix": True,
        }
        for (plan_id, version, agreement), plan in plans.items()
        for charge in plan.charges
        if isinstance(charge.price, MatrixPrice)
    ]
    names = [name for name in _PRICE_KEY if name != "matrix_dimensions"]
    frame = pl.DataFrame({name: _words(lines[name]) for name in names}).with_columns(dimensions=dimensions)
    kinds = pl.DataFrame(
        matrix,
        schema={
            "plan_id": pl.String,
            "plan_version": pl.UInt32,
            "agreement": pl.String,
            "charge_id": pl.String,
            "matrix": pl.Boolean,
        },
    )
    charge_key = ["plan_id", "plan_version", "agreement", "charge_id"]
    return frame.join(kinds, on=charge_key, how="left", maintain_order="left").with_columns(
        matrix_dimensions=pl.when(
            pl.col("matrix") | pl.col("charge_id").is_in([TRUE_UP_CHARGE_ID, STATED_CHARGE_ID])
        )
        .then(pl.col("dimensions"))
        .otherwise(pl.lit("{}"))
    )


def _terms(row: Mapping[str, Any], plan: PricePlan, agreements: Mapping[str, Agreement]) -> ChargeTerms:
    terms = _terms_as_billed(row, plan, agreements)
    if row["charge_kind"] == ADJUSTMENT_KIND:
        return replace(terms, description=f"{terms.description}, adjustment")
    return terms


def _terms_as_billed(
    row: Mapping[str, Any], plan: PricePlan, agreements: Mapping[str, Agreement]
) -> ChargeTerms:
    if row["charge_kind"] == FEE_CREDIT_KIND:
        return credit_terms(plan, charge_id=row["charge_id"])
    dimensions = orjson.loads(row["matrix_dimensions"])
    if row["charge_id"] == STATED_CHARGE_ID:
        return stated_terms(plan, dimensions=dimensions, unit=row["unit"])
    if row["charge_id"] == TRUE_UP_CHARGE_ID:
        return true_up_terms(plan, agreements[row["agreement"]], commitment_id=dimensions[COMMITMENT])
    return charge_terms(plan, charge_id=row["charge_id"], dimensions=dimensions, unit=row["unit"])


def _pieces(row: Mapping[str, Any], terms: ChargeTerms, *, price_source: str) -> dict[str, str]:
    def members(**values: Any) -> str:
        return orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode()[1:-1]

    charge = members(charge_id=row["charge_id"], charge_kind=row["charge_kind"])
    plan = members(
        plan_id=row["plan_id"],
        plan_version=row["plan_version"],
        price_model=row["price_model"],
        price_source=price_source,
        price_text=terms.price_text,
    )
    return {
        "charge_piece": f"{charge},",
        "description_piece": f"{members(description=terms.description)},",
        "meter_piece": f"{members(meter_id=row['meter_id'])},",
        "plan_piece": f"{plan},",
        "unit_piece": f"{members(unit=row['unit'])}}}",
    }


def _tier_pieces(number: int, tier: TierTerms) -> tuple[str, str, str]:
    unit_price, flat_amount, up_to = (
        "null" if value is None else f'"{decimal_text(value)}"'
        for value in (tier.unit_price, tier.flat_amount, tier.up_to)
    )
    return (
        f'{{"above":"{decimal_text(tier.above)}","amount":"',
        f'","flat_amount":{flat_amount},"number":{number},"unit_price":{unit_price},"units":"',
        f'","up_to":{up_to}}}',
    )


def _discount_pieces(discount: Discount) -> tuple[str]:
    fixed = {"discount_id": discount.discount_id, "name": discount.name, "words": discount.words()}
    return (orjson.dumps(fixed, option=orjson.OPT_SORT_KEYS).decode()[1:],)


def _words(column: pa.ChunkedArray) -> pl.Series:
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    return pl.Series(column)
