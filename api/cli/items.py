"""`ratemill items`: billable items and invoices of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from api.cli.session import Column, Limit, Session, command, group, grouped_number, more, table

ItemId = Annotated[str, typer.Argument(help="The item's id, from `items list`.")]
ItemIds = Annotated[list[str], typer.Argument(help="Ids of items, from `items list`.")]
Reason = Annotated[str, typer.Option(help="Why; it stays on record.")]
_WORDS: Final = ("project", "description", "role")
_MEDIA_TYPES: Final = {".csv": "text/csv", ".json": "application/json"}


def _item(name: str) -> Any:
    return lambda row: row["item"][name] or ""


def _price(row: Mapping[str, Any]) -> str:
    item = row["item"]
    stated = item["unit_price"] or item["amount"]
    if not item["billable"]:
        return "not billable"
    return f"{grouped_number(stated)} {item['currency']}" if stated else item["charge_id"] or "rate card"


ITEM_COLUMNS: tuple[Column, ...] = (
    ("item", "item_id"),
    ("date", _item("date")),
    ("source", _item("source")),
    ("id there", _item("external_id")),
    ("contract", lambda row: row["item"]["contract_id"] or f"of {row['item']['customer_id']}"),
    (
        "what",
        lambda row: ", ".join(filter(None, (row["item"][n] for n in ("project", "description", "role")))),
    ),
    ("quantity>", lambda row: f"{grouped_number(row['item']['quantity'])} {row['item']['unit']}".strip()),
    ("price>", _price),
    ("state", "state"),
)
TAKEN_COLUMNS: tuple[Column, ...] = (
    ("row>", "row"),
    ("id there", "external_id"),
    ("outcome", "outcome"),
    ("why", lambda row: "; ".join(f"{one['pointer']}: {one['message']}" for one in row["issues"])),
)
PLANNED_COLUMNS: tuple[Column, ...] = (
    ("invoice for items", "item_invoice_id"),
    ("contract", "contract_id"),
    ("on", "invoice_on"),
    ("items>", "items"),
    ("state", "state"),
    ("invoice or reason", lambda row: row["invoice_id"] or row["reason"]),
)


def add_commands(app: typer.Typer) -> None:
    items = group(app, "items", "Billable items: hours, expenses, orders; taken in once, billed once.")
    _add_import(items)
    _add_list(items)
    _add_show(items)
    _add_amend(items)
    _add_settle(items, "close", "Close items for good without billing them.")
    _add_settle(items, "cancel", "Cancel items that were entered by mistake.")
    _add_conflicts(items)
    _add_invoice(items)
    _add_invoices(items)
    _add_cancel_invoice(items)


def _add_import(sub: typer.Typer) -> None:
    @command(sub, "import")
    def import_file(
        session: Session,
        file: Annotated[
            Path, typer.Argument(exists=True, dir_okay=False, help="CSV, JSON, YAML or a project export.")
        ],
        source: Annotated[
            str | None, typer.Option(help="timesheet, expense ...: of items that do not say it.")
        ] = None,
        system: Annotated[str | None, typer.Option(help="The source_system of items that name none.")] = None,
        contract: Annotated[str | None, typer.Option(help="Of items that name no contract.")] = None,
        customer: Annotated[str | None, typer.Option(help="Of items that name no customer.")] = None,
        amend: Annotated[bool, typer.Option("--amend", help="Let what is not billed be replaced.")] = False,
    ) -> None:
        """Take in items. The same file again changes nothing."""
        given = {"source": source, "source_system": system, "contract_id": contract, "customer_id": customer}
        params = {"amend": str(amend).lower(), **given}
        media_type = _MEDIA_TYPES.get(file.suffix.lower(), "application/yaml")
        with session.client() as client:
            answer = client.post_bytes("/v1/items", file.read_bytes(), content_type=media_type, params=params)
        outcomes = ("accepted", "duplicate", "amended", "conflict", "rejected")
        said = ", ".join(f"{answer[name]} {name}" for name in outcomes if answer[name]) or "nothing in it"
        odd = [one for one in answer["items"] if one["issues"]]
        parts = [table(odd, TAKEN_COLUMNS)] if odd else []
        session.show(answer, f"{file.name}: {said}.", *answer["waiting"], *parts)


def _add_list(sub: typer.Typer) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        state: Annotated[
            str | None, typer.Option(help="open, not_billable, invoiced, closed or cancelled.")
        ] = None,
        source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
        contract: Annotated[str | None, typer.Option(help="Only of this contract.")] = None,
        customer: Annotated[str | None, typer.Option(help="Only those that name this customer.")] = None,
        project: Annotated[str | None, typer.Option(help="Only of this project.")] = None,
        invoice: Annotated[str | None, typer.Option(help="Only on this invoice, by its id.")] = None,
        line: Annotated[str | None, typer.Option(help="The items behind this invoice line.")] = None,
        limit: Limit = 100,
    ) -> None:
        """Items by date."""
        params = {
            "state": state,
            "source": source,
            "contract_id": contract,
            "customer_id": customer,
            "project": project,
            "invoice_id": invoice,
            "line_id": line,
            "limit": limit,
        }
        with session.client() as client:
            answer = client.get("/v1/items", params)
        if not answer["items"]:
            session.show(answer, "No items here. `ratemill items import FILE` takes some in.")
            return
        rest = [more(limit)] if answer["next_cursor"] else []
        session.show(answer, table(answer["items"], ITEM_COLUMNS), *rest)


def _add_show(sub: typer.Typer) -> None:
    @command(sub, "show")
    def show(session: Session, item_id: ItemId) -> None:
        """One item and what became of it."""
        with session.client() as client:
            answer = client.get(f"/v1/items/{item_id}")
        billed = (
            f"On line {answer['line_id']} of invoice {answer['invoice_id']}." if answer["line_id"] else ""
        )
        why = f"Reason: {answer['reason']}" if answer["reason"] else ""
        session.show(answer, table([answer], ITEM_COLUMNS), *filter(None, (billed, why)))


def _add_amend(sub: typer.Typer) -> None:
    @command(sub, "amend")
    def amend(
        session: Session,
        item_id: ItemId,
        changes: Annotated[list[str], typer.Argument(help="FIELD=VALUE, like quantity=2.5 or role=senior.")],
        reason: Reason,
    ) -> None:
        """Change fields of an item that is not billed."""
        from api.json import to_json  # noqa: PLC0415
        from ingest.errors import InvalidInput  # noqa: PLC0415

        wanted = dict(change.partition("=")[::2] for change in changes)
        if not all("=" in change for change in changes):
            raise InvalidInput("A change reads FIELD=VALUE, like quantity=2.5.", reason_code="bad_change")
        with session.client() as client:
            item = {**client.get(f"/v1/items/{item_id}")["item"], **wanted}
            body = to_json({"item": item, "reason": reason})
            answer = client.put(f"/v1/items/{item_id}", body, content_type="application/json")
        session.show(answer, table([answer], ITEM_COLUMNS))


def _add_settle(sub: typer.Typer, name: str, words: str) -> None:
    def settle(session: Session, item_ids: ItemIds, reason: Reason) -> None:
        with session.client() as client:
            answer = client.post(f"/v1/items/{name}", {"item_ids": item_ids, "reason": reason})
        session.show(answer, table(answer["items"], ITEM_COLUMNS))

    settle.__doc__ = words
    command(sub, name)(settle)


def _add_conflicts(sub: typer.Typer) -> None:
    @command(sub, "conflicts")
    def conflicts(session: Session, limit: Limit = 100) -> None:
        """Bodies that came under the id of an item on record and are not in force."""
        with session.client() as client:
            answer = client.get("/v1/item-conflicts", {"limit": limit})
        if not answer["items"]:
            session.show(answer, "No item contradicts one on record.")
            return
        columns = tuple(column for column in ITEM_COLUMNS if column[0] != "state")
        rest = [more(limit)] if answer["next_cursor"] else []
        session.show(answer, table(answer["items"], columns), *rest)


def _add_invoice(sub: typer.Typer) -> None:
    @command(sub, "invoice")
    def invoice(
        session: Session,
        contract: Annotated[
            str | None, typer.Option(help="The contract whose open items are billed.")
        ] = None,
        customer: Annotated[
            str | None, typer.Option(help="Or the customer: each contract gets its own invoice.")
        ] = None,
        project: Annotated[str | None, typer.Option(help="Only items of this project.")] = None,
        source: Annotated[str | None, typer.Option(help="Only items of this source.")] = None,
        through: Annotated[str | None, typer.Option(help="Only items up to this day.")] = None,
        on: Annotated[str | None, typer.Option(help="Issue on this day. Left out: today.")] = None,
        draft: Annotated[bool, typer.Option("--draft", help="Leave it as a draft without a number.")] = False,
    ) -> None:
        """Plan an invoice for open items, outside the billing dates; the next look or run issues it."""
        given = {
            "contract_id": contract,
            "customer_id": customer,
            "project": project,
            "source": source,
            "through": through,
            "invoice_on": on,
        }
        body = {name: value for name, value in given.items() if value is not None}
        with session.client() as client:
            answer = client.post("/v1/item-invoices", {**body, "as_draft": draft})
        session.show(answer, table(answer["items"], PLANNED_COLUMNS))


def _add_invoices(sub: typer.Typer) -> None:
    @command(sub, "invoices")
    def invoices(
        session: Session,
        state: Annotated[str | None, typer.Option(help="scheduled, invoiced or cancelled.")] = None,
        limit: Limit = 100,
    ) -> None:
        """Invoices planned for items, by their day."""
        with session.client() as client:
            answer = client.get("/v1/item-invoices", {"state": state, "limit": limit})
        if not answer["items"]:
            session.show(answer, "None planned. `ratemill items invoice --contract ID` plans one.")
            return
        rest = [more(limit)] if answer["next_cursor"] else []
        session.show(answer, table(answer["items"], PLANNED_COLUMNS), *rest)


def _add_cancel_invoice(sub: typer.Typer) -> None:
    @command(sub, "cancel-invoice")
    def cancel_invoice(
        session: Session,
        item_invoice_id: Annotated[str, typer.Argument(help="From `items invoices`.")],
        reason: Reason,
    ) -> None:
        """Cancel a planned invoice before its day; its items are open again."""
        with session.client() as client:
            answer = client.post(f"/v1/item-invoices/{item_invoice_id}/cancel", {"reason": reason})
        session.show(answer, table([answer], PLANNED_COLUMNS))
