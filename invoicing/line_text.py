"""Canonical JSON text of many invoice lines at once: the column-wise half of ``draft.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ingest.clock import from_micros
from ingest.errors import BrokenState
from invoicing.price_pieces import PricePieces, price_pieces
from rating.agreement import Agreement
from rating.plan_version import PlanVersion
from rollup.period import find_time_zone

_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class LineTexts:
    """One entry a line: its JSON text, its id in hex, and its local days since 1970, half-open."""

    texts: pl.Series
    line_ids: pl.Series
    start_days: NDArray[np.int64]
    end_days: NDArray[np.int64]


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
    prices = price_pieces(lines, dimensions, plan_versions, agreements)
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


def _discount_texts(lines: pa.Table, prices: PricePieces) -> pl.Series:
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


def _tier_texts(lines: pa.Table, prices: PricePieces) -> pl.Series:
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
