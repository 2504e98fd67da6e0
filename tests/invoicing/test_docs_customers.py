"""Goal: the worked example of docs/customers.md is true, and its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import typer.main

from api.cli import build_cli
from ingest.document import read_document, validate_document
from invoicing.customer_record import (
    Claim,
    CustomerRecord,
    CustomerSources,
    FieldInForce,
    claimed_values,
    merge_customer,
    sources_rules,
)

PAGE = (Path(__file__).parents[2] / "docs" / "customers.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n```\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def claim(day: int, said: dict[str, dict[str, Any]]) -> Claim:
    [(system, fields)] = said.items()
    record = validate_document(CustomerRecord, {"external_id": "1", **fields}, what="a record")
    values = claimed_values(record)
    told_at = f"2026-01-{day:02}"
    return Claim(system, "1", values, dict.fromkeys(values, told_at), told_at)


def line(one: FieldInForce) -> str:
    others = [f"; {said.system} says {said.value}" for said in one.claims if said.value != one.value]
    return f"{one.field} = {one.value} ({one.system}, {one.why.replace('_', ' ')})" + "".join(others)


def test_the_example_comes_out_as_written() -> None:
    [(text, lines)] = EXAMPLE.findall(PAGE)
    case = read_document(text)
    sources = validate_document(CustomerSources, case["sources"], what="sources", rules=sources_rules)
    claims = [claim(day, said) for day, said in enumerate(case["records"], 1)]
    merged = merge_customer("acme", claims, sources, entered_external_ids={})
    assert [line(one) for one in merged.fields] == lines.strip().splitlines()


def test_the_commands_are_ones_the_program_knows() -> None:
    groups = typer.main.get_command(build_cli()).commands  # type: ignore[attr-defined]
    text = "\n".join(SHELL.findall(PAGE))
    shown = [shlex.split(one, comments=True) for one in text.splitlines() if one.startswith("ratemill ")]
    assert shown
    for words in shown:
        command = groups[words[1]]
        command = command.commands[words[2]] if hasattr(command, "commands") else command
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
