"""The command `pdf` of invoices, special invoices and credit notes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.files import save_file
from api.cli.session import Session, command


def add_pdf(sub: typer.Typer, path: str) -> None:
    """``path`` is the collection's, such as ``/v1/invoices``."""

    @command(sub, "pdf")
    def pdf(
        session: Session,
        id_or_number: Annotated[str, typer.Argument(help="Its id or printed number.")],
        out: Annotated[Path | None, typer.Option(help="File to write. Left out: NUMBER.pdf here.")] = None,
        factur_x: Annotated[
            bool, typer.Option("--factur-x", help="With the e-invoice inside (Factur-X, ZUGFeRD).")
        ] = False,
    ) -> None:
        """Write it as PDF."""
        params = {"profile": "factur-x"} if factur_x else {}
        with session.client() as client:
            body = client.get_bytes(f"{path}/{id_or_number}/pdf", accept="application/pdf", params=params)
        save_file(session, out or Path(f"{id_or_number}.pdf"), body)
