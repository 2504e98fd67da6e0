"""`ratemill report revenue|outstanding|invoice-lines`: out of the journal and the invoices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from api.cli.files import write_file
from api.cli.invoice_view import money_column
from api.cli.journal import KnownAt
from api.cli.session import Column, Session, command, table

REVENUE_COLUMNS: tuple[Column, ...] = (
    ("period", "period"),
    ("of", "key"),
    ("recognised>", money_column("recognised_minor")),
    ("billed>", money_column("billed_minor")),
    ("tax>", money_column("tax_minor")),
    ("collected>", money_column("collected_minor")),
    ("written off>", money_column("written_off_minor")),
    ("unbilled>", money_column("unbilled_minor")),
    ("deferred>", money_column("deferred_minor")),
    ("prepaid>", money_column("prepaid_credit_minor")),
    ("receivable>", money_column("receivable_minor")),
    ("", "currency"),
)
TOTAL_COLUMNS: tuple[Column, ...] = (
    ("", "currency"),
    ("documents>", "documents"),
    ("open>", money_column("open_minor")),
    ("of it overdue>", money_column("overdue_minor")),
    ("on account>", money_column("unapplied_minor")),
    ("written off>", money_column("written_off_minor")),
)
DOCUMENT_COLUMNS: tuple[Column, ...] = (
    ("document", "number"),
    ("customer", "customer_id"),
    ("issued", "issue_date"),
    ("due", "due_date"),
    ("open>", money_column("open_minor")),
    ("", "currency"),
    ("days overdue>", "overdue_days"),
    ("part", lambda item: item["instalment"] or ""),
)
_FORMS = {
    ".csv": "text/csv",
    ".arrow": "application/vnd.apache.arrow.stream",
    ".parquet": "application/vnd.apache.parquet",
}
Out = Annotated[Path | None, typer.Option(help="Write a .csv, .arrow or .parquet file instead.")]
AsOf = Annotated[str | None, typer.Option(help="At the end of this day. Left out: today.")]


def _write(session: Session, path: str, params: dict[str, Any], out: Path) -> None:
    accept = _FORMS.get(out.suffix)
    if accept is None:
        raise typer.BadParameter(f"{out.name} ends in none of {', '.join(_FORMS)}.", param_hint="--out")
    with session.client() as client:
        write_file(out, client.get_bytes(path, accept=accept, params=params))
    session.show({"out": str(out)}, f"Written to {out}.")


def add_revenue_reports(report: typer.Typer) -> None:
    """The commands, in the group ``report``."""
    _add_revenue(report)
    _add_outstanding(report)
    _add_invoice_lines(report)


def _add_revenue(report: typer.Typer) -> None:
    @command(report, "revenue")
    def revenue(
        session: Session,
        by: Annotated[Literal["day", "month"], typer.Option(help="day or month.")] = "month",
        group: Annotated[
            Literal["customer", "contract", "product", "currency"],
            typer.Option(help="customer, contract, product or currency."),
        ] = "customer",
        as_of: AsOf = None,
        known_at: KnownAt = None,
        date_from: Annotated[str | None, typer.Option("--from", help="The first day shown.")] = None,
        customer: Annotated[str | None, typer.Option(help="Only this customer.")] = None,
        out: Out = None,
    ) -> None:
        """Recognised, billed and collected, with what lies between them."""
        params = {
            "by": by,
            "group": group,
            "as_of": as_of,
            "known_at": known_at,
            "date_from": date_from,
            "customer_id": customer,
        }
        if out is not None:
            _write(session, "/v1/reports/revenue", params, out)
            return
        with session.client() as client:
            answer = client.get("/v1/reports/revenue", params)
        empty = f"Nothing was posted by {answer['as_of']}. Issued invoices and payments are."
        session.show(answer, table(answer["items"], REVENUE_COLUMNS) if answer["items"] else empty)


def _add_outstanding(report: typer.Typer) -> None:
    @command(report, "outstanding")
    def outstanding(
        session: Session,
        as_of: AsOf = None,
        known_at: KnownAt = None,
        customer: Annotated[str | None, typer.Option(help="Only this customer.")] = None,
        out: Out = None,
    ) -> None:
        """What is owed on a day: the balance of receivable, and the open documents it is made of."""
        params = {"as_of": as_of, "known_at": known_at, "customer_id": customer}
        if out is not None:
            _write(session, "/v1/reports/outstanding", params, out)
            return
        with session.client() as client:
            answer = client.get("/v1/reports/outstanding", params)
        if not answer["totals"]:
            session.show(answer, f"Nothing was owed on {answer['as_of']}.")
            return
        documents = [table(answer["items"], DOCUMENT_COLUMNS)] if answer["items"] else []
        left_off = answer["left_off"]
        more = [f"{left_off:,} more are open: --out FILE.csv writes all."] if left_off else []
        session.show(answer, table(answer["totals"], TOTAL_COLUMNS), *documents, *more)


def _add_invoice_lines(report: typer.Typer) -> None:
    @command(report, "invoice-lines")
    def invoice_lines(
        session: Session,
        out: Annotated[Path, typer.Argument(help="A .csv, .arrow or .parquet file.")],
        issued_from: Annotated[
            str | None, typer.Option("--from", help="Issued on or after this day.")
        ] = None,
        issued_to: Annotated[str | None, typer.Option("--to", help="Issued before this day.")] = None,
    ) -> None:
        """Write the lines of issued invoices as columns, for analysts."""
        params = {"issued_from": issued_from, "issued_to": issued_to}
        _write(session, "/v1/reports/invoice-lines", params, out)
