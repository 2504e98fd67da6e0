"""Canonical JSON text of many invoice lines at once: the column-wise half of ``draft.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ingest.clock import from_micros
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
from rollup.period import find_time_zone

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
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class LineTexts:
    """One entry a line: its JSON text, its id in hex, and its local days since 1970, half-open."""

    texts: pl.Series
    line_ids: pl.Series
    start_days: NDArray[np.int64]
    end_days: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Prices:
    """Fixed pieces of text: one row a price key (``key`` gives each line's), one row a tier
    (``tier_offset`` gives the first of each key; its last entry is their number), one row a discount."""

    key: NDArray[np.int64]
    pieces: pl.DataFrame
    tier_offset: NDArray[np.int64]
    tier_pieces: pl.DataFrame
    discount_offset: NDArray[np.int64]
    discount_pieces: pl.DataFrame


def write_line_texts(
    *,
    lines: pa.Table,
    zones: Mapping[str, str],
    plan_versions: Sequence[PlanVersion],
    agreements: Mapping[str, Agreement],
    adjusts: Mapping[str, str],
    descriptions: Mapping[str, str],
    taxes: pl.Series | None,
) -> LineTexts:
    """Write the text of each line. zones: time zone by contract_id. plan_versions: with those that come
    of agreements. agreements: by key, all that the lines name. adjusts: what adjustments adjust, as canonical
    text by line id in hex. descriptions: of lines that say more than the name of their charge, alike.
    taxes: how each line is taxed, as ``tax_lines`` words it; None: no tax is stated."""
    dimensions = _dimension_texts(lines["dimensions"].combine_chunks())
    prices = _prices(lines, dimensions, plan_versions, agreements)
    zone = pl.Series(lines["contract_id"]).replace_strict(zones, return_dtype=pl.String)
    start_days, end_days = (local_days(lines[name], zone) for name in ("period_start", "period_end"))
    line_ids = pl.Series(lines["line_id"].combine_chunks().cast(pa.binary())).bin.encode("hex")
    columns = prices.pieces[prices.key].with_columns(
        adjusts_piece=_adjusts_pieces(line_ids, adjusts),
        amount=_decimal_texts(lines["amount"]),
        amount_minor=pl.Series(lines["amount_minor"]),
        days=pl.Series(lines["days"]),
        dimensions=dimensions,
        discounts=_discount_texts(lines, prices),
        event_count=pl.Series(lines["event_count"]),
        full_days=pl.Series(lines["full_days"]),
        line_id=line_ids,
        period_start=_day_texts(start_days),
        period_end=_day_texts(end_days),
        quantity=_decimal_texts(lines["quantity"]),
        rated_quantity=_decimal_texts(lines["rated_quantity"]),
        tax_piece=pl.lit("") if taxes is None else taxes,
        tiers=_tier_texts(lines, prices),
    )
    if descriptions:
        columns = columns.with_columns(
            _own_descriptions(line_ids, descriptions, columns["description_piece"])
        )
    # Names in alphabetical order, as the canonical text has them; the pieces hold what lies between.
    texts = columns.select(
        _join(
            *("", "adjusts_piece"),
            *('"amount":"', "amount", '","amount_minor":', "amount_minor", ",", "charge_piece"),
            *('"days":', "days", ",", "description_piece"),
            *('"dimensions":', "dimensions", ',"discounts":[', "discounts"),
            *('],"event_count":', "event_count", ',"full_days":', "full_days"),
            *(',"line_id":"', "line_id", '",', "meter_piece"),
            *('"period_end":"', "period_end", '","period_start":"', "period_start", '",', "plan_piece"),
            *('"quantity":"', "quantity", '","rated_quantity":"', "rated_quantity", '",', "tax_piece"),
            *('"tiers":[', "tiers", "],", "unit_piece"),
        )
    )
    return LineTexts(texts.to_series(), line_ids, start_days, end_days)


def _adjusts_pieces(line_ids: pl.Series, adjusts: Mapping[str, str]) -> pl.Series:
    """How the text of each line begins: with what it adjusts, if it does."""
    pieces = {line_id: f'{{"adjusts":{text},' for line_id, text in adjusts.items()}
    return line_ids.replace_strict(pieces, default="{", return_dtype=pl.String)


def _own_descriptions(
    line_ids: pl.Series, descriptions: Mapping[str, str], otherwise: pl.Series
) -> pl.Series:
    """The description of each line: its own, or that of its charge."""
    pieces = {
        line_id: f'"description":{orjson.dumps(text).decode()},' for line_id, text in descriptions.items()
    }
    own = line_ids.replace_strict(pieces, default=None, return_dtype=pl.String)
    return own.fill_null(otherwise).alias("description_piece")


def _join(*parts: str) -> pl.Expr:
    """Literal, column, literal, column ... as one text."""
    return pl.concat_str(
        [pl.lit(part) if place % 2 == 0 else pl.col(part).cast(pl.String) for place, part in enumerate(parts)]
    )


def _prices(
    lines: pa.Table,
    dimensions: pl.Series,
    plan_versions: Sequence[PlanVersion],
    agreements: Mapping[str, Agreement],
) -> _Prices:
    plans = {(entry.plan.plan_id, entry.version, entry.agreement): entry.plan for entry in plan_versions}
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
    frame = frame.join(kinds, on=charge_key, how="left", maintain_order="left").with_columns(
        matrix_dimensions=pl.when(
            pl.col("matrix") | pl.col("charge_id").is_in([TRUE_UP_CHARGE_ID, STATED_CHARGE_ID])
        )
        .then(pl.col("dimensions"))
        .otherwise(pl.lit("{}"))
    )
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
    return _Prices(
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


def _discount_texts(lines: pa.Table, prices: _Prices) -> pl.Series:
    """The discounts of each line, joined by commas."""
    counts, place = _places(lines["discount_number"], prices.key, prices.discount_offset, "a discount")
    fixed = prices.discount_pieces[place].with_columns(
        amount=_decimal_texts(lines["discount_amount"].combine_chunks().flatten())
    )
    return _joined_rows(fixed.select(_join('{"amount":"', "amount", '",', "after")).to_series(), counts)


def _places(
    column: pa.ChunkedArray, keys: NDArray[np.int64], offsets: NDArray[np.int64], what: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many entries each line has, and for each entry its place among those of all price keys."""
    numbers = column.combine_chunks()
    counts = np.diff(numbers.offsets.to_numpy())
    key = np.repeat(keys, counts)
    number = numbers.flatten().to_numpy().astype(np.int64)
    place = offsets[key] + number - 1
    if ((number < 1) | (place >= offsets[key + 1])).any():
        raise BrokenState(f"a rated line has {what} that its plan version does not have. Rate it again.")
    return counts, place


def _joined_rows(rows: pl.Series, counts: NDArray[np.int64]) -> pl.Series:
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return pl.Series(pa.LargeListArray.from_arrays(pa.array(offsets), rows.to_arrow())).list.join(",")


def _tier_texts(lines: pa.Table, prices: _Prices) -> pl.Series:
    """The tier rows of each line, joined by commas."""
    counts, place = _places(lines["tier_number"], prices.key, prices.tier_offset, "a tier")
    fixed = prices.tier_pieces[place].with_columns(
        amount=_decimal_texts(lines["tier_amount"].combine_chunks().flatten()),
        units=_decimal_texts(lines["tier_units"].combine_chunks().flatten()),
    )
    rows = fixed.select(
        pl.concat_str("before_amount", "amount", "before_units", "units", "after")
    ).to_series()
    return _joined_rows(rows, counts)


def _dimension_texts(maps: pa.MapArray) -> pl.Series:
    """Each map as a JSON object with sorted names. Distinct ones are few and are sorted in Python."""
    counts = np.diff(maps.offsets.to_numpy())
    first, last = int(maps.offsets[0].as_py()), int(maps.offsets[-1].as_py())
    keys, values = (
        _json_words(column.slice(first, last - first)).to_arrow() for column in (maps.keys, maps.items)
    )
    members = pl.DataFrame({"key": pl.Series(keys), "value": pl.Series(values)}).select(
        pl.concat_str(pl.col("key"), pl.lit(":"), pl.col("value"))
    )
    offsets = np.concatenate([[0], np.cumsum(counts)])
    rows = pl.Series(pa.LargeListArray.from_arrays(pa.array(offsets), members.to_series().to_arrow()))
    joined = rows.list.join(",")
    sorted_texts = {
        text: orjson.dumps(orjson.loads(f"{{{text}}}"), option=orjson.OPT_SORT_KEYS).decode()
        for text in joined.unique().to_list()
    }
    return joined.replace_strict(sorted_texts, return_dtype=pl.String)


def _json_words(words: pa.Array) -> pl.Series:
    """Texts as JSON strings; each distinct one is escaped once."""
    series = pl.Series(words.cast(pa.string()))
    escaped = {word: orjson.dumps(word).decode() for word in series.unique().to_list()}
    return series.replace_strict(escaped, return_dtype=pl.String)


def _words(column: pa.ChunkedArray) -> pl.Series:
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    return pl.Series(column)


def _decimal_texts(column: pa.ChunkedArray | pa.Array) -> pl.Series:
    """Plain decimals as ``decimal_text`` writes them: no trailing zeros, no point without digits."""
    return pl.Series(column).cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")


def local_days(instants: pa.ChunkedArray, zone: pl.Series) -> NDArray[np.int64]:
    """The local date of each instant, in its contract's zone, as days since 1970."""
    frame = pl.DataFrame({"micros": pl.Series(instants.cast(pa.int64())), "zone": zone})
    distinct = frame.unique()
    days = [
        (from_micros(micros).astimezone(find_time_zone(name)).date() - _EPOCH) // timedelta(days=1)
        for micros, name in distinct.iter_rows()
    ]
    found = frame.join(
        distinct.with_columns(day=pl.Series(days, dtype=pl.Int64)),
        on=["micros", "zone"],
        how="left",
        maintain_order="left",
    )
    numbers: NDArray[np.int64] = found["day"].to_numpy()
    return numbers


def last_service_days(lines: pa.Table, zones: Mapping[str, str]) -> NDArray[np.int64]:
    """The last local day each line's service covers, as days since 1970. zones: by contract_id."""
    zone = pl.Series(lines["contract_id"]).replace_strict(zones, return_dtype=pl.String)
    days: NDArray[np.int64] = local_days(lines["period_end"], zone) - 1
    return days


def _day_texts(days: NDArray[np.int64]) -> pl.Series:
    return pl.Series(days).cast(pl.Int32).cast(pl.Date).cast(pl.String)
