"""Priced rows as the tables this room gives: rated lines and unrated usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.arrow_buffers import one_array
from ingest.document import decimal_text
from ingest.event import QUANTITY_SCALE, QUANTITY_TYPE, TIMESTAMP
from rating.batch import UNRATED_CODES, PricedRows
from rating.compile import PriceBook
from rating.discount_lines import DiscountRows
from rating.due_charges import DueCharges
from rating.kernels import TOO_LARGE
from rating.line_hash import Gathered, Hashes, has_entries, hash_all, hash_columns, hash_texts
from rating.line_item import RATED_LINE_SCHEMA
from rating.minimum_spend import MinimumLines
from rating.period_columns import PeriodColumns, dictionary_codes
from rating.special_price import Inputs
from rating.wide_columns import decimal_column, pairs_of_integers

UNRATED_SCHEMA: Final = pa.schema(
    [
        pa.field("period_key", pa.uint32(), nullable=False),
        pa.field("contract_id", pa.string(), nullable=False),
        pa.field("charge_id", pa.string(), nullable=False),
        pa.field("meter_id", pa.string(), nullable=False),
        pa.field("dimensions", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("quantity", QUANTITY_TYPE, nullable=False),
        pa.field("reason_code", pa.string(), nullable=False),
    ]
)
"""Usage without a price. reason_code: no_matching_cell (matrix without a default), negative_quantity
(a credit under a model that has no meaning for it), amount_too_large (past 26 integer digits or
2**63 minor units), formula_divides_by_zero (its quantity stands as 0), usage_changed (events came in while
they were counted), currency_mixed (a term billed in two currencies). The caller holds these periods: they are
never billed as nothing."""

_MAP: Final = pa.map_(pa.string(), pa.string())


@dataclass(frozen=True, slots=True)
class _LineColumns:
    """Every number of the lines, in line order; ``charge`` is the charge row, or past the last one
    by the plan row for a minimum spend. inputs: by line, of those that have some."""

    period: NDArray[np.int64]
    charge: NDArray[np.int64]
    source: NDArray[np.int64]
    price_row: NDArray[np.int64]
    quantity: NDArray[np.uint64]
    rated_quantity: NDArray[np.uint64]
    event_count: NDArray[np.uint64]
    days: NDArray[np.int64]
    full_days: NDArray[np.int64]
    amount: NDArray[np.uint64]
    amount_minor: NDArray[np.int64]
    tier_start: NDArray[np.int64]
    tier_number: NDArray[np.uint16]
    tier_units: NDArray[np.uint64]
    tier_amount: NDArray[np.uint64]
    discounts: DiscountRows
    inputs: Mapping[int, Inputs]


def build_lines(
    periods: PeriodColumns,
    due: DueCharges,
    priced: PricedRows,
    inputs: Mapping[int, Inputs],
    discounts: DiscountRows,
    minimum: MinimumLines,
    price_book: PriceBook,
    *,
    run_id: str,
    threads: int,
) -> pa.Table:
    """RATED_LINE_SCHEMA, in the order of ``due`` with each period's minimum spend last. threads: as in
    ``rate_usage``."""
    lines = _line_columns(periods, due, priced, inputs, discounts, minimum)
    count = len(lines.period)
    table = periods.table
    billing_date = one_array(table["billing_date"]).cast(pa.int32()).to_numpy()
    start = one_array(table["period_start"]).cast(pa.int64()).to_numpy()
    end = one_array(table["period_end"]).cast(pa.int64()).to_numpy()
    words = price_book.words
    versions = one_array(table["plan_version"]).to_numpy()
    plan_codes, plan_words = dictionary_codes(table["plan_id"])
    line_ids = _line_ids(lines, periods, billing_date, start, end, due, price_book, threads)
    offsets = pa.array(lines.tier_start.astype(np.int32))
    discount_offsets = pa.array(lines.discounts.start.astype(np.int32))
    columns = [
        _bytes(line_ids),
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([run_id], pa.string())),
        one_array(table["contract_id"]).take(pa.array(lines.period)),
        _words(plan_codes, plan_words, lines.period),
        pa.array(versions[lines.period], pa.uint32()),
        *(
            _words(codes, names, lines.charge)
            for codes, names in (
                words.charge_id,
                words.charge_kind,
                words.price_model,
                words.meter_id,
                words.unit,
            )
        ),
        pa.array(billing_date[lines.period], pa.int32()).cast(pa.date32()),
        _times(start[lines.period]),
        _times(end[lines.period]),
        pa.array(lines.days, pa.int32()),
        pa.array(lines.full_days, pa.int32()),
        _gathered_maps(due.dimensions, lines.source),
        decimal_column(lines.quantity),
        decimal_column(lines.rated_quantity),
        pa.array(lines.event_count),
        pa.ListArray.from_arrays(offsets, pa.array(lines.tier_number)),
        pa.ListArray.from_arrays(offsets, decimal_column(lines.tier_units)),
        pa.ListArray.from_arrays(offsets, decimal_column(lines.tier_amount)),
        decimal_column(lines.amount),
        pa.array(lines.amount_minor),
        _words(*words.currency, lines.charge),
        _bytes(_input_hashes(lines, price_book, threads)),
        _words(*dictionary_codes(table["agreement"]), lines.period),
        pa.ListArray.from_arrays(discount_offsets, pa.array(lines.discounts.number)),
        pa.ListArray.from_arrays(discount_offsets, decimal_column(lines.discounts.amount)),
        _input_maps(lines.inputs, count),
    ]
    return pa.Table.from_arrays(columns, schema=RATED_LINE_SCHEMA)


def build_unrated(
    periods: PeriodColumns,
    due: DueCharges,
    priced: PricedRows,
    minimum: MinimumLines,
    price_book: PriceBook,
) -> pa.Table:
    """UNRATED_SCHEMA, by period; a fixed charge or a minimum spend too large stands here too, with
    quantity 1 for what has none."""
    rows, spends, spend_charge = np.flatnonzero(priced.unrated), minimum.too_large, minimum.too_large_word
    spend_quantity = pairs_of_integers(np.ones(len(spends), np.int64), scale=10**QUANTITY_SCALE)
    refused = [] if due.formulas is None else list(due.formulas.refused)
    failed = np.array([entry[:2] for entry in refused], np.int64).reshape(-1, 2)
    none = np.full(len(spends) + len(failed), -1, np.int64)
    charge = np.concatenate([due.unmatched_charge, due.charge[rows], spend_charge, failed[:, 1]])
    source = np.concatenate([due.unmatched_source, due.source[rows], none])
    period = np.concatenate([due.usage_period[due.unmatched_source], due.period[rows], spends, failed[:, 0]])
    nothing = np.zeros((len(failed), 2), np.uint64)
    quantity = np.concatenate(
        [due.usage_quantity[due.unmatched_source], due.rows.quantity[rows], spend_quantity, nothing]
    )
    reasons = ["no_matching_cell"] * len(due.unmatched_source)
    reasons += [UNRATED_CODES[code] for code in priced.results.status[rows].tolist()]
    reasons += [UNRATED_CODES[TOO_LARGE]] * len(spends) + [reason for *_, reason in refused]
    order = np.argsort(period, kind="stable")
    words = price_book.words
    return pa.Table.from_arrays(
        [
            pa.array(period[order], pa.uint32()),
            one_array(periods.table["contract_id"]).take(pa.array(period[order])),
            _words(*words.charge_id, charge[order]).cast(pa.string()),
            _words(*words.meter_id, charge[order]).cast(pa.string()),
            _gathered_maps(due.dimensions, source[order]),
            decimal_column(quantity[order]),
            pa.array([reasons[row] for row in order.tolist()], pa.string()),
        ],
        schema=UNRATED_SCHEMA,
    )


def _line_columns(
    periods: PeriodColumns,
    due: DueCharges,
    priced: PricedRows,
    inputs: Mapping[int, Inputs],
    discounts: DiscountRows,
    minimum: MinimumLines,
) -> _LineColumns:
    results, rows = priced.results, due.rows
    kept = np.flatnonzero(~priced.unrated)
    merged = len(minimum.period) > 0 or len(kept) < len(due.period)
    if not merged:
        return _LineColumns(
            period=due.period,
            charge=due.charge,
            source=due.source,
            price_row=rows.price_row.astype(np.int64),
            quantity=rows.quantity,
            rated_quantity=results.rated_quantity,
            event_count=rows.event_count,
            days=rows.days,
            full_days=rows.full_days,
            amount=results.amount,
            amount_minor=results.amount_minor,
            tier_start=results.tier_start,
            tier_number=results.tier_number,
            tier_units=results.tier_units,
            tier_amount=results.tier_amount,
            discounts=discounts,
            inputs=inputs,
        )
    added = len(minimum.period)
    order = np.argsort(np.concatenate([due.period[kept], minimum.period]), kind="stable")
    place = np.concatenate([kept, np.full(added, -1, np.int64)])[order]
    tier_start, tiers = _lists_at(results.tier_start, place)
    discount_start, taken = _lists_at(discounts.start, place)

    def both(priced_column: Any, added_column: Any) -> Any:
        return np.concatenate([priced_column[kept], added_column])[order]

    return _LineColumns(
        period=both(due.period, minimum.period),
        charge=both(due.charge, minimum.word),
        source=both(due.source, np.full(added, -1, np.int64)),
        price_row=both(rows.price_row.astype(np.int64), minimum.price_row.astype(np.int64)),
        quantity=both(rows.quantity, minimum.reached),
        rated_quantity=both(results.rated_quantity, minimum.required),
        event_count=both(rows.event_count, np.zeros(added, np.uint64)),
        days=both(rows.days, periods.days[minimum.period]),
        full_days=both(rows.full_days, periods.full_days[minimum.period]),
        amount=both(results.amount, minimum.amount),
        amount_minor=both(results.amount_minor, minimum.amount_minor),
        tier_start=tier_start,
        tier_number=results.tier_number[tiers],
        tier_units=results.tier_units[tiers],
        tier_amount=results.tier_amount[tiers],
        discounts=DiscountRows(discount_start, discounts.number[taken], discounts.amount[taken]),
        inputs={line: inputs[row] for line, row in enumerate(place.tolist()) if row in inputs}
        if inputs
        else {},
    )


def _lists_at(
    start: NDArray[np.int64], place: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The lists at ``place`` (-1: an empty one): where each begins now, and the entries they hold."""
    counts = np.append(np.diff(start), 0)[place]
    new_start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    entries = np.arange(new_start[-1]) + np.repeat(np.append(start[:-1], 0)[place] - new_start[:-1], counts)
    return new_start, entries


def _line_ids(
    lines: _LineColumns,
    periods: PeriodColumns,
    billing_date: Any,
    start: Any,
    end: Any,
    due: DueCharges,
    price_book: PriceBook,
    threads: int,
) -> Hashes:
    codes, words = dictionary_codes(periods.table["plan_id"])
    period_hash = hash_columns(
        [
            hash_texts(one_array(periods.table["contract_id"])),
            Gathered(hash_all(words), codes),
            one_array(periods.table["plan_version"]).to_numpy().astype(np.uint64),
            periods.arrears.astype(np.uint64),
            billing_date.astype(np.int64).view(np.uint64),
            start.view(np.uint64),
            end.view(np.uint64),
        ],
        threads=threads,
    )
    dimension_hash: Hashes | Gathered = due.dimension_hash
    if has_entries(due.dimensions):
        with_empty = np.concatenate([due.dimension_hash, hash_all([""])])  # source -1 is the last entry
        dimension_hash = Gathered(with_empty, lines.source)
    return hash_columns(
        [
            Gathered(period_hash, lines.period),
            Gathered(price_book.words.charge_hash, lines.charge),
            dimension_hash,
        ],
        threads=threads,
    )


def _input_hashes(lines: _LineColumns, price_book: PriceBook, threads: int) -> Hashes:
    whole = lines.days == lines.full_days
    hashes = hash_columns(
        [
            Gathered(price_book.price_hash, lines.price_row),
            lines.quantity,
            lines.event_count,
            np.where(whole, 1, lines.days).view(np.uint64),
            np.where(whole, 1, lines.full_days).view(np.uint64),
        ],
        threads=threads,
    )
    _mix_discounts(hashes, lines.discounts)
    _mix_inputs(hashes, lines.inputs)
    return hashes


def _mix_discounts(hashes: Hashes, discounts: DiscountRows) -> None:
    """The share of an amount depends on the other lines of the invoice, so what was taken counts as an
    input of the line. Lines without discounts keep their hash."""
    rows = np.flatnonzero(np.diff(discounts.start))
    if not len(rows):
        return
    spans = [(discounts.start[row], discounts.start[row + 1]) for row in rows]
    texts = hash_all([discounts.amount[first:last].tobytes().hex() for first, last in spans])
    hashes[rows] = hash_columns([hashes[rows], texts])


def _mix_inputs(hashes: Hashes, inputs: Mapping[int, Inputs]) -> None:
    """Lines without inputs keep their hash."""
    rows = np.array(list(inputs), np.int64)
    if len(rows):
        texts = [
            " ".join(f"{name} {decimal_text(number)}" for name, number in found.items())
            for found in inputs.values()
        ]
        hashes[rows] = hash_columns([hashes[rows], hash_all(texts)])


def _input_maps(inputs: Mapping[int, Inputs], count: int) -> Any:
    kind = RATED_LINE_SCHEMA.field("inputs").type
    if not inputs:
        return _no_maps(count, pa.array([], kind.item_type))
    return pa.array([list(inputs.get(row, {}).items()) for row in range(count)], kind)


def _no_maps(count: int, items: Any) -> Any:
    return pa.MapArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), pa.array([], pa.string()), items)


def _gathered_maps(maps: Any, source: NDArray[np.int64]) -> Any:
    """The map rows ``source`` names, -1 standing for an empty map."""
    if not has_entries(maps):
        return _no_maps(len(source), pa.array([], pa.string()))
    offsets = maps.offsets.to_numpy().astype(np.int64)
    sizes = np.append(np.diff(offsets), 0)[source]
    starts = np.append(offsets[:-1], 0)[source]
    positions = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    entries = pa.array(np.arange(positions[-1]) + np.repeat(starts - positions[:-1], sizes))
    return pa.MapArray.from_arrays(
        pa.array(positions), maps.keys.take(entries), maps.items.take(entries)
    ).cast(_MAP)


def _words(codes: NDArray[np.int64], words: list[str], rows: NDArray[np.int64]) -> Any:
    """The word of every row, by ``codes[row]``."""
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)[rows]), pa.array(words, pa.string())
    )


def _times(micros: NDArray[np.int64]) -> Any:
    return pa.Array.from_buffers(TIMESTAMP, len(micros), [None, pa.py_buffer(micros)])


def _bytes(hashes: Hashes) -> Any:
    return pa.Array.from_buffers(
        pa.binary(16), len(hashes), [None, pa.py_buffer(np.ascontiguousarray(hashes))]
    )
