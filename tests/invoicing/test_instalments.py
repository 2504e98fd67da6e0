"""Goal: a document is paid in parts that sum to what is open, each due and overdue by itself."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.document import read_document, validate_document
from ingest.errors import Conflict, InvalidDocument, NotFound
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.instalment import InstalmentPlan, agree_instalments, get_instalments, parts_as_they_stand
from invoicing.journal_check import verify_journal
from invoicing.outstanding import outstanding
from invoicing.payment import PaymentDocument
from invoicing.payment_store import record_payment
from invoicing.standing_store import invoice_standing
from invoicing.store import get_invoice
from tests.invoicing.test_special_invoices import issue
from tests.invoicing.world import World, at

PAGE = (Path(__file__).parents[2] / "docs" / "kinds.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```json\n(\{\"instalments\".*?)```\n```\n(.*?)```", re.DOTALL)
NUMBER = "MISC-2026-000001"


def owed(world: World, amount: str = "1000.00") -> World:
    """One open document of 1 February 2026, without tax."""
    world.plan()
    world.contract()
    issue(world, "miscellaneous", amount, reason="why", on="2026-02-01", now="2026-02-01")
    return world


def agree(world: World, *parts: tuple[str, str], number: str = NUMBER, now: str = "2026-02-02") -> Any:
    agreed = [{"due_date": day, "amount": amount} for day, amount in parts]
    plan = InstalmentPlan.model_validate({"instalments": agreed})
    return agree_instalments(world.ledger, number, plan, actor="finance", now=at(now))


def pay(world: World, amount: str, *, on: str, number: str = NUMBER) -> None:
    payment = PaymentDocument.model_validate(
        {"customer_id": "acme", "currency": "EUR", "amount": amount, "value_date": on, "text": number}
    )
    record_payment(world.ledger, payment, actor="bank", now=at(on))


def ages(world: World, on: str) -> list[tuple[int | None, str | None, int, int]]:
    found = outstanding(world.ledger, as_of=date.fromisoformat(on))
    assert sum(one.open_minor for one in found.documents) == sum(total.open_minor for total in found.totals)
    return [(one.instalment, one.due_date, one.open_minor, one.overdue_days) for one in found.documents]


@pytest.mark.requirement("CON-18")
def test_the_example_of_the_page(any_world: World) -> None:
    world = owed(any_world)
    [(body, lines)] = EXAMPLE.findall(PAGE)
    plan = validate_document(InstalmentPlan, read_document(body), what="the instalments")
    agree_instalments(world.ledger, NUMBER, plan, actor="finance", now=at("2026-02-02"))
    assert ages(world, "2026-02-28") == [
        (1, "2026-03-01", 50000, 0),
        (2, "2026-03-15", 25000, 0),
        (3, "2026-04-01", 25000, 0),
    ]
    pay(world, "600.00", on="2026-03-10")
    aged = {part: days for part, _, _, days in ages(world, "2026-03-20")}
    shown = []
    for part in get_instalments(world.ledger, NUMBER).instalments:
        late = f", {aged[part.position]} days overdue" if aged.get(part.position) else ""
        amount, left = (Decimal(minor).scaleb(-2) for minor in (part.amount_minor, part.open_minor))
        shown.append(f"{part.position} {part.due_date} {amount} open {left}{late}")
    assert shown == lines.strip().splitlines()
    [total] = outstanding(world.ledger, as_of=date(2026, 3, 20)).totals
    assert (total.documents, total.open_minor, total.overdue_minor) == (1, 40000, 15000)
    assert verify_journal(world.ledger) == []


@pytest.mark.requirement("CON-18")
def test_the_parts_sum_to_the_balance_or_are_refused(world: World) -> None:
    owed(world)
    cases = {
        "instalments_sum": [("2026-03-01", "500"), ("2026-04-01", "499.99")],
        "instalment_due_date": [("2026-03-01", "500"), ("2026-03-01", "500")],
        "instalment_amount": [("2026-03-01", "1000.005"), ("2026-04-01", "-0.005")],
    }
    for reason_code, parts in cases.items():
        with pytest.raises(InvalidDocument) as caught:
            agree(world, *parts)
        assert reason_code in {one.reason_code for one in caught.value.issues}
    with pytest.raises(NotFound, match="has no instalments"):
        get_instalments(world.ledger, NUMBER)
    pay(world, "1000.00", on="2026-03-10")
    with pytest.raises(Conflict, match="nothing is open"):
        agree(world, ("2026-04-01", "1000"))


def test_a_later_agreement_takes_the_place_of_the_last(world: World) -> None:
    owed(world)
    agree(world, ("2026-03-01", "500"), ("2026-04-01", "500"))
    pay(world, "200.00", on="2026-03-05")
    second = agree(world, ("2026-05-01", "300"), ("2026-06-01", "500"), now="2026-03-06")
    assert (second.plan_number, [part.open_minor for part in second.instalments]) == (2, [30000, 50000])
    rows = [row[0:3] for row in ages(world, "2026-03-20")]
    assert rows == [(1, "2026-05-01", 30000), (2, "2026-06-01", 50000)]
    before = outstanding(world.ledger, as_of=date(2026, 3, 20), known_at=at("2026-03-05T12:00"))
    assert [one.due_date for one in before.documents] == ["2026-03-01", "2026-04-01"]
    entries = list_entries(world.ledger, chosen=AuditFilter(object_kind="instalments"), limit=10)
    assert [entry.actor for entry in entries] == ["finance", "finance"]


def test_an_invoice_is_overdue_with_its_earliest_open_part(world: World) -> None:
    world.plan()
    world.contract()
    world.bill("2025-01-15")
    number = "INV-2025-000001"
    agree(world, ("2025-03-01", "10"), ("2025-04-01", "20"), number=number)
    stored = get_invoice(world.ledger, number)

    def standing(on: str) -> tuple[bool, date | None]:
        found = invoice_standing(world.ledger, stored, now=at(on))
        return found.overdue, found.next_step_on

    assert standing("2025-03-01") == (False, date(2025, 3, 2))
    assert standing("2025-03-02") == (True, None)
    pay(world, "10.00", on="2025-03-03", number=number)
    assert standing("2025-03-04") == (False, date(2025, 4, 2))


@given(amounts=st.lists(st.integers(1, 10**6), min_size=1, max_size=8), open_minor=st.integers(0, 10**7))
def test_what_is_open_of_the_parts_is_what_is_open(amounts: list[int], open_minor: int) -> None:
    parts = [(place, date(2026, 1, place), amount) for place, amount in enumerate(amounts, start=1)]
    found = parts_as_they_stand(parts, open_minor)
    assert sum(part.open_minor for part in found) == open_minor
    assert all(part.open_minor >= 0 for part in found)
    started = [part.open_minor < part.amount_minor for part in found]
    assert started == sorted(started, reverse=True)  # never a later part before an earlier one
