"""Goal: docs/journal.md and docs/payments.md come out as written, and their commands exist."""

from __future__ import annotations

import re
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer.main
from sqlalchemy import Engine

from api.cli import build_cli
from ingest.document import read_document
from invoicing.payment_view import get_payment
from invoicing.posting import DocumentLine, PostedDocument, document_entries
from rating.money import format_minor
from tests.invoicing.books import Books
from tests.invoicing.test_revenue_days import by_day
from tests.invoicing.world import at

DOCS = Path(__file__).parents[2] / "docs"
JOURNAL, PAYMENTS = ((DOCS / name).read_text(encoding="utf-8") for name in ("journal.md", "payments.md"))
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n```\n(.*?)```", re.DOTALL)
DAYS = re.compile(r"```days\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def _document(case: dict[str, Any]) -> PostedDocument:
    shares = {
        str(place): tuple((_date(day), int(quantity)) for day, quantity in line.pop("consumed"))
        for place, line in enumerate(case["lines"])
        if "consumed" in line
    }
    lines = [DocumentLine(line_id=str(place), **line) for place, line in enumerate(_dated(case["lines"]))]
    net = sum(line.amount_minor for line in lines)
    return PostedDocument(
        document_id="d",
        kind="invoice",
        customer_id="acme",
        contract_id="c1",
        currency="EUR",
        issue_date=_date(case["issue_date"]),
        net_minor=net,
        tax_minor=int(case.get("tax_minor", 0)),
        credit_minor=0,
        lines=lines,
        shares=shares,
    )


def _entries(case: dict[str, Any]) -> list[str]:
    return [
        " ".join(filter(None, (str(entry.entry_date), entry.kind, line.account, line.part)))
        + f" {format_minor(line.amount_minor, 'EUR')}"
        for entry in document_entries(_document(case))
        for line in entry.lines
    ]


@pytest.mark.parametrize("text", DAYS.findall(JOURNAL))
def test_days_are_as_written(text: str) -> None:
    """Of the second example, which is the fee in advance."""
    (case, _) = EXAMPLE.findall(JOURNAL)[1]
    document = _document(read_document(case))
    days, unbilled, deferred, found = by_day(document), 0, 0, []
    for day in sorted(days):
        unbilled += days[day]["unbilled"]
        deferred -= days[day]["deferred"]
        names = ("recognised", "billed", "unbilled", "deferred")
        amounts = (-days[day]["revenue"], days[day]["receivable"], unbilled, deferred)
        shown = (f"{name} {format_minor(amount, 'EUR')}" for name, amount in zip(names, amounts, strict=True))
        found.append(" ".join([str(day), *shown]))
    lines = text.strip().splitlines()
    assert found[: len(lines)] == lines


def _date(value: Any) -> Any:
    return at(str(value)).date()


def _dated(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            **line,
            "amount_minor": int(line["amount_minor"]),
            "period_start": _date(line["period_start"]),
            "period_end": _date(line["period_end"]),
        }
        for line in lines
    ]


@pytest.mark.parametrize(("text", "lines"), EXAMPLE.findall(JOURNAL))
def test_documents_are_posted_as_written(text: str, lines: str) -> None:
    assert _entries(read_document(text)) == lines.strip().splitlines()


def test_payments_are_applied_as_written(ledger: Engine) -> None:
    [(text, lines)] = EXAMPLE.findall(PAYMENTS)
    case = read_document(text)
    books = Books(ledger, at("2026-03-01"))
    for number, amount in case["open"].items():
        assert books.issue(int(Decimal(str(amount)) * 100)) == number
    shown = [_shown(books, books.pay(f"{one['amount']:.2f}", one["text"])) for one in case["payments"]]
    assert shown == lines.strip().splitlines()


def _shown(books: Books, payment_id: str) -> str:
    payment = get_payment(books.ledger, payment_id)
    paid = [
        f"{row['number']} {format_minor(row['amount_minor'], 'EUR')} ({row['rule']})"
        for row in payment["allocations"]
    ]
    left = payment["unapplied_minor"]
    rest = [f"{format_minor(left, 'EUR')} on account"] if left else []
    what = ", ".join([", ".join(paid) or "nothing", *rest])
    return f"{format_minor(payment['amount_minor'], 'EUR')} pays {what}"


def test_the_commands_exist_with_their_options() -> None:
    text = "\n".join(SHELL.findall(JOURNAL) + SHELL.findall(PAYMENTS)).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("ratemill ")]
    assert len(lines) > 15
    for line in lines:
        command: Any = typer.main.get_command(build_cli())
        words = shlex.split(line, comments=True)[1:]
        while words and hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        known = {
            option for parameter in command.params for option in parameter.opts + parameter.secondary_opts
        }
        assert {word for word in words if word.startswith("--")} <= known, line
