"""The column-wise writer of invoice texts writes what the plain one writes, byte for byte."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import BrokenState
from invoicing.draft import DraftContext, draft_invoices
from invoicing.hold import hold_by_amount
from invoicing.invoice import invoice_text, parse_invoice
from invoicing.posting import DocumentLine
from rating.line_item import RATED_LINE_SCHEMA
from tests.invoicing.support import contract_row, plan
from tests.invoicing.world import at

TIERED = {
    "charge_id": "tiered",
    "name": 'Tiered "é" \\ \u2028',
    "kind": "usage",
    "meter_id": "m",
    "price": {
        "model": "graduated",
        "tiers": [{"up_to": "10.5", "unit_price": "0.1"}, {"unit_price": "1E-12", "flat_amount": "3"}],
    },
}
MATRIX = {
    "charge_id": "matrix",
    "name": "Matrix",
    "kind": "usage",
    "meter_id": "m",
    "price": {
        "model": "matrix",
        "dimensions": ["a", "b"],
        "cells": [{"match": {"a": "x"}, "price": {"model": "percentage", "percent": "2.5"}}],
        "default": {"model": "package", "package_size": "1000", "package_price": "5"},
    },
}
PLANS = [plan(charges=[TIERED, MATRIX], minimum_spend="20")]
MODELS = {"tiered": "graduated", "matrix": "matrix", "minimum-spend": "flat"}


def rated(contract_id: str, charge_id: str, number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "line_id": number.to_bytes(16, "big"),
        "run_id": "run",
        "contract_id": contract_id,
        "plan_id": "gold",
        "plan_version": 1,
        "charge_id": charge_id,
        "charge_kind": "usage",
        "price_model": MODELS[charge_id],
        "meter_id": "m",
        "unit": "unit",
        "billing_date": date(2025, 2, 15),
        "period_start": at("2025-01-15"),
        "period_end": at("2025-02-15"),
        "days": 31,
        "full_days": 31,
        "dimensions": [],
        "quantity": Decimal(1),
        "rated_quantity": Decimal(1),
        "event_count": 1,
        "tier_number": [],
        "tier_units": [],
        "tier_amount": [],
        "amount": Decimal(1),
        "amount_minor": 100,
        "currency": "EUR",
        "input_hash": bytes(16),
        "agreement": "",
        "discount_number": [],
        "discount_amount": [],
        "inputs": [],
    }
    return row | changes


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=RATED_LINE_SCHEMA)


CONTEXT = DraftContext(
    contracts={
        "c1": contract_row("c1", time_zone="Europe/Berlin"),
        "c2": contract_row("c2", end_date=date(2026, 1, 1)),
    },
    customers={"acme": (3, '{"customer_id":"acme","name":"Acme"}')},
    terms=dict.fromkeys(("c1", "c2"), '{"payment_days":30}'),
    seller='{"name":"Northwind"}',
    plan_versions=PLANS,
    agreements={},
)


def test_lines_become_one_draft_a_contract_and_billing_date() -> None:
    drafts = draft_invoices(
        lines=table(rated("c1", "tiered", 1), rated("c1", "matrix", 2), rated("c2", "matrix", 3)),
        context=CONTEXT,
    )
    assert [(draft.contract_id, draft.total_minor, draft.charge_ids) for draft in drafts] == [
        ("c1", 200, ("tiered", "matrix")),
        ("c2", 100, ("matrix",)),
    ]
    text = drafts[0].text(number="INV-2025-000001", issue_date=date(2025, 2, 15))
    assert invoice_text(parse_invoice(text)) == text
    assert parse_invoice(text).due_date == date(2025, 3, 17)
    # 15 January 00:00 UTC is 01:00 in Berlin: the same local day.
    assert parse_invoice(text).period_start == date(2025, 1, 15)


numbers = st.decimals(
    min_value=Decimal(-(10**25)), max_value=Decimal(10**25), places=12, allow_nan=False, allow_infinity=False
)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@settings(max_examples=60)
@given(st.data())
def test_any_lines_are_written_as_the_plain_writer_writes_them(data: st.DataObject) -> None:
    rows = []
    for number in range(data.draw(st.integers(1, 6))):
        charge_id = data.draw(st.sampled_from(sorted(MODELS)))
        tiers = (
            data.draw(st.lists(st.integers(1, 2), unique=True, max_size=2)) if charge_id == "tiered" else []
        )
        rows.append(
            rated(
                "c1" if number < 3 else "c2",
                charge_id,
                number,
                dimensions=sorted(
                    data.draw(st.dictionaries(st.sampled_from(["a", "b", "a !"]), words)).items()
                ),
                quantity=data.draw(numbers),
                rated_quantity=data.draw(numbers),
                amount=data.draw(numbers),
                amount_minor=data.draw(st.integers(-(2**62), 2**62)),
                event_count=data.draw(st.integers(0, 2**63)),
                unit=data.draw(words),
                tier_number=tiers,
                tier_units=[data.draw(numbers) for _ in tiers],
                tier_amount=[data.draw(numbers) for _ in tiers],
            )
        )
    for draft in draft_invoices(lines=table(*rows), context=CONTEXT):
        text = draft.text(number=None, issue_date=None)
        parsed = parse_invoice(text)
        assert invoice_text(parsed) == text
        assert [tuple(getattr(line, name) for name in DocumentLine._fields) for line in parsed.lines] == [
            *draft.posted_lines
        ]
        mine = [row for row in rows if row["contract_id"] == draft.contract_id]
        assert [line.quantity for line in parsed.lines] == [row["quantity"] for row in mine]
        assert [line.amount for line in parsed.lines] == [row["amount"] for row in mine]
        assert [dict(line.dimensions) for line in parsed.lines] == [dict(row["dimensions"]) for row in mine]
        assert parsed.total_minor == sum(row["amount_minor"] for row in mine)


def test_lines_that_do_not_lie_together_stop_the_run() -> None:
    lines = table(rated("c1", "tiered", 1), rated("c2", "tiered", 2), rated("c1", "matrix", 3))
    with pytest.raises(BrokenState, match="next to each other"):
        draft_invoices(lines=lines, context=CONTEXT)


def test_a_tier_the_plan_does_not_have_stops_the_run() -> None:
    line = rated("c1", "tiered", 1, tier_number=[3], tier_units=[Decimal(1)], tier_amount=[Decimal(1)])
    with pytest.raises(BrokenState, match="tier that its plan version does not have"):
        draft_invoices(lines=table(line), context=CONTEXT)


def test_a_plan_version_the_catalogue_does_not_have_stops_the_run() -> None:
    with pytest.raises(BrokenState, match="'gold' version 2"):
        draft_invoices(lines=table(rated("c1", "tiered", 1, plan_version=2)), context=CONTEXT)


def test_invoices_of_two_currencies_or_below_zero_are_held() -> None:
    lines = table(
        rated("c1", "tiered", 1),
        rated("c1", "matrix", 2, currency="USD"),
        rated("c2", "tiered", 3, amount_minor=-101),
        rated("c2", "matrix", 4),
    )
    held = hold_by_amount(lines, negative_total="hold")
    assert [(entry.contract_id, entry.reason_code) for entry in held] == [
        ("c1", "currency_mixed"),
        ("c2", "negative_total"),
    ]
    (only,) = hold_by_amount(lines, negative_total="credit_note")
    assert only.contract_id == "c1"
