"""Goal: what is delivered by a month's end and not billed is revenue of that month, once, and the books tie
on any day as known at any time."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import product
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from ingest.errors import Conflict, InvalidInput
from ingest.ledger import ledger_transaction
from invoicing import accrue
from invoicing.accrual import accrued_parts
from invoicing.accrual_store import open_accruals
from invoicing.accrual_tables import OPEN_ACCRUALS
from invoicing.accrue import AccrualReport, recognise_last_month, recognise_unbilled
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from invoicing.issue import issue_invoice
from invoicing.journal_check import verify_journal
from invoicing.journal_postings_check import verify_postings
from invoicing.journal_store import JournalFilter, trial_balance
from invoicing.recognition import month_parts, recognised_days
from invoicing.revenue import Group, RevenueQuestion, revenue_report, sums_from_ledger, sums_of_days
from invoicing.revenue_part_read import read_parts, straight_line
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_seats_in_advance import SEATS, Seats
from tests.invoicing.test_tax_billing import setting
from tests.invoicing.world import World, at

IN_ARREARS = {**MONTHLY_FEE, "charge_id": "base", "timing": "arrears"}
GROUPS: tuple[Group, ...] = ("customer", "product")
KNOWN = ("2025-02-01T12:00", "2025-02-10", "2025-02-15", "2025-03-02", "2026-01-01")


def recognise(world: World, through: str, now: str) -> AccrualReport:
    return recognise_unbilled(
        event_store=world.event_store,
        ledger=world.ledger,
        through=date.fromisoformat(through),
        now=at(now),
        actor="finance",
    )


def balances(world: World, on: str, known_at: str | None = None) -> dict[str, int]:
    """By account, a debit above zero; those at zero left out."""
    known = None if known_at is None else at(known_at)
    chosen = JournalFilter(on=date.fromisoformat(on), known_at=known)
    rows = trial_balance(world.ledger, chosen=chosen)
    return {row.account: row.balance_minor for row in rows if row.balance_minor}


def ties(world: World) -> None:
    """Both bridges of the revenue report hold in every row, which the report itself checks, and the journal
    ties to documents."""
    assert verify_journal(world.ledger) == []
    assert verify_postings(world.ledger) == []
    with world.ledger.connect() as connection:
        parts = read_parts(connection, 0, 10**6, straight_line)
        for known, group in product(KNOWN, GROUPS):
            by_month, by_day = (
                RevenueQuestion(by=by, group=group, as_of=date(2025, 12, 31), known_at=at(known))
                for by in ("month", "day")
            )
            months = revenue_report(by_month, sums_from_ledger(connection, by_month))
            moved = sums_of_days(parts, by_day)
            days = revenue_report(by_day, [*sums_from_ledger(connection, by_day), *moved])
            assert by_months(days) == by_months(months)


def days_of_revenue(world: World) -> tuple[str, str, int]:
    """The first and the last day with revenue, and all of it."""
    question = RevenueQuestion(by="day", group="currency", as_of=date(2025, 12, 31))
    with world.ledger.connect() as connection:
        moved = sums_of_days(read_parts(connection, 0, 10**6, straight_line), question)
        rows = revenue_report(question, [*sums_from_ledger(connection, question), *moved]).to_pylist()
    days = [row["period"] for row in rows if row["recognised_minor"]]
    return days[0], days[-1], sum(row["recognised_minor"] for row in rows)


def by_months(rows: pa.Table) -> dict[tuple[str, str], tuple[int, ...]]:
    """Flows summed, and balances as of the last row, by month and key; months where nothing is left out."""
    found: dict[tuple[str, str], tuple[int, ...]] = {}
    for row in rows.sort_by("period").to_pylist():
        key = (row["period"][:7], row["key"])
        before = found.get(key, (0, 0))
        flows = tuple(row[f"{name}_minor"] for name in ("recognised", "billed"))
        ends = tuple(row[f"{name}_minor"] for name in ("unbilled", "deferred", "prepaid_credit"))
        found[key] = (before[0] + flows[0], before[1] + flows[1], *ends)
    return found


@pytest.mark.requirement("REP-04")
def test_usage_of_january_is_revenue_of_january_before_it_is_billed(any_world: World) -> None:
    """A month from the 15th: calls as used by the 31st, the fee for 17 of its 31 days."""
    world = any_world
    world.plan(CALLS, IN_ARREARS)
    world.contract(start_date=date(2025, 1, 15))
    world.events(("call", "c1-subject", "2025-01-20", "500"), ("call", "c1-subject", "2025-02-03", "900"))
    report = recognise(world, "2025-01-31", "2025-02-01T12:00")
    fee = 3000 * 17 // 31
    assert (report.entries, report.documents, report.amounts) == (1, 1, {"EUR": 500 + fee})
    assert balances(world, "2025-01-30") == {}
    assert balances(world, "2025-01-31") == {"unbilled": 500 + fee, "revenue": -500 - fee}
    assert days_of_revenue(world) == ("2025-01-15", "2025-01-31", 500 + fee)
    assert recognise(world, "2025-01-31", "2025-02-02").entries == 0
    world.events(("call", "c1-subject", "2025-01-31", "100"))  # late, but before the bill
    assert recognise(world, "2025-01-31", "2025-02-10").entries == 1
    assert balances(world, "2025-01-31") == {"unbilled": 600 + fee, "revenue": -600 - fee}
    assert balances(world, "2025-01-31", "2025-02-01T12:00")["unbilled"] == 500 + fee
    ties(world)
    world.bill("2025-02-15", now=at("2025-02-15"))
    assert world.invoices()[-1].summary.total_minor == 1_500 + 3_000
    # Now the invoice says what January was: what was used in it, as accrued.
    january = 600 + fee
    assert balances(world, "2025-01-31") == {"unbilled": january, "revenue": -january}
    assert balances(world, "2025-01-31", "2025-02-10") == {"unbilled": 600 + fee, "revenue": -600 - fee}
    assert balances(world, "2025-02-15") == {"receivable": 4_500, "revenue": -4_500}
    ties(world)
    # The next period has begun: its part of February is accrued, January stays what was billed.
    world.events(("call", "c1-subject", "2025-02-20", "70"))
    recognise(world, "2025-02-28", "2025-03-02")
    assert balances(world, "2025-01-31") == {"unbilled": january, "revenue": -january}
    assert balances(world, "2025-02-28")["unbilled"] == 70 + 3_000 * 14 // 28
    ties(world)
    with ledger_transaction(world.ledger) as connection:
        connection.execute(delete(OPEN_ACCRUALS))  # then no invoice would take it back
    (problem, _) = verify_journal(world.ledger)
    assert "accrued for ever" in problem


def test_drafts_are_accrued_until_they_are_issued_and_what_is_gone_is_taken_back(world: World) -> None:
    world.plan(CALLS, MONTHLY_FEE)
    world.contract(start_date=date(2025, 1, 1))
    world.events(("call", "c1-subject", "2025-01-20", "500"))
    world.bill("2025-02-01", issue=False, now=at("2025-02-01"))
    report = recognise(world, "2025-01-31", "2025-02-01T12:00")
    assert report.amounts == {"EUR": 3_500}  # January's fee and calls; February's fee is in the draft too
    assert balances(world, "2025-02-28") == {"unbilled": 3_500, "revenue": -3_500}
    first, second = (stored.summary.invoice_id for stored in world.invoices())
    for invoice_id in (first, second):
        issue_invoice(world.ledger, invoice_id=invoice_id, now=at("2025-02-10"), series_prefix="INV")
        ties(world)
    assert balances(world, "2025-02-28") == {"receivable": 6_500, "revenue": -6_500}
    world.events(("call", "c1-subject", "2025-02-20", "500"))
    assert recognise(world, "2025-02-28", "2025-03-02").amounts == {"EUR": 500}
    # The contract is not billed for it after all: nothing is due, and the next run takes it back.
    world.event_store.command("ALTER TABLE events DELETE WHERE id = 'e2' SETTINGS mutations_sync = 2")
    assert recognise(world, "2025-02-28", "2025-03-10").entries == 1
    assert balances(world, "2025-02-28") == {"receivable": 6_500, "revenue": -6_500}
    ties(world)


def test_a_bill_takes_back_what_was_accrued_under_a_date_that_moved(any_world: World) -> None:
    """Accrued for the bill of 15 February; then the contract ends on the 10th and is billed that day."""
    world = any_world
    world.plan(CALLS, IN_ARREARS)
    world.contracts(["c1", "c2"], start_date=date(2025, 1, 15))
    world.events(("call", "c1-subject", "2025-01-20", "500"))
    recognise(world, "2025-01-31", "2025-02-01T12:00")
    fee = 3000 * 17 // 31
    world.contract(end_date=date(2025, 2, 10))
    world.contract("c2", end_date=date(2025, 3, 1))
    world.bill("2025-02-09", now=at("2025-02-09"))  # bills nothing, so all that is accrued stays
    assert balances(world, "2025-01-31") == {"unbilled": 500 + 2 * fee, "revenue": -500 - 2 * fee}
    world.bill("2025-02-10", now=at("2025-02-10"))
    billed = 500 + 3000 * 26 // 31
    assert world.invoices()[-1].summary.total_minor == billed
    # c1 has the revenue of its bill and no other; c2 is billed on the 15th as before.
    assert balances(world, "2025-02-10") == {
        "receivable": billed,
        "unbilled": fee,
        "revenue": -billed - fee,
    }
    ties(world)
    assert recognise(world, "2025-01-31", "2025-02-11").entries == 0
    world.bill("2025-03-01", now=at("2025-03-01"))
    assert "unbilled" not in balances(world, "2025-03-01")
    assert open_accruals(world.ledger) == set()
    ties(world)


def test_a_date_that_comes_to_nothing_leaves_nothing_accrued(world: World) -> None:
    """The day is settled without an invoice; a draft of another contract keeps what is accrued of it."""
    world.plan(CALLS)
    world.contracts(["c1", "c2"], start_date=date(2025, 1, 15))
    world.events(("call", "c1-subject", "2025-01-20", "500"), ("call", "c2-subject", "2025-01-20", "70"))
    recognise(world, "2025-01-31", "2025-02-01T12:00")
    world.event_store.command("ALTER TABLE events DELETE WHERE id = 'e1' SETTINGS mutations_sync = 2")
    world.bill("2025-02-15", issue=False, now=at("2025-02-15"))
    assert balances(world, "2025-02-28") == {"unbilled": 70, "revenue": -70}
    (draft,) = world.invoices()
    assert open_accruals(world.ledger) == {draft.summary.invoice_id}
    ties(world)


def test_a_draft_that_is_made_meanwhile_is_accrued_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A billing run settles one date before recognition reads the contracts, another after it."""

    def while_a_run_is_at_work(ledger: Engine) -> BillingCatalogue:
        world.bill("2025-02-15", issue=False, now=at("2025-02-15"))
        found = load_billing_catalogue(ledger)
        world.bill("2025-02-20", issue=False, now=at("2025-02-20"))
        return found

    monkeypatch.setattr(accrue, "load_billing_catalogue", while_a_run_is_at_work)
    world.plan(IN_ARREARS)
    world.contract("c1", start_date=date(2025, 1, 15))
    world.contract("c2", start_date=date(2025, 1, 20))
    report = recognise(world, "2025-01-31", "2025-02-21")
    assert len(world.invoices()) == 2
    assert (report.documents, report.amounts) == (2, {"EUR": 3000 * 17 // 31 + 3000 * 12 // 31})
    ties(world)


def test_what_recognition_takes_back_is_not_open_any_more(world: World) -> None:
    """Else every later run would look at it again."""
    world.plan(CALLS)
    world.contract(start_date=date(2025, 1, 15))
    world.events(("call", "c1-subject", "2025-01-20", "500"))
    recognise(world, "2025-01-31", "2025-02-01T12:00")
    assert len(open_accruals(world.ledger)) == 1
    world.event_store.command("ALTER TABLE events DELETE WHERE id = 'e1' SETTINGS mutations_sync = 2")
    assert recognise(world, "2025-01-31", "2025-02-02").entries == 1
    assert open_accruals(world.ledger) == set()
    assert balances(world, "2025-01-31") == {}
    ties(world)


def test_licences_in_advance_that_are_not_billed_yet(world: World) -> None:
    """Ten seats at 31.00 from 15 January, two more on the 22nd; nobody has billed them by the end of the
    month. Billed later, the period has all seats at once."""
    seats = Seats(world)
    world.plan(SEATS)
    world.contract(start_date=date(2025, 1, 15))
    seats.send("c1", "2025-01-15T00:00 set 10", "2025-01-22T00:00 add 2")
    whole = 310_00 + 2 * 24 * 100  # two seats for 24 of 31 days
    report = recognise(world, "2025-01-31", "2025-02-01T12:00")
    assert report.not_accrued == ()
    assert balances(world, "2025-01-31") == {"unbilled": 170_00 + 2632, "revenue": -170_00 - 2632}
    ties(world)
    world.bill("2025-02-15", now=at("2025-02-15"))
    assert balances(world, "2025-02-14")["revenue"] == -whole
    ties(world)


def test_prices_with_tax_in_them_are_accrued_net(world: World) -> None:
    """120 calls at 1.19 and half a fee of 35.70, both with 19 % tax; of books at 1.07 no rate is known."""
    setting(world)
    with_tax: dict[str, Any] = {"prices_include_tax": True, "plan_id": "shop"}
    calls = {**CALLS, "price": {"model": "per_unit", "unit_price": "1.19"}}
    world.plan(calls, IN_ARREARS | {"price": {"model": "flat", "amount": "35.70"}}, **with_tax)
    world.plan({**calls, "tax_class": "books"}, **with_tax | {"plan_id": "books"})
    world.plan(CALLS, IN_ARREARS)
    for contract_id, plan_id in (("c1", "shop"), ("c2", "books"), ("c3", "gold")):
        world.contract(contract_id, plan_id=plan_id, start_date=date(2025, 1, 15))
    world.contract("c4", plan_id="shop", start_date=date(2025, 1, 15), customer_id="nobody")
    world.events(*(("call", f"{contract_id}-subject", "2025-01-21", "10") for contract_id in ("c2", "c3")))
    report = recognise(world, "2025-01-31", "2025-02-01T12:00")
    left_out = {one.contract_id: one.reason_code for one in report.not_accrued}
    assert left_out == {"c2": "tax_rate_missing", "c4": "customer_unknown"}
    of_fees = 3000 * 17 // 31
    accrued = 12000 + of_fees + 10 + of_fees
    assert balances(world, "2025-01-31") == {"unbilled": accrued, "revenue": -accrued}
    ties(world)
    world.bill("2025-02-15", now=at("2025-02-15"))
    assert balances(world, "2025-01-31") == {"unbilled": accrued, "revenue": -accrued}
    ties(world)


def test_only_months_that_are_over_and_what_can_be_priced(world: World) -> None:
    world.plan(CALLS)
    world.contract(start_date=date(2025, 1, 15))
    with pytest.raises(InvalidInput, match="Give 2025-01-31"):
        recognise(world, "2025-01-30", "2025-03-01")
    with pytest.raises(Conflict, match="2025-02-01 12:00 UTC"):
        recognise(world, "2025-01-31", "2025-02-01T11:59")
    world.events(("call", "c1-subject", "2025-01-20", "5"), ("call", "c1-subject", "2025-01-21", ""))
    report = recognise(world, "2025-01-31", "2025-02-01T12:00")
    left_out = {one.contract_id: one.reason_code for one in report.not_accrued}
    assert left_out == {"c1": "unusable_events"}
    assert (report.entries, report.to_dict()["amounts"]) == (0, [])


def test_the_scheduler_does_a_month_once_and_documents_stay_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accrue, "_BATCH", 1)  # every document a batch of its own
    world.plan(CALLS, IN_ARREARS)
    world.contracts(["c1", "c2"], start_date=date(2025, 1, 15))
    world.events(("call", "c1-subject", "2025-01-20", "500"))

    def last_month(now: str) -> AccrualReport | None:
        return recognise_last_month(
            event_store=world.event_store, ledger=world.ledger, now=at(now), actor="system"
        )

    early = last_month("2025-02-01T11:00")  # January is not over in Hawaii: December is the last month
    assert early is not None
    assert (early.through, early.entries) == (date(2024, 12, 31), 0)
    done = last_month("2025-02-01T12:00")
    assert done is not None
    assert (done.through, done.entries, done.documents) == (date(2025, 1, 31), 2, 2)
    assert done.amounts == {"EUR": 500 + 2 * (3000 * 17 // 31)}
    assert recognise(world, "2025-01-31", "2025-02-02").entries == 0
    assert last_month("2025-02-27") is None


@given(
    kind=st.sampled_from(["usage", "recurring", "one_time", "minimum_spend"]),
    start=st.dates(date(2025, 1, 1), date(2025, 12, 31)),
    days=st.integers(1, 400),
    amount=st.integers(-(10**9), 10**9),
    months=st.integers(0, 16),
)
def test_what_is_accrued_is_what_the_invoice_would_recognise_by_then(
    kind: str, start: date, days: int, amount: int, months: int
) -> None:
    """The plain way: all of its months, those that are over. Through its end it is all of the line."""
    end = start + timedelta(days=days)
    through = date(2025 + months // 12, months % 12 + 1, 1) - timedelta(days=1)
    parts = accrued_parts(kind, start, end, amount, through)
    whole = month_parts(*recognised_days(kind, start, end), amount)
    assert parts == [(day, part) for day, part in whole if day <= through and part]
