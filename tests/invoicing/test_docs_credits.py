"""Goal: the worked examples of docs/credits.md are true, and its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from api.cli import build_cli
from ingest.document import read_document, validate_document
from invoicing.credit import CreditGrant, credit_rules
from tests.invoicing.credit_case import credit_story

PAGE = (Path(__file__).parents[2] / "docs" / "credits.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n```\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize(("case", "lines"), EXAMPLE.findall(PAGE))
def test_every_example_comes_out_as_written(case: str, lines: str) -> None:
    assert credit_story(read_document(case)) == lines.strip().splitlines()


def test_every_block_of_the_page_is_an_example() -> None:
    assert len(EXAMPLE.findall(PAGE)) == PAGE.count("```yaml") > 0


def test_the_file_and_the_commands_are_ones_the_program_knows() -> None:
    text = "\n".join(SHELL.findall(PAGE))
    document = re.search(r"<<'YAML'\n(.*?)YAML\n", text, re.DOTALL)
    assert document
    validate_document(CreditGrant, read_document(document[1]), what="credit", rules=credit_rules)
    group = typer.main.get_command(build_cli()).commands["credits"]  # type: ignore[attr-defined]
    shown = [
        shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("ratemill credits ")
    ]
    assert {words[2] for words in shown} == set(group.commands)
    for words in shown:
        known = {option for parameter in group.commands[words[2]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
