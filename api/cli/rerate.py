"""`ratemill rerate`: what was billed against what it would be now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import typer

from api.cli.billing import HELD_COLUMNS
from api.cli.session import Column, Session, command, grouped, table
from api.cli.what_if import Contracts, End, First, Out, amount, ask, rows_shown

TOTAL_COLUMNS: Final[tuple[Column, ...]] = (
    ("", "currency"),
    ("lines>", "lines"),
    ("the same>", "unchanged"),
    ("billed>", amount("billed_minor")),
    ("now>", amount("now_minor")),
    ("difference>", amount("difference_minor", sign=True)),
    ("credits>", amount("credit_minor")),
    ("debits>", amount("debit_minor", sign=True)),
)
ITEM_COLUMNS: Final[tuple[Column, ...]] = (
    ("contract", "contract_id"),
    ("billing date", "billing_date"),
    ("charge", "charge_id"),
    ("dimensions", "dimensions"),
    ("line", "change"),
    ("quantity billed>", grouped("billed_quantity")),
    ("now>", grouped("quantity")),
    ("billed>", amount("billed_minor")),
    ("now>", amount("now_minor")),
    ("difference>", amount("difference_minor", sign=True)),
    ("", "currency"),
    ("implies", "implies"),
)


def add_commands(app: typer.Typer) -> None:
    @command(app, "rerate")
    def rerate(session: Session, first: First, end: End, contract: Contracts = None, out: Out = None) -> None:
        """Rate billed history again, with usage and prices as they are now: what differs from the invoices.

        Nothing is stored or posted. Leaves with status 1 when a date cannot be priced now; it says why.
        """
        question = {"date_from": first, "date_to": end, "contracts": contract or None}
        answer = ask(session, "/v1/rerate", question, out=out)
        if answer is not None:
            session.show(answer, *_shown(answer))
            if answer["held"]:
                raise typer.Exit(1)


def _shown(answer: Mapping[str, Any]) -> list[Any]:
    words = (
        f"{answer['compared']:,} billing dates from {answer['date_from']} on, before {answer['date_to']}, "
        "rated again."
    )
    if answer["not_billed"]:
        words += f" {answer['not_billed']:,} more have come and are not billed yet."
    shown: list[Any] = [words]
    if answer["totals"]:
        shown.append(table(answer["totals"], TOTAL_COLUMNS))
    if answer["items"]:
        shown += rows_shown(answer["items"], ITEM_COLUMNS)
    elif answer["compared"]:
        shown.append("No line differs.")
    if answer["held"]:
        shown.append(table(answer["held"], HELD_COLUMNS, title="Held, and why; not compared"))
    return shown
