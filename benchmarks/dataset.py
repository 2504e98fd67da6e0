"""Writes the canonical workload to a folder, once for all systems of a run.

events.parquet    everything sent, in order, resends included; value as decimal128(38, 12)
events.ndjson     the same, one JSON object a line (only when a stage asks for it)
contracts.parquet tiers.parquet    prices and contracts as flat tables, for the peers
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.canonical import Workload, event_slices
from benchmarks.canonical_plans import contract_table, tier_table

EVENTS_PARQUET: Final = "events.parquet"
EVENTS_NDJSON: Final = "events.ndjson"
CONTRACTS_PARQUET: Final = "contracts.parquet"
TIERS_PARQUET: Final = "tiers.parquet"


def write_dataset(workload: Workload, folder: Path, *, ndjson: bool) -> None:
    """Write what is not there yet. A file appears only when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "workload.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8") != repr(workload):
        raise ValueError(f"{folder} holds another workload; name an empty folder with --data.")
    stamp.write_text(repr(workload), encoding="utf-8")
    if not (folder / CONTRACTS_PARQUET).exists():
        pq.write_table(tier_table(workload), folder / TIERS_PARQUET)
        pq.write_table(contract_table(workload), folder / CONTRACTS_PARQUET)
    if not (folder / EVENTS_PARQUET).exists():
        _write_parquet(workload, folder / EVENTS_PARQUET)
    if ndjson and not (folder / EVENTS_NDJSON).exists():
        _write_ndjson(workload, folder / EVENTS_NDJSON)


def _write_parquet(workload: Workload, path: Path) -> None:
    part = path.with_suffix(".part")
    writer = None
    for table in event_slices(workload):
        writer = writer or pq.ParquetWriter(part, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()
    part.rename(path)


def _write_ndjson(workload: Workload, path: Path) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for table in event_slices(workload):
            _ndjson_frame(table).write_ndjson(file)
    part.rename(path)


def _ndjson_frame(table: pa.Table) -> pl.DataFrame:
    items = table["properties"].combine_chunks().items  # two a row, class then region
    flat: Any = pl.from_arrow(table.drop_columns(["properties"]))
    frame: pl.DataFrame = flat
    return frame.with_columns(
        pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
        pl.col("value").cast(pl.String).str.strip_chars_end("0").str.strip_chars_end("."),
        pl.struct(
            pl.Series("class", items[0::2].to_pylist()), pl.Series("region", items[1::2].to_pylist())
        ).alias("properties"),
    )
