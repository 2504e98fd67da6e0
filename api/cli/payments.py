"""`ratemill payment`: money received, and what it pays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli import pay_outs
from api.cli.invoice_view import money_column
from api.cli.session import Column, Limit, Session, command, group, more, table

PaymentId = Annotated[str, typer.Argument(help="The payment's id, from `payment list`.")]
DocumentName = Annotated[str, typer.Argument(help="The document's number, like INV-2026-000001, or its id.")]

PAYMENT_COLUMNS: tuple[Column, ...] = (
    ("payment", "payment_id"),
    ("on", "value_date"),
    ("payer", lambda item: item["customer_id"] or "unknown"),
    ("amount>", money_column("amount_minor")),
    ("applied>", money_column("applied_minor")),
    ("paid out>", money_column("paid_out_minor")),
    ("unapplied>", money_column("unapplied_minor")),
    ("", "currency"),
    ("state", "state"),
    ("text", lambda item: " ".join(part for part in (item["reference"], item["text"]) if part)),
)


def _rows(payment: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**row, "currency": payment["currency"]} for row in payment["allocations"]]


ALLOCATION_COLUMNS: tuple[Column, ...] = (
    ("document", "number"),
    ("on", "entry_date"),
    ("amount>", money_column("amount_minor")),
    ("of it net>", money_column("net_minor")),
    ("because", "rule"),
    ("by", "created_by"),
)


def add_commands(app: typer.Typer) -> None:
    payment = group(
        app, "payment", "Payments: record them, apply them, take back, return; pay out what is owed."
    )
    _add_record(payment)
    _add_import(payment)
    _add_list(payment)
    _add_changes(payment)
    _add_settings(payment)
    pay_outs.add_commands(payment)


def _show(session: Session, answer: Mapping[str, Any]) -> None:
    rows = _rows(answer)
    applied = [table(rows, ALLOCATION_COLUMNS)] if rows else ["It pays nothing yet."]
    back = (
        [f"Returned on {answer['returned_on']}: {answer['return_reason']}."]
        if "returned_on" in answer
        else []
    )
    session.show(answer, table([answer], PAYMENT_COLUMNS), *applied, *back)


def _add_record(sub: typer.Typer) -> None:
    @command(sub, "record")
    def record(
        session: Session,
        amount: Annotated[str, typer.Argument(help="In major units, like 119.00.")],
        currency: Annotated[str, typer.Argument(help="Like EUR.")],
        value_date: Annotated[str, typer.Option("--on", help="The value date, like 2026-02-10.")],
        customer: Annotated[str | None, typer.Option(help="The payer. Left out: unknown.")] = None,
        text: Annotated[
            str, typer.Option(help="What the payer wrote; invoice numbers are found in it.")
        ] = "",
        reference: Annotated[str, typer.Option(help="The structured reference, like RF94....")] = "",
        bank_reference: Annotated[str, typer.Option(help="The bank's own reference.")] = "",
        payment_id: Annotated[
            str | None, typer.Option("--id", help="Your id: the same again records nothing.")
        ] = None,
    ) -> None:
        """Record a payment. It is applied where that is certain; the rest is the customer's credit."""
        body = {
            "amount": amount,
            "currency": currency,
            "value_date": value_date,
            "text": text,
            "reference": reference,
            "bank_reference": bank_reference,
            **({"customer_id": customer} if customer else {}),
            **({"payment_id": payment_id} if payment_id else {}),
        }
        with session.client() as client:
            answer = client.post("/v1/payments", body)
        _show(session, answer)


def _add_import(sub: typer.Typer) -> None:
    @command(sub, "import")
    def import_file(
        session: Session,
        file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A CSV file in UTF-8.")],
        column: Annotated[
            list[str] | None, typer.Option(help="Which column is which, like amount=Betrag; may be repeated.")
        ] = None,
        currency: Annotated[str | None, typer.Option(help="Of every row, where no column says it.")] = None,
        delimiter: Annotated[str, typer.Option(help="Between columns: , or ; or a tab.")] = ",",
        date_format: Annotated[str, typer.Option(help="Of the dates, like %d.%m.%Y.")] = "%Y-%m-%d",
        decimal_comma: Annotated[bool, typer.Option("--decimal-comma", help="1.234,56.")] = False,
    ) -> None:
        """Record the payments of a file, each row once. Rows that cannot be recorded are named."""
        params = {
            "column": column,
            "currency": currency,
            "delimiter": delimiter,
            "date_format": date_format,
            "decimal_comma": str(decimal_comma).lower(),
        }
        with session.client() as client:
            answer = client.post_bytes(
                "/v1/payments/import", file.read_bytes(), content_type="text/csv", params=params
            )
        words = (
            f"{len(answer['recorded']):,} recorded, {answer['duplicates']:,} on record before, "
            f"{len(answer['issues']):,} refused."
        )
        issues = [
            f"  line {one['line']}: {one['message']} Expected: {one['expected']}" for one in answer["issues"]
        ]
        session.show(answer, words, *issues)


def _add_list(sub: typer.Typer) -> None:
    @command(sub, "list")
    def list_all(
        session: Session,
        customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
        unapplied: Annotated[
            bool, typer.Option("--unapplied", help="Only those with something left.")
        ] = False,
        limit: Limit = 100,
    ) -> None:
        """Payments by value date."""
        params = {"customer_id": customer, "only_unapplied": str(unapplied).lower(), "limit": limit}
        with session.client() as client:
            answer = client.get("/v1/payments", params)
        if not answer["items"]:
            session.show(answer, "No payments here. `ratemill payment record` enters one.")
            return
        rest = [more(limit)] if answer["next_cursor"] else []
        session.show(answer, table(answer["items"], PAYMENT_COLUMNS), *rest)

    @command(sub, "show")
    def show(session: Session, payment_id: PaymentId) -> None:
        """One payment and all that was done with it."""
        with session.client() as client:
            answer = client.get(f"/v1/payments/{payment_id}")
        _show(session, answer)


def _add_changes(sub: typer.Typer) -> None:
    @command(sub, "allocate")
    def allocate(
        session: Session,
        payment_id: PaymentId,
        document: DocumentName,
        amount: Annotated[str | None, typer.Option(help="Left out: as much as possible.")] = None,
    ) -> None:
        """Apply a payment to a document."""
        body = {"document": document} | ({"amount": amount} if amount else {})
        with session.client() as client:
            answer = client.post(f"/v1/payments/{payment_id}/allocate", body)
        _show(session, answer)

    @command(sub, "unapply")
    def unapply(
        session: Session,
        payment_id: PaymentId,
        document: DocumentName,
        reason: Annotated[str, typer.Option(help="Why; it stays on record.")] = "",
    ) -> None:
        """Take back all that a payment pays of a document; the payment stays."""
        body = {"document": document, "reason": reason}
        with session.client() as client:
            answer = client.post(f"/v1/payments/{payment_id}/unapply", body)
        _show(session, answer)

    @command(sub, "assign")
    def assign(
        session: Session,
        payment_id: PaymentId,
        customer: Annotated[str, typer.Argument(help="Who paid.")],
        reason: Annotated[str, typer.Option(help="How that is known; it stays on record.")] = "",
    ) -> None:
        """Say who paid, of a payment whose payer was unknown: it is recorded once more, in its place."""
        body = {"customer_id": customer, "reason": reason}
        with session.client() as client:
            answer = client.post(f"/v1/payments/{payment_id}/assign", body)
        _show(session, answer)

    @command(sub, "return")
    def give_back(
        session: Session,
        payment_id: PaymentId,
        reason: Annotated[str, typer.Option(help="Why; it stays on record.")],
        dated_on: Annotated[str | None, typer.Option(help="The day. Left out: today.")] = None,
    ) -> None:
        """The payment bounced or was charged back: what it paid is open again."""
        body = {"reason": reason} | ({"dated_on": dated_on} if dated_on else {})
        with session.client() as client:
            answer = client.post(f"/v1/payments/{payment_id}/return", body)
        _show(session, answer)


def _add_settings(sub: typer.Typer) -> None:
    @command(sub, "settings")
    def settings(
        session: Session,
        customer_id: Annotated[str, typer.Argument(help="The customer.")],
        applies_credit: Annotated[
            bool | None,
            typer.Option(
                "--apply-credit/--keep-credit", help="Whether money on account pays the next invoices."
            ),
        ] = None,
    ) -> None:
        """Whether money on account pays a customer's next invoices by itself; without an option: as it is."""
        path = f"/v1/customers/{customer_id}/payment-settings"
        with session.client() as client:
            if applies_credit is None:
                answer = client.get(path)
            else:
                body = b'{"applies_credit": true}' if applies_credit else b'{"applies_credit": false}'
                answer = client.put(path, body, content_type="application/json")
        does = "pays" if answer["applies_credit"] else "does not pay"
        session.show(answer, f"Money on account of {customer_id} {does} its next invoices by itself.")
