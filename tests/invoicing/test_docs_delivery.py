"""Goal: docs/delivery.md is true: its customers can be saved, its commands, settings and routes exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import typer.main
from sqlalchemy import Engine

from api import reference
from api.cli import build_cli
from api.settings import settings_table
from ingest.clock import FixedClock
from ingest.document import read_document
from invoicing.customer_store import get_customer, save_customer
from invoicing.delivery.delivery import BACK_OFF, State
from invoicing.delivery.find import list_deliveries
from invoicing.delivery.preferences import DeliveryPreferences
from tests.invoicing.delivery_case import NOW, Recorder, deliver, issue, plain_shelf

PAGE = (Path(__file__).parents[2] / "docs" / "delivery.md").read_text(encoding="utf-8")
CUSTOMERS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))


@pytest.mark.parametrize("text", CUSTOMERS)
def test_every_customer_of_the_page_can_be_saved(ledger: Engine, text: str) -> None:
    document = read_document(text)
    save_customer(ledger, document, now=NOW)
    assert get_customer(ledger, document["customer_id"]).customer.delivery is not None


def test_the_first_example_goes_out_as_the_page_says(ledger: Engine) -> None:
    save_customer(ledger, read_document(CUSTOMERS[0]), now=NOW)
    issue(ledger, amount_minor=1_000_001)
    shelf, clock = plain_shelf(ledger), FixedClock(NOW)  # a Sunday
    assert deliver(ledger, Recorder(shelf), clock, shelf).queued == 3
    found = list_deliveries(ledger, limit=9)
    assert {one.due_at for one in found} == {"2026-02-03T08:00:00.000000+00:00"}  # Tuesday, 9 in Berlin
    assert {one.recipient: one.confirm_wanted for one in found} == {
        "payer@acme.example": True,
        "ap@acme.example": False,
        "jane@seller.example": False,
    }


def test_the_page_names_every_field_and_every_state() -> None:
    for name in DeliveryPreferences.model_fields:
        assert f"`{name}`" in PAGE
    for state in get_args(State):
        assert f"`{state}`" in PAGE
    minutes = [int(wait.total_seconds() // 60) for wait in BACK_OFF]
    assert minutes == [1, 5, 15, 60, 240, 720, 1440]  # the page: 1, 5, 15 and 60 minutes, 4, 12 and 24 hours


def test_its_commands_settings_and_routes_are_ones_the_program_knows() -> None:
    commands = typer.main.get_command(build_cli()).commands  # type: ignore[attr-defined]
    shown = [shlex.split(row, comments=True)[1:] for row in SHELL.splitlines() if row.startswith("ratemill ")]
    assert len(shown) > 10
    for words in shown:
        found = commands[words[0]]
        if hasattr(found, "commands"):
            found = found.commands[words[1]]
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, words
    settings = {setting.name for setting in settings_table()}
    assert set(re.findall(r"RATEMILL_[A-Z_]+", PAGE)) <= settings
    routes = {route.path for route in reference.routes()}
    assert set(re.findall(r"`(?:GET|POST) (/v1/[^`?]+)`", PAGE)) <= routes
    codes = {code.code for code in reference.reason_codes()}
    assert {"no_address", "waited_too_long", "address_bounced"} <= codes
