"""Goal: the worked examples of docs/kinds.md are true, and its commands exist."""

from __future__ import annotations

import re
import shlex
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
import typer.main

from api.cli import build_cli
from ingest.document import read_document, read_documents, validate_document
from invoicing.quote import Quote, quote_issues
from invoicing.special_invoice import SpecialInvoiceRequest
from invoicing.special_invoice_head import SpecialIssuing
from invoicing.special_invoice_store import issue_special_invoice
from tests.invoicing.test_special_invoices import balances, proved, site
from tests.invoicing.world import World, at

PAGE = (Path(__file__).parents[2] / "docs" / "kinds.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```yaml\n(- .*?)```\n```\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def major(amount_minor: int) -> str:
    return f"{Decimal(amount_minor).scaleb(-2):.2f}"


@pytest.mark.requirement("GEN-09")
@pytest.mark.parametrize(("case", "lines"), EXAMPLE.findall(PAGE))
def test_every_example_comes_out_as_written(world: World, case: str, lines: str) -> None:
    site(world)
    shown = []
    for document in read_documents(case.encode()):
        wanted = {"contract_id": "c1", "dated_on": "2026-02-01", **document}
        request = validate_document(SpecialInvoiceRequest, wanted, what="the request")
        issuing = SpecialIssuing(None, "finance", None, at("2026-02-01T12:00"))
        stored, _ = issue_special_invoice(world.ledger, request, issuing)
        one = stored.summary
        deducted = ", ".join(entry["number"] for entry in orjson.loads(stored.text)["deducts"])
        words = f"{one.number}: {major(one.net_minor)} net, {major(one.tax_minor)} tax"
        shown.append(f"{words}; deducts {deducted}" if deducted else words)
    found = balances(world, "2026-02-01")
    order = sorted(found, key=lambda account: -found[account])
    shown.append(", ".join(f"{account} {major(found[account])}" for account in order))
    *documents, books = lines.strip().splitlines()
    assert [*documents, sorted(books.split(", "))] == [*shown[:-1], sorted(shown[-1].split(", "))]
    proved(world)


def test_every_block_of_the_page_is_an_example() -> None:
    assert len(EXAMPLE.findall(PAGE)) == PAGE.count("```yaml") > 0


def test_the_quote_of_the_page_is_one() -> None:
    (body,) = re.findall(r"```json\n(\{\"quote_id\".*?)```", PAGE, re.DOTALL)
    quote = validate_document(Quote, read_document(body), what="the quote", rules=quote_issues)
    assert quote.deposit_percent == 30


def test_the_commands_are_ones_the_program_knows() -> None:
    root = typer.main.get_command(build_cli())
    for each in filter(None, "\n".join(SHELL.findall(PAGE)).splitlines()):
        words = shlex.split(each)
        command = root.commands[words[1]].commands[words[2]]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
