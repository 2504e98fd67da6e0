"""`ratemill payment pay-out`, `set-off` and `pay-outs`: money that goes back to customers, or would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from api.cli.invoice_view import money_column
from api.cli.session import Column, Limit, Session, command, more, table

PAY_OUT_COLUMNS: tuple[Column, ...] = (
    ("pay-out", "pay_out_id"),
    ("on", "value_date"),
    ("customer", "customer_id"),
    ("amount>", money_column("amount_minor")),
    ("", "currency"),
    ("reference", "reference"),
    ("why", "reason"),
)
PART_COLUMNS: tuple[Column, ...] = (
    ("gives back", lambda part: part["payment_id"] or part["number"]),
    ("amount>", money_column("amount_minor")),
)


def add_commands(sub: typer.Typer) -> None:
    _add_pay_out(sub)
    _add_set_off(sub)
    _add_list(sub)


def _add_pay_out(sub: typer.Typer) -> None:
    @command(sub, "pay-out")
    def pay_out(
        session: Session,
        customer: Annotated[str, typer.Argument(help="Who gets it.")],
        currency: Annotated[str, typer.Argument(help="Like EUR.")],
        value_date: Annotated[str, typer.Option("--on", help="When it left the bank, like 2026-02-10.")],
        reference: Annotated[str, typer.Option(help="Of the transfer.")],
        amount: Annotated[
            str | None, typer.Option(help="In major units. Left out: all that is owed in the currency.")
        ] = None,
        document: Annotated[
            str | None, typer.Option(help="Only what this bill below zero left owed, like CN-2026-000001.")
        ] = None,
        reason: Annotated[str, typer.Option(help="Why; it stays on record.")] = "",
        pay_out_id: Annotated[
            str | None, typer.Option("--id", help="Your id: the same again records nothing.")
        ] = None,
    ) -> None:
        """Record money that went back to a customer: money on account, and bills below zero."""
        given = {"amount": amount, "document": document, "pay_out_id": pay_out_id}
        body = {
            "customer_id": customer,
            "currency": currency,
            "value_date": value_date,
            "reference": reference,
            "reason": reason,
            **{name: value for name, value in given.items() if value},
        }
        with session.client() as client:
            answer = client.post("/v1/pay-outs", body)
        session.show(answer, *_shown(answer))


def _add_set_off(sub: typer.Typer) -> None:
    @command(sub, "set-off")
    def set_off(
        session: Session,
        document: Annotated[str, typer.Argument(help="The bill below zero, like CN-2026-000001.")],
        against: Annotated[str, typer.Argument(help="The invoice it pays, like INV-2026-000002.")],
        value_date: Annotated[str, typer.Option("--on", help="The day it holds from, like 2026-02-10.")],
        amount: Annotated[
            str | None, typer.Option(help="In major units. Left out: as much as is open of both.")
        ] = None,
        reason: Annotated[str, typer.Option(help="Why; it stays on record.")] = "",
        set_off_id: Annotated[
            str | None, typer.Option("--id", help="Your id: the same again records nothing.")
        ] = None,
    ) -> None:
        """Let what a bill below zero left owed pay an invoice of the same customer; no money moves."""
        given = {"amount": amount, "set_off_id": set_off_id}
        body = {
            "document": document,
            "against": against,
            "value_date": value_date,
            "reason": reason,
            **{name: value for name, value in given.items() if value},
        }
        with session.client() as client:
            answer = client.post("/v1/set-offs", body)
        session.show(answer, *_shown(answer["pay_out"]))


def _add_list(sub: typer.Typer) -> None:
    @command(sub, "pay-outs")
    def pay_outs(
        session: Session,
        customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
        limit: Limit = 100,
    ) -> None:
        """Money that went back to customers, by value date."""
        with session.client() as client:
            answer = client.get("/v1/pay-outs", {"customer_id": customer, "limit": limit})
        if not answer["items"]:
            words = (
                "Nothing was paid out. `ratemill payment pay-out CUSTOMER CURRENCY ...` records a transfer."
            )
            session.show(answer, words)
            return
        rest = [more(limit)] if answer["next_cursor"] else []
        session.show(answer, table(answer["items"], PAY_OUT_COLUMNS), *rest)


def _shown(answer: Mapping[str, Any]) -> list[Any]:
    parts = [{**part, "currency": answer["currency"]} for part in answer["parts"]]
    return [table([answer], PAY_OUT_COLUMNS), table(parts, PART_COLUMNS)]
