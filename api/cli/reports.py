"""`ratemill report`: what became of everything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from api.cli.files import write_file
from api.cli.payer_habits import add_report
from api.cli.revenue_reports import add_revenue_reports
from api.cli.session import Column, Limit, Session, command, group, grouped, moment, more, table

PART_COLUMNS: tuple[Column, ...] = (
    ("type", "type"),
    ("outcome", "outcome"),
    ("reason", "reason_code"),
    ("events>", "event_count"),
    ("units>", grouped("value_total")),
)
REFUSED_COLUMNS: tuple[Column, ...] = (
    ("outcome", "outcome"),
    ("state", "state"),
    ("records>", "record_count"),
)


VARIANCE_COLUMNS: tuple[Column, ...] = (
    ("from", moment("window_start")),
    ("until before", moment("window_end")),
    ("subject", "subject"),
    ("product", "dimensions"),
    ("provisioned>", grouped("provisioned")),
    ("consumed>", grouped("consumed")),
    ("difference>", grouped("difference")),
    ("flagged", "flagged"),
)
UNCOUNTED_COLUMNS: tuple[Column, ...] = (
    ("meter", "meter_id"),
    ("subject", "subject"),
    ("reason", "reason_code"),
    ("events>", "event_count"),
    ("for example source", "example_source"),
    ("id", "example_id"),
)
QUANTITY_COLUMNS: tuple[Column, ...] = (
    ("customer", "customer_id"),
    ("product", "product"),
    ("sold>", grouped("sold")),
    ("bought>", grouped("bought")),
    ("provisioned>", grouped("provisioned")),
    ("consumed>", grouped("consumed")),
    ("sold - bought>", grouped("sold_less_bought")),
    ("bought - provisioned>", grouped("bought_less_provisioned")),
    ("provisioned - consumed>", grouped("provisioned_less_consumed")),
    ("uncounted>", "unusable_events"),
)
SOLD_COLUMNS: tuple[Column, ...] = (
    ("quote", "quote_id"),
    ("customer", "customer_id"),
    ("sold as", "outcome"),
    ("product", "name"),
    ("billed", "billed"),
    ("quoted>", grouped("quoted_quantity")),
    ("ordered>", grouped("ordered_quantity")),
    ("quoted for>", grouped("quoted_amount")),
    ("ordered for>", grouped("ordered_amount")),
    ("difference>", grouped("difference")),
    ("", "currency"),
    ("state", lambda item: item["state"].replace("_", " ")),
)
_TABLE_FORMS = {".csv": "text/csv", ".arrow": "application/vnd.apache.arrow.stream"}
Window = Literal["minute", "hour", "day", "month"]


LATE_COLUMNS: Final[tuple[Column, ...]] = (
    ("contract", "contract_id"),
    ("billing date", "billing_date"),
    ("to be invoiced on", "invoice_day"),
    ("days late>", "days_late"),
    ("reason", "reason_code"),
    ("what to do", "message"),
)


def _add_late_billing(report: typer.Typer) -> None:
    @command(report, "late-billing")
    def late_billing(session: Session) -> None:
        """Billing dates that should have been invoiced a day ago or earlier and are not, and why.

        Leaves with status 1 when there are any.
        """
        with session.client() as client:
            answer = client.get("/v1/reports/late-billing")
        if not answer["late"]:
            session.show(answer, "No billing date is late.")
            return
        words = f"{answer['late']:,} billing dates are late."
        session.show(answer, words, table(answer["items"], LATE_COLUMNS))
        raise typer.Exit(1)


def add_commands(app: typer.Typer) -> None:
    report = group(app, "report", "Reports over everything on record.")

    @command(report, "completeness")
    def completeness(
        session: Session,
        time_from: Annotated[str | None, typer.Option("--from", help="Events from this time on.")] = None,
        time_to: Annotated[str | None, typer.Option("--to", help="Events before this time.")] = None,
    ) -> None:
        """Where every event went: billed, not billable or unbilled, with the reason, summed and checked."""
        with session.client() as client:
            answer = client.get("/v1/reports/completeness", {"time_from": time_from, "time_to": time_to})
        words = (
            f"{answer['accepted']:,} events accepted = {answer['billed']:,} billed + "
            f"{answer['not_billable']:,} not billable + {answer['unbilled']:,} unbilled."
        )
        shown: list[Any] = [table(answer["parts"], PART_COLUMNS)] if answer["parts"] else []
        if answer["refused"]:
            shown.append(table(answer["refused"], REFUSED_COLUMNS, title="Records refused"))
        session.show(answer, words, *shown)

    _add_quantities(report)
    _add_sold_ordered(report)
    add_revenue_reports(report)
    add_report(report)
    _add_late_billing(report)

    @command(report, "provisioned")
    def provisioned(
        session: Session,
        licences: Annotated[str, typer.Argument(help="The meter of what is provisioned.")],
        use: Annotated[str, typer.Argument(help="The meter of what is consumed.")],
        time_from: Annotated[str, typer.Option("--from", help="From this time on, with zone.")],
        time_to: Annotated[str, typer.Option("--to", help="Before this time, with zone.")],
        time_zone: Annotated[str, typer.Option(help="Whose days and months, like Europe/Berlin.")] = "UTC",
        window: Annotated[Window, typer.Option(help="minute, hour, day or month.")] = "month",
        subject: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
        product: Annotated[
            list[str] | None, typer.Option(help="Property that names the product; may be repeated.")
        ] = None,
        threshold: Annotated[str, typer.Option(help="Flag differences beyond so many percent.")] = "0",
    ) -> None:
        """What was provisioned beside what was consumed, per subject and product, with the difference."""
        params = {
            "provisioned_meter_id": licences,
            "consumed_meter_id": use,
            "time_from": time_from,
            "time_to": time_to,
            "time_zone": time_zone,
            "window": window,
            "subject": subject,
            "group_by": product,
            "threshold_percent": threshold,
        }
        with session.client() as client:
            answer = client.get("/v1/reports/provisioned", params)
        words = f"{answer['flagged']:,} of {len(answer['items']):,} differ by more than {threshold} percent."
        shown: list[Any] = [table(answer["items"], VARIANCE_COLUMNS)] if answer["items"] else []
        if answer["unusable"]:
            title = "Events that cannot be counted"
            shown.append(table(answer["unusable"], UNCOUNTED_COLUMNS, title=title))
        session.show(answer, words, *shown)


def _add_quantities(report: typer.Typer) -> None:
    @command(report, "quantities")
    def quantities(
        session: Session,
        time_from: Annotated[str, typer.Option("--from", help="From this time on, with zone.")],
        time_to: Annotated[str, typer.Option("--to", help="Before this time, with zone.")],
        customer: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
        charge: Annotated[
            list[str] | None, typer.Option(help="One product of these charges; may be repeated.")
        ] = None,
        licences: Annotated[str | None, typer.Option(help="Its meter of licences.")] = None,
        use: Annotated[str | None, typer.Option(help="Its meter of use.")] = None,
        out: Annotated[Path | None, typer.Option(help="Write a .csv or .arrow file instead.")] = None,
    ) -> None:
        """Sold, bought, provisioned and consumed, per customer and product, with the differences."""
        params = {
            "time_from": time_from,
            "time_to": time_to,
            "customer_id": customer,
            "charge_id": charge,
            "provisioned_meter_id": licences,
            "consumed_meter_id": use,
        }
        with session.client() as client:
            if out is not None:
                accept = _TABLE_FORMS.get(out.suffix)
                if accept is None:
                    raise typer.BadParameter(f"{out.name} is neither .csv nor .arrow.", param_hint="--out")
                write_file(out, client.get_bytes("/v1/reports/quantities", accept=accept, params=params))
                session.show({"out": str(out)}, f"Written to {out}.")
                return
            answer = client.get("/v1/reports/quantities", params)
        items = answer["items"]
        empty = "No customer has a contract with charges in that time."
        session.show(answer, table(items, QUANTITY_COLUMNS) if items else empty)


def _add_sold_ordered(report: typer.Typer) -> None:
    @command(report, "sold-ordered")
    def sold_ordered(
        session: Session,
        customer: Annotated[str | None, typer.Option(help="Only this customer's quotes.")] = None,
        on: Annotated[str | None, typer.Option(help="Whose fees are ordered. Left out: today.")] = None,
        differences: Annotated[bool, typer.Option(help="Only what differs.")] = False,
        limit: Limit = 100,
    ) -> None:
        """What quotes sold beside what was ordered: part by part, with the difference."""
        params = {"customer_id": customer, "on": on, "only_differences": differences, "limit": limit}
        with session.client() as client:
            answer = client.get("/v1/reports/sold-ordered", params)
        empty = "Nothing to compare: no quote here sells an outcome, or nothing differs."
        rest = [more(limit)] if answer["next_cursor"] else []
        shown = table(answer["items"], SOLD_COLUMNS) if answer["items"] else empty
        session.show(answer, shown, *rest)
