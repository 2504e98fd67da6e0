"""Goal: a difference that no adjustment says rightly is held with its reason, never billed."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from invoicing.credit_note import CreditNoteRequest
from invoicing.credit_note_store import Issuing, issue_credit_note
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_adjustments import JANUARY, Sender, adjustments
from tests.invoicing.test_credit_note_store import credit
from tests.invoicing.test_seats_in_advance import SEATS, Seats, lines, settled
from tests.invoicing.world import World, at


@pytest.mark.parametrize(
    ("counted", "true_up"),
    [
        # 20.00 less 1.20 of calls in January; 200.00 are committed
        ({}, 20000 - 1880),
        # with the fees: 30.00 less 1.80, 30.00 less 3.00 twice
        ({"counts_fees": True}, 20000 - 1880 - 2820 - 2 * 2700),
        ({"charge_ids": ["fee"]}, 20000 - 2820 - 2 * 2700),
    ],
)
def test_a_commitment_counts_the_adjustment_of_a_fee_as_the_fee(
    world: World, counted: dict[str, Any], true_up: int
) -> None:
    """3.00 off are shared by 10.00 of calls and the fee of 30.00, and by 20.00 when 10.00 come late."""
    sender = Sender(world)
    world.plan(MONTHLY_FEE | {"timing": "arrears"}, CALLS)
    term = {"amount": "200", "effective_from": date(2025, 1, 1), "effective_until": date(2025, 4, 1)}
    world.contract(
        **JANUARY,
        discounts=[{"discount_id": "off", "name": "Off", "amount": "3"}],
        term_commitments=[{"commitment_id": "quarter", **term, **counted}],
    )
    sender.calls(("one", "c1", "2025-01-10", "1000"))
    world.bill("2025-02-01")
    sender.calls(("two", "c1", "2025-01-11", "1000"))
    for day in ("2025-03-01", "2025-04-01"):
        assert world.bill(day).held == ()
    assert adjustments(world) == [
        "2025-03-01 c1 calls of 2025-02-01: 1000 -> 2000, 9.25 -> 18.80: 9.55",
        "2025-03-01 c1 fee of 2025-02-01: 1 -> 1, 27.75 -> 28.20: 0.45",
    ]
    last = world.invoices()[-1].invoice.lines[-1]
    assert (last.charge_id, last.amount_minor) == ("commitment-true-up", true_up)
    settled(world)


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


def test_usage_in_the_place_of_a_credited_minimum_is_no_second_credit(world: World) -> None:
    """10.00 a month at least; January was credited whole. 4.00 of calls come late, and then never were: each
    time the minimum moves the other way, and nothing is owed. 15.00 of calls are 5.00 more."""
    sender = Sender(world)
    world.plan(CALLS, minimum_spend="10")
    world.contract(**JANUARY)
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    issue_credit_note(
        world.ledger,
        world.invoices()[0].summary.invoice_id,
        CreditNoteRequest.model_validate({"reason": "not our customer yet"}),
        Issuing("CN", "ada", None, at("2025-02-03")),
    )
    sender.received_at = at("2025-02-05")
    sender.calls(("one", "c1", "2025-01-10", "400"))
    totals = []
    for month, value in ((3, "400"), (4, "0"), (5, "1500")):
        sender.received_at = at(f"2025-{month - 1:02d}-06")
        sender.correct("one", value)
        assert world.bill(f"2025-{month:02d}-01", now=at(f"2025-{month:02d}-01T06:00")).held == ()
        lines_of_january = [
            line for line in world.invoices()[-1].invoice.lines if line.period_start == date(2025, 1, 1)
        ]
        totals.append(sum(line.amount_minor for line in lines_of_january))
    assert totals == [0, 0, 500]
    settled(world)


@pytest.mark.parametrize(
    ("charge_ids", "credited"), [(["commitment-true-up"], 15000), (["calls", "commitment-true-up"], 20000)]
)
def test_usage_in_the_place_of_a_credited_true_up_is_no_second_credit(
    world: World, charge_ids: list[str], credited: int
) -> None:
    """200.00 are committed for a quarter, and 50.00 were used in March. The true-up of 150.00 is credited, or
    all of the invoice. 40.00 come late, then were never, then are 190.00: nothing is owed up to what was
    committed, and then the 40.00 beyond it."""
    sender = Sender(world)
    calls = CALLS | {"price": {"model": "per_unit", "unit_price": "1"}}
    world.plan(calls)
    term = {"effective_from": date(2025, 1, 1), "effective_until": date(2025, 4, 1)}
    world.contract(**JANUARY, term_commitments=[{"commitment_id": "q", "amount": "200", **term}])
    sender.calls(("first", "c1", "2025-03-10", "50"))
    for day in ("2025-02-01", "2025-03-01", "2025-04-01"):
        world.bill(day, now=at(f"{day}T06:00"))
    (invoice,) = world.invoices()
    lines_credited = [
        {"line_id": line.line_id} for line in invoice.invoice.lines if line.charge_id in charge_ids
    ]
    note = credit(world, invoice.summary.invoice_id, lines=lines_credited, now=at("2025-04-02"))
    assert note.summary.net_minor == -credited
    sender.received_at = at("2025-04-05")
    sender.calls(("late", "c1", "2025-03-11", "40"))
    totals = []
    for month, value in ((5, "40"), (6, "0"), (7, "190")):
        sender.received_at = at(f"2025-{month - 1:02d}-06")
        sender.correct("late", value)
        assert world.bill(f"2025-{month:02d}-01", now=at(f"2025-{month:02d}-01T06:00")).held == ()
        late = [line for line in world.invoices()[-1].invoice.lines if line.adjusts is not None]
        totals.append(sum(line.amount_minor for line in late))
    assert totals == [0, 0, 4000]
    settled(world)


@pytest.mark.parametrize(
    ("change", "credited", "held", "ignored"),
    [
        # 310.00 for January in advance; 30.00 less for three seats from the 22nd, 100.00 less if it ends then
        ("remove", None, "30", ["2025-02-01 02-01..03-01 7 = 217.00"]),
        ("end", None, "100", []),
        ("end", "210.00", "", None),
        ("end", "210.01", "100", []),
    ],
)
def test_licences_in_advance_that_were_credited(
    world: World, change: str, credited: str | None, held: str, ignored: list[str] | None
) -> None:
    """What is cut and billed anew counts as one, and letting late usage be lets such a contract go on."""
    seats = Seats(world)
    world.plan(SEATS)
    world.contract(**JANUARY)
    seats.send("c1", "2025-01-01T00:00 set 10")
    world.bill("2025-01-01", now=at("2025-01-01T06:00"))
    issue_credit_note(
        world.ledger,
        world.invoices()[0].summary.invoice_id,
        CreditNoteRequest.model_validate({"reason": "r"} | ({"amount": credited} if credited else {})),
        Issuing("CN", "ada", None, at("2025-01-10")),
    )
    ends: dict[str, Any] = {"end_date": date(2025, 1, 22)} if change == "end" else {}
    if change == "remove":
        seats.send("c1", "2025-01-22T00:00 remove 3")
    world.contract(**JANUARY, **ends)
    report = world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    assert [entry.reason_code for entry in report.held] == (["adjustment_refused"] if held else [])
    assert all(f" by {held}00 minor units" in entry.message for entry in report.held)
    if ignored is None:
        assert lines(world, "c1")[1:] == [
            "2025-01-22 01-01..01-22 10 = 210.00, of 2025-01-01: 0.00 before",
            "2025-01-22 01-01..02-01 0 = -310.00, of 2025-01-01: 310.00 before",
        ]
        return
    world.contract(**JANUARY, **ends, late_usage="ignore")
    for day in ("2025-02-01", "2025-02-20"):
        assert world.bill(day, now=at(f"{day}T12:00")).held == ()
    assert lines(world, "c1")[1:] == ignored


def test_licences_in_advance_beside_a_fee_that_a_commitment_counts(world: World) -> None:
    """Ten seats less four from the 11th: the 10.00 off go to fee and seats by other parts."""
    seats = Seats(world)
    world.plan(SEATS, MONTHLY_FEE)
    term = {"amount": "5000", "effective_from": date(2025, 1, 1), "effective_until": date(2026, 1, 1)}
    more: dict[str, Any] = {
        "discounts": [{"discount_id": "off", "name": "Off", "amount": "10"}],
        "term_commitments": [{"commitment_id": "year", **term}],
    }
    world.contract(**JANUARY, **more)
    seats.send("c1", "2025-01-01T00:00 set 10")
    world.bill("2025-01-01")
    seats.send("c1", "2025-01-11T00:00 remove 4")
    assert world.bill("2025-02-01").held == ()
    assert [line for line in lines(world, "c1") if "before" in line] == [
        "2025-02-01 01-01..02-01 1 = -0.29, of 2025-01-01: 29.12 before",
        "2025-02-01 01-01..02-01 7.290322580645 = -83.71, of 2025-01-01: 300.88 before",
    ]
    settled(world)
