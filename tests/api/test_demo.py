"""Goal: the demo bills what the flights say, to the cent, and running it again changes nothing.

A slice of the year (one flight in forty, all sixteen airlines, all gate leases) goes through the real
API into real stores; each of the 192 invoices is compared with ``demo_expectation``, which shares no code.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest
from rich.console import Console
from sqlalchemy import Engine

from api.client import RatemillClient
from api.demo import catalogue
from api.demo.flights import FlightTables, flights_folder, read_flight_tables
from api.demo.run import show
from api.demo.show import AirlineYear, airline_table, money, sparkline
from api.demo.story import tell
from api.private import listening, serving
from api.settings import Settings
from api.state import compose
from ingest.clickhouse import EventStore
from ingest.clock import SystemClock
from ingest.document import validate_document
from ingest.meter import Meter, meter_rules
from rating.contract import Contract
from rating.plan_rules import price_plan_rules
from rating.price_plan import PricePlan
from tests.api.demo_expectation import expected_totals, seats_by_tail_number

ONE_IN = 40


@pytest.fixture(scope="module")
def tables() -> FlightTables:
    every = read_flight_tables(flights_folder())
    return FlightTables(every.flights.gather_every(ONE_IN), every.planes, every.airlines)


@pytest.fixture
def client(event_store: EventStore, ledger: Engine, data_folder: Path) -> Iterator[RatemillClient]:
    state = compose(Settings(data=data_folder), SystemClock(), event_store, ledger)
    token = state.keys.grant_in_memory("demo test", ["admin"])
    socket = data_folder / "demo.sock"
    with (
        listening(socket) as listener,
        serving(state, listener),
        httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket), verify=False),
            base_url="http://ratemill",
            headers={"Authorization": f"Bearer {token}"},
            timeout=120,
        ) as http,
    ):
        yield RatemillClient(http, "the demo's test server")
    state.runs.wait()


@pytest.mark.requirement("MET-11")
@pytest.mark.requirement("CON-04")
def test_every_invoice_is_what_an_independent_computation_says(
    client: RatemillClient, tables: FlightTables, tmp_path: Path
) -> None:
    told = tell(client, tables, folder=tmp_path, console=Console(file=io.StringIO()))
    expected = expected_totals(
        tables.flights.iter_rows(named=True),
        seats_by_tail_number(flights_folder()),
        catalogue.gate_leases(),
        tables.airlines["carrier"],
    )
    billed = {
        (year.carrier, month): total_minor
        for year in told.result.airlines
        for month, total_minor in enumerate(year.totals_minor, start=1)
    }
    assert billed == expected
    assert told.result.invoice_count == 16 * 12
    assert told.result.lines_minor == told.result.total_minor == sum(expected.values())
    assert told.result.departures == told.counts.flights - told.counts.cancelled


@pytest.mark.requirement("MET-09")
def test_a_second_run_changes_nothing_and_says_why(
    client: RatemillClient, tables: FlightTables, tmp_path: Path
) -> None:
    first = tell(client, tables, folder=tmp_path, console=Console(file=io.StringIO()))
    before = client.get("/v1/invoices", {"limit": 200})
    console = Console(file=io.StringIO(), width=200)
    second = tell(client, tables, folder=tmp_path, console=console)
    show(console, second, "explained", tmp_path / "invoice.pdf", tmp_path)
    said = console.file.getvalue()  # type: ignore[attr-defined]

    assert sum(report.accepted for report in first.sent) == tables.flights.height + 27
    assert sum(report.accepted for report in second.sent) == 0
    assert sum(report.duplicates for report in second.sent) == tables.flights.height + 27
    assert second.result == first.result
    assert client.get("/v1/invoices", {"limit": 200}) == before
    assert "each (source, id) counts once, for ever" in said
    assert "0 billing dates due: all 192 are settled" in said


def test_documents_are_valid_and_their_prices_are_called_invented() -> None:
    meters = {
        meter.meter_id: meter
        for meter in (
            validate_document(Meter, document, what="meter", rules=meter_rules)
            for document in catalogue.meter_documents()
        )
    }
    validate_document(
        PricePlan,
        catalogue.price_plan_document(),
        what="plan",
        rules=lambda plan: price_plan_rules(plan, meters=meters),
    )
    airlines = pl.DataFrame({"carrier": ["UA"], "name": ["United Air Lines Inc."]})
    for document in catalogue.contract_documents(airlines):
        validate_document(Contract, document, what="contract")
    assert b"INVENTED" in catalogue.price_plan_text()


@pytest.mark.parametrize(
    ("minor", "words"), [(0, "0.00"), (5, "0.05"), (-1234567, "-12,345.67"), (30449508225, "304,495,082.25")]
)
def test_money_is_written_from_integers(minor: int, words: str) -> None:
    assert money(minor) == words


def test_sparkline_has_one_bar_a_value_from_the_smallest_to_the_largest() -> None:
    assert sparkline([10, 14, 17]) == "▁▅█"
    assert sparkline([7, 7]) == "▅▅"
    assert sparkline([]) == ""
    assert sparkline([1, 2], bars=".#") == ".#"


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_of_airlines_fits_the_terminal_without_a_broken_number(width: int) -> None:
    months = tuple(range(400_000_000, 520_000_000, 10_000_000))
    year = AirlineYear("EV", "ExpressJet Airlines Inc.", 51_356, months)
    console = Console(file=io.StringIO(), width=width)
    console.print(airline_table([year], width=width, ascii_only=True))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(text in said for text in ("ExpressJet Airlines", "51,356", money(year.total_minor)))
    assert (money(max(months)) in said) == (width == 120)
