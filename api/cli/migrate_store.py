"""`ratemill migrate-store`: the event store's data into another event store."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.session import Column, Session, command, table

_COLUMNS: tuple[Column, ...] = (
    ("table", "table"),
    ("rows>", "rows"),
    ("parts>", "parts"),
    ("copied now>", "copied"),
)


def add_commands(app: typer.Typer) -> None:
    @command(app, "migrate-store")
    def migrate_store(
        session: Session,
        to: Annotated[
            str, typer.Option(help="The new event store: http(s)://USER:PASSWORD@HOST:PORT/DATABASE.")
        ],
        to_cluster: Annotated[
            str | None, typer.Option(help="Name of its cluster; left out: a server on its own.")
        ] = None,
    ) -> None:
        """Copy the event store to a ClickHouse server and compare; stopped, it goes on when asked again."""
        from api.move import move_event_store  # noqa: PLC0415 - loads the stores

        def progress(name: str, done: int, parts: int) -> None:
            session.say(f"{name}: {done:,} of {parts:,} parts")

        copied = move_event_store(session.settings, to=to, to_cluster=to_cluster, progress=progress)
        answer = {"tables": [one.to_dict() for one in copied]}
        words = (
            "All rows are there and equal. Set RATEMILL_EVENTS_URL (and RATEMILL_EVENTS_CLUSTER) to the new "
            "event store, keep the ledger, and start `ratemill serve` again."
        )
        session.show(answer, table(answer["tables"], _COLUMNS, title="Copied"), words)
