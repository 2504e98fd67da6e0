"""`ratemill usage` and `ratemill explain`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from api.cli.session import Column, Session, command, grouped, table

Window = Literal["minute", "hour", "day", "month"]

USAGE_COLUMNS: tuple[Column, ...] = (
    ("from", "window_start"),
    ("until before", "window_end"),
    ("dimensions", "dimensions"),
    ("quantity>", grouped("quantity")),
    ("events>", "event_count"),
)
UNUSABLE_COLUMNS: tuple[Column, ...] = (
    ("reason", "reason_code"),
    ("events>", "event_count"),
    ("for example source", "example_source"),
    ("id", "example_id"),
)
EVENT_COLUMNS: tuple[Column, ...] = (
    ("time", "time"),
    ("subject", "subject"),
    ("counts for>", grouped("number")),
    ("properties", "properties"),
    ("source", "source"),
    ("id", "id"),
)


def add_commands(app: typer.Typer) -> None:
    @command(app, "usage")
    def usage(
        session: Session,
        meter: Annotated[str, typer.Argument(help="The meter, from `meter list`.")],
        subject: Annotated[str | None, typer.Option(help="Left out: all subjects together.")] = None,
        time_from: Annotated[str | None, typer.Option("--from", help="From this time on, with zone.")] = None,
        time_to: Annotated[str | None, typer.Option("--to", help="Before this time, with zone.")] = None,
        window: Annotated[Window | None, typer.Option(help="minute, hour, day or month.")] = None,
        time_zone: Annotated[
            str | None, typer.Option(help="Whose days and months, like Europe/Berlin.")
        ] = None,
        known_at: Annotated[
            str | None, typer.Option(help="As it was known at this instant, with zone.")
        ] = None,
    ) -> None:
        """What was used so far, counted live."""
        params = {
            "meter_id": meter,
            "subject": subject,
            "time_from": time_from,
            "time_to": time_to,
            "window": window,
            "time_zone": time_zone,
            "known_at": known_at,
        }
        with session.client() as client:
            answer = client.get("/v1/usage", params)
        title = f"Meter {meter}, unit {answer['unit']}" + (f", subject {subject}" if subject else "")
        empty = "No usage. `ratemill events list` shows what came in, `events unmatched` what nothing counts."
        shown: list[Any] = [table(answer["items"], USAGE_COLUMNS, title=title) if answer["items"] else empty]
        if answer["unusable"]:
            shown.append(table(answer["unusable"], UNUSABLE_COLUMNS, title="Events that cannot be counted"))
        session.show(answer, *shown)

    @command(app, "explain")
    def explain(
        session: Session,
        line: Annotated[str, typer.Argument(help="The line's id, from `invoice show`.")],
        events: Annotated[int, typer.Option(help="Also so many of the events behind it.")] = 0,
    ) -> None:
        """How the amount of an invoice line came about, down to its tiers and events."""
        with session.client() as client:
            answer = client.get(f"/v1/lines/{line}")
            text = client.get_bytes(f"/v1/lines/{line}", accept="text/plain").decode()
            shown: list[Any] = [text.rstrip()]
            if events:
                behind = client.get(f"/v1/lines/{line}/events", {"limit": events})
                answer["events"] = behind
                title = f"{len(behind['items']):,} of {behind['event_count']:,} events"
                shown.append(table(behind["items"], EVENT_COLUMNS, title=title))
        session.show(answer, *shown)
