"""Goal: the example of docs/crm.md is a change, and its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import typer.main

from api.cli import build_cli
from ingest.document import read_documents
from invoicing.crm.change import check_changes

PAGE = (Path(__file__).parents[2] / "docs" / "crm.md").read_text(encoding="utf-8")


def test_the_example_is_a_change() -> None:
    (body,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    [change] = check_changes(read_documents(body))
    assert change.data["acceptance"]["name"] == "Ada Miller"


def test_the_commands_are_ones_the_program_knows() -> None:
    root = typer.main.get_command(build_cli())
    shown = [line for line in "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines() if line]
    assert shown
    for each in shown:
        words = shlex.split(each)
        command = root.commands[words[1]].commands[words[2]]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
