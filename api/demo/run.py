"""Runs the demo for a person at a terminal: opens the folder, tells the story, shows what it came to."""

from __future__ import annotations

from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from api.cli.session import Session
from api.client import RatemillClient
from api.demo import catalogue
from api.demo.flights import flights_folder, read_flight_tables
from api.demo.show import airline_table, heading, money, next_steps, say, stage_table
from api.demo.story import Told, tell
from ingest.errors import BrokenState

INVOICE_FILE: Final = "largest-invoice.pdf"
_USAGE: Final = (
    "ratemill usage seat-miles --subject UA --window month --time-zone America/New_York "
    "--from 2013-12-01T05:00:00Z --to 2014-02-01T05:00:00Z"
)


def run_demo(session: Session) -> None:
    """Tell the story in the session's data folder and print the outcome.

    Raises NotFound (the flights are not installed), ApiProblem, StoreUnavailable, BrokenState.
    """
    folder = session.settings.data
    console = Console(file=StringIO()) if session.as_json else session.out
    tables = read_flight_tables(flights_folder())
    folder.mkdir(parents=True, exist_ok=True)
    _welcome(console, folder)
    with ExitStack() as open_folder:
        with console.status("Opening the folder. The first time after installing, fast code is compiled ..."):
            client = open_folder.enter_context(session.client())
        told = tell(client, tables, folder=folder, console=console)
        explanation = client.get_bytes(
            f"/v1/lines/{told.result.explained_line_id}", accept="text/plain", params={"format": "text"}
        ).decode()
        pdf = _write_pdf(client, folder, told)
    if session.as_json:
        session.show_json(_summary(told, pdf))
        return
    show(console, told, explanation, pdf, folder)


def _welcome(console: Console, folder: Path) -> None:
    console.print("[bold]Ratemill demo[/bold]: a year of flights out of New York, from events to invoices.")
    console.print(
        f"Everything it makes stays in ./{folder}; delete the folder to start afresh.", markup=False
    )


def _write_pdf(client: RatemillClient, folder: Path, told: Told) -> Path:
    path = folder / INVOICE_FILE
    invoice_id = told.result.largest_invoice["invoice_id"]
    path.write_bytes(client.get_bytes(f"/v1/invoices/{invoice_id}/pdf", accept="application/pdf"))
    return path


def show(console: Console, told: Told, explanation: str, pdf: Path, folder: Path) -> None:
    """Print what the story came to: sums, one line explained, tables, and what to try next."""
    result = told.result
    _show_check(console, told)
    heading(console, 6, "One line explained: landing fees of the largest invoice")
    console.print(explanation.rstrip(), markup=False, highlight=False, soft_wrap=True)
    console.print()
    plain = not console.encoding.startswith("utf")
    console.print(airline_table(result.airlines, width=console.width, ascii_only=plain))
    console.print(stage_table(told.stages))
    if told.report["due"]:
        console.print(
            "The first time after installing, roll up and rate also compile their code.", style="dim"
        )
        console.print()
    if not any(report.accepted for report in told.sent):
        _why_nothing_changed(console, told)
    console.print(f"The largest invoice as PDF: {pdf}", markup=False)
    console.print()
    next_steps(console, _next_steps(folder, told))


def _show_check(console: Console, told: Told) -> None:
    result, counts = told.result, told.counts
    flown = counts.flights - counts.cancelled
    rows = [
        (f"sum of {result.line_count:,} lines", f"{money(result.lines_minor)} USD"),
        (f"sum of {result.invoice_count:,} invoices", f"{money(result.total_minor)} USD"),
        ("departures on the invoices", f"{result.departures:,}"),
        ("departures in the flights table", f"{flown:,}"),
    ]
    say(console, "\n".join(f"{words:<32}{figure:>20}" for words, figure in rows))
    if result.departures != flown:
        raise BrokenState(
            f"{result.departures:,} departures are on the invoices, {flown:,} in the flights table. Move "
            "the folder away and run the demo again; if they still differ, please report it."
        )


def _why_nothing_changed(console: Console, told: Told) -> None:
    records = sum(report.records for report in told.sent)
    console.print("[bold]This was not the first run, and nothing changed:[/bold]")
    say(
        console,
        f"{records:,} events sent, 0 accepted: each (source, id) counts once, for ever.\n"
        f"0 billing dates due: all {told.result.invoice_count} are settled, and an issued invoice never "
        "changes.",
    )
    console.print()


def _next_steps(folder: Path, told: Told) -> list[tuple[str, str]]:
    line_id = told.result.explained_line_id
    event = (
        '{"source": "tour", "id": "flight-1", "type": "flight", "subject": "UA", "value": "2454", '
        '"time": "2014-01-02T13:00:00Z", '
        '"properties": {"origin": "EWR", "hour": "08", "status": "departed", "seats": "179"}}'
    )
    post = (
        'curl -s http://127.0.0.1:8787/v1/events -H "Authorization: Bearer $RATEMILL_KEY" '
        f"-H 'Content-Type: application/json' -d '{event}'"
    )
    return [
        (
            "look at this folder with the command line",
            f"source .venv/bin/activate; export RATEMILL_DATA={folder}",
        ),
        ("explain an invoice line, down to its tiers and events", f"ratemill explain {line_id} --events 3"),
        ("make a key, shown this once", "export RATEMILL_KEY=$(ratemill keys create --scope admin)"),
        ("open the server (it stops with `kill %1`)", "ratemill serve &"),
        ("post an event; the second time it is a duplicate", post),
        ("ask for usage: the event is counted at once", _USAGE),
    ]


def _summary(told: Told, pdf: Path) -> dict[str, Any]:
    result = told.result
    return {
        "flights": told.counts.flights,
        "cancelled": told.counts.cancelled,
        "without_seats": told.counts.without_seats,
        "files": [report.to_dict() for report in told.sent],
        "billing_run": told.report,
        "invoices": result.invoice_count,
        "lines": result.line_count,
        "currency": "USD",
        "total_minor": result.total_minor,
        "departures": result.departures,
        "explained_line_id": result.explained_line_id,
        "pdf": str(pdf),
        "as_of": catalogue.END_DAY,
    }
