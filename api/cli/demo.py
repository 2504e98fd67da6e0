"""`ratemill demo`: a year of real flights, from events to invoices, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from api.cli.session import AsJson, Session, problems_shown
from api.settings import load_settings

DEMO_FOLDER: Final = Path("ratemill-demo")
DEMO_SELLER: Final = {
    "seller_name": "New York Airports, demo",
    "seller_address": "1 Airport Way; New York, NY 10001",
    "seller_country": "US",
    "seller_tax_id": "00-0000000",
    "seller_email": "billing@airports.example",
    "seller_bank_account": "",
}
"""Invented, like the prices."""


def demo_command(
    folder: Annotated[Path, typer.Option(help="Where the demo keeps everything it makes.")] = DEMO_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Bill a year of real flights: what happens, how fast, and what to try next.

    Needs no server and no setting. Running it again changes nothing, and says why.
    """
    from api.demo.run import run_demo  # noqa: PLC0415 - loads the stores

    # Whatever the environment names: the demo stays in its own folder, away from real data.
    own = {"data": folder, "server": None, "events_url": None, "ledger_url": None} | DEMO_SELLER
    session = Session(load_settings().model_copy(update=own), as_json)
    with problems_shown(session):
        run_demo(session)
