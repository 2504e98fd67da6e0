"""`ratemill contract preview` and `dates`: what a contract comes to, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from api.cli.files import save_file
from api.cli.invoice_view import invoice_shown
from api.cli.session import Column, Session, command, table

DATE_COLUMNS: Final[tuple[Column, ...]] = (
    ("billing date", "billing_date"),
    ("invoiced on", "invoice_day"),
    ("from", "first_day"),
    ("to", "last_day"),
    ("plans", "plan_ids"),
)


def add_commands(sub: typer.Typer) -> None:
    @command(sub, "preview")
    def preview(
        session: Session,
        contract_id: Annotated[str, typer.Argument(help="The contract, from `list`.")],
        pdf: Annotated[Path | None, typer.Option(help="Write a pro-forma invoice to this file.")] = None,
    ) -> None:
        """The invoice as it would be now. Nothing is stored."""
        with session.client() as client:
            if pdf is not None:
                body = client.get_bytes(f"/v1/contracts/{contract_id}/preview", accept="application/pdf")
                save_file(session, pdf, body)
                return
            answer = client.get(f"/v1/contracts/{contract_id}/preview")
        session.show(answer, *invoice_shown(answer))

    @command(sub, "dates")
    def dates(
        session: Session,
        contract_id: Annotated[str, typer.Argument(help="The contract, from `list`.")],
        count: Annotated[int, typer.Option(min=1, max=36, help="How many.")] = 12,
    ) -> None:
        """Its next billing dates: when each is invoiced, and what it bills."""
        with session.client() as client:
            answer = client.get(f"/v1/contracts/{contract_id}/billing-dates", {"count": count})
        empty = "Nothing is to come: the contract is billed to its end, or has nothing to charge."
        session.show(answer, table(answer["items"], DATE_COLUMNS) if answer["items"] else empty)
