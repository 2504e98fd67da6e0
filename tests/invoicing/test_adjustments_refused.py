"""Goal: a difference that no adjustment says rightly is held with its reason, never billed."""

from __future__ import annotations

from datetime import date

import pytest

from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, issue_credit_note
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_adjustments import JANUARY, Sender, adjustments
from tests.invoicing.world import World, at


def test_a_shared_discount_beside_a_commitment_is_refused(world: World) -> None:
    """The fee's share of 3.00 off changes, and a commitment would have to know that it is a fee."""
    sender = Sender(world)
    world.plan(MONTHLY_FEE, CALLS)
    term = {"amount": "500", "effective_from": date(2025, 1, 1), "effective_until": date(2026, 1, 1)}
    world.contract(
        **JANUARY,
        discounts=[{"discount_id": "off", "name": "Off", "amount": "3"}],
        term_commitments=[{"commitment_id": "year", **term}],
    )
    sender.calls(("one", "c1", "2025-01-10", "1000"))
    world.bill("2025-02-01")
    sender.calls(("two", "c1", "2025-01-11", "1000"))
    report = world.bill("2025-03-01")
    assert [(entry.billing_date, entry.reason_code) for entry in report.held] == [
        (date(2025, 3, 1), "adjustment_refused")
    ]
    world.contract(
        **JANUARY,
        discounts=[{"discount_id": "off", "name": "Off", "amount": "3"}],
        term_commitments=[{"commitment_id": "year", **term}],
        late_usage="ignore",
    )
    assert world.bill("2025-03-01").held == ()
    assert adjustments(world) == []


@pytest.mark.requirement("TAX-07")
@pytest.mark.parametrize(
    ("amount", "corrected", "held"),
    [
        (None, None, True),  # voided, then it never was
        ("0.60", None, True),  # 0.40 is left, 1.00 would be given back
        ("0.60", "70", False),  # 0.30 of the 0.40 that is left
        (None, "130", False),  # more than was billed is billed whatever was credited
    ],
)
def test_what_a_credit_note_gave_back_is_not_given_back_again(
    world: World, amount: str | None, corrected: str | None, held: bool
) -> None:
    sender = Sender(world)
    world.plan(CALLS)
    world.contract(**JANUARY)
    sender.calls(("one", "c1", "2025-01-10", "100"))
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    (invoice,) = world.invoices()
    wanted = {"reason": "counted twice"} | ({} if amount is None else {"amount": amount})
    issue_credit_note(
        world.ledger,
        invoice.summary.invoice_id,
        CreditNoteRequest.model_validate(wanted),
        Issuing("CN", "ada", None, at("2025-02-03")),
    )
    sender.received_at = at("2025-02-05")
    sender.correct("one", corrected)
    report = world.bill("2025-03-01", now=at("2025-03-01T06:00"))
    assert [entry.reason_code for entry in report.held] == (["adjustment_refused"] if held else [])
    assert bool(adjustments(world)) is not held
