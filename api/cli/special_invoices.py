"""`ratemill special-invoice`: deposit, progress, final and miscellaneous invoices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli import electronic_invoices
from api.cli.delivery import add_resend
from api.cli.document_pdf import add_pdf
from api.cli.invoice_view import money, money_column, standing_shown
from api.cli.session import Column, Limit, Session, command, group, more, table
from ingest.errors import UnreadableBody

IdOrNumber = Annotated[str, typer.Argument(help="The invoice's id or printed number.")]


COLUMNS: tuple[Column, ...] = (
    ("kind", "kind"),
    ("number", "number"),
    ("customer", "customer_id"),
    ("contract", "contract_id"),
    ("project", "project"),
    ("issued", "issue_date"),
    ("due", "due_date"),
    ("net>", money_column("net_minor")),
    ("tax>", money_column("tax_minor")),
    ("open>", money_column("open_minor")),
    ("", "currency"),
    ("deducted by", lambda item: "void" if item["voided"] else item["deducted_by"] or ""),
)


def add_commands(app: typer.Typer) -> None:
    sub = group(app, "special-invoice", "Special invoices: deposits, progress, final, miscellaneous.")
    _add_create(sub)
    _add_list(sub)
    _add_show(sub)
    add_pdf(sub, "/v1/special-invoices")
    add_resend(sub, "/v1/special-invoices")
    electronic_invoices.add_commands(sub, "/v1/special-invoices")


def _add_create(sub: typer.Typer) -> None:
    @command(sub, "create")
    def create(
        session: Session,
        file: Annotated[
            Path,
            typer.Argument(exists=True, dir_okay=False, help="JSON or YAML: kind, contract_id, lines, ..."),
        ],
        preview: Annotated[bool, typer.Option("--preview", help="Show it, and issue nothing.")] = False,
        idempotency_key: Annotated[
            str | None, typer.Option(help="A word of your own: with it the same file is issued once.")
        ] = None,
    ) -> None:
        """Issue what a file says, in one step with its number, tax and postings."""
        path = "/v1/special-invoices"
        from api.json import to_json  # noqa: PLC0415

        body = to_json(read_one(file))  # exact: YAML has decimals
        with session.client() as client:
            if preview:
                answer = client.post(f"{path}/preview", body)
            else:
                answer = client.post(path, body, idempotency_key=idempotency_key)
        session.show(answer, *_shown(answer))


def _add_list(sub: typer.Typer) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
        contract: Annotated[str | None, typer.Option(help="Only of this contract.")] = None,
        customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
        open_deposits: Annotated[
            bool, typer.Option("--open-deposits", help="Only what no final invoice deducted yet.")
        ] = False,
        limit: Limit = 100,
    ) -> None:
        """Newest issue date first."""
        params = {"kind": kind, "contract_id": contract, "customer_id": customer, "limit": limit}
        with session.client() as client:
            answer = client.get("/v1/special-invoices", params | {"open_deposits": open_deposits})
        if not answer["items"]:
            words = "No special invoices here. `ratemill special-invoice create FILE` issues one."
            session.show(answer, words)
            return
        rest = [more(limit)] if answer["next_cursor"] else []
        session.show(answer, table(answer["items"], COLUMNS), *rest)


def _add_show(sub: typer.Typer) -> None:
    @command(sub, "show")
    def show(session: Session, invoice: IdOrNumber) -> None:
        """One special invoice with its lines."""
        with session.client() as client:
            answer = client.get(f"/v1/special-invoices/{invoice}")
        session.show(answer, *_shown(answer))


def read_one(file: Path) -> dict[str, Any]:
    """The document of a file. Raises UnreadableBody, which names the file."""
    from ingest.document import read_document  # noqa: PLC0415

    try:
        return read_document(file.read_bytes())
    except UnreadableBody as error:
        raise UnreadableBody(f"{file}: {error}", reason_code=error.reason_code) from None


def _shown(answer: Mapping[str, Any]) -> list[Any]:
    """Head, lines and sums of a special invoice or its preview."""
    digits, currency = int(answer["minor_digits"]), answer["currency"]
    columns: tuple[Column, ...] = (
        ("what", "description"),
        ("from", "period_start"),
        ("to", "period_end"),
        (f"{currency}>", lambda line: money(line["amount_minor"], digits)),
    )
    named = answer["number"] or "(preview, nothing issued)"
    head = f"{answer['kind'].capitalize()} invoice {named} of contract {answer['contract']['contract_id']}"
    net, tax, gross = (money(answer[f"{name}_minor"], digits) for name in ("net", "tax", "gross"))
    sums = f"Net {net}, tax {tax}, to pay {gross} {currency}"
    due = f" by {answer['due_date']}." if answer["due_date"] else "."
    return [head, table(answer["lines"], columns), f"{sums}{due}", *standing_shown(answer, digits)]
