"""`ratemill document`: issued documents of all kinds, listed and searched."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from api.cli.invoice_view import money_column
from api.cli.session import Column, Limit, Session, command, group, more, table

COLUMNS: tuple[Column, ...] = (
    ("number", "number"),
    ("kind", lambda item: item["kind"].replace("_", " ")),
    ("customer", "customer_id"),
    ("contract", lambda item: item["contract_id"] or ""),
    ("issued", "issue_date"),
    ("due", lambda item: item["due_date"] or ""),
    ("net>", money_column("net_minor")),
    ("tax>", money_column("tax_minor")),
    ("", "currency"),
)


def add_commands(app: typer.Typer) -> None:
    sub = group(app, "document", "Issued documents of all kinds: list and search them.")

    @command(sub, "list")
    def list_all(
        session: Session,
        search: Annotated[
            str | None,
            typer.Option(help="A printed number, or words on it, all of them; freig* for beginnings."),
        ] = None,
        kind: Annotated[str | None, typer.Option(help="invoice, credit_note, deposit ...")] = None,
        customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
        contract: Annotated[str | None, typer.Option(help="Only this contract's.")] = None,
        entity: Annotated[str | None, typer.Option(help="Only this billing entity's.")] = None,
        issued_from: Annotated[str | None, typer.Option("--from", help="First issue date.")] = None,
        issued_to: Annotated[str | None, typer.Option("--to", help="Issue dates before this one.")] = None,
        limit: Limit = 100,
    ) -> None:
        """Newest first."""
        params = {
            "search": search,
            "kind": kind,
            "customer_id": customer,
            "contract_id": contract,
            "entity_id": entity,
            "issued_from": issued_from,
            "issued_to": issued_to,
            "limit": limit,
        }
        with session.client() as client:
            answer = client.get("/v1/documents", params)
        if not answer["items"]:
            session.show(answer, _none(params, search))
            return
        shown: list[Any] = [table(answer["items"], COLUMNS)]
        if answer["next_cursor"]:
            shown.append(more(limit))
        session.show(answer, *shown)

    @command(sub, "index")
    def index(session: Session) -> None:
        """Take everything issued into the search index; a search takes in a few thousand by itself."""
        taken = 0
        with session.client() as client:
            while True:
                answer = client.post("/v1/documents/index")
                taken += answer["taken_in"]
                if not answer["behind"] or not answer["taken_in"]:
                    break
                session.say(f"{taken:,} taken in, {answer['behind']:,} to go.")
        session.show({**answer, "taken_in": taken}, f"{taken:,} documents taken in; the index is up to date.")


def _none(params: dict[str, Any], search: str | None) -> str:
    if search is not None:
        return f"No issued document has all of {search!r} on it. freig* finds any word that begins so."
    if any(value is not None for name, value in params.items() if name != "limit"):
        return "No issued document fits."
    return "Nothing is issued yet. `ratemill bill --as-of DATE` bills what is due."
