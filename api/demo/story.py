"""The demo from top to bottom: write the events, save the contracts, send, bill, read back.

Everything goes through the HTTP client, with the same calls a user's program would make; the demo
has no back door. Each step says what it does before it does it, and is timed. Running it again
sends everything again: that nothing changes is part of what it shows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from api.client import ApiProblem, FileReport, RatemillClient
from api.demo import catalogue
from api.demo.flights import FlightCounts, FlightTables, count_flights, flight_events
from api.demo.result import DemoResult, read_result
from api.demo.show import Stage, heading, money, say
from ingest.errors import BrokenState

FLIGHTS_FILE: Final = "flights.parquet"
GATES_FILE: Final = "gates.ndjson"
ROWS_PER_GROUP: Final = 50_000
POLL_SECONDS: Final = 0.05
JSON: Final = "application/json"


@dataclass(slots=True)
class Story:
    """What the demo carries from step to step. ``folder`` holds everything it writes."""

    client: RatemillClient
    folder: Path
    console: Console
    stages: list[Stage] = field(default_factory=list)

    @contextmanager
    def timed(self, name: str, unit: str) -> Iterator[list[int]]:
        """Time a step; the block appends how many records it worked on."""
        counted: list[int] = []
        start = time.perf_counter()
        yield counted
        self.stages.append(Stage(name, sum(counted) if counted else None, unit, time.perf_counter() - start))

    @contextmanager
    def progress(self, words: str, total: int | None) -> Iterator[tuple[Progress, TaskID]]:
        """A progress bar that stays on the screen when it is full."""
        columns = (TextColumn("   {task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        with Progress(*columns, TimeElapsedColumn(), console=self.console) as bar:
            yield bar, bar.add_task(words, total=total)


@dataclass(frozen=True, slots=True)
class Told:
    """What the run of the demo came to. ``report``: of the billing run, as the API gives it."""

    counts: FlightCounts
    sent: tuple[FileReport, ...]
    report: dict[str, Any]
    result: DemoResult
    stages: tuple[Stage, ...]


def tell(client: RatemillClient, tables: FlightTables, *, folder: Path, console: Console) -> Told:
    """Run the demo on ``tables`` against ``client``; writes its event files into ``folder``.

    Raises ApiProblem when a step is refused, BrokenState when a sum does not agree.
    """
    story = Story(client, folder, console)
    counts = count_flights(tables)
    files = _write_event_files(story, tables, counts)
    _save_catalogue(story, tables)
    sent = tuple(_send(story, path) for path in files)
    report = _bill(story, sum(file.records for file in sent))
    heading(console, 5, "Check: read every invoice back and add it up again")
    with story.timed("read back and check", "lines") as counted:
        result = read_result(client, tables.airlines)
        counted.append(result.line_count)
    return Told(counts, sent, report, result, tuple(story.stages))


def _write_event_files(story: Story, tables: FlightTables, counts: FlightCounts) -> tuple[Path, Path]:
    heading(story.console, 1, f"Write {counts.flights:,} flights as usage events")
    say(
        story.console,
        "One event a flight: who (airline), when (scheduled departure), how much (miles), and properties "
        "such as origin and seats.\n"
        f"{counts.cancelled:,} flights never departed: status=cancelled, and the meters leave them out.\n"
        f"{counts.without_seats:,} flights name no plane whose seats are known: they have no seat-miles.",
    )
    flights, gates = story.folder / FLIGHTS_FILE, story.folder / GATES_FILE
    with story.timed("write event files", "events") as counted:
        events = flight_events(tables)
        # A name of its own until it is whole, so that a stopped demo leaves no half file behind.
        unfinished = flights.with_suffix(".unfinished")
        pq.write_table(events, unfinished, compression="zstd", row_group_size=ROWS_PER_GROUP)
        unfinished.replace(flights)
        gates.write_bytes(catalogue.gate_leases())
        counted += [events.num_rows, catalogue.gate_leases().count(b"\n")]
    return gates, flights


def _save_catalogue(story: Story, tables: FlightTables) -> None:
    heading(story.console, 2, "Save what is counted, what it costs, and who pays")
    meters = catalogue.meter_documents()
    customers = catalogue.customer_documents(tables.airlines)
    contracts = catalogue.contract_documents(tables.airlines)
    with story.timed("save meters, plan, contracts", "documents") as counted:
        for meter in meters:
            story.client.put(f"/v1/meters/{meter['meter_id']}", orjson.dumps(meter), content_type=JSON)
        plan_id = catalogue.price_plan_document()["plan_id"]
        story.client.put(f"/v1/price-plans/{plan_id}", catalogue.price_plan_text())
        story.client.post_bytes("/v1/customers", orjson.dumps(customers), content_type=JSON)
        story.client.post_bytes("/v1/contracts", orjson.dumps(contracts), content_type=JSON)
        counted += [len(meters), 1, len(customers), len(contracts)]
    say(
        story.console,
        f"{len(meters)} meters, 1 price plan ({plan_id}; its prices are invented), {len(customers)} airlines "
        "with a contract each.",
    )


def _send(story: Story, path: Path) -> FileReport:
    if path.name == GATES_FILE:
        heading(story.console, 3, "Send the events, in batches, to POST /v1/events")
    with (
        story.timed(f"ingest {path.name}", "events") as counted,
        story.progress(path.name, path.stat().st_size) as (bar, task),
    ):
        report = story.client.post_file(path, progress=lambda done, _: bar.update(task, completed=done))
        bar.update(task, completed=path.stat().st_size)
        counted.append(report.records)
    say(
        story.console,
        f"{report.records:,} sent: {report.accepted:,} accepted, {report.duplicates:,} duplicates, "
        f"{report.conflicts:,} conflicts, {report.rejected:,} rejected.",
    )
    for refusal in report.refusals[:5]:
        say(story.console, f"line {refusal['line']}: {refusal['message']} [{refusal['reason_code']}]")
    if report.conflicts or report.rejected:
        raise BrokenState(
            f"{path.name} was not taken whole; the lines above say why. The demo needs a folder of its own: "
            f"move {story.folder} away and run it again."
        )
    return report


def _bill(story: Story, events: int) -> dict[str, Any]:
    heading(story.console, 4, f"Bill everything that is due as of {catalogue.END_DAY}")
    start = time.perf_counter()
    report = _billing_report(story)
    seconds = time.perf_counter() - start
    say(story.console, _billed(report))
    if report["held"]:
        raise BrokenState(
            f"{report['held']} billing dates are held: {report['held_by_reason']}. The demo needs a folder "
            f"of its own: move {story.folder} away and run it again."
        )
    if report["due"]:
        story.stages += _billing_stages(report, events=events, seconds=seconds)
    else:
        story.stages.append(Stage("bill: nothing due", None, "", seconds))
    return report


def _billed(report: dict[str, Any]) -> str:
    if not report["due"]:
        return str(report["summary"])
    total = money(report["totals_minor"].get("USD", 0))
    return f"{report['due']} billing dates due, {report['issued']} invoices issued: {total} USD."


def _billing_report(story: Story) -> dict[str, Any]:
    run = story.client.post(
        "/v1/billing-runs", {"as_of": catalogue.END_DAY, "issue": True}, params={"wait": "false"}
    )
    with story.progress("billing run", None) as (bar, task):
        while run["state"] == "running":
            time.sleep(POLL_SECONDS)
            run = story.client.get(f"/v1/billing-runs/{run['run_id']}")
            for stage in run["stages"][-1:]:
                bar.update(task, description=stage["stage"], completed=stage["done"], total=stage["total"])
        bar.update(task, description="billing run", completed=1, total=1)
    if run["problem"] is not None:
        raise ApiProblem(run["problem"])
    report: dict[str, Any] = run["report"]
    return report


def _billing_stages(report: dict[str, Any], *, events: int, seconds: float) -> Iterator[Stage]:
    """The stages the run timed itself, with what went through each, and the rest as one."""
    told = {name: float(value) for name, value in report["stage_seconds"].items()}
    worked_on = {
        "roll up": (events, "events"),
        "rate": (report["lines"], "lines"),
        "write rated lines": (report["lines"], "lines"),
        "draft": (report["invoiced"], "invoices"),
        "issue": (report["invoiced"], "invoices"),
    }
    for name, (records, unit) in worked_on.items():
        if name in told:
            yield Stage(f"bill: {name}", records, unit, told.pop(name))
            seconds -= float(report["stage_seconds"][name])
    yield Stage("bill: find due, check, wait", None, "", max(seconds, 0))
