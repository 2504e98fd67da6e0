"""`ratemill credits`: prepaid credit, given, looked at, voided, balanced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.files import save_file
from api.cli.invoice_view import money_column
from api.cli.session import Column, Limit, Session, command, group, grouped_number, more, table
from ingest.errors import InvalidInput, UnreadableBody

GrantId = Annotated[str, typer.Argument(help="The grant's id, from `credits list`.")]


GRANT_COLUMNS: tuple[Column, ...] = (
    ("credit", "grant_id"),
    ("customer", "customer_id"),
    ("name", "name"),
    ("kind", "kind"),
    ("from", "effective_from"),
    ("expires", lambda item: item["expires_on"] or "never"),
    ("granted>", money_column("amount_minor")),
    ("left>", money_column("remaining_minor")),
    ("", "currency"),
)
ENTRY_COLUMNS: tuple[Column, ...] = (
    ("date", "entry_date"),
    ("credit", "grant_id"),
    ("entry", "kind"),
    ("amount>", money_column("amount_minor")),
    ("at cost>", money_column("cost_minor")),
    ("invoice or reason", lambda item: item.get("invoice_id") or item.get("reason", "")),
)
BALANCE_COLUMNS: tuple[Column, ...] = (
    ("", "currency"),
    ("granted>", money_column("granted_minor")),
    ("voided>", money_column("voided_minor")),
    ("drawn>", money_column("drawn_minor")),
    ("expired>", money_column("expired_minor")),
    ("left>", money_column("remaining_minor")),
    ("paid for>", money_column("committed_cost")),
    ("recognised>", money_column("recognised_cost")),
    ("deferred>", money_column("remaining_cost")),
)

PERIOD_COLUMNS: tuple[Column, ...] = (
    ("retainer", "retainer_id"),
    ("from", "period_start"),
    ("until", "period_end"),
    ("bought>", money_column("granted_minor")),
    ("carried in>", money_column("carried_in_minor")),
    ("used>", money_column("used_minor")),
    ("tax on it>", money_column("tax_minor")),
    ("paid by it>", money_column("drawn_minor")),
    ("beyond>", money_column("overage_minor")),
    ("left>", money_column("remaining_minor")),
    ("carried over>", money_column("carried_over_minor")),
    ("lapsed>", money_column("lapsed_minor")),
    ("", "currency"),
)
USE_COLUMNS: tuple[Column, ...] = (
    ("period from", "period"),
    ("used by", "key"),
    ("quantity>", lambda row: f"{grouped_number(row['quantity'])} {row['unit']}"),
    ("came to>", money_column("amount_minor")),
    ("tax>", money_column("tax_minor")),
    ("paid by retainer>", money_column("drawn_minor")),
    ("beyond>", money_column("overage_minor")),
)


def add_commands(app: typer.Typer) -> None:
    credits = group(app, "credits", "Prepaid credit: give it, look at it, take back what is left.")  # noqa: A001
    _add_grant(credits)
    _add_list(credits)
    _add_show(credits)
    _add_void(credits)
    _add_balance(credits)
    _add_statement(credits)
    _add_top_up(credits)


def _add_grant(sub: typer.Typer) -> None:
    @command(sub, "grant")
    def grant(
        session: Session,
        files: Annotated[
            list[Path],
            typer.Argument(exists=True, dir_okay=False, help="YAML or JSON files with grants."),
        ],
    ) -> None:
        """Give credit. The same grant again gives nothing twice; a grant never changes."""
        from api.json import to_json  # noqa: PLC0415

        documents = [document for path in files for document in _read(path)]
        with session.client() as client:
            answers = [
                client.put(
                    f"/v1/credits/{document['grant_id']}", to_json(document), content_type="application/json"
                )
                for document in documents
            ]
        session.show({"items": answers}, table(answers, GRANT_COLUMNS))


def _add_list(sub: typer.Typer) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
        only_open: Annotated[bool, typer.Option("--open", help="Only those with something left.")] = False,
        limit: Limit = 100,
    ) -> None:
        """Grants by id, each with what is left of it."""
        params = {"customer_id": customer, "only_open": str(only_open).lower(), "limit": limit}
        with session.client() as client:
            answer = client.get("/v1/credits", params)
        if not answer["items"]:
            session.show(answer, "No credit here. `ratemill credits grant FILE` gives some.")
            return
        rest = [more(limit)] if answer["next_cursor"] else []
        session.show(answer, table(answer["items"], GRANT_COLUMNS), *rest)


def _add_show(sub: typer.Typer) -> None:
    @command(sub, "show")
    def show(session: Session, grant_id: GrantId) -> None:
        """One grant and all that was entered on it."""
        with session.client() as client:
            answer = client.get(f"/v1/credits/{grant_id}")
        session.show(answer, table([answer], GRANT_COLUMNS), table(answer["entries"], ENTRY_COLUMNS))


def _add_void(sub: typer.Typer) -> None:
    @command(sub, "void")
    def void(
        session: Session,
        grant_id: GrantId,
        reason: Annotated[str, typer.Option(help="Why; it stays on record.")],
        dated_on: Annotated[str | None, typer.Option(help="The day it is dated. Left out: today.")] = None,
    ) -> None:
        """Take back what is left of a grant. What invoices drew stays drawn."""
        body = {"reason": reason} | ({"dated_on": dated_on} if dated_on else {})
        with session.client() as client:
            answer = client.post(f"/v1/credits/{grant_id}/void", body)
        session.show(answer, table([answer], GRANT_COLUMNS))


def _add_balance(sub: typer.Typer) -> None:
    @command(sub, "balance")
    def balance(
        session: Session,
        customer_id: Annotated[str, typer.Argument(help="The customer.")],
        as_of: Annotated[str | None, typer.Option(help="At the end of this day. Left out: today.")] = None,
    ) -> None:
        """What a customer's credit comes to on a day, in amounts and at cost, and its entries."""
        params = {"as_of": as_of} if as_of else {}
        with session.client() as client:
            answer = client.get(f"/v1/customers/{customer_id}/credit-balance", params)
        if not answer["balances"]:
            session.show(answer, f"{customer_id} has no credit. `ratemill credits grant FILE` gives some.")
            return
        head = f"Credit of {customer_id} on {answer['as_of']}"
        entries = table(answer["entries"], ENTRY_COLUMNS)
        session.show(answer, head, table(answer["balances"], BALANCE_COLUMNS), entries)


def _add_statement(sub: typer.Typer) -> None:
    @command(sub, "statement")
    def statement(
        session: Session,
        contract_id: Annotated[str, typer.Argument(help="A contract with a retainer.")],
        pdf: Annotated[Path | None, typer.Option(help="Write one period as PDF into this file.")] = None,
        period: Annotated[
            str | None, typer.Option(help="Its first day, for --pdf. Left out: the newest that is billed.")
        ] = None,
        retainer: Annotated[str | None, typer.Option(help="Of a contract with several, for --pdf.")] = None,
    ) -> None:
        """How a contract's retainers were used, by period and group key; what is left, what went beyond."""
        with session.client() as client:
            if pdf is not None:
                body = client.get_bytes(
                    f"/v1/contracts/{contract_id}/retainers",
                    accept="application/pdf",
                    params={"period_start": period, "retainer_id": retainer},
                )
                save_file(session, pdf, body)
                return
            answer = client.get(f"/v1/contracts/{contract_id}/retainers")
        if not answer["periods"]:
            session.show(answer, f"{contract_id} was not billed a retainer yet.")
            return
        used = [
            {**row, "period": period["period_start"], "currency": period["currency"]}
            for period in answer["periods"]
            for row in period["used"]
        ]
        session.show(answer, table(answer["periods"], PERIOD_COLUMNS), table(used, USE_COLUMNS))


def _add_top_up(sub: typer.Typer) -> None:
    @command(sub, "top-up")
    def top_up(
        session: Session,
        contract_id: Annotated[str, typer.Argument(help="The contract.")],
        threshold: Annotated[str | None, typer.Option(help="Top up when less than this is left.")] = None,
        amount: Annotated[str | None, typer.Option(help="Credit sold each time.")] = None,
        price: Annotated[str | None, typer.Option(help="What is charged for it.")] = None,
        expires_after_days: Annotated[int | None, typer.Option(help="Left out: it never expires.")] = None,
        off: Annotated[bool, typer.Option("--off", help="Keep the terms, top up no more.")] = False,
    ) -> None:
        """Say when a contract's credit is topped up, or without options show it with the live balance."""
        from api.json import to_json  # noqa: PLC0415

        path = f"/v1/contracts/{contract_id}/top-up"
        given = {"threshold": threshold, "amount": amount, "price": price}
        with session.client() as client:
            if any(given.values()) or off:
                before = client.get(path)["top_up"] if off else {}
                wanted = {name: value for name, value in given.items() if value is not None}
                days = {"expires_after_days": expires_after_days} if expires_after_days else {}
                document = {**before, **wanted, **days, "enabled": not off}
                client.put(path, to_json(document), content_type="application/json")
            answer = client.get(path)
        terms, balance = answer["top_up"], answer["balance"]
        state = "" if terms["enabled"] else " (off)"
        words = (
            f"{contract_id}: below {terms['threshold']} {balance['currency']}, {terms['amount']} of credit "
            f"are sold for {terms['price']}{state}."
        )
        live = {name: money_column(f"{name}_minor")(balance) for name in ("balance", "credit", "unbilled")}
        left = f"{live['credit']} of credit less {live['unbilled']} used and not billed"
        session.show(answer, words, f"Live balance {live['balance']}: {left}.")


def _read(path: Path) -> list[dict[str, Any]]:
    from ingest.document import read_documents  # noqa: PLC0415

    try:
        documents = read_documents(path.read_bytes())
    except UnreadableBody as error:
        raise UnreadableBody(f"{path}: {error}", reason_code=error.reason_code) from None
    for document in documents:
        if not document.get("grant_id"):
            raise InvalidInput(
                f"{path}: there is no grant_id, so this is no grant. `ratemill schema credit` shows its "
                "fields. Nothing was given.",
                reason_code="no_key",
            )
    return documents
