"""Goal: the worked examples of docs/contracts.md are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingest.document import read_document
from tests.invoicing.contract_case import bill

PAGE = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```yaml\n(.*?)```\n```\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize(("case", "lines"), EXAMPLE.findall(PAGE))
def test_every_example_comes_out_as_written(case: str, lines: str) -> None:
    assert bill(read_document(case)).table() == lines.strip().splitlines()


def test_every_block_of_the_page_is_an_example() -> None:
    assert len(EXAMPLE.findall(PAGE)) == PAGE.count("```yaml") > 0
