"""Goal: docs/late-payers.md says the thresholds there are, and its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import typer.main

from api.cli import build_cli
from invoicing.payer_habit import (
    ADVANCE_ABOVE,
    DEPOSIT_ABOVE,
    DEPOSIT_OPEN_ABOVE,
    DOCUMENTS_MIN,
    SHORTER_ABOVE,
)

PAGE = (Path(__file__).parents[2] / "docs" / "late-payers.md").read_text(encoding="utf-8")


def test_the_thresholds_are_those_of_the_page() -> None:
    for words in (
        f"above {DEPOSIT_ABOVE} days, or a document is overdue for more than {DEPOSIT_OPEN_ABOVE} |",
        f"`advance` | the median is above {ADVANCE_ABOVE} days |",
        f"the median is above {SHORTER_ABOVE} days |",
        f"fewer than {DOCUMENTS_MIN} documents |",
    ):
        assert words in PAGE


def test_the_commands_are_ones_the_program_knows() -> None:
    root = typer.main.get_command(build_cli())
    shown = [line for line in "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines() if line]
    assert shown
    for each in shown:
        words = shlex.split(each)
        command = root.commands[words[1]].commands[words[2]]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
