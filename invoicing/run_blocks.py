"""Cuts a run's tables into pieces: blocks to price, chunks to write, dates left after holding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from invoicing.hold import Held, Key

_FIRST_SMALLER: Final = 3


def blocks_of_contracts(periods: pa.Table, contracts_max: int) -> Iterator[pa.Table]:
    """Slices of whole contracts, their ``period_key`` counted from 0 again."""
    runs = pc.run_end_encode(periods["contract_id"].combine_chunks())
    ends = runs.run_ends.to_pylist()
    start = 0
    for end in [*ends[contracts_max - 1 :: contracts_max], periods.num_rows]:
        if end > start:
            keys = pa.array(range(end - start), pa.uint32())
            yield (
                periods.slice(start, end - start)
                .combine_chunks()
                .set_column(0, periods.schema.field("period_key"), keys)
            )
        start = end


def slices_of_contracts(contracts: pa.Table, contracts_max: int) -> Iterator[pa.Table]:
    """So many contracts at a time, in order. The first slice is smaller: while it is priced nothing else can
    be done."""
    first = max(contracts_max // _FIRST_SMALLER, 1)
    for start in (0, *range(first, contracts.num_rows, contracts_max)):
        yield contracts.slice(start, contracts_max if start else first)


def slices_of_ids(contract_ids: pa.Array, contracts_max: int) -> Iterator[list[str]]:
    """So many ids at a time, in order."""
    for start in range(0, len(contract_ids), contracts_max):
        yield contract_ids.slice(start, contracts_max).to_pylist()


def subjects_of(block: pa.Table, subjects: pa.Table) -> pa.Table:
    """Those of ``subjects`` that may belong to contracts of a block; both by contract_id."""
    if not block.num_rows:
        return subjects.slice(0, 0)
    owners = pl.Series(subjects["contract_id"])
    first, last = block["contract_id"][0].as_py(), block["contract_id"][-1].as_py()
    start, stop = owners.search_sorted(first, side="left"), owners.search_sorted(last, side="right")
    return subjects.slice(start, stop - start)


def billing_dates(periods: pa.Table) -> list[Key]:
    """Each (contract_id, billing_date) of the periods once, in their order."""
    dates = pl.DataFrame(periods.select(["contract_id", "billing_date"])).unique(maintain_order=True)
    return [(contract_id, day) for contract_id, day in dates.iter_rows()]


def count_billing_dates(periods: pa.Table) -> int:
    """How many ``billing_dates`` there are."""
    return int(pl.DataFrame(periods.select(["contract_id", "billing_date"])).n_unique())


def first_dates(dates: Sequence[Key]) -> dict[str, date]:
    """The first of each contract's billing dates."""
    found: dict[str, date] = {}
    for contract_id, day in dates:
        found[contract_id] = min(day, found.get(contract_id, day))
    return found


def lines_without(lines: pa.Table, held: Sequence[Held]) -> pa.Table:
    """The lines whose billing date is not held."""
    if not held:
        return lines
    keys = pl.DataFrame(lines.select(["contract_id", "billing_date"])).with_row_index()
    gone = pl.DataFrame(
        {
            "contract_id": [entry.contract_id for entry in held],
            "billing_date": [entry.billing_date for entry in held],
        }
    )
    kept = keys.join(gone, on=["contract_id", "billing_date"], how="anti", maintain_order="left")
    return lines.take(kept["index"].to_arrow())


def dates_without(dates: Sequence[Key], held: Sequence[Held]) -> list[Key]:
    """The billing dates that are not held, in order."""
    gone = {(entry.contract_id, entry.billing_date) for entry in held}
    return [key for key in dates if key not in gone]


def chunks_of_contracts(
    lines: pa.Table, dates: Sequence[Key], contracts_max: int
) -> Iterator[tuple[pa.Table, list[Key]]]:
    """Lines and billing dates of at most so many contracts at a time, in order."""
    ids = list(dict.fromkeys(contract_id for contract_id, _ in dates))
    place = {contract_id: number for number, contract_id in enumerate(ids)}
    owners = pl.Series(lines["contract_id"].combine_chunks()).replace_strict(place, return_dtype=pl.Int64)
    numbers = pl.Series([place[contract_id] for contract_id, _ in dates], dtype=pl.Int64)
    for first in range(0, len(ids), contracts_max):
        low, high = (int(owners.search_sorted(edge)) for edge in (first, first + contracts_max))
        start, stop = (int(numbers.search_sorted(edge)) for edge in (first, first + contracts_max))
        yield lines.slice(low, high - low), list(dates[start:stop])


def settled_of(contracts: pa.Table, settled: pa.Table) -> pa.Table:
    """(contract_id, settled): the last settled date of each contract, null for none."""
    places = pc.index_in(contracts["contract_id"], value_set=settled["contract_id"].combine_chunks())
    dates = settled["billing_date"].combine_chunks().cast(pa.date32()).take(places.combine_chunks())
    return pa.table({"contract_id": contracts["contract_id"], "settled": dates})
