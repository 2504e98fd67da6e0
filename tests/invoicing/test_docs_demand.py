"""Goal: the worked examples of docs/demand.md are true, and its commands exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import typer.main

from api.cli import build_cli
from ingest.document import read_document, validate_document
from invoicing.billable_import import read_items
from invoicing.billable_item import BillableItem, StoredItem, item_rules
from invoicing.billable_price import PlacedItem, price_items
from invoicing.price_text import charge_terms, stated_terms
from rating.money import format_minor
from rating.plan_rules import price_plan_rules
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan
from rating.spend_ids import STATED_CHARGE_ID
from rating.store import line_to_python
from tests.invoicing.items_case import CONSULTING
from tests.rating.plans import plan

PAGE = (Path(__file__).parents[2] / "docs" / "demand.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n```\n(.*?)```", re.DOTALL)
PROJECT = re.compile(r"```json\n(.*?)```\n```\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.mark.requirement("RAT-02", "RAT-03")
@pytest.mark.parametrize(("case", "lines"), EXAMPLE.findall(PAGE))
def test_every_example_comes_out_as_written(case: str, lines: str) -> None:
    document = read_document(case)
    defaults = {"source_system": "clock", "source": "timesheet", "contract_id": "acme-2026"}
    items = [{**defaults, **item} for item in document["items"]]
    assert story(plan(*document["charges"]), items) == lines.strip().splitlines()


@pytest.mark.requirement("GEN-13")
@pytest.mark.parametrize(("project", "lines"), PROJECT.findall(PAGE))
def test_the_project_comes_out_as_written(project: str, lines: str) -> None:
    read = read_items(project.encode(), media_type="application/json", given={})
    told = [*story(plan(CONSULTING), read.documents), *(f"waiting: {words}" for words in read.waiting)]
    assert told == lines.strip().splitlines()


def test_every_block_of_the_page_is_an_example() -> None:
    assert len(EXAMPLE.findall(PAGE)) == PAGE.count("```yaml") > 0
    assert len(PROJECT.findall(PAGE)) == PAGE.count("```json") > 0


def test_the_commands_are_ones_the_program_knows() -> None:
    cli = typer.main.get_command(build_cli())
    text = "\n".join(SHELL.findall(PAGE))
    used: dict[str, set[str]] = {"items": set(), "demand": set()}
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["ratemill"] or words[1] not in used:
            continue
        used[words[1]].add(words[2])
        known = cli.commands[words[1]].commands[words[2]]  # type: ignore[attr-defined]
        options = {option for parameter in known.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
    groups: Any = cli.commands  # type: ignore[attr-defined]
    assert {name: set(groups[name].commands) for name in used} == used


def story(priced_by: PricePlan, documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the items come to, a line each, and the reasons of those without a price."""
    assert not list(price_plan_rules(priced_by, meters={}))
    items = [validate_document(BillableItem, dict(one), what="item", rules=item_rules) for one in documents]
    version = PlanVersion(priced_by, 1)
    priced = price_items(
        [
            PlacedItem(stored(item), "acme-2026", "acme-2026", date(2026, 2, 1), "UTC", version)
            for item in items
            if item.billable
        ],
        run_id="docs",
    )
    lines = [line_to_python(priced.lines, row) for row in range(priced.lines.num_rows)]
    told = [said(line, priced_by, priced.descriptions[line["line_id"].hex()]) for line in lines]
    return sorted(told) + [
        f"{one.placed.stored.item.external_id}: {one.reason_code}" for one in priced.problems
    ]


def said(line: Mapping[str, Any], priced_by: PricePlan, description: str) -> str:
    of = {"dimensions": line["dimensions"], "unit": line["unit"]}
    stated = line["charge_id"] == STATED_CHARGE_ID
    terms = stated_terms(priced_by, **of) if stated else charge_terms(priced_by, charge_id="consulting", **of)
    amount = format_minor(line["amount_minor"], "EUR").replace(",", "")
    return f"{description} | {line['quantity'].normalize():f} {line['unit']}, {terms.price_text} = {amount}"


def stored(item: BillableItem) -> StoredItem:
    return StoredItem(item, item.item_id, 1, "open", None, None, None, "", "", "")
