"""`ratemill audit`: who changed what, when and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from api.cli.session import Column, Limit, Session, command, group, moment, more, table


def _change(item: Mapping[str, Any]) -> str:
    """What changed, field by field: ``state: draft -> issued``."""
    before, after = item["before"] or {}, item["after"] or {}
    names = [name for name in before | after if before.get(name) != after.get(name)]
    return ", ".join(f"{name}: {before.get(name, '-')} -> {after.get(name, '-')}" for name in names)


ENTRY_COLUMNS: tuple[Column, ...] = (
    ("no.>", "sequence"),
    ("at", moment("occurred_at")),
    ("who", "actor"),
    ("did", "action"),
    ("what", lambda item: f"{item['object_kind']} {item['object_id']}"),
    ("change", _change),
    ("why", "reason"),
)


def add_commands(app: typer.Typer) -> None:
    audit = group(app, "audit", "The audit trail: who changed what, when and why.")
    _add_list(audit)


def _add_list(sub: typer.Typer) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        actor: Annotated[str | None, typer.Option(help="Only what this API key, or `system`, did.")] = None,
        action: Annotated[str | None, typer.Option(help="Only this, like issued.")] = None,
        kind: Annotated[str | None, typer.Option(help="Only this kind of object, like invoice.")] = None,
        object_id: Annotated[str | None, typer.Option("--object", help="Only this object, by id.")] = None,
        time_from: Annotated[str | None, typer.Option("--from", help="From this instant on.")] = None,
        time_to: Annotated[str | None, typer.Option("--to", help="Before this instant.")] = None,
        limit: Limit = 100,
    ) -> None:
        """Changes, newest first."""
        params = {
            "actor": actor,
            "action": action,
            "object_kind": kind,
            "object_id": object_id,
            "time_from": time_from,
            "time_to": time_to,
            "limit": limit,
        }
        with session.client() as client:
            answer = client.get("/v1/audit", params)
        if not answer["items"]:
            session.show(answer, "Nothing was changed yet that the audit trail keeps.")
            return
        rest = [more(limit)] if answer["next_cursor"] else []
        session.show(answer, table(answer["items"], ENTRY_COLUMNS), *rest)
