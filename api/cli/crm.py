"""`ratemill crm`: what a CRM tells of, sent from files, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import typer

from api.cli.session import Column, Limit, Session, command, group, moment, more, table

Kind = Literal["customer", "product", "price_list", "promotion", "opportunity", "quote"]
System = Annotated[str, typer.Option(help="The system, like crm.")]
SHOWN_MAX: Final = 20
_MEDIA: Final = {".csv": "text/csv", ".ndjson": "application/x-ndjson", ".jsonl": "application/x-ndjson"}


def _why(item: Any) -> str:
    return " ".join(issue["message"] for issue in item["issues"])


TAKEN_COLUMNS: Final[tuple[Column, ...]] = (
    ("kind", "kind"),
    ("external id", "external_id"),
    ("here", "key"),
    ("became", "outcome"),
    ("why", _why),
)
OBJECT_COLUMNS: Final[tuple[Column, ...]] = (
    ("system", "system"),
    ("kind", "kind"),
    ("external id", "external_id"),
    ("here", "key"),
    ("changed", moment("changed_at")),
    ("state", "state"),
    ("why", _why),
)
CONFLICT_COLUMNS: Final[tuple[Column, ...]] = (
    ("system", "system"),
    ("kind", "kind"),
    ("external id", "external_id"),
    ("changed", moment("changed_at")),
    ("received", moment("received_at")),
    ("says", "document"),
)


def add_commands(app: typer.Typer) -> None:
    sub = group(app, "crm", "What a CRM tells of: customers, catalogue, opportunities, quotes.")
    _add_sync(sub)
    _add_lists(sub)

    @command(sub, "retry")
    def retry(session: Session, system: System) -> None:
        """Apply what was refused or waits, once what was in its way is put right."""
        with session.client() as client:
            answer = client.post(f"/v1/crm/{quote(system, safe='')}/retry")
        session.show(
            answer, f"{answer['applied']:,} applied. `ratemill crm list --state refused` shows the rest."
        )

    @command(sub, "secret")
    def secret(
        session: Session, system: Annotated[str, typer.Argument(help="The system, like crm.")]
    ) -> None:
        """What the system signs its webhooks with."""
        with session.client() as client:
            answer = client.get(f"/v1/crm/{quote(system, safe='')}/secret")
        session.show(answer, answer["secret"])


def _add_sync(sub: typer.Typer) -> None:
    @command(sub, "sync")
    def sync(
        session: Session,
        file: Annotated[
            Path,
            typer.Argument(exists=True, dir_okay=False, help=".ndjson, .csv, JSON or YAML with changes."),
        ],
        system: System,
        kind: Annotated[Kind | None, typer.Option(help="Of changes that do not say it.")] = None,
    ) -> None:
        """Send changes of a CRM. Again, or out of order, changes nothing that is later."""
        media_type = _MEDIA.get(file.suffix.lower(), "application/json")
        path = f"/v1/crm/{quote(system, safe='')}/changes"
        with session.client() as client:
            params = {"kind": kind}
            answer = client.post_bytes(path, file.read_bytes(), content_type=media_type, params=params)
        words = (
            "{applied:,} applied, {unchanged:,} unchanged, {stale:,} older than what is here, {waiting:,} "
            "wait, {refused:,} refused, {conflict:,} in conflict."
        )
        rows = [one for one in answer["items"] if one["outcome"] != "unchanged"]
        shown: list[Any] = [table(rows[:SHOWN_MAX], TAKEN_COLUMNS)] if rows else []
        if len(rows) > SHOWN_MAX:
            shown.append(f"{len(rows) - SHOWN_MAX:,} more rows; --json has all of them.")
        session.show(answer, words.format(**answer), *shown)


def _add_lists(sub: typer.Typer) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        system: Annotated[str | None, typer.Option(help="Only of this system.")] = None,
        kind: Annotated[Kind | None, typer.Option(help="Only of this kind.")] = None,
        state: Annotated[
            Literal["received", "applied", "waiting", "refused"] | None,
            typer.Option(help="Only in this state."),
        ] = None,
        limit: Limit = 100,
    ) -> None:
        """The latest change of each object, and what it is here."""
        params = {"system": system, "kind": kind, "state": state, "limit": limit}
        with session.client() as client:
            answer = client.get("/v1/crm/objects", params)
        empty = "Nothing here. `ratemill crm sync FILE --system crm` sends changes."
        _show(session, answer, OBJECT_COLUMNS, empty, limit)

    @command(sub, "conflicts")
    def conflicts(
        session: Session,
        system: Annotated[str | None, typer.Option(help="Only of this system.")] = None,
        limit: Limit = 100,
    ) -> None:
        """Changes that contradict one of the same instant; that came first and holds."""
        with session.client() as client:
            answer = client.get("/v1/crm/conflicts", {"system": system, "limit": limit})
        _show(session, answer, CONFLICT_COLUMNS, "No two changes of the same instant differ.", limit)


def _show(
    session: Session, answer: dict[str, Any], columns: tuple[Column, ...], empty: str, limit: int
) -> None:
    rest = [more(limit)] if answer["next_cursor"] else []
    session.show(answer, table(answer["items"], columns) if answer["items"] else empty, *rest)
