"""Goal: a credit note takes what is left of a line: not what a later bill gave back of it already."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import InvalidInput
from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, issue_credit_note
from invoicing.credited import credited_of
from invoicing.given_back import BilledPart, given_back
from invoicing.journal_check import verify_journal
from invoicing.journal_postings_check import verify_postings
from tests.invoicing.support import CALLS
from tests.invoicing.test_adjustments import JANUARY, Sender, adjustments
from tests.invoicing.test_amendments import fee, save
from tests.invoicing.world import World, at

DAY = date(2025, 4, 1)


def credit(world: World, number: str, **wanted: Any) -> list[int]:
    """The amounts of the credit note's lines, minor units."""
    request = CreditNoteRequest.model_validate({"reason": "wrong company", **wanted})
    note, _ = issue_credit_note(world.ledger, number, request, Issuing("CN", "ada", None, at("2025-12-01")))
    with world.ledger.connect() as connection:
        of_invoice = credited_of(connection, [note.summary.invoice_id])[note.summary.invoice_id]
    assert of_invoice.voided is note.summary.voids
    return [-note.summary.net_minor, int(note.summary.voids)]


@pytest.mark.requirement("TAX-07")
def test_a_fee_given_back_at_an_end_is_not_credited_again(any_world: World) -> None:
    """30.00 for April, ended on 16 April: 15.00 went back, so 15.00 is left."""
    world = any_world
    world.plan(fee("30"), CALLS)
    save(world)
    world.bill("2025-04-01")
    save(world, end_date=date(2025, 4, 16))
    world.events(("call", "c1-subject", "2025-04-05", "2000"))
    world.bill("2025-04-16")
    first, last = (stored.summary.number for stored in world.invoices())
    assert first is not None
    assert last is not None
    with pytest.raises(InvalidInput, match=r"15\.00 EUR is left") as caught:
        credit(world, first, amount="15.01")
    assert caught.value.reason_code == "credit_more_than_left"
    assert credit(world, first) == [1500, 0]  # not void: 15.00 of it stands against the other bill
    with pytest.raises(InvalidInput, match="Nothing is left") as caught:
        credit(world, first)
    assert caught.value.reason_code == "nothing_to_credit"
    assert credit(world, last) == [500, 1]  # 20.00 for calls, less the 15.00 that are owed again
    assert credit(world, first) == [1500, 1]  # and now can be credited
    assert verify_journal(world.ledger) == []
    assert verify_postings(world.ledger) == []


@pytest.mark.requirement("TAX-07")
def test_usage_that_was_lowered_on_a_later_bill_is_not_credited_again(world: World) -> None:
    """1.00 was billed, 0.30 went back, then 0.50 more was billed: 0.70 is left of the line, 0.50 of the
    adjustment."""
    sender = Sender(world)
    world.plan(CALLS)
    world.contract(**JANUARY)
    sender.calls(("one", "c1", "2025-01-10", "100"))
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    for value, day in (("70", "2025-02-05"), ("120", "2025-03-05")):
        sender.received_at = at(day)
        sender.correct("one", value)
        month = int(day[5:7]) + 1
        sender.calls((f"more{month}", "c1", f"2025-{month - 1:02}-03", "1000"))
        world.bill(f"2025-{month:02}-01", now=at(f"2025-{month:02}-01T06:00"))
    assert len(adjustments(world)) == 2
    numbers = [stored.summary.number for stored in world.invoices()]
    assert credit(world, str(numbers[0])) == [70, 0]
    assert credit(world, str(numbers[2]))[0] == 1050
    assert credit(world, str(numbers[1])) == [970, 1]
    assert credit(world, str(numbers[0])) == [30, 1]
    assert verify_journal(world.ledger) == []


PARTS = [  # what was billed of a line and gave back, in order, with what credit notes took; what went back
    ([1000, -300], [300, 0]),
    ([1000, 500, -700], [700, 0, 0]),
    ([1000, 500, -1200], [1000, 200, 0]),
    ([1000, 500, (-700, 700)], [0, 0, 0]),
    ([(1000, -1000), 500, -400], [0, 400, 0]),
    ([(1000, -900), -100, -100], [100, 0, 0]),
]


@pytest.mark.parametrize(("parts", "expected"), PARTS)
def test_what_goes_back_comes_off_the_line_first_then_off_its_adjustments(
    parts: list[int | tuple[int, int]], expected: list[int]
) -> None:
    billed = [
        BilledPart(str(place), *(part if isinstance(part, tuple) else (part, 0)))
        for place, part in enumerate(parts)
    ]
    assert [given_back(billed).get(str(place), 0) for place in range(len(parts))] == expected


@given(st.lists(st.tuples(st.integers(-500, 500), st.integers(0, 500)), min_size=1, max_size=6))
def test_what_is_left_is_the_sum_of_all_that_stands(parts: list[tuple[int, int]]) -> None:
    """A line and all that adjusted it can be credited for what they come to, if that is above zero."""
    billed = [
        BilledPart(str(place), amount, -min(credited, abs(amount)) * (1 if amount > 0 else -1))
        for place, (amount, credited) in enumerate(parts)
    ]
    back = given_back(billed)
    left = {
        part.line_id: part.left_minor - back.get(part.line_id, 0) for part in billed if part.left_minor > 0
    }
    assert all(amount >= 0 for amount in left.values())
    assert sum(left.values()) == max(0, sum(part.left_minor for part in billed))
