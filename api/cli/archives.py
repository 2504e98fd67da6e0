"""`ratemill events archive`, `restore` and `archives`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.session import Column, Session, command, moment, table

PATH = "/v1/archives"
ARCHIVE_COLUMNS: tuple[Column, ...] = (
    ("made at", moment("made_at")),
    ("before", moment("time_before")),
    ("types", "types"),
    ("events>", "event_count"),
    ("state", "state"),
    ("folder", "folder"),
)


def add_commands(events: typer.Typer) -> None:
    """Add the commands of archives to `ratemill events`."""

    @command(events, "archive")
    def archive(
        session: Session,
        before: Annotated[str, typer.Option(help="Events before this time, with zone.")],
        to: Annotated[Path, typer.Option(help="A new folder for the files, on the machine of the server.")],
    ) -> None:
        """Move billed events to Parquet files. They stay known, and what was added up of them stays."""
        with session.client() as client:
            answer = client.post(PATH, {"time_before": before, "folder": str(to.absolute())})
        session.show(
            answer,
            f"{answer['event_count']:,} events and versions of events before {answer['time_before']} are in "
            f"{answer['folder']} and "
            "not in "
            "the store any more. Keep the folder: `ratemill events restore` puts them back from it.",
        )

    @command(events, "restore")
    def restore(
        session: Session,
        folder: Annotated[Path, typer.Argument(help="The folder, on the machine of the server.")],
    ) -> None:
        """Put archived events back into the store."""
        with session.client() as client:
            answer = client.post(f"{PATH}/restore", {"folder": str(folder.absolute())})
        session.show(answer, f"{answer['event_count']:,} events are in the store again.")

    @command(events, "archives")
    def archives(session: Session) -> None:
        """Archives that were made, and where their files are."""
        with session.client() as client:
            answer = client.get(PATH)
        items = answer["items"]
        session.show(answer, table(items, ARCHIVE_COLUMNS) if items else "Nothing was archived.")
