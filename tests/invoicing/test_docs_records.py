"""Goal: what docs/records.md tells people to save and to type is right."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ingest.document import read_document, validate_document
from invoicing.billing_entity import BillingEntity, entity_rules
from invoicing.fiscal_year import start_month_of
from tests.test_docs import _problem_with

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "records.md").read_text(encoding="utf-8")


def test_the_entity_with_a_fiscal_year_can_be_saved() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    document = read_document(example.encode())
    entity = validate_document(BillingEntity, document, what="the entity", rules=entity_rules)
    assert start_month_of([entity.model_dump()], "UKI") == 4


def test_its_commands_exist_with_their_options() -> None:
    blocks = re.findall(
        r"```sh\n(.*?)```", PAGE + (DOCS / "journal.md").read_text(encoding="utf-8"), re.DOTALL
    )
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("ratemill")]
    assert len(lines) > 15
    problems = [(line, _problem_with(shlex.split(line, comments=True)[1:])) for line in lines]
    assert [each for each in problems if each[1]] == []
