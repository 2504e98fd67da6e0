"""What a benchmark case reports, and the hash that says two systems computed the same amounts."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from benchmarks.request import CaseRequest, Measured
from ingest.arrow_buffers import one_array
from rating.line_item import RATED_LINE_SCHEMA

LINE_COLUMNS: Final = ("contract_id", "meter_id", "period_start", "amount_minor")
LINE_KEYS: Final = ("contract_id", "charge_id", "period_start")
TEXT_COLUMNS: Final = (
    "run_id",
    "contract_id",
    "plan_id",
    "charge_id",
    "charge_kind",
    "price_model",
    "meter_id",
    "unit",
    "currency",
)
INTEGER_COLUMNS: Final = ("plan_version", "days", "full_days", "event_count", "amount_minor", "dimensions")
DATE_COLUMNS: Final = ("billing_date", "period_start", "period_end")
NOT_COMPARED: Final = ("dimensions", "agreement", "discount_number", "discount_amount", "inputs")
"""Dimensions are compared by their number; the canonical contracts have no agreements and no discounts."""
KEPT_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One line of the report; the fields are the ones design section 9 names.

    seconds: the median of the repetitions. peak_mb: peak resident memory of the process that ran
    the case. exact: no binary float near the result and nothing counted twice.
    """

    stage: str
    case: str
    system: str
    rows: int
    seconds: float
    rows_per_second: float
    peak_mb: float
    exact: bool
    result_hash: str
    size: str
    machine: str

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))


def case_result(request: CaseRequest, done: Measured) -> CaseResult:
    """The line of the report for a finished case."""
    return CaseResult(
        stage=request.stage,
        case=request.case,
        system=request.system,
        rows=done.rows,
        seconds=round(done.seconds_median, 4),
        rows_per_second=_rate(done.rows, done.seconds_median),
        peak_mb=done.peak_mb,
        exact=done.exact,
        result_hash=done.result_hash,
        size=request.size,
        machine=machine_facts(),
    )


def read_results(path: Path) -> list[CaseResult]:
    return [CaseResult(**orjson.loads(line)) for line in path.read_bytes().splitlines()]


def lines_hash(lines: pa.Table) -> str:
    """SHA-256 of (contract_id, meter_id, period_start as a date, amount_minor), sorted."""
    frame: Any = pl.from_arrow(lines.select(list(LINE_COLUMNS)))
    ordered = frame.select(
        pl.col("contract_id").cast(pl.String),
        pl.col("meter_id").cast(pl.String),
        pl.col("period_start").cast(pl.Date).cast(pl.Int32),
        pl.col("amount_minor").cast(pl.Int64),
    ).sort(LINE_COLUMNS)
    return frame_hash(ordered)


def explained_hash(lines: pa.Table) -> str:
    """SHA-256 of whole rated lines, sorted: every column of RATED_LINE_SCHEMA but the two hashes, which
    each system makes in its own way, and those in NOT_COMPARED.

    Ratemill keeps amounts to 12 fraction digits and cuts the rest, tier rows as differences of the cut
    running total; a peer may keep all 20. So amounts enter cut to 12 digits, tier amounts as their
    running total cut to 12 digits: equal hashes mean equal tier rows. Raises ValueError when two lines
    have one line id.
    """
    offsets = one_array(lines["dimensions"]).offsets.to_numpy()
    plain = lines.select([name for name in RATED_LINE_SCHEMA.names if name not in NOT_COMPARED])
    # The canonical meters have no dimensions: a count of zero is their content.
    frame: Any = pl.from_arrow(plain.append_column("dimensions", pa.array(np.diff(offsets))))
    if frame["line_id"].n_unique() != len(frame):
        raise ValueError("two lines have one line_id; it must tell them apart.")
    totals = pl.col("tier_amount").list.eval(_cut(pl.element().cum_sum(), frame.schema["tier_amount"].inner))
    ordered = frame.sort(LINE_KEYS).select(
        pl.col(TEXT_COLUMNS).cast(pl.String),
        pl.col(INTEGER_COLUMNS).cast(pl.Int64),
        pl.col(DATE_COLUMNS).cast(pl.Date).cast(pl.Int32),
        *(_cut(pl.col(name), frame.schema[name]) for name in ("quantity", "rated_quantity", "amount")),
        pl.col("tier_number").cast(pl.List(pl.String)).list.join(" "),
        pl.col("tier_units").list.eval(_cut(pl.element(), frame.schema["tier_units"].inner)).list.join(" "),
        totals.list.join(" "),
    )
    return frame_hash(ordered)


def usage_hash(usage: pa.Table) -> str:
    """SHA-256 of (subject, meter_id, period_start as a date, quantity to 12 digits), sorted."""
    frame: Any = pl.from_arrow(usage.select(["subject", "meter_id", "period_start", "quantity"]))
    ordered = frame.select(
        pl.col("subject").cast(pl.String),
        pl.col("meter_id").cast(pl.String),
        pl.col("period_start").cast(pl.Date).cast(pl.Int32),
        pl.col("quantity").cast(pl.Decimal(38, 12)).cast(pl.String),
    ).sort("subject", "meter_id", "period_start")
    return frame_hash(ordered)


def amounts_hash(amount_minor: pa.Array) -> str:
    """SHA-256 of int64 amounts in the order given."""
    return frame_hash(pl.DataFrame({"amount_minor": amount_minor}))


def frame_hash(frame: pl.DataFrame) -> str:
    """SHA-256 of the rows as text, in the order given, and of the column types."""
    digest = hashlib.sha256(str(frame.schema).encode())
    for start in range(0, len(frame), 100_000):
        part = frame.slice(start, 100_000)
        text = part.select(pl.concat_str(pl.all(), separator="|")).to_series().to_list()
        digest.update("\n".join(text).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def machine_facts() -> str:
    """Processor count, memory and Python version: enough to know what a figure may be compared with."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory_gb:.0f} GB, {platform.machine()}, {python}"


def _cut(column: pl.Expr, kind: Any) -> pl.Expr:
    """Decimals as text with 12 fraction digits, further ones cut."""
    text = column.cast(pl.Decimal(38, kind.scale)).cast(pl.String)
    return text if kind.scale == KEPT_DIGITS else text.str.head(KEPT_DIGITS - kind.scale)


def _rate(rows: int, seconds: float) -> float:
    return round(rows / seconds, 1) if seconds > 0 else 0.0
