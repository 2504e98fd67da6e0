"""`ratemill customer delete` and `ratemill entity delete`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from api.cli.session import Session, command


def add_delete(sub: typer.Typer, *, path: str, what: str) -> None:
    """Add the command to the group of a kind of document, whose route is ``path``."""

    @command(sub, "delete")
    def delete(
        session: Session,
        name: Annotated[str, typer.Argument(help="Its key, from `list`.")],
        reason: Annotated[str, typer.Option(help="Why; it stays on record.")],
    ) -> None:
        """Delete one that was saved by mistake; one that anything refers to stays."""
        with session.client() as client:
            answer = client.delete(f"{path}/{quote(name, safe='')}", {"reason": reason})
        words = "{what} {name} is deleted; `ratemill audit list --object {name} --json` shows what it was."
        session.show(answer, words.format(what=what.capitalize(), name=name))
