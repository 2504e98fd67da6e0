"""`ratemill credit-note`: credit an invoice, look at credit notes, print them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from api.cli import electronic_invoices
from api.cli.delivery import add_resend
from api.cli.document_pdf import add_pdf
from api.cli.invoice_view import money, money_column
from api.cli.session import Column, Limit, Session, command, group, grouped_number, more, table

IdOrNumber = Annotated[str, typer.Argument(help="The credit note's id or printed number.")]


COLUMNS: tuple[Column, ...] = (
    ("credit note", "number"),
    ("customer", "customer_id"),
    ("invoice", "invoice_id"),
    ("issued", "issue_date"),
    ("net>", money_column("net_minor")),
    ("tax>", money_column("tax_minor")),
    ("to prepaid credit>", money_column("credit_minor")),
    ("owed less>", money_column("due_minor")),
    ("", "currency"),
    ("voids", "voids"),
    ("reason", "reason"),
)


def add_commands(app: typer.Typer) -> None:
    notes = group(app, "credit-note", "Credit notes: take back an issued invoice, in full or in part.")
    _add_create(notes)
    _add_list(notes)
    _add_show(notes)
    add_pdf(notes, "/v1/credit-notes")
    add_resend(notes, "/v1/credit-notes")
    electronic_invoices.add_commands(notes, "/v1/credit-notes")


def _add_create(sub: typer.Typer) -> None:
    @command(sub, "create")
    def create(
        session: Session,
        invoice: Annotated[str, typer.Argument(help="The invoice's id or printed number.")],
        reason: Annotated[str, typer.Option(help="Why; it is printed on the credit note.")],
        line: Annotated[
            list[str] | None,
            typer.Option(
                help="LINE_ID, LINE_ID:AMOUNT or LINE_ID:QUANTITYx; may be repeated. Left out: all lines."
            ),
        ] = None,
        amount: Annotated[
            str | None, typer.Option(help="So much net of tax, spread over all lines. Left out: all of it.")
        ] = None,
        dated_on: Annotated[str | None, typer.Option(help="The issue date. Left out: today.")] = None,
        preview: Annotated[bool, typer.Option("--preview", help="Show it, and issue nothing.")] = False,
    ) -> None:
        """Credit an invoice. Without --line and --amount all that is left: that voids it."""
        given = {"lines": [_line(text) for text in line or ()], "amount": amount, "dated_on": dated_on}
        body = {"reason": reason} | {name: value for name, value in given.items() if value}
        path = f"/v1/invoices/{invoice}/credit-notes"
        with session.client() as client:
            answer = client.post(f"{path}/preview" if preview else path, body)
        session.show(answer, *_shown(answer))


def _add_list(sub: typer.Typer) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
        invoice: Annotated[str | None, typer.Option(help="Only of this invoice, by id.")] = None,
        limit: Limit = 100,
    ) -> None:
        """Newest issue date first."""
        params = {"customer_id": customer, "invoice_id": invoice, "limit": limit}
        with session.client() as client:
            answer = client.get("/v1/credit-notes", params)
        if not answer["items"]:
            words = "No credit notes here. `ratemill credit-note create INVOICE --reason ...` issues one."
            session.show(answer, words)
            return
        rest = [more(limit)] if answer["next_cursor"] else []
        session.show(answer, table(answer["items"], COLUMNS), *rest)


def _add_show(sub: typer.Typer) -> None:
    @command(sub, "show")
    def show(session: Session, credit_note: IdOrNumber) -> None:
        """One credit note with its lines."""
        with session.client() as client:
            answer = client.get(f"/v1/credit-notes/{credit_note}")
        session.show(answer, *_shown(answer))


def _line(text: str) -> dict[str, str]:
    """``LINE_ID``, ``LINE_ID:2.50`` (an amount) or ``LINE_ID:3x`` (a quantity)."""
    line_id, _, part = text.partition(":")
    if not part:
        return {"line_id": line_id}
    return {"line_id": line_id, **({"quantity": part[:-1]} if part.endswith("x") else {"amount": part})}


def _shown(note: Mapping[str, Any]) -> list[Any]:
    """Head, lines and sums of a credit note or its preview."""
    digits, currency = int(note["minor_digits"]), note["currency"]
    columns: tuple[Column, ...] = (
        ("what", lambda line: f"{line['description']}\n{line['line_id']}"),
        ("quantity>", lambda line: grouped_number(line["credited_quantity"])),
        (f"{currency}>", lambda line: money(line["amount_minor"], digits)),
    )
    named = note["number"] or "(preview, nothing issued)"
    head = f"Credit note {named} for invoice {note['invoice']['number']}: {note['reason']}"
    gross = note["net_minor"] + note["tax_minor"]
    sums = f"Net {money(note['net_minor'], digits)}, tax {money(note['tax_minor'], digits)} {currency}."
    shown = [head, table(note["lines"], columns), sums]
    if note["credit_minor"]:
        back = money(-note["credit_minor"], digits)
        shown.append(f"{back} {currency} goes back to prepaid credit.")
    put_back = sum(entry["amount_minor"] for entry in note.get("put_back_credit", ()))
    if put_back:
        shown.append(f"{money(put_back, digits)} {currency} of credit taken before tax goes back as well.")
    owed = f"The customer owes {money(-note['due_minor'], digits)} {currency} less"
    voided = f"; the invoice is void ({money(gross, digits)} in this credit note)." if note["voids"] else "."
    return [*shown, f"{owed}{voided}"]
