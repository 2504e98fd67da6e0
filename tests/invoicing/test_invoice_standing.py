"""Goal: the state of an invoice follows from what is on record and takes no forbidden way."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invoicing.invoice_standing import ACTIONS, MOVES, Amounts, Standing, standing_of

PAGE = (Path(__file__).parents[2] / "docs" / "invoice-states.md").read_text(encoding="utf-8")
DUE = date(2026, 3, 1)
TODAY = date(2026, 2, 10)


def standing(
    gross: int,
    *,
    drawn: int = 0,
    credited: int = 0,
    returned: int = 0,
    allocated: int = 0,
    written_off: int = 0,
    issued: bool = True,
    voided: bool = False,
    today: date = TODAY,
) -> Standing:
    amounts = Amounts(gross, drawn, credited, returned, allocated, written_off)
    return standing_of(
        issued=issued,
        voided=voided,
        amounts=amounts,
        due_date=DUE if issued else None,
        today=today,
        creditable=True,
    )


# what is on record, and: state, open, next step and its day
CASES = [
    (standing(100, issued=False), ("draft", 100, None, None)),
    (standing(100), ("issued", 100, "becomes overdue", date(2026, 3, 2))),
    (standing(100, drawn=100), ("paid", 0, None, None)),
    (standing(0), ("paid", 0, None, None)),
    (standing(100, allocated=40), ("partially_paid", 60, "becomes overdue", date(2026, 3, 2))),
    (standing(100, allocated=100), ("paid", 0, None, None)),
    (standing(100, credited=30, allocated=70), ("paid", 0, None, None)),
    (standing(100, credited=30, allocated=100), ("paid", -30, None, None)),
    (standing(100, credited=100, voided=True), ("void", 0, None, None)),
    (standing(100, drawn=40, credited=50, returned=40), ("issued", 50, "becomes overdue", date(2026, 3, 2))),
    (standing(100, written_off=30), ("issued", 70, "becomes overdue", date(2026, 3, 2))),
    (standing(100, allocated=40, written_off=60), ("uncollectible", 0, None, None)),
    (standing(100, credited=100, voided=True, written_off=0), ("void", 0, None, None)),
    (standing(100, today=date(2026, 3, 2)), ("issued", 100, None, None)),
]


@pytest.mark.requirement("AUD-03")
@pytest.mark.parametrize(("found", "expected"), CASES)
def test_the_state_follows_from_what_is_on_record(
    found: Standing, expected: tuple[str, int, str | None, date | None]
) -> None:
    assert (found.state, found.open_minor, found.next_step, found.next_step_on) == expected
    assert found.overdue is (found.state == "issued" and found.next_step is None)
    assert found.actions == ACTIONS[found.state]


@pytest.mark.requirement("AUD-03")
@settings(max_examples=200)
@given(st.integers(1, 300), st.data())
def test_whatever_happens_no_forbidden_way_is_taken(gross: int, data: st.DataObject) -> None:
    """An invoice is issued, and then credited, paid, unpaid and given up at random, until it is void."""
    amounts, issued, voided = Amounts(gross, 0, 0, 0, 0, 0), False, False

    def now() -> Standing:
        return standing_of(
            issued=issued, voided=voided, amounts=amounts, due_date=DUE, today=TODAY, creditable=True
        )

    before = now()
    for _ in range(data.draw(st.integers(1, 8))):
        if not issued:
            issued, amounts = True, replace(amounts, drawn_minor=data.draw(st.integers(0, gross)))
        elif data.draw(st.booleans()):
            more = data.draw(st.integers(0, gross - amounts.credited_minor))
            credited = amounts.credited_minor + more
            back = min(credited, amounts.drawn_minor)
            amounts = replace(amounts, credited_minor=credited, returned_minor=back)
            voided = credited == gross
        else:
            amounts = _paid_or_given_up(amounts, gross, data)
        left = replace(amounts, written_off_minor=0).open_minor  # what is settled is owed again first
        amounts = replace(amounts, written_off_minor=min(amounts.written_off_minor, max(0, left)))
        after = now()
        assert after.state == before.state or after.state in MOVES[before.state], (before, after)
        before = after
    if voided:
        assert before.state == "void"


def _paid_or_given_up(amounts: Amounts, gross: int, data: st.DataObject) -> Amounts:
    if data.draw(st.booleans()):
        return replace(amounts, allocated_minor=data.draw(st.integers(0, gross)))
    left = replace(amounts, written_off_minor=0).open_minor
    return replace(amounts, written_off_minor=data.draw(st.integers(0, max(0, left))))


def test_the_page_says_what_the_code_says() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|", PAGE, re.MULTILINE)
    said = {
        state: (set(re.findall(r"`(\w+)`", moves)), re.findall(r"`(\w+)`", actions))
        for state, moves, actions in rows
    }
    assert said == {state: (set(MOVES[state]), list(ACTIONS[state])) for state in MOVES}
