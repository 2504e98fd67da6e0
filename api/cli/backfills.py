"""`ratemill events backfill`, `backfills` and `undo-backfill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import typer

from api.cli.session import Column, Limit, Session, command, grouped, moment, more, table

PATH = "/v1/backfills"
SUM_COLUMNS: tuple[Column, ...] = (
    ("subject", "subject"),
    ("events before>", "count_before"),
    ("after>", "count_after"),
    ("value before>", grouped("value_before")),
    ("after>", grouped("value_after")),
)
BACKFILL_COLUMNS: tuple[Column, ...] = (
    ("made at", moment("made_at")),
    ("id", "backfill_id"),
    ("type", "type"),
    ("subjects", "subjects"),
    ("from", moment("time_from")),
    ("until before", moment("time_to")),
    ("amended>", "amended"),
    ("added>", "added"),
    ("withdrawn>", "withdrawn"),
    ("put back by", "undone_by"),
    ("reason", "reason"),
)
SUMS_SHOWN_MAX = 50


def add_commands(events: typer.Typer) -> None:
    """Add the commands of backfills to `ratemill events`."""
    _add_backfill(events)
    _add_backfills(events)
    _add_undo(events)


def _add_backfill(events: typer.Typer) -> None:
    @command(events, "backfill")
    def backfill(
        session: Session,
        file: Annotated[
            Path, typer.Argument(exists=True, dir_okay=False, help="The events that are to count instead.")
        ],
        event_type: Annotated[str, typer.Option("--type", help="Events of this type are replaced.")],
        time_from: Annotated[str, typer.Option("--from", help="From this time on, with zone.")],
        time_to: Annotated[str, typer.Option("--to", help="Before this time, with zone.")],
        reason: Annotated[str, typer.Option(help="Why, for those who read it later.")],
        subject: Annotated[
            list[str] | None, typer.Option(help="Only of this subject; may be repeated. Left out: of all.")
        ] = None,
        backfill_id: Annotated[
            str | None, typer.Option("--id", help="Its own id; the same again does nothing.")
        ] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change.")] = False,
    ) -> None:
        """Replace the events of a type and time by those of a file: all of it in one step, or nothing."""
        from ingest.media_type import file_media_type  # noqa: PLC0415

        media_type, encoding = file_media_type(file)
        params = {
            "type": event_type,
            "time_from": time_from,
            "time_to": time_to,
            "reason": reason,
            "subject": subject,
            "id": backfill_id or f"backfill-{uuid4().hex}",
            "dry_run": "true" if dry_run else None,
        }
        with session.client() as client:
            answer = client.post_bytes(
                PATH, file.read_bytes(), content_type=media_type, content_encoding=encoding, params=params
            )
        _show(session, answer)


def _add_backfills(events: typer.Typer) -> None:
    @command(events, "backfills")
    def backfills(session: Session, limit: Limit = 20) -> None:
        """Backfills that were made, latest first."""
        with session.client() as client:
            answer = client.get(PATH, {"limit": limit})
        items = answer["items"]
        shown: list[Any] = [table(items, BACKFILL_COLUMNS) if items else "No backfill was made."]
        if answer["next_cursor"]:
            shown.append(more(limit))
        session.show(answer, *shown)


def _add_undo(events: typer.Typer) -> None:
    @command(events, "undo-backfill")
    def undo(
        session: Session,
        backfill: Annotated[str, typer.Argument(help="The id of the backfill.")],
        reason: Annotated[str, typer.Option(help="Why, for those who read it later.")],
        undo_id: Annotated[str | None, typer.Option("--id", help="The undoing's own id.")] = None,
    ) -> None:
        """Put a backfill back: what it touched counts again as before."""
        with session.client() as client:
            path = f"{PATH}/{quote(backfill, safe='')}/undo"
            answer = client.post(path, {"reason": reason, "id": undo_id} if undo_id else {"reason": reason})
        _show(session, answer)


def _show(session: Session, answer: Any) -> None:
    counted = [f"{answer[name]:,} {name}" for name in ("kept", "amended", "added", "withdrawn")]
    begin = f"Backfill {answer['backfill_id']}" if answer["applied"] else "Nothing was written. It would be"
    words = f"{begin}: {', '.join(counted)}."
    if answer["repeated"]:
        words = f"Backfill {answer['backfill_id']} was made before; nothing was done."
    sums = answer["sums"]
    shown: list[Any] = [words]
    if sums:
        shown.append(table(sums[:SUMS_SHOWN_MAX], SUM_COLUMNS))
    if len(sums) > SUMS_SHOWN_MAX:
        shown.append(f"and {len(sums) - SUMS_SHOWN_MAX:,} subjects more; --json has all.")
    session.show(answer, *shown)
