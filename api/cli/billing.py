"""`ratemill bill` and `ratemill invoice`."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api.cli import electronic_invoices, print_invoices, write_offs
from api.cli.delivery import add_resend
from api.cli.document_pdf import add_pdf
from api.cli.invoice_view import invoice_shown, money
from api.cli.session import Column, Limit, Session, command, group, more, table
from api.problem import ApiProblem

if TYPE_CHECKING:
    from api.client import RatemillClient

IdOrNumber = Annotated[str, typer.Argument(help="The invoice's id or printed number.")]

INVOICE_COLUMNS: tuple[Column, ...] = (
    ("invoice", lambda item: item["number"] or item["invoice_id"]),
    ("customer", "customer_id"),
    ("contract", "contract_id"),
    ("billing date", "billing_date"),
    ("due", "due_date"),
    ("net>", lambda item: f"{money(item['total_minor'], _digits(item['currency']))} {item['currency']}"),
    ("tax>", lambda item: money(item["tax_minor"], _digits(item["currency"]))),
    ("to pay>", lambda item: money(item["due_minor"], _digits(item["currency"]))),
)

HELD_COLUMNS: tuple[Column, ...] = (
    ("contract", "contract_id"),
    ("billing date", "billing_date"),
    ("reason", "reason_code"),
    ("what to do", "message"),
)


def add_commands(app: typer.Typer) -> None:
    @command(app, "bill")
    def bill(
        session: Session,
        as_of: Annotated[str, typer.Option(help="Bill what is due on this date or before, like 2026-12-01.")],
        draft: Annotated[bool, typer.Option("--draft", help="Leave drafts without numbers.")] = False,
        run_id: Annotated[str | None, typer.Option(help="Name the run, or take up one again.")] = None,
    ) -> None:
        """Bill what is due. Running it again is safe: a billing date is settled once.

        Leaves with status 1 when a contract was held; the report says why.
        """
        _check_date(as_of)
        wanted = {"as_of": as_of, "issue": not draft} | ({"run_id": run_id} if run_id else {})
        with session.client() as client:
            run = client.post("/v1/billing-runs", wanted, params={"wait": "false"})
            run = _follow(session, client, run)
        if run["problem"] is not None:
            raise ApiProblem(run["problem"])
        report = run["report"]
        session.show(run, *_report_shown(run, report))
        if report.get("held") or report.get("item_invoices_held"):
            raise typer.Exit(1)

    @command(app, "tick")
    def tick(session: Session) -> None:
        """Do what has become due by now: bill, issue what is approved, deliver. Again is safe.

        It is what the server's scheduler does every minute, for whoever keeps time with cron. Leaves with
        status 1 when a contract was held or a delivery failed.
        """
        with session.client() as client:
            answer = client.post("/v1/tick")
        run, attempts = answer["run"], answer["delivery"]["attempts"]
        shown = ["Nothing new is due."] if run is None else _report_shown(run, run["report"])
        words = ", ".join(f"{count:,} {state}" for state, count in attempts.items())
        session.show(answer, *shown, f"Deliveries attempted: {words or 'none'}.")
        report = {} if run is None else run["report"]
        if (
            report.get("held")
            or report.get("item_invoices_held")
            or not attempts.keys() <= {"sent", "queued"}
        ):
            raise typer.Exit(1)

    invoices = group(app, "invoice", "Invoices: look at them, print them, issue drafts.")
    _add_list(invoices)
    _add_show(invoices)
    print_invoices.add_commands(invoices)
    add_pdf(invoices, "/v1/invoices")
    add_resend(invoices, "/v1/invoices")
    electronic_invoices.add_commands(invoices, "/v1/invoices")
    write_offs.add_commands(invoices)

    @command(invoices, "issue")
    def issue(session: Session, invoice: IdOrNumber) -> None:
        """Give a draft its number. From then on it never changes."""
        with session.client() as client:
            answer = client.post(f"/v1/invoices/{invoice}/issue")
        session.show(answer, *invoice_shown(answer))


def _check_date(text: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date, like 2026-12-01.", param_hint="--as-of") from None


def _add_list(invoices: typer.Typer) -> None:
    @command(invoices, "list")
    def list_all(
        session: Session,
        customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
        contract: Annotated[str | None, typer.Option(help="Only this contract's.")] = None,
        state: Annotated[Literal["draft", "issued"] | None, typer.Option(help="draft or issued.")] = None,
        search: Annotated[
            str | None,
            typer.Option(help="A printed number, words on it, a customer's id or a part of its name."),
        ] = None,
        limit: Limit = 100,
    ) -> None:
        """Newest billing date first, and what all of them come to."""
        params = {
            "customer_id": customer,
            "contract_id": contract,
            "state": state,
            "search": search,
            "limit": limit,
            "totals": "true",
        }
        with session.client() as client:
            answer = client.get("/v1/invoices", params)
        if not answer["items"]:
            none = "No invoices yet. `ratemill bill --as-of DATE` makes those that are due."
            if search is not None:
                none = (
                    f"No invoice fits {search!r}: give a whole number, words on it (all must be there), or a "
                    "customer's id or a part of its name."
                )
            session.show(answer, none)
            return
        count = sum(total["invoices"] for total in answer["totals"])
        words = f"{count:,} invoices, {_sums_words(answer['totals'])} in all."
        shown = [table(answer["items"], INVOICE_COLUMNS), words]
        if answer["next_cursor"]:
            shown.append(more(limit))
        session.show(answer, *shown)


def _sums_words(totals: list[dict[str, Any]]) -> str:
    """``1,000.00 EUR net and 190.00 EUR tax`` for each currency."""
    net: Counter[str] = Counter()
    tax: Counter[str] = Counter()
    for total in totals:
        net[total["currency"]] += total["total_minor"]
        tax[total["currency"]] += total["tax_minor"]
    return ", ".join(
        f"{money(minor, _digits(code))} {code} net"
        + (f" and {money(tax[code], _digits(code))} {code} tax" if tax[code] else "")
        for code, minor in sorted(net.items())
    )


def _add_show(invoices: typer.Typer) -> None:
    @command(invoices, "show")
    def show(session: Session, invoice: IdOrNumber) -> None:
        """One invoice with its lines; `ratemill explain LINE` goes on from there."""
        with session.client() as client:
            answer = client.get(f"/v1/invoices/{invoice}")
        session.show(answer, *invoice_shown(answer))


def _follow(session: Session, client: RatemillClient, run: dict[str, Any]) -> dict[str, Any]:
    """Ask for the run's progress until it has ended; shows a bar a stage."""
    import time  # noqa: PLC0415

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=session.err, transient=True, disable=session.as_json) as bars:
        tasks: dict[str, Any] = {}
        while run["state"] == "running":
            time.sleep(0.1)
            run = client.get(f"/v1/billing-runs/{run['run_id']}")
            for stage in run["stages"]:
                name = stage["stage"]
                if name not in tasks:
                    tasks[name] = bars.add_task(name)
                bars.update(tasks[name], completed=stage["done"], total=stage["total"])
    return run


def _digits(currency: str) -> int:
    from rating.money import minor_digits  # noqa: PLC0415

    return minor_digits(currency)


def _report_shown(run: dict[str, Any], report: dict[str, Any]) -> list[Any]:
    shown: list[Any] = [f"Billing run {run['run_id']}: {report['summary']}"]
    held = [*report["held_dates"], *report["item_invoices_held"]]
    if held:
        shown.append(table(held, HELD_COLUMNS, title="Held, and why"))
    if report["invoiced"] or report["item_invoices"]:
        rate, seconds = Decimal(report["invoices_per_second"]), Decimal(report["seconds"])
        shown.append(f"It took {seconds:,.1f} s: {rate:,.0f} invoices a second.")
        shown.append("`ratemill invoice list` shows the invoices.")
    return shown
