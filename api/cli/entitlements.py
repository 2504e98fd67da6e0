"""`ratemill entitlement`: may a customer use n more, and what was asked before."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from api.cli.session import Column, Limit, Session, command, group, grouped, moment, more, table

CHECK_COLUMNS: tuple[Column, ...] = (
    ("asked at", moment("asked_at")),
    ("by", "asked_by"),
    ("subject", "subject"),
    ("contract", "decided_by"),
    ("meter", "meter_id"),
    ("more>", grouped("quantity")),
    ("allowed", "allowed"),
    ("reason", "reason"),
    ("used>", grouped("used")),
    ("limit>", grouped("limit")),
)
STANDING_COLUMNS: tuple[Column, ...] = (
    ("meter", "meter_id"),
    ("per", lambda item: item["period"]["name"]),
    ("mode", "mode"),
    ("used>", grouped("used")),
    ("limit>", grouped("limit")),
    ("left>", grouped("remaining")),
    ("uncounted>", "unusable_events"),
)

Subject = Annotated[str | None, typer.Option(help="Whose use.")]
Contract = Annotated[str | None, typer.Option(help="Of this contract.")]
Customer = Annotated[str | None, typer.Option(help="Of any contract of this customer.")]


def add_commands(app: typer.Typer) -> None:
    entitlement = group(app, "entitlement", "May a customer use more, and what was asked.")

    @command(entitlement, "check")
    def check(
        session: Session,
        meter: Annotated[str, typer.Argument(help="The meter, from `meter list`.")],
        quantity: Annotated[str, typer.Option(help="How much more; 0 asks where one stands.")] = "1",
        subject: Subject = None,
        contract: Contract = None,
        customer: Customer = None,
    ) -> None:
        """May it use so much more? Leaves with status 1 when not. The question and its answer are kept."""
        params = {
            "meter_id": meter,
            "quantity": quantity,
            "subject": subject,
            "contract_id": contract,
            "customer_id": customer,
        }
        with session.client() as client:
            answer = client.get("/v1/entitlements", params)
        session.show(answer, _words(answer))
        if not answer["allowed"]:
            raise typer.Exit(1)

    @command(entitlement, "show")
    def show(
        session: Session, contract: Annotated[str, typer.Argument(help="The contract, from `contract list`.")]
    ) -> None:
        """Where a contract stands against its limits, now."""
        from urllib.parse import quote  # noqa: PLC0415

        with session.client() as client:
            answer = client.get(f"/v1/contracts/{quote(contract, safe='')}/entitlements")
        title = f"As of {moment('as_of')(answer)}, event number {answer['as_of_sequence']:,}"
        empty = "It has no entitlements, or does not run now."
        items = answer["items"]
        session.show(answer, table(items, STANDING_COLUMNS, title=title) if items else empty)

    @command(entitlement, "history")
    def history(
        session: Session,
        subject: Subject = None,
        contract: Contract = None,
        customer: Customer = None,
        limit: Limit = 20,
    ) -> None:
        """Questions and answers, latest first."""
        params = {"subject": subject, "contract_id": contract, "customer_id": customer, "limit": limit}
        with session.client() as client:
            answer = client.get("/v1/entitlements/checks", params)
        items = answer["items"]
        empty = "Nobody has asked. `ratemill entitlement check METER --subject ...` does."
        shown: list[Any] = [table(items, CHECK_COLUMNS) if items else empty]
        if answer["next_cursor"]:
            shown.append(more(limit))
        session.show(answer, *shown)


def _words(answer: dict[str, Any]) -> str:
    verdict = "Allowed" if answer["allowed"] else "Not allowed"
    words = f"{verdict}: {answer['reason'].replace('_', ' ')}."
    if answer["limit"] is not None:
        used, limit, left = (grouped(name)(answer) for name in ("used", "limit", "remaining"))
        period = answer["period"]["name"].replace("_", " ")
        words += f" {used} of {limit} used ({period}, contract {answer['decided_by']}), {left} left."
    if answer["unusable_events"]:
        words += f" {answer['unusable_events']} events cannot be counted and are not in it."
    return words + f" As of event number {answer['as_of_sequence']:,}."
