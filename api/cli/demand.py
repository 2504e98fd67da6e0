"""`ratemill demand`: everything that is not billed yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from api.cli.invoice_view import money
from api.cli.session import Column, Session, command, group, table


def _amount(row: Mapping[str, Any]) -> str:
    from rating.money import minor_digits  # noqa: PLC0415 - pulls in the tables of currencies

    if row["amount_minor"] is None:
        return "no price"
    return f"{money(row['amount_minor'], minor_digits(row['currency']))} {row['currency']}"


_SUMS: tuple[Column, ...] = (
    ("state", "state"),
    ("reason", "reason_code"),
    ("count>", "count"),
    ("amount>", _amount),
)
_KEYS: dict[str | None, tuple[Column, ...]] = {
    "source": (("source", "source"),),
    "customer": (("customer", "customer_id"),),
    None: (
        ("customer", "customer_id"),
        ("contract", "contract_id"),
        ("billing date", lambda row: row["billing_date"] or ""),
        ("source", "source"),
    ),
}


def add_commands(app: typer.Typer) -> None:
    demand = group(app, "demand", "Everything that is not billed yet, in one queue.")

    @command(demand, "list")
    def list_all(
        session: Session,
        by: Annotated[str | None, typer.Option(help="Sum by source or customer.")] = None,
        as_of: Annotated[str | None, typer.Option(help="As billed on this day. Left out: today.")] = None,
    ) -> None:
        """What is ready to be billed, what is held or waits, and why. `ratemill bill` takes away what is
        ready."""
        with session.client() as client:
            answer = client.get("/v1/demand", {"by": by, "as_of": as_of})
        items = answer["items"]
        counted = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in items.items())
        said = f"Items that ever came in: {sum(items.values())} ({counted})."
        if answer["item_conflicts"]:
            said += f" {answer['item_conflicts']} contradict them: `ratemill items conflicts`."
        if not answer["rows"]:
            session.show(answer, f"Nothing is unbilled as of {answer['as_of']}.", said)
            return
        messages = list(dict.fromkeys(row["message"] for row in answer["rows"] if row.get("message")))
        session.show(answer, table(answer["rows"], (*_KEYS[by], *_SUMS)), *messages, said)
