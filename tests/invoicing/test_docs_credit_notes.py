"""Goal: the worked examples of docs/credit-notes.md are true, and its commands exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer.main

from api.cli import build_cli
from ingest.document import read_document, validate_document
from ingest.errors import InvalidInput
from invoicing.credit_note import CreditNoteDraft, CreditNoteRequest, draft_credit_note
from invoicing.invoice import InvoiceCredit, invoice_text
from invoicing.invoice_tax import InvoiceTax
from tests.invoicing.credit_case import invoice, line

PAGE = (Path(__file__).parents[2] / "docs" / "credit-notes.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n```\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
BODY = re.compile(r"```json\n(.*?)```", re.DOTALL)


def minor(amount: Any) -> int:
    return int(Decimal(str(amount)).scaleb(2))


def major(amount_minor: int) -> str:
    return f"{Decimal(amount_minor).scaleb(-2):.2f}"


def story(case: dict[str, Any]) -> Iterator[str]:
    quantities = case.get("quantities", {})
    lines = [
        line(minor(amount), line_id=name, quantity=Decimal(str(quantities.get(name, 1))))
        for name, amount in case["lines"].items()
    ]
    net = sum(entry.amount_minor for entry in lines)
    percent = Decimal(str(case.get("tax_percent", 0)))
    tax = (InvoiceTax("S", percent, net, int(net * percent / 100)),) if percent else ()
    drawn = tuple(
        InvoiceCredit(name, name, "paid", minor(amount), 0) for name, amount in case.get("drawn", {}).items()
    )
    issued = invoice(
        *lines, tax=tax, drawn_credit=drawn, number="INV-2026-000001", issue_date=date(2026, 2, 1)
    )
    document, before = orjson.loads(invoice_text(issued)), list[dict[str, Any]]()
    for wanted in case["credit_notes"]:
        request = validate_document(CreditNoteRequest, {"reason": "why", **wanted}, what="the request")
        try:
            draft = draft_credit_note(
                document,
                before=before,
                given_back={},
                credit_given_back={},
                put_back_by_bills={},
                request=request,
            )
        except InvalidInput as refused:
            yield f"refused {refused.reason_code}"
            continue
        before.append(orjson.loads(draft.text(number="CN", issue_date=date(2026, 2, 2))))
        yield shown(draft)


def shown(draft: CreditNoteDraft) -> str:
    parts = ", ".join(
        f"{entry['line_id']} {major(entry['amount_minor'])}" for entry in draft.document["lines"]
    )
    words = f"{major(draft.net_minor)} net, {major(draft.tax_minor)} tax: {parts}"
    if draft.returned:
        back = ", ".join(f"{each.grant_id} {major(each.amount_minor)}" for each in draft.returned)
        owed = -(draft.net_minor + draft.tax_minor - draft.credit_minor)
        words += f"; back to {back}; owed less {major(owed)}"
    return f"{words}; void" if draft.voids else words


@pytest.mark.parametrize(("case", "lines"), EXAMPLE.findall(PAGE))
def test_every_example_comes_out_as_written(case: str, lines: str) -> None:
    assert list(story(read_document(case))) == lines.strip().splitlines()


def test_every_block_of_the_page_is_an_example() -> None:
    assert len(EXAMPLE.findall(PAGE)) == PAGE.count("```yaml") > 0


def test_the_body_and_the_commands_are_ones_the_program_knows() -> None:
    (body,) = BODY.findall(PAGE)
    validate_document(CreditNoteRequest, read_document(body), what="the credit note")
    group = typer.main.get_command(build_cli()).commands["credit-note"]  # type: ignore[attr-defined]
    text = "\n".join(SHELL.findall(PAGE))
    shown_commands = [shlex.split(each) for each in text.splitlines() if each]
    assert {words[2] for words in shown_commands} == set(group.commands)
    for words in shown_commands:
        known = {option for parameter in group.commands[words[2]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
