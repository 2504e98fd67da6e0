"""`ratemill price`: rates what it reads, with no store and no server."""

from __future__ import annotations

import sys
from typing import Any

import orjson
import typer

from api.cli.session import Session, command


def add_commands(app: typer.Typer) -> None:
    @command(app, "price")
    def price(session: Session) -> None:
        """Rate one JSON object a line from standard input; writes one rated line each, with its tiers.

        A line reads {"charge": {...}, "quantity": "12.5", "currency": "EUR"}, or has "events" in
        place of "quantity". A line that cannot be rated gives a problem in its place, and status 1.
        """
        del session
        failed = False
        for number, line in enumerate(sys.stdin.buffer, start=1):
            if line.strip():
                answer, rated = priced(line, number)
                failed |= not rated
                typer.echo(answer)
        if failed:
            raise typer.Exit(1)


def priced(line: bytes, number: int) -> tuple[str, bool]:
    """The answer to one line as JSON text, and whether it was rated."""
    from api.problem import problem_of  # noqa: PLC0415
    from ingest.document import read_document  # noqa: PLC0415
    from ingest.errors import RatemillError  # noqa: PLC0415
    from rating.price import price_request  # noqa: PLC0415

    try:
        return _text(price_request(read_document(line))), True
    except RatemillError as error:
        return _text({"line": number, "problem": problem_of(error)}), False


def _text(answer: Any) -> str:
    return orjson.dumps(answer, default=str).decode()
