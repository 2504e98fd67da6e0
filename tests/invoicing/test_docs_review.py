"""Goal: the worked examples of docs/review.md are true, and its commands exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer.main

from api.cli import build_cli
from ingest.document import read_document, validate_document
from invoicing.review.flags import (
    BilledCharge,
    DraftFacts,
    EarlierBill,
    ReviewLine,
    reviewers_of,
    why_review,
)
from invoicing.review.rules import ReviewRules, rules_issues

PAGE = (Path(__file__).parents[2] / "docs" / "review.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n```\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def lines_of(bill: dict[str, Any]) -> list[ReviewLine]:
    """Fees are amounts; usage has a quantity beside it."""
    found = []
    for charge_id, said in bill.items():
        used = isinstance(said, dict)
        quantity, amount = (said["quantity"], said["amount"]) if used else (1, said)
        minor = int(Decimal(str(amount)).scaleb(2))
        kind = "usage" if used else "recurring"
        found.append(ReviewLine(charge_id, charge_id, kind, "gold", Decimal(quantity), minor, unpriced=False))
    return found


def story(case: dict[str, Any]) -> Iterator[str]:
    rules = validate_document(ReviewRules, case["rules"], what="the rules", rules=rules_issues)
    earlier: list[EarlierBill] = []
    for number, bill in enumerate(case["bills"], start=1):
        lines = lines_of(bill)
        draft = DraftFacts("EUR", sum(line.amount_minor for line in lines), "", lines, tuple(earlier))
        flags = why_review(rules, draft)
        words = [f"{flag.reason_code} {flag.line_id}".strip() for flag in flags]
        yield f"{', '.join(reviewers_of(rules, draft))}: {', '.join(words)}" if flags else "issued"
        issued = not flags or number in case.get("issued", range(1, 99))
        charges = {
            line.charge_id: BilledCharge(line.charge_kind, line.quantity, line.amount_minor) for line in lines
        }
        earlier.append(EarlierBill(date(2026, number, 1), issued, charges))


@pytest.mark.parametrize(("case", "lines"), EXAMPLE.findall(PAGE))
def test_every_example_comes_out_as_written(case: str, lines: str) -> None:
    assert list(story(read_document(case))) == lines.strip().splitlines()


def test_every_block_of_the_page_is_an_example() -> None:
    assert len(EXAMPLE.findall(PAGE)) == PAGE.count("```yaml") > 0


def test_the_commands_are_ones_the_program_knows() -> None:
    commands = typer.main.get_command(build_cli()).commands  # type: ignore[attr-defined]
    text = "\n".join(SHELL.findall(PAGE))
    shown = [shlex.split(each, comments=True)[1:] for each in text.splitlines() if each]
    assert {words[1] for words in shown if words[0] == "review"} == set(commands["review"].commands)
    for words in shown:
        command = commands[words[0]]
        command = command.commands[words[1]] if hasattr(command, "commands") else command
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
