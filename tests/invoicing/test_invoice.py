"""The canonical text of an invoice: exact, stable, and issued only once."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal

import orjson
import pytest

from ingest.errors import BrokenState, Conflict
from invoicing.invoice import invoice_hash, invoice_text, parse_invoice
from invoicing.invoice_id import invoice_id_of
from tests.invoicing.test_document import invoice, line


def test_text_and_value_are_the_same_thing() -> None:
    value = invoice(line(), line(2, quantity=Decimal("0.000000000001")))
    text = invoice_text(value)
    assert parse_invoice(text) == value
    assert invoice_text(parse_invoice(text)) == text
    assert list(orjson.loads(text)) == sorted(orjson.loads(text))


def test_no_number_in_the_text_is_a_float() -> None:
    def walk(value: object) -> None:
        assert not isinstance(value, float)
        if isinstance(value, dict):
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(orjson.loads(invoice_text(invoice(line()))))


def test_a_draft_becomes_an_issued_invoice_once() -> None:
    draft = invoice(line(), number=None, issue_date=None, due_date=None)
    issued = draft.issued(number="INV-2025-000007", issue_date=date(2025, 2, 20))
    assert (draft.state, issued.state, issued.due_date) == ("draft", "issued", date(2025, 3, 22))
    assert invoice_hash(invoice_text(draft)) != invoice_hash(invoice_text(issued))
    with pytest.raises(Conflict, match="never changes"):
        issued.issued(number="INV-2025-000008", issue_date=date(2025, 2, 21))


def test_a_total_that_is_not_the_sum_of_the_lines_is_never_written() -> None:
    with pytest.raises(BrokenState, match="its lines sum to 1541"):
        invoice_text(replace(invoice(line()), total_minor=1542))


def test_the_id_depends_on_contract_and_billing_date_alone() -> None:
    first = invoice_id_of(contract_id="c1", billing_date=date(2025, 2, 15))
    assert first == invoice_id_of(contract_id="c1", billing_date=date(2025, 2, 15))
    assert len({first, invoice_id_of(contract_id="c2", billing_date=date(2025, 2, 15))}) == 2


def test_the_id_names_contract_and_date_and_sorts_as_contracts_do() -> None:
    named = [invoice_id_of(contract_id=f"acme-{n:04d}", billing_date=date(2025, 2, 15)) for n in range(1000)]
    assert named[7].startswith("acme-0007.20250215.")
    assert named == sorted(named)


@pytest.mark.parametrize(
    ("one", "other"),
    [("x" * 36 + "a", "x" * 36 + "b"), ("acme:1", "acme-1"), ("acme/top-up", "acme-top-up")],
)
def test_contracts_named_alike_have_other_ids(one: str, other: str) -> None:
    ids = [
        invoice_id_of(contract_id=contract_id, billing_date=date(2025, 2, 15)) for contract_id in (one, other)
    ]
    assert ids[0][:-16] == ids[1][:-16]
    assert ids[0] != ids[1]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{26,62}", each) for each in ids)


def test_a_document_of_another_version_is_not_guessed_at() -> None:
    with pytest.raises(BrokenState, match="schema"):
        parse_invoice('{"schema": "ratemill.invoice/9"}')
