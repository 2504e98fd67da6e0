"""`ratemill entity logo` and `ratemill tax-rates load`; the rest of both groups stands in documents.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import typer

from api.cli.deletions import add_delete
from api.cli.session import Column, Session, command, table

LOADED_COLUMNS: Final[tuple[Column, ...]] = (("tax rates", "tax_rates_id"), ("version>", "version"))


def add_entity_commands(sub: typer.Typer) -> None:
    """Add them to the group `ratemill entity`."""

    @command(sub, "logo")
    def logo(
        session: Session,
        entity: Annotated[str, typer.Argument(help="The entity, from `list`.")],
        file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A PNG or SVG image.")],
    ) -> None:
        """Send the image that heads the entity's invoices from now on."""
        path = f"/v1/billing-entities/{quote(entity, safe='')}/logo"
        with session.client() as client:
            answer = client.put(path, file.read_bytes(), content_type="application/octet-stream")
        session.show(answer, f"{entity} is at version {answer['version']} and has this logo.")

    add_delete(sub, path="/v1/billing-entities", what="billing entity")


def add_rates_commands(sub: typer.Typer) -> None:
    """Add them to the group `ratemill tax-rates`."""

    @command(sub, "load")
    def load(
        session: Session,
        example: Annotated[list[str], typer.Option(help="A country: DE, AT, FR, NL, CH, GB or US.")],
    ) -> None:
        """Save example tax rates to begin with. Compare them with the law before they are used."""
        with session.client() as client:
            answer = client.post("/v1/tax-rates/examples", {"examples": example})
        words = "Examples, not advice: `ratemill tax-rates show COUNTRY` shows what invoices will say."
        session.show(answer, table(answer["items"], LOADED_COLUMNS), words)
