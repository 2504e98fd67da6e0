"""`ratemill archive`: the records of a year as one file, proved by itself; how long they must be kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.session import Column, Session, command, group, moment, table

YEAR_COLUMNS: tuple[Column, ...] = (
    ("entity", lambda item: item["entity_id"] or "(none)"),
    ("year", lambda item: str(item["year"])),
    ("documents>", "documents"),
    ("kept until", "kept_until"),
    ("rule", "rule"),
    ("archived", moment("archived_at")),
)


def add_commands(app: typer.Typer) -> None:
    sub = group(app, "archive", "Archives of a year for tax offices and courts; how long to keep records.")
    _add_year(sub)
    _add_verify(sub)

    @command(sub, "years")
    def years(session: Session) -> None:
        """What is on record by billing entity and year, and until when it must be."""
        with session.client() as client:
            answer = client.get("/v1/retention")
        empty = "Nothing is issued yet, so nothing has to be kept."
        session.show(answer, table(answer["items"], YEAR_COLUMNS) if answer["items"] else empty)


def _add_year(sub: typer.Typer) -> None:
    @command(sub, "year")
    def year(
        session: Session,
        wanted: Annotated[int, typer.Argument(metavar="YEAR", help="The year of issue.")],
        out: Annotated[Path, typer.Option(help="The ZIP to write.")],
        entity: Annotated[str | None, typer.Option(help="Only documents of this billing entity.")] = None,
        reason: Annotated[str, typer.Option(help="For whom or why; it stays in the audit trail.")] = "",
    ) -> None:
        """Write every document of a year with register, journal, audit trail and hashes into one ZIP."""
        from api.json import to_json  # noqa: PLC0415
        from invoicing.year_archive_check import verify_archive  # noqa: PLC0415

        body = to_json({"year": wanted, "entity_id": entity, "reason": reason})
        with session.client() as client:
            client.post_to_file("/v1/year-archives", body, out, accept="application/zip")
        proof = verify_archive(out)
        _show(session, {"path": str(out), **proof.to_dict()}, out)


def _add_verify(sub: typer.Typer) -> None:
    @command(sub, "verify")
    def verify(
        session: Session,
        file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An archive of a year.")],
    ) -> None:
        """Prove an archive from the file alone. Leaves with status 1 when anything is wrong."""
        from invoicing.year_archive_check import verify_archive  # noqa: PLC0415

        _show(session, {"path": str(file), **verify_archive(file).to_dict()}, file)


def _show(session: Session, answer: dict[str, Any], file: Path) -> None:
    manifest = answer["manifest"]
    whose = f" of {manifest['entity_id']}" if manifest["entity_id"] else ""
    head = (
        f"{file}: {manifest['documents']:,} documents of {manifest['year']}{whose}, {answer['files']:,} files"
    )
    kept = f"To be kept until {manifest['retention']['kept_until']} ({manifest['retention']['rule']})."
    if answer["proved"]:
        session.show(answer, f"{head}, proved.", kept)
        return
    session.show(
        answer, f"{head}, NOT as they were written:", *(f"  - {each}" for each in answer["problems"])
    )
    raise typer.Exit(1)
