"""`ratemill instalments`: an issued document paid in parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from api.cli.invoice_view import money
from api.cli.session import Column, Session, command, group, table
from ingest.errors import InvalidInput

IdOrNumber = Annotated[str, typer.Argument(help="The document's id or printed number.")]


def add_commands(app: typer.Typer) -> None:
    sub = group(app, "instalments", "Instalments: issued documents paid in parts.")

    @command(sub, "agree")
    def agree(
        session: Session,
        document: IdOrNumber,
        part: Annotated[list[str], typer.Option(help="DUE_DATE:AMOUNT, tax included; once a part.")],
        reason: Annotated[str, typer.Option(help="Why, or with whom; it stays on record.")] = "",
    ) -> None:
        """Agree parts that sum to what is open of a document."""
        from api.json import to_json  # noqa: PLC0415

        body = to_json({"instalments": [_part(text) for text in part], "reason": reason})
        path = f"/v1/documents/{document}/instalments"
        with session.client() as client:
            answer = client.put(path, body, content_type="application/json")
        session.show(answer, *_shown(answer))

    @command(sub, "show")
    def show(session: Session, document: IdOrNumber) -> None:
        """What is open of each part."""
        with session.client() as client:
            answer = client.get(f"/v1/documents/{document}/instalments")
        session.show(answer, *_shown(answer))


def _part(text: str) -> dict[str, str]:
    """``2026-03-01:500.00``."""
    due_date, colon, amount = text.partition(":")
    if not colon:
        raise InvalidInput(
            f"{text!r} is no part. Write the due date and the amount: 2026-03-01:500.00.",
            reason_code="instalment_amount",
        )
    return {"due_date": due_date, "amount": amount}


def _shown(answer: Mapping[str, Any]) -> list[Any]:
    from rating.money import minor_digits  # noqa: PLC0415

    digits, currency = minor_digits(answer["currency"]), answer["currency"]
    columns: tuple[Column, ...] = (
        ("part>", "position"),
        ("due", "due_date"),
        (f"{currency}>", lambda part: money(part["amount_minor"], digits)),
        ("open>", lambda part: money(part["open_minor"], digits)),
    )
    head = f"{answer['number']}: {money(answer['open_minor'], digits)} {currency} open, in parts"
    return [head, table(answer["instalments"], columns)]
