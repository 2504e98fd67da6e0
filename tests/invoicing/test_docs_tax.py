"""Goal: the worked examples of docs/tax.md are true; the program knows its documents and commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer.main

from api.cli import build_cli
from ingest.document import read_document, validate_document
from ingest.errors import Issue
from invoicing.billing_entity import BillingEntity, entity_rules
from invoicing.country_profile import CountryProfile, profile_rules
from invoicing.draft import DraftContext, draft_invoices
from invoicing.invoice import parse_invoice
from invoicing.line_text import last_service_days
from invoicing.saved_document import StoredDocument
from invoicing.tax_columns import ask_of_lines, unanswered
from invoicing.tax_decision import SavedRates
from invoicing.tax_desk import ContractTax, TaxDesk, tax_buyer, tax_seller
from rating.money import format_minor
from tests.invoicing.support import contract_row, plan
from tests.invoicing.test_draft import table
from tests.invoicing.test_tax_amounts import charge, taxed_line
from tests.invoicing.test_tax_decision import RATES
from tests.invoicing.world import at

PAGE = (Path(__file__).parents[2] / "docs" / "tax.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n```\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def money(minor: int) -> str:
    return format_minor(minor, "EUR")


def outcome(case: Mapping[str, Any]) -> list[str]:
    """What the invoice of an example comes to, line by line."""
    entity = BillingEntity.model_validate({"entity_id": "e", "legal_name": "Seller"} | case["seller"])
    customer = {"customer_id": "acme", "name": "Acme"} | case["customer"]
    tax = ContractTax(entity, '{"entity_id":"e"}', tax_seller(entity), tax_buyer(customer))
    desk = TaxDesk(
        entities={"e": StoredDocument(entity, 1)},
        sellers={"e": (tax.seller_text, tax.seller)},
        named={},
        required={"e": ()},
        provider=SavedRates(RATES),
    )
    classes = dict.fromkeys(line["tax_class"] for line in case["lines"])
    plans = [
        plan(
            charges=[charge(name) for name in classes],
            prices_include_tax=case.get("prices_include_tax", False),
        )
    ]
    rows = [_row(place, line) for place, line in enumerate(case["lines"], start=1)]
    lines = table(*rows)
    asked = ask_of_lines(
        lines,
        last_days=last_service_days(lines, {"c1": "UTC"}),
        desk=desk,
        taxes={"c1": tax},
        plan_versions=plans,
        tax_classes={},
    )
    if unanswered(lines, asked):
        [(_, issue)] = unanswered(lines, asked)
        assert isinstance(issue, Issue)
        return [f"held: {issue.reason_code}"]
    context = DraftContext(
        contracts={"c1": contract_row("c1")},
        customers={"acme": (1, orjson.dumps(customer).decode())},
        terms={"c1": '{"payment_days":30}'},
        seller="null",
        plan_versions=plans,
        agreements={},
        tax=desk,
        taxes={"c1": tax},
    )
    [draft] = draft_invoices(lines=lines, context=context)
    invoice = parse_invoice(draft.text(number=None, issue_date=None))
    rows_shown = [
        f"{group.category} {group.rate_percent} % on {money(group.taxable_minor)}: {money(group.tax_minor)}"
        for group in invoice.tax
    ]
    sums = (invoice.total_minor, invoice.tax_minor, invoice.gross_minor)
    return [*rows_shown, "net {}, tax {}, gross {}".format(*map(money, sums))]


def _row(place: int, line: Mapping[str, Any]) -> dict[str, Any]:
    row = taxed_line("c1", place, tax_class=line["tax_class"], amount=int(Decimal(line["amount"]).scaleb(2)))
    last = date.fromisoformat(str(line.get("last_day", "2026-03-31")))
    return row | {
        "period_start": at(last.replace(day=1).isoformat()),
        "period_end": at(date.fromordinal(last.toordinal() + 1).isoformat()),
    }


@pytest.mark.requirement("TAX-01")
@pytest.mark.parametrize(("case", "lines"), EXAMPLE.findall(PAGE))
def test_every_example_comes_out_as_written(case: str, lines: str) -> None:
    assert outcome(read_document(case)) == lines.strip().splitlines()


def test_the_documents_of_the_page_can_be_saved() -> None:
    text = "\n".join(SHELL.findall(PAGE))
    entity = re.search(r"<<'YAML'\n(.*?)YAML\n", text, re.DOTALL)
    assert entity
    validate_document(BillingEntity, read_document(entity[1]), what="entity", rules=entity_rules)
    [profile] = re.findall(r"```yaml\n(country:.*?)```", PAGE, re.DOTALL)
    validate_document(CountryProfile, read_document(profile), what="profile", rules=profile_rules)


def test_the_commands_are_ones_the_program_knows() -> None:
    groups = typer.main.get_command(build_cli()).commands  # type: ignore[attr-defined]
    text = "\n".join(SHELL.findall(PAGE))
    shown = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("ratemill ")]
    assert {words[1] for words in shown} == {"entity", "tax-rates", "country-profile"}
    for words in shown:
        known = {
            option for parameter in groups[words[1]].commands[words[2]].params for option in parameter.opts
        }
        assert {word for word in words if word.startswith("--")} <= known
