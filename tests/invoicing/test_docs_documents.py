"""Goal: the worked examples of docs/documents.md are true, and its commands exist."""

from __future__ import annotations

import re
import shlex
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer.main
import yaml
from stdnum import iso11649

from api.cli import build_cli
from ingest.document import decimal_text
from invoicing.einvoice import electronic_invoice
from invoicing.einvoice_model import ELine
from invoicing.einvoice_ubl import price_text
from invoicing.invoice import InvoiceLine
from invoicing.payment_reference import creditor_reference
from invoicing.words import LANGUAGES, words_of
from tests.invoicing.einvoice_case import discounted, priced, taxed
from tests.invoicing.test_document import line

PAGE = (Path(__file__).parents[2] / "docs" / "documents.md").read_text(encoding="utf-8")
LINES = re.compile(r"### Lines.*?```yaml\n(.*?)```\n```\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def _line(example: dict[str, Any]) -> InvoiceLine:
    if "tiers" in example:
        return line(1)
    if "fee_credit" in example:
        given_back = Decimal(example["fee_credit"])
        minor = -int(given_back * 100)
        return priced("0.10", "1", charge_kind="fee_credit", amount=-given_back, amount_minor=minor, tiers=())
    unit = example.get("unit", "call")
    price, quantity = str(example["price"]), str(example["quantity"])
    if "discounts" in example:
        return discounted(price, quantity, *map(str, example["discounts"]), unit=unit)
    return priced(price, quantity, unit=unit)


def _stated(entry: ELine) -> str:
    base = "" if entry.base_quantity is None else f" for {decimal_text(entry.base_quantity)}"
    less = "".join(f" less {allowance.amount}" for allowance in entry.allowances)
    note = f" ({entry.note})" if entry.note else ""
    quantity = f"{decimal_text(entry.quantity)} {entry.unit}"
    return f"{entry.line_id}: {quantity} at {price_text(entry, 2)}{base}{less} = {entry.net}{note}"


def test_lines_are_stated_as_the_page_says() -> None:
    found = LINES.search(PAGE)
    assert found
    examples = yaml.load(found[1], Loader=yaml.BaseLoader)  # noqa: S506 - texts only
    document = electronic_invoice(taxed(*map(_line, examples)), profile="en16931")
    assert [_stated(entry) for entry in document.lines] == found[2].strip().splitlines()


def test_languages_are_as_the_page_says() -> None:
    found = re.search(r"### Languages.*?```\n(.*?)```", PAGE, re.DOTALL)
    assert found
    shown = found[1].strip().splitlines()
    assert [row.split()[0] for row in shown] == list(LANGUAGES)
    for row in shown:
        w = words_of(row.split()[0])
        said = (
            w.money(123450, 2).replace("\u202f", " "),
            w.day(date(2026, 3, 5)),
            w.price("0.01 per call"),
            w("payment_terms", days=30),
        )
        assert re.sub(" +", " ", row) == " ".join((w.language, *said))


def test_the_reference_of_a_number_is_the_one_shown() -> None:
    found = re.search(r"`(INV-\d+-\d+)` is `(RF\w+)`", PAGE)
    assert found
    assert creditor_reference(found[1]) == found[2]
    assert iso11649.is_valid(found[2])


def test_the_commands_are_ones_the_program_knows() -> None:
    root = typer.main.get_command(build_cli())
    shown = [
        shlex.split(text, comments=True)
        for block in SHELL.findall(PAGE)
        for text in block.replace("\\\n", " ").splitlines()
        if text.startswith("ratemill ")
    ]
    assert shown
    for words in shown:
        command = root.commands[words[1]].commands[words[2]]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
