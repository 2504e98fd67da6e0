"""The command ``ratemill``: a thin client of the HTTP API, so both say the same things.

Command modules import what they need inside their functions: `ratemill price` must start at once.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer

from ingest.errors import BrokenState

ROOMS: Final = ("ingest", "rollup", "rating", "invoicing", "api")
GROUPS: Final = (
    "serve",
    "migrate_store",
    "keys",
    "events",
    "stream",
    "documents",
    "usage",
    "entitlements",
    "rollups",
    "reports",
    "billing",
    "current_bill",
    "reviews",
    "credit_notes",
    "quotes",
    "crm",
    "special_invoices",
    "instalments",
    "issued_documents",
    "items",
    "demand",
    "credits",
    "payments",
    "journal",
    "delivery",
    "audit",
    "year_archives",
    "templates",
    "prices",
    "what_if",
    "rerate",
    "operation",
)
"""Modules of this package that have an ``add_commands(app)``, in the order `--help` shows them."""


def main() -> None:
    """Entry of the console script."""
    try:
        check_layout()
    except BrokenState as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    build_cli()()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"Ratemill {version('ratemill')}")
        raise typer.Exit


def build_cli() -> typer.Typer:
    """All commands."""
    cli = typer.Typer(
        name="ratemill",
        help="Usage metering and rating: events in, exact and explained invoice lines out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    cli.callback()(_start)
    for group in GROUPS:
        importlib.import_module(f"api.cli.{group}").add_commands(cli)
    if importlib.util.find_spec("api.cli.demo") is not None:
        cli.command("demo")(importlib.import_module("api.cli.demo").demo_command)
    return cli


def _start(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Usage metering and rating: events in, exact and explained invoice lines out."""


def check_layout() -> None:
    """Raise BrokenState when another package's folder stands in for one of our rooms.

    The rooms are top-level packages with plain names, and pip lets any distribution install the same.
    """
    home = Path(__file__).resolve().parents[2]
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found is None or found.parent.parent != home:
            raise BrokenState(
                f"the package {room!r} comes from {found} and not from Ratemill's own folder {home}. Another "
                "installed package has that name: install Ratemill in a virtual environment of its own."
            )
