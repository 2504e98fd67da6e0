"""`ratemill bill-now`: the bill of a customer, as of now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from api.cli.files import save_file
from api.cli.invoice_view import invoice_shown, money_column
from api.cli.session import Column, Session, command, table

OPEN_COLUMNS: Final[tuple[Column, ...]] = (
    ("document", "number"),
    ("issued", "issue_date"),
    ("due", "due_date"),
    ("open>", money_column("open_minor")),
    ("", "currency"),
    ("days overdue>", "overdue_days"),
)
TOTAL_COLUMNS: Final[tuple[Column, ...]] = (
    ("", "currency"),
    ("bills now>", money_column("bills_minor")),
    ("open before>", money_column("open_minor")),
    ("together>", money_column("total_minor")),
)
HELD_COLUMNS: Final[tuple[Column, ...]] = (("contract", "contract_id"), ("cannot be billed now", "message"))


def add_commands(app: typer.Typer) -> None:
    @command(app, "bill-now")
    def bill_now(
        session: Session,
        customer: Annotated[
            str, typer.Argument(help="A key, external id, name, e-mail address, contact, or a part of one.")
        ],
        contract: Annotated[str | None, typer.Option(help="This contract alone.")] = None,
        pdf: Annotated[Path | None, typer.Option(help="Write the bill to this file as PDF.")] = None,
    ) -> None:
        """The bill of a customer, as of now: what the next invoices come to, and what is open."""
        params = {"customer": customer, "contract_id": contract}
        with session.client() as client:
            if pdf is not None:
                body = client.get_bytes("/v1/current-bill", accept="application/pdf", params=params)
                save_file(session, pdf, body)
                return
            answer = client.get("/v1/current-bill", params)
        shown: list[Any] = [f"{answer['name']} ({answer['customer_id']})"]
        for bill in answer["bills"]:
            shown += [f"\nContract {bill['contract_id']}", *invoice_shown(bill)]
        if answer["held"]:
            shown.append(table(answer["held"], HELD_COLUMNS))
        if answer["open_documents"]:
            shown.append(table(answer["open_documents"], OPEN_COLUMNS, title="Issued and not paid"))
        nothing = "Nothing to bill: no contract runs now, and no document is open."
        shown.append(table(answer["totals"], TOTAL_COLUMNS) if answer["totals"] else nothing)
        session.show(answer, *shown)
