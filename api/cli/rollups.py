"""`ratemill rollup`: stored usage, how far it is and whether it is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from api.cli.session import Column, Session, command, group, moment, table

DIFFERENCE_COLUMNS: tuple[Column, ...] = (
    ("meter", "meter_id"),
    ("subject", "subject"),
    ("from", moment("period_start")),
    ("until before", moment("period_end")),
    ("dimensions", "dimensions"),
    ("figure", "field"),
    ("stored>", "stored"),
    ("counted>", "counted"),
)


def add_commands(app: typer.Typer) -> None:
    rollup = group(app, "rollup", "Usage added up ahead of billing: status, refresh, verify.")

    @command(rollup, "status")
    def status(session: Session) -> None:
        """How far stored usage is."""
        with session.client() as client:
            answer = client.get("/v1/rollups")
        session.show(answer, _words(answer))

    @command(rollup, "refresh")
    def refresh(session: Session) -> None:
        """Add up the usage of every open period now. A server does it by itself in the background."""
        with session.client() as client:
            answer = client.post("/v1/rollups/refresh", {})
        nothing = "There is nothing to add up: no contract has a period that has begun and is not billed."
        session.show(answer, _words(answer) if answer["periods"] else nothing)

    @command(rollup, "verify")
    def verify(session: Session) -> None:
        """Count all stored usage again from events and compare every figure; exit status 1 if any differs."""
        with session.client() as client:
            answer = client.post("/v1/rollups/verify", {})
        words = (
            f"{answer['rows']:,} usage rows of {answer['periods']:,} periods were counted again "
            f"from events up to number {answer['sequence']:,}: "
        )
        if answer["archived"]:
            words = (
                f"{answer['archived']:,} periods have archived events and cannot be counted again. {words}"
            )
        if answer["differences"] == 0:
            session.show(answer, words + "all are equal.")
            return
        shown = table(answer["shown"], DIFFERENCE_COLUMNS, title="Differences")
        session.show(answer, words + f"{answer['differences']:,} differ.", shown)
        raise typer.Exit(1)


def _words(answer: Mapping[str, Any]) -> str:
    if not answer["periods"]:
        return (
            "No usage is kept yet. `ratemill rollup refresh` adds up the open periods of all contracts, and "
            "`ratemill serve` does so once a minute."
        )
    behind = f", {answer['behind']:,} behind" if answer["behind"] else ", all there are"
    return (
        f"Usage of {answer['meters']:,} meters in {answer['periods']:,} periods, "
        f"with events up to number {answer['sequence']:,}{behind}."
    )
