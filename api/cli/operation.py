"""`ratemill schema` and `ratemill status`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.session import Session, command


def add_commands(app: typer.Typer) -> None:
    @command(app, "schema")
    def schema(
        session: Session,
        kind: Annotated[
            str, typer.Argument(help="meter, plan, customer, calendar, contract, credit or top-up.")
        ],
    ) -> None:
        """The JSON schema of a document: every field, its type and its words."""
        import json  # noqa: PLC0415

        from api.schemas import schema_for  # noqa: PLC0415

        answer = schema_for(kind)
        session.show(answer, json.dumps(answer, indent=2))

    @command(app, "status")
    def status(session: Session) -> None:
        """Whom commands talk to here, and whether both stores answer."""
        with session.client(needs_key=False) as client:
            answer = {"using": client.where, **client.get("/health")}
        words = (
            f"Ratemill {answer['version']}: {answer['status']}\n"
            f"  using        {answer['using']}\n"
            f"  event store  {answer['event_store']}\n"
            f"  ledger       {answer['ledger']}"
        )
        session.show(answer, words)
