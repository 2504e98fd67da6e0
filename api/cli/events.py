"""`ratemill ingest` and `ratemill events`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api.cli import archives, backfills, corrections, refusals
from api.cli.session import Column, Limit, Session, command, group, grouped, more, table

if TYPE_CHECKING:
    from api.client import FileReport, RatemillClient

REFUSAL_COLUMNS: tuple[Column, ...] = (
    ("line>", "line"),
    ("outcome", "outcome"),
    ("reason", "reason_code"),
    ("field", "field"),
    ("what is wrong", "message"),
    ("expected", "expected"),
)
COUNT_COLUMNS: tuple[Column, ...] = (
    ("file", "path"),
    ("records>", "records"),
    ("accepted>", "accepted"),
    ("duplicates>", "duplicates"),
    ("conflicts>", "conflicts"),
    ("rejected>", "rejected"),
)
EVENT_COLUMNS: tuple[Column, ...] = (
    ("time", "time"),
    ("type", "type"),
    ("subject", "subject"),
    ("value>", grouped("value")),
    ("properties", "properties"),
    ("source", "source"),
    ("id", "id"),
    ("state", "state"),
)
UNMATCHED_COLUMNS: tuple[Column, ...] = (
    ("type", "type"),
    ("a meter?", "type_known"),
    ("subject", "subject"),
    ("a contract?", "subject_known"),
    ("events>", "event_count"),
    ("first", "first_time"),
    ("last", "last_time"),
)
REFUSALS_SHOWN_MAX = 20


def add_commands(app: typer.Typer) -> None:
    @command(app, "ingest")
    def ingest(
        session: Session,
        files: Annotated[
            list[Path],
            typer.Argument(
                exists=True, dir_okay=False, help="NDJSON, JSON, CSV, Parquet or Arrow files of events."
            ),
        ],
    ) -> None:
        """Send files of events. Sending a file again changes nothing: an event counts once for ever.

        Leaves with status 1 when any record was refused.
        """
        with session.client() as client:
            reports = [send_file(session, client, path) for path in files]
        answer = {"files": [report.to_dict() for report in reports]}
        refusals = [refusal for report in reports for refusal in report.refusals]
        shown: list[Any] = [table(answer["files"], COUNT_COLUMNS)]
        if refusals:
            shown.append(table(refusals[:REFUSALS_SHOWN_MAX], REFUSAL_COLUMNS, title="Refused"))
            if len(refusals) > REFUSALS_SHOWN_MAX:
                shown.append("`ratemill events refused` shows the rest.")
        session.show(answer, *shown)
        if refusals:
            raise typer.Exit(1)

    events = group(app, "events", "Events: those taken, those refused, those nothing bills.")
    _add_list(events)
    refusals.add_commands(events)
    _add_unmatched(events)
    corrections.add_commands(events)
    backfills.add_commands(events)
    archives.add_commands(events)


def send_file(session: Session, client: RatemillClient, path: Path) -> FileReport:
    """Send one file with a progress bar on stderr."""
    if session.as_json:
        return client.post_file(path)
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=session.err, transient=True) as bar:
        task = bar.add_task(path.name, total=path.stat().st_size)
        return client.post_file(
            path, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )


def _add_list(events: typer.Typer) -> None:
    @command(events, "list")
    def list_stored(
        session: Session,
        subject: Annotated[str | None, typer.Option(help="Only this subject's.")] = None,
        event_type: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
        source: Annotated[str | None, typer.Option(help="Only from this source.")] = None,
        time_from: Annotated[str | None, typer.Option("--from", help="From this time on, with zone.")] = None,
        time_to: Annotated[str | None, typer.Option("--to", help="Before this time, with zone.")] = None,
        state: Annotated[
            Literal["in_force", "amended", "cancelled"] | None, typer.Option(help="Only those in this state.")
        ] = None,
        limit: Limit = 20,
    ) -> None:
        """Events on record, latest first; of an amended one, each version."""
        params = {
            "subject": subject,
            "type": event_type,
            "source": source,
            "time_from": time_from,
            "time_to": time_to,
            "state": state,
            "limit": limit,
        }
        with session.client() as client:
            answer = client.get("/v1/events", params)
        empty = "No such events. `ratemill ingest FILE` sends some."
        _show_list(session, answer, EVENT_COLUMNS, empty, limit)


def _add_unmatched(events: typer.Typer) -> None:
    @command(events, "unmatched")
    def list_unmatched(session: Session, limit: Limit = 20) -> None:
        """Events that nothing bills: no meter counts the type, or no contract has the subject."""
        with session.client() as client:
            answer = client.get("/v1/events/unmatched", {"limit": limit})
        empty = "Every event on record has a meter and a contract."
        _show_list(session, answer, UNMATCHED_COLUMNS, empty, limit)


def _show_list(session: Session, answer: Any, columns: tuple[Column, ...], empty: str, limit: int) -> None:
    shown: list[Any] = [table(answer["items"], columns) if answer["items"] else empty]
    if answer.get("next_cursor"):
        shown.append(more(limit))
    session.show(answer, *shown)
