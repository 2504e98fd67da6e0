"""`ratemill events amend`, `cancel`, `correct`, `corrections` and `history`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.session import Column, Limit, Session, command, grouped, moment, more, table
from api.problem import ALL_REFUSED, ApiProblem

if TYPE_CHECKING:
    from api.client import RatemillClient

PATH = "/v1/corrections"
CORRECTION_COLUMNS: tuple[Column, ...] = (
    ("corrected at", moment("corrected_at")),
    ("kind", "kind"),
    ("source", "source"),
    ("event", "corrects"),
    ("by", "id"),
    ("reason", "reason"),
)
VERSION_COLUMNS: tuple[Column, ...] = (
    ("id", "id"),
    ("time", "time"),
    ("value>", grouped("value")),
    ("properties", "properties"),
    ("state", "state"),
)
REFUSAL_COLUMNS: tuple[Column, ...] = (
    ("line>", "line"),
    ("outcome", "outcome"),
    ("reason", "reason_code"),
    ("what is wrong", "message"),
    ("expected", "expected"),
)

Event = Annotated[str, typer.Argument(help="The id of the event.")]
Source = Annotated[str, typer.Option(help="The source of the event.")]
OwnId = Annotated[str, typer.Option("--id", help="The correction's own id; the same again changes nothing.")]
Reason = Annotated[str, typer.Option(help="Why, for those who read it later.")]


def add_commands(events: typer.Typer) -> None:
    """Add the commands of corrections to `ratemill events`."""
    _add_amend(events)
    _add_cancel(events)
    _add_correct(events)
    _add_corrections(events)
    _add_history(events)


def _add_amend(events: typer.Typer) -> None:
    @command(events, "amend")
    def amend(
        session: Session,
        event: Event,
        source: Source,
        correction_id: OwnId,
        reason: Reason,
        value: Annotated[str | None, typer.Option(help="The right value.")] = None,
        time: Annotated[str | None, typer.Option(help="The right time, with zone.")] = None,
        properties: Annotated[
            list[str] | None,
            typer.Option("--property", help="NAME=TEXT; give all of them, they replace the event's."),
        ] = None,
    ) -> None:
        """Change the value, time or properties of an event. What is not given stays as it was."""
        changes: dict[str, Any] = {"value": value, "time": time}
        if properties:
            pairs = [one.partition("=") for one in properties]
            if bad := [name for name, sign, _ in pairs if not sign]:
                raise typer.BadParameter(f"{bad[0]!r} is not NAME=TEXT.", param_hint="--property")
            changes["properties"] = {name: text for name, _, text in pairs}
        _send_one(session, event, source, correction_id, reason, kind="amend", **changes)


def _add_cancel(events: typer.Typer) -> None:
    @command(events, "cancel")
    def cancel(session: Session, event: Event, source: Source, correction_id: OwnId, reason: Reason) -> None:
        """Let an event count no more, for good. It stays readable."""
        _send_one(session, event, source, correction_id, reason, kind="cancel")


def _send_one(
    session: Session, event: str, source: str, correction_id: str, reason: str, **more_fields: Any
) -> None:
    correction = {"source": source, "id": correction_id, "corrects": event, "reason": reason, **more_fields}
    given = {name: part for name, part in correction.items() if part is not None}
    with session.client() as client:
        _show_report(session, _taken(client, json.dumps(given).encode(), "application/json"))


def _add_correct(events: typer.Typer) -> None:
    @command(events, "correct")
    def correct(
        session: Session,
        file: Annotated[
            Path, typer.Argument(exists=True, dir_okay=False, help="Corrections, NDJSON or a JSON array.")
        ],
    ) -> None:
        """Send a file of corrections. Leaves with status 1 when any record was refused."""
        media_type = "application/json" if file.suffix == ".json" else "application/x-ndjson"
        with session.client() as client:
            _show_report(session, _taken(client, file.read_bytes(), media_type))


def _taken(client: RatemillClient, body: bytes, media_type: str) -> Any:
    """The report, also of a batch that was refused whole."""
    try:
        return client.post_bytes(PATH, body, content_type=media_type)
    except ApiProblem as refused:
        if refused.reason_code != ALL_REFUSED:
            raise
        return refused.document


def _show_report(session: Session, answer: Any) -> None:
    counted = [f"{answer[name]:,} {name}" for name in ("accepted", "duplicates", "conflicts", "rejected")]
    shown: list[Any] = [f"Corrections: {', '.join(counted)}."]
    if answer["refusals"]:
        shown.append(table(answer["refusals"], REFUSAL_COLUMNS, title="Refused"))
    session.show(answer, *shown)
    if answer["refusals"]:
        raise typer.Exit(1)


def _add_corrections(events: typer.Typer) -> None:
    @command(events, "corrections")
    def corrections(
        session: Session,
        source: Annotated[str | None, typer.Option(help="Only from this source.")] = None,
        subject: Annotated[str | None, typer.Option(help="Only of this subject's events.")] = None,
        limit: Limit = 20,
    ) -> None:
        """Corrections, latest first, with their reasons."""
        with session.client() as client:
            answer = client.get(PATH, {"source": source, "subject": subject, "limit": limit})
        items = answer["items"]
        shown: list[Any] = [table(items, CORRECTION_COLUMNS) if items else "Nothing was corrected."]
        if answer["next_cursor"]:
            shown.append(more(limit))
        session.show(answer, *shown)


def _add_history(events: typer.Typer) -> None:
    @command(events, "history")
    def history(session: Session, event: Event, source: Source) -> None:
        """An event as it was sent, as it counts now, and every correction between."""
        with session.client() as client:
            answer = client.get("/v1/events/history", {"source": source, "id": event})
        versions = [answer["sent"], *answer["versions"]]
        shown: list[Any] = [table(versions, VERSION_COLUMNS, title=f"Versions of {answer['sent']['id']}")]
        if answer["corrections"]:
            shown.append(table(answer["corrections"], CORRECTION_COLUMNS, title="Corrections"))
        session.show(answer, *shown)
