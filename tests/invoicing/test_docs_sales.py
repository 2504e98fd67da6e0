"""Goal: the worked examples of docs/sales.md are true, and its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from api.cli import build_cli
from ingest.document import read_documents, validate_document
from invoicing.sales.catalogue import CatalogueItem, item_rules
from invoicing.sales.outcome import Outcome, charge_id_of, outcome_issues, priced_outcome
from tests.invoicing.test_outcomes import pricing

PAGE = (Path(__file__).parents[2] / "docs" / "sales.md").read_text(encoding="utf-8")
YAML = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.mark.requirement("CON-10")
def test_the_example_comes_out_as_written() -> None:
    catalogue, outcomes = YAML.findall(PAGE)[:2]
    products = [
        validate_document(CatalogueItem, each, what="the product", rules=item_rules)
        for each in read_documents(catalogue)
    ]
    how = pricing(*(product.model_dump() for product in products))
    shown = []
    for document in read_documents(outcomes):
        outcome = Outcome.model_validate(document)
        assert list(outcome_issues(outcome, how, "")) == []
        for part in priced_outcome(outcome, how).parts:
            when = "once" if part.billed == "once" else "each period"
            key = charge_id_of(outcome.outcome_id, part.product_id)
            shown.append(f"{key} {part.quantity} {part.unit} {when}: {part.amount:.2f}")
    assert f"```\n{chr(10).join(shown)}\n```" in PAGE


def test_the_commands_are_ones_the_program_knows() -> None:
    root = typer.main.get_command(build_cli())
    lines = list(filter(None, "\n".join(SHELL.findall(PAGE)).splitlines()))
    assert lines
    for each in lines:
        words = shlex.split(each)
        command = root.commands[words[1]].commands[words[2]]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
