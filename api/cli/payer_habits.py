"""`ratemill report payers` and `ratemill customer switch-billing`: how customers pay, and what is done."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import typer

from api.cli.invoice_view import money_column
from api.cli.session import Column, Session, command, grouped, table


def _overdue(item: Any) -> str:
    read = money_column("overdue_minor")
    return ", ".join(f"{read(one)} {one['currency']}" for one in item["overdue"])


HABIT_COLUMNS: Final[tuple[Column, ...]] = (
    ("customer", "customer_id"),
    ("documents>", "documents"),
    ("late>", "late"),
    ("median days late>", "median_days_late"),
    ("longest>", "longest_days_late"),
    ("overdue>", _overdue),
    ("suggestion", lambda item: item["suggestion"].replace("_", " ")),
    ("why", "reason"),
)
CHANGED_COLUMNS: Final[tuple[Column, ...]] = (
    ("contract", "contract_id"),
    ("version>", "version"),
    ("changed", "changed"),
    ("from", "effective_from"),
    ("in advance>", grouped("amount")),
    ("days to pay>", "payment_days"),
)


def add_report(report: typer.Typer) -> None:
    """Add `payers` to the group `report`."""

    @command(report, "payers")
    def payers(
        session: Session,
        as_of: Annotated[str | None, typer.Option(help="At the end of this day. Left out: today.")] = None,
        days: Annotated[int, typer.Option(min=1, help="Documents due in so many days before.")] = 365,
        customer: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    ) -> None:
        """How late customers pay, the latest first, and what that suggests."""
        params = {"as_of": as_of, "days": days, "customer_id": customer}
        with session.client() as client:
            answer = client.get("/v1/reports/payers", params)
        empty = "No document was due in that time and is paid or open."
        shown = table(answer["items"], HABIT_COLUMNS) if answer["items"] else empty
        session.show(answer, shown)


def add_switch(sub: typer.Typer) -> None:
    """Add `switch-billing` to the group `customer`."""

    @command(sub, "switch-billing")
    def switch(
        session: Session,
        customer: Annotated[str, typer.Argument(help="The customer, from `list`.")],
        to: Annotated[
            Literal["deposit", "advance", "shorter_terms", "regular"],
            typer.Option(help="deposit, advance, shorter_terms or regular."),
        ],
        reason: Annotated[str, typer.Option(help="Why; it stays on record.")],
        contract: Annotated[
            list[str] | None, typer.Option(help="Only this contract; may be repeated.")
        ] = None,
        amount: Annotated[
            str | None, typer.Option(help="In advance. Left out: the average of the last invoices.")
        ] = None,
        payment_days: Annotated[int | None, typer.Option(help="Of shorter_terms.")] = None,
    ) -> None:
        """Bill a customer otherwise from the next period on, as an answer to how it pays."""
        body = {
            "mode": to,
            "reason": reason,
            "contract_ids": contract or [],
            "amount": amount,
            "payment_days": payment_days,
        }
        with session.client() as client:
            answer = client.post(f"/v1/customers/{quote(customer, safe='')}/billing-structure", body)
        session.show(answer, table(answer["items"], CHANGED_COLUMNS))
