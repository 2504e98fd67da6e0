"""Goal: terms stand on every invoice in the same words, and contracts of one customer are owned apart."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from invoicing.document import printed
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, readable

TERMS: dict[str, Any] = {
    "payment_days": 14,
    "payment_methods": ["bank transfer", "card"],
    "late_payment": "9 points above the base rate from the day after the due date",
    "purchase_order": "PO-77",
    "owner": "Sales North",
}
BEGIN = date(2025, 1, 1)


@pytest.mark.requirement("CON-14")
def test_terms_render_the_same_words_and_a_change_is_on_later_invoices_only(world: World) -> None:
    world.plan(MONTHLY_FEE)
    world.contract(start_date=BEGIN, terms=TERMS)
    world.bill("2025-01-01")
    world.bill("2025-02-01")
    before = [stored.text for stored in world.invoices()]
    world.contract(start_date=BEGIN, terms=TERMS | {"payment_days": 30, "late_payment": "a reminder"})
    world.bill("2025-03-01")
    first, second, third = (stored.invoice for stored in world.invoices())
    assert dict(first.terms) == dict(second.terms) == TERMS
    assert dict(third.terms) == TERMS | {"payment_days": 30, "late_payment": "a reminder"}
    due_dates = [str(each.due_date) for each in (first, second, third)]
    assert due_dates == ["2025-01-15", "2025-02-15", "2025-03-31"]
    assert [stored.text for stored in world.invoices()][:2] == before
    words = [printed(each) for each in (first, second, third)]
    assert words[0]["notes"][1:] == words[1]["notes"][1:] != words[2]["notes"][1:]
    assert any(note.startswith("Late payment: 9 points above") for note in words[0]["notes"])
    assert {"label": "Your contact", "value": "Sales North"} in words[0]["facts"]


@pytest.mark.requirement("CON-19")
def test_an_add_on_sold_later_is_a_billable_with_its_own_owner(world: World) -> None:
    """The same customer and subject: the package counts calls, the add-on is a fee. Each has its invoices."""
    world.plan(MONTHLY_FEE, CALLS, plan_id="package")
    world.plan(MONTHLY_FEE | {"charge_id": "support", "name": "Support"}, plan_id="support")
    package = {"plan_id": "package", "subjects": ["acme"], "terms": {"owner": "Sales"}}
    world.contract("acme-1", start_date=BEGIN, **package)
    world.bill("2025-01-01")
    world.contract(
        "acme-2",
        plan_id="support",
        subjects=["acme"],
        start_date=date(2025, 1, 11),
        terms={"owner": "Customer success", "payment_days": 14},
    )
    world.events(("call", "acme", "2025-01-20", "500"))
    assert world.bill("2025-02-01").held == ()
    owned = {
        (str(stored.invoice.terms["owner"]), str(stored.invoice.customer["customer_id"])): readable(stored)
        for stored in world.invoices()
    }
    assert owned == {
        ("Sales", "acme"): [
            "2025-02-01 calls 2025-01-01..2025-02-01 500 call 5.00",
            "2025-02-01 fee 2025-02-01..2025-03-01 1 unit 30.00",
        ],
        ("Customer success", "acme"): ["2025-01-11 support 2025-01-11..2025-02-11 1 unit 30.00"],
    }
