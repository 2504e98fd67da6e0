"""`ratemill invoice xml` and `validate`, and the same of `ratemill credit-note` and `special-invoice`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from api.cli.files import save_file
from api.cli.session import Column, Session, command, table

IdOrNumber = Annotated[str, typer.Argument(help="Its id or printed number.")]
Syntax = Annotated[Literal["ubl", "cii"], typer.Option(help="ubl (UBL 2.1) or cii (as in Factur-X).")]
Profile = Annotated[
    Literal["en16931", "peppol", "xrechnung"],
    typer.Option(help="What a network asks on top of EN 16931: peppol, xrechnung."),
]
FINDING_COLUMNS: tuple[Column, ...] = (
    ("check", "check"),
    ("rule", "rule"),
    ("", lambda item: "error" if item["is_error"] else "warning"),
    ("what is wrong", "message"),
)


def add_commands(sub: typer.Typer, path: str) -> None:
    """path: under which the documents of this group are."""

    @command(sub, "xml")
    def xml(
        session: Session,
        id_or_number: IdOrNumber,
        syntax: Syntax = "ubl",
        profile: Profile = "en16931",
        out: Annotated[
            Path | None, typer.Option(help="File to write. Left out: NUMBER-SYNTAX.xml here.")
        ] = None,
    ) -> None:
        """Write it as an e-invoice (EN 16931), once it is issued."""
        with session.client() as client:
            body = client.get_bytes(
                f"{path}/{id_or_number}/{syntax}", accept="application/xml", params={"profile": profile}
            )
        file = out or Path(f"{id_or_number}-{syntax}.xml")
        save_file(session, file, body)

    @command(sub, "validate")
    def validate(
        session: Session, id_or_number: IdOrNumber, syntax: Syntax = "ubl", profile: Profile = "en16931"
    ) -> None:
        """Check it as an e-invoice. Leaves with status 1 when it is none."""
        with session.client() as client:
            params = {"syntax": syntax, "profile": profile}
            answer = client.get(f"{path}/{id_or_number}/einvoice-check", params)
        verdict = "is a right e-invoice" if answer["valid"] else "is no right e-invoice"
        words = [f"{answer['number']} {verdict} ({syntax}, {profile})."]
        words += [f"  {name}: {said}" for name, said in answer["checks"].items()]
        session.show(answer, *words, *_findings(answer["findings"]))
        if not answer["valid"]:
            raise typer.Exit(1)


def _findings(findings: list[dict[str, object]]) -> list[object]:
    return [table(findings, FINDING_COLUMNS)] if findings else []
