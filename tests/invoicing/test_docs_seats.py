"""Goal: the worked examples and the table of docs/seats.md are true."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from ingest.document import read_document
from ingest.meter import Meter
from ingest.meter_store import save_meter
from tests.invoicing.world import LONG_AGO, World

PAGE = (Path(__file__).parents[2] / "docs" / "seats.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n```\n(.*?)```", re.DOTALL)
VARIANT = re.compile(r"^\| `reading: (\w+)`, `proration: (\w+)` \| ([\d.]+) \| ([-\d.]+) \|", re.MULTILINE)


def test_every_example_and_every_row_comes_out_as_written(world: World) -> None:
    examples = EXAMPLE.findall(PAGE)
    variants = VARIANT.findall(PAGE)
    assert (len(examples), len(variants)) == (PAGE.count("```yaml"), PAGE.count("| `reading: ")) == (3, 7)
    first = read_document(examples[0][0])
    cases: dict[str, Mapping[str, Any]] = {}
    for place, (text, _) in enumerate(examples):
        cases[f"example-{place}"] = read_document(text)
    for reading, proration, _, _ in variants:
        plan = {**first["plan"], "proration": proration}
        cases[f"{reading}-{proration}"] = {**first, "plan": plan, "meter": {"reading": reading}}
    for name, case in cases.items():
        begin(world, name, case)
    for day in sorted({str(day) for case in cases.values() for day in case["billed"]}):
        assert world.bill(day, now=LONG_AGO.replace(year=2027)).held == ()
        for name, case in cases.items():
            if str(case["billed"][0]) == day and "amended" in case:
                contract(world, name, {**case["contract"], **case["amended"]})
    for place, (_, lines) in enumerate(examples):
        assert shown(world, f"example-{place}") == lines.strip().splitlines()
    for reading, proration, advance, right in variants:
        found = amounts(world, f"{reading}-{proration}")
        assert (found[0], sum(found[1:], Decimal(0))) == (Decimal(advance), Decimal(right)), reading


def begin(world: World, name: str, case: Mapping[str, Any]) -> None:
    meter = {"meter_id": name, "event_type": "seat", "aggregation": "time_weighted", "unit": "seat"}
    save_meter(world.ledger, Meter.model_validate({**meter, **case["meter"]}), now=LONG_AGO)
    charges = [{**charge, "meter_id": name} for charge in case["plan"]["charges"]]
    world.plan(*charges, plan_id=name, proration=case["plan"].get("proration", "by_day"))
    contract(world, name, case["contract"])
    world.events(
        *(
            ("seat", f"{name}-subject", entry["time"], str(entry["value"]), {"operation": entry["operation"]})
            for entry in case["events"]
        )
    )


def contract(world: World, name: str, document: Mapping[str, Any]) -> None:
    world.contract(name, plan_id=name, **document)


def shown(world: World, name: str) -> list[str]:
    found = []
    for stored in world.invoices(contract_id=name):
        for line in stored.invoice.lines:
            was = line.adjusts
            found.append(
                f"{stored.invoice.billing_date} {line.charge_id} {line.period_start}..{line.period_end} "
                f"{line.quantity.normalize():f} = {line.amount:.2f}"
                + ("" if was is None else f", adjusts {was.billed_amount:.2f} of {was.billing_date}")
            )
    return found


def amounts(world: World, name: str) -> list[Decimal]:
    """What January was billed, the advance first."""
    return [
        Decimal(line.amount_minor).scaleb(-2)
        for stored in world.invoices(contract_id=name)
        for line in stored.invoice.lines
        if line.period_start.month == 1
    ]
