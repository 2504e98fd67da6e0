"""`ratemill invoice write-off`: give up what is open of a document, or claim it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from api.cli.invoice_view import money, money_column
from api.cli.session import Column, Session, command, table

STEP_COLUMNS: tuple[Column, ...] = (
    ("on", "entry_date"),
    ("amount>", money_column("amount_minor")),
    ("of it net>", money_column("net_minor")),
    ("what", "rule"),
    ("why", "reason"),
    ("tax relief", "tax_relief"),
    ("by", "created_by"),
)


def add_commands(sub: typer.Typer) -> None:
    @command(sub, "write-off")
    def write_off(
        session: Session,
        document: Annotated[str, typer.Argument(help="Number or id, of an invoice or a special invoice.")],
        reason: Annotated[
            str | None, typer.Option(help="Why. Left out: what is written off is shown, nothing is done.")
        ] = None,
        amount: Annotated[
            str | None, typer.Option(help="So much, tax included. Left out: all that is open.")
        ] = None,
        tax_relief: Annotated[
            str, typer.Option(help="Why the state gives the tax back. Left out: it does not.")
        ] = "",
        dated_on: Annotated[
            str | None, typer.Option("--on", help="The day of account. Left out: today.")
        ] = None,
        take_back: Annotated[
            bool, typer.Option("--take-back", help="Claim again what was written off by mistake.")
        ] = False,
    ) -> None:
        """Write off what is open of a document to bad debt. A payment that comes after all takes it back."""
        path = f"/v1/documents/{document}/write-offs"
        given = {"amount": amount, "dated_on": dated_on}
        body = {"reason": reason} | {name: value for name, value in given.items() if value}
        with session.client() as client:
            if reason is None:
                answer = client.get(path)
            elif take_back:
                answer = client.post(f"{path}/take-back", body)
            else:
                answer = client.post(path, body | {"tax_relief": tax_relief})
        session.show(answer, *_shown(answer))


def _shown(answer: Mapping[str, Any]) -> list[Any]:
    from rating.money import minor_digits  # noqa: PLC0415

    digits, currency = minor_digits(answer["currency"]), answer["currency"]
    written_off, still_open = (money(answer[name], digits) for name in ("written_off_minor", "open_minor"))
    head = f"{answer['number']}: {written_off} {currency} written off, {still_open} {currency} open."
    if not answer["steps"]:
        return [head, "Nothing was ever written off. --reason writes off what is open."]
    return [head, table([{**step, "currency": currency} for step in answer["steps"]], STEP_COLUMNS)]
