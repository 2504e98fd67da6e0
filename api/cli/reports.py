"""`ratemill report`: what became of everything."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from api.cli.session import Column, Session, command, group, grouped, table

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
