"""Goal: the worked example of docs/adjustments.md is true."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from ingest.document import read_document
from invoicing.invoice import InvoiceLine
from tests.invoicing.test_adjustments import Sender
from tests.invoicing.world import World

PAGE = (Path(__file__).parents[2] / "docs" / "adjustments.md").read_text(encoding="utf-8")


@pytest.mark.requirement("RAT-07")
def test_the_example_comes_out_as_written(world: World) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    case = read_document(text)
    world.plan(*case["plan"]["charges"])
    world.contract(start_date=date(2026, 1, 1))
    sender = Sender(world)
    for billing_date in sorted({str(entry["before"]) for entry in case["sent"]}):
        for entry in case["sent"]:
            if str(entry["before"]) != billing_date:
                continue
            if "amend" in entry:
                sender.correct(entry["name"], str(entry["amend"]))
            else:
                sender.calls((entry["name"], "c1", str(entry["day"]), str(entry["value"])))
        world.bill(billing_date, now=sender.received_at.replace(year=2026, month=12))
    found = [
        row(stored.invoice.billing_date, line) for stored in world.invoices() for line in stored.invoice.lines
    ]
    table = PAGE.split("|---|---|---|---|---|---|---|\n")[1].split("\n\n")[0].splitlines()
    assert found == table


def row(billing_date: date, line: InvoiceLine) -> str:
    quantity, amount = f"{line.quantity.normalize():f}", f"{line.amount:.2f}"
    was = line.adjusts
    if was is None:
        return f"| {billing_date} | {line.description} | {quantity} | | | | {amount} |"
    before = f"{was.billed_quantity.normalize():f} for {was.billed_amount:.2f}"
    return (
        f"| {billing_date} | {line.description} | {quantity} | {was.billing_date} | {before} | "
        f"{was.rated_amount:.2f} | {amount} |"
    )
