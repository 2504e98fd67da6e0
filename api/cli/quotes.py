"""`ratemill quote`: what is offered, and its acceptance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.documents import warning_words
from api.cli.files import save_file
from api.cli.session import Column, Limit, Session, command, group, grouped, more, table
from api.cli.special_invoices import read_one
from ingest.errors import InvalidInput

QuoteId = Annotated[str, typer.Argument(help="The quote's id.")]
COLUMNS: tuple[Column, ...] = (
    ("quote", "quote_id"),
    ("customer", "customer_id"),
    ("what", lambda item: item["document"]["title"]),
    ("version>", "version"),
    ("state", "state"),
    ("valid until", lambda item: item["document"]["valid_until"] or ""),
    ("accepted by", lambda item: item["accepted"]["name"] if item["accepted"] else ""),
    ("contract", lambda item: item["document"]["contract"]["contract_id"]),
)
PART_COLUMNS: tuple[Column, ...] = (
    ("sold as", "sold_as"),
    ("product", "name"),
    ("billed", "billed"),
    ("quantity>", grouped("quantity")),
    ("unit", "unit"),
    ("list price>", grouped("list_amount")),
    ("price>", grouped("amount")),
    ("promotions", "promotion_ids"),
)


def add_commands(app: typer.Typer) -> None:
    sub = group(app, "quote", "Quotes: offers that become contracts when they are accepted.")
    _add_put(sub)
    _add_list(sub)
    _add_show(sub)
    _add_accept(sub)
    _add_pdf(sub)
    _add_link(sub)


def _add_put(sub: typer.Typer) -> None:
    @command(sub, "put")
    def put(
        session: Session,
        file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON or YAML.")],
    ) -> None:
        """Save a quote; an edit makes a new version."""
        from api.json import to_json  # noqa: PLC0415

        document = read_one(file)
        if not document.get("quote_id"):
            raise InvalidInput(
                f"{file}: there is no quote_id, so this is no quote. Nothing was saved.", reason_code="no_key"
            )
        path = f"/v1/quotes/{document['quote_id']}"
        with session.client() as client:
            answer = client.put(path, to_json(document), content_type="application/json")
        session.show(answer, f"Quote {answer['quote_id']}, version {answer['version']}.", *_warnings(answer))


def _add_list(sub: typer.Typer) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
        limit: Limit = 100,
    ) -> None:
        """The newest version of each."""
        with session.client() as client:
            answer = client.get("/v1/quotes", {"customer_id": customer, "limit": limit})
        if not answer["items"]:
            session.show(answer, "No quotes here. `ratemill quote put FILE` saves one.")
            return
        rest = [more(limit)] if answer["next_cursor"] else []
        session.show(answer, table(answer["items"], COLUMNS), *rest)


def _add_show(sub: typer.Typer) -> None:
    @command(sub, "show")
    def show(session: Session, quote: QuoteId) -> None:
        """The newest version, its hash, and who accepted it."""
        with session.client() as client:
            answer = client.get(f"/v1/quotes/{quote}")
        session.show(answer, *_shown(answer))


def _add_accept(sub: typer.Typer) -> None:
    @command(sub, "accept")
    def accept(
        session: Session,
        quote: QuoteId,
        name: Annotated[str, typer.Option(help="Who accepts it.")],
        document_hash: Annotated[str, typer.Option("--hash", help="Of the version they saw.")],
        terms: Annotated[str, typer.Option(help="The terms they acknowledge, as the quote names them.")] = "",
        ip_address: Annotated[str, typer.Option(help="From where, if it was elsewhere.")] = "",
    ) -> None:
        """Record an acceptance: the contract becomes active, and the deposit is asked for."""
        body = {
            "name": name,
            "document_hash": document_hash,
            "terms_version": terms,
            "ip_address": ip_address,
        }
        with session.client() as client:
            answer = client.post(f"/v1/quotes/{quote}/accept", body)
        session.show(answer, *_shown(answer))


def _add_pdf(sub: typer.Typer) -> None:
    @command(sub, "pdf")
    def pdf(
        session: Session,
        quote: QuoteId,
        out: Annotated[Path | None, typer.Option(help="File to write. Left out: QUOTE.pdf here.")] = None,
    ) -> None:
        """Write the newest version as PDF, to be sent and accepted."""
        with session.client() as client:
            body = client.get_bytes(f"/v1/quotes/{quote}/pdf", accept="application/pdf")
        path = out or Path(f"{quote}.pdf")
        save_file(session, path, body)


def _add_link(sub: typer.Typer) -> None:
    @command(sub, "link")
    def link(session: Session, quote: QuoteId) -> None:
        """The address of the page on which the customer accepts it."""
        with session.client() as client:
            answer = client.get(f"/v1/quotes/{quote}/link")
        session.show(answer, answer["url"], f"Opens until {answer['last_day']}.")


def _shown(answer: Mapping[str, Any]) -> list[Any]:
    accepted = answer["accepted"]
    parts = [
        {"sold_as": outcome["description"], **part}
        for outcome in answer["document"].get("outcomes", ())
        for part in outcome["parts"]
    ]
    shown: list[Any] = [table([answer], COLUMNS)]
    shown += [table(parts, PART_COLUMNS)] if parts else []
    shown.append(f"Document hash {answer['document_hash']}.")
    if accepted is not None:
        terms = f", terms {accepted['terms_version']} acknowledged" if accepted["terms_version"] else ""
        origin = f" from {accepted['ip_address']}" if accepted["ip_address"] else ""
        when = f"Accepted by {accepted['name']} at {accepted['accepted_at']}{origin}{terms}"
        shown.append(f"{when}: contract {accepted['contract_id']}, version {accepted['contract_version']}.")
    return shown + _warnings(answer)


def _warnings(answer: Mapping[str, Any]) -> list[str]:
    return [warning_words(answer["quote_id"], warning) for warning in answer.get("warnings", ())]
