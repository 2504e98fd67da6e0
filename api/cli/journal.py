"""`ratemill journal`: entries, the trial balance, checks and exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.files import write_file
from api.cli.invoice_view import money_column
from api.cli.session import Column, Limit, Session, command, group, more, table

BALANCE_COLUMNS: tuple[Column, ...] = (
    ("account", "account"),
    ("debits>", money_column("debit_minor")),
    ("credits>", money_column("credit_minor")),
    ("balance>", money_column("balance_minor")),
    ("", "currency"),
    ("what it is", "says"),
)
LINE_COLUMNS: tuple[Column, ...] = (
    ("no.>", "entry_number"),
    ("date", "entry_date"),
    ("entry", "kind"),
    ("account", lambda row: f"{row['account']} {row['part']}".strip()),
    ("debit>", lambda row: _side(row, 1)),
    ("credit>", lambda row: _side(row, -1)),
    ("", "currency"),
    ("customer", "customer_id"),
    ("charge", "charge_id"),
    ("for", lambda row: row["document_id"] or row["payment_id"] or row["description"]),
)
NOT_ACCRUED_COLUMNS: tuple[Column, ...] = (
    ("contract", "contract_id"),
    ("billing date", "billing_date"),
    ("reason", "reason_code"),
    ("what to do", "message"),
)
KnownAt = Annotated[str | None, typer.Option(help="As known at that instant, with zone. Left out: now.")]
_EXPORTS = {
    ".csv": ("/v1/journal/postings", "text/csv"),
    ".arrow": ("/v1/journal/postings", "application/vnd.apache.arrow.stream"),
    ".parquet": ("/v1/journal/postings", "application/vnd.apache.parquet"),
    ".beancount": ("/v1/journal/beancount", "text/plain"),
}


def _side(row: Mapping[str, Any], sign: int) -> str:
    amount = row["amount_minor"] * sign
    if amount <= 0:
        return ""
    shown: str = money_column("amount_minor")({"amount_minor": amount, "currency": row["currency"]})
    return shown


def add_commands(app: typer.Typer) -> None:
    journal = group(app, "journal", "The journal: double entry, trial balance, checks, exports.")
    _add_trial_balance(journal)
    _add_entries(journal)
    _add_verify(journal)
    _add_recognise(journal)
    _add_backfill(journal)
    _add_export(journal)


def _add_trial_balance(sub: typer.Typer) -> None:
    @command(sub, "trial-balance")
    def trial_balance(
        session: Session,
        on: Annotated[str | None, typer.Option(help="At the end of this day. Left out: today.")] = None,
        known_at: KnownAt = None,
        customer: Annotated[str | None, typer.Option(help="Only this customer's lines.")] = None,
        contract: Annotated[str | None, typer.Option(help="Only this contract's lines.")] = None,
    ) -> None:
        """Every account on a day, as known then or later. Balances sum to zero."""
        params = {"on": on, "known_at": known_at, "customer_id": customer, "contract_id": contract}
        with session.client() as client:
            answer = client.get("/v1/journal/trial-balance", params)
        if not answer["items"]:
            session.show(answer, f"Nothing was posted by {answer['on']}. Issued invoices and payments are.")
            return
        session.show(answer, f"Trial balance on {answer['on']}", table(answer["items"], BALANCE_COLUMNS))


def _add_entries(sub: typer.Typer) -> None:
    @command(sub, "entries")
    def entries(
        session: Session,
        document: Annotated[str | None, typer.Option(help="Only of this document, by id or number.")] = None,
        payment: Annotated[str | None, typer.Option(help="Only of this payment.")] = None,
        customer: Annotated[str | None, typer.Option(help="Only with a line of this customer.")] = None,
        account: Annotated[str | None, typer.Option(help="Only with a line on this account.")] = None,
        date_from: Annotated[str | None, typer.Option("--from", help="From this day on.")] = None,
        on: Annotated[str | None, typer.Option("--to", help="Up to and with this day.")] = None,
        known_at: KnownAt = None,
        limit: Limit = 100,
    ) -> None:
        """Entries in the order of posting, a line a row."""
        params = {
            "document_id": document,
            "payment_id": payment,
            "customer_id": customer,
            "account": account,
            "date_from": date_from,
            "on": on,
            "known_at": known_at,
            "limit": limit,
        }
        with session.client() as client:
            answer = client.get("/v1/journal/entries", params)
        rows = [{**entry, **line} for entry in answer["items"] for line in entry["lines"]]
        rest = [more(limit)] if answer["next_cursor"] else []
        empty = "Nothing was posted like that. `ratemill journal trial-balance` shows what was."
        session.show(answer, table(rows, LINE_COLUMNS) if rows else empty, *rest)


def _add_verify(sub: typer.Typer) -> None:
    @command(sub, "verify")
    def verify(
        session: Session,
        documents: Annotated[
            bool, typer.Option(help="Post every document once more on paper and compare; reads them all.")
        ] = False,
    ) -> None:
        """Hold the journal to all documents, credit and payments, and its copy to the ledger."""
        with session.client() as client:
            answer = client.post("/v1/journal/verify", params={"documents": "true"} if documents else None)
        mirror = answer["mirror"]
        words = (
            f"The journal ties: {mirror['through_entry']:,} entries, {mirror['ledger_lines']:,} lines, and "
            "the copy for analysts is the same."
        )
        if documents:
            words += " Every document was posted once more on paper and comes to the same."
        problems = [f"  - {problem}" for problem in answer["problems"]]
        if not mirror["ties"]:
            problems.append("  - the copy in the event store is not the journal.")
        session.show(answer, words if answer["ties"] else "The journal does not tie:", *problems)
        if not answer["ties"]:
            raise typer.Exit(1)


def _add_recognise(sub: typer.Typer) -> None:
    @command(sub, "recognise")
    def recognise(
        session: Session,
        through: Annotated[str, typer.Option(help="The last day of a month that is over, like 2026-01-31.")],
    ) -> None:
        """Recognise what is delivered and not billed by the end of a month. Again: what has changed."""
        with session.client() as client:
            answer = client.post("/v1/journal/recognise", params={"through": through})
        words = "Nothing is unbilled by then."
        if answer["amounts"]:
            amount = money_column("amount_minor")
            sums = ", ".join(f"{amount(each)} {each['currency']}" for each in answer["amounts"])
            words = f"{sums} recognised and unbilled, of {answer['documents']:,} invoices to come."
        words += f" {answer['entries']:,} entries posted."
        left_out = answer["not_accrued"]
        shown: list[Any] = [table(left_out, NOT_ACCRUED_COLUMNS, title="Not accrued")] if left_out else []
        session.show(answer, words, *shown)


def _add_backfill(sub: typer.Typer) -> None:
    @command(sub, "backfill")
    def backfill(session: Session) -> None:
        """Post documents and credit that are older than the journal. Again: nothing."""
        with session.client() as client:
            answer = client.post("/v1/journal/backfill")
        words = (
            f"{answer['documents']:,} documents and {answer['credit_entries']:,} entries of credit posted."
        )
        session.show(answer, words)


def _add_export(sub: typer.Typer) -> None:
    @command(sub, "export")
    def export(
        session: Session,
        out: Annotated[Path, typer.Argument(help="A .csv, .arrow, .parquet or .beancount file.")],
        after: Annotated[int, typer.Option(help="Only entries with a number above this.")] = 0,
    ) -> None:
        """Write the journal for an accounting system. What was written once never changes."""
        if out.suffix not in _EXPORTS:
            raise typer.BadParameter(f"{out.name} ends in none of {', '.join(_EXPORTS)}.", param_hint="out")
        path, accept = _EXPORTS[out.suffix]
        if after and path.endswith("beancount"):
            raise typer.BadParameter("a Beancount ledger is written whole.", param_hint="--after")
        params = {"after": after} if after else None
        with session.client() as client:
            write_file(out, client.get_bytes(path, accept=accept, params=params))
        session.show({"out": str(out)}, f"Written to {out}.")
