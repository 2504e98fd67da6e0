"""`ratemill audit`: who changed what, when and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from api.cli.session import Column, Limit, Session, command, group, moment, more, table

WHOLE_FROM: Final = 160
"""Characters from which a value is not for a cell."""


def _change(item: Mapping[str, Any]) -> str:
    """What changed, field by field: ``state: draft -> issued``."""
    before, after = item["before"] or {}, item["after"] or {}
    names = [name for name in before | after if before.get(name) != after.get(name)]
    return ", ".join(f"{name}: {_short(before, name)} -> {_short(after, name)}" for name in names)


def _short(state: Mapping[str, Any], name: str) -> str:
    """A value for a cell; a whole document, as of a deleted customer, is for --json."""
    value = state.get(name, "-")
    whole = isinstance(value, (dict, list)) and len(str(value)) > WHOLE_FROM
    return "(in --json)" if whole else str(value)


ENTRY_COLUMNS: tuple[Column, ...] = (
    ("no.>", "sequence"),
    ("at", moment("occurred_at")),
    ("who", "actor"),
    ("did", "action"),
    ("what", lambda item: f"{item['object_kind']} {item['object_id']}"),
    ("change", _change),
    ("why", "reason"),
)


SERIES_COLUMNS: tuple[Column, ...] = (
    ("series", "series"),
    ("documents>", "count"),
    ("first", "first"),
    ("last", "last"),
    ("from", "first_date"),
    ("to", "last_date"),
    ("", lambda item: "proved" if item["broken"] is None else "BROKEN"),
    ("end of the chain", "chain_hash"),
)
BROKEN_COLUMNS: tuple[Column, ...] = (("where", "place"), ("what", "words"), ("reason", "reason_code"))


def add_commands(app: typer.Typer) -> None:
    audit = group(app, "audit", "Who changed what, when and why; proof that the books are whole.")
    _add_list(audit)
    _add_verify(audit)


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


def _add_verify(sub: typer.Typer) -> None:
    @command(sub, "verify")
    def verify(session: Session) -> None:
        """Prove from what is stored that no number is missing and no issued document was changed. Status 1
        when something is."""
        with session.client() as client:
            answer = client.get("/v1/audit/verify")
        chains = table([*answer["series"], answer["audit_trail"]], SERIES_COLUMNS)
        if answer["proved"]:
            entries = answer["audit_trail"]["count"]
            words = f"Proved: {answer['documents']:,} documents, {entries:,} audit entries."
            session.show(answer, chains, words)
            return
        broken = table(answer["broken"], BROKEN_COLUMNS)
        session.show(answer, chains, "Not proved. The first in each series that is wrong:", broken)
        raise typer.Exit(1)
