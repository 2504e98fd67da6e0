"""`ratemill serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.session import Session, command


def add_commands(app: typer.Typer) -> None:
    @command(app, "serve")
    def serve(
        session: Session,
        host: Annotated[str | None, typer.Option(help="Address to listen on. [RATEMILL_HOST]")] = None,
        port: Annotated[int | None, typer.Option(help="Port to listen on; 0: any. [RATEMILL_PORT]")] = None,
        scheduler: Annotated[
            bool | None,
            typer.Option("--scheduler/--no-scheduler", help="Bill what becomes due. [RATEMILL_SCHEDULER]"),
        ] = None,
    ) -> None:
        """Serve the HTTP API; owns the data folder until it is stopped (Ctrl-C or SIGTERM)."""
        from api.serve import run_server  # noqa: PLC0415 - loads the stores

        changed: dict[str, object] = {}
        if host is not None:
            changed["host"] = host
        if port is not None:
            changed["port"] = port
        if scheduler is not None:
            changed["scheduler"] = "on" if scheduler else "off"
        settings = session.settings.model_copy(update=changed)

        def announce(url: str) -> None:
            if session.as_json:
                session.show_json({"url": url})
                return
            session.out.print(f"Ratemill serves {settings.data} at {url}", markup=False, soft_wrap=True)
            session.out.print(f"  description  {url}/openapi.json")
            session.out.print("  first key    ratemill keys create --scope admin", markup=False)
            session.out.print("  stop         Ctrl-C")

        run_server(settings, announce=announce)
