"""Goal: usage of a period over several months is revenue of the months it was consumed in, to the cent,
however it became known: billed, accrued, late, corrected, or posted again from nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from ingest.ledger import ledger_transaction
from ingest.meter import Meter
from ingest.meter_store import save_meter
from invoicing.issue import issue_invoice
from invoicing.journal_check import verify_journal
from invoicing.journal_postings_check import verify_postings
from invoicing.journal_store import JournalFilter, list_entries
from invoicing.month_part_check import check_month_parts
from invoicing.posting_store import post_missing
from invoicing.review.correct import correct
from invoicing.review.moves import approve
from invoicing.tables import LINE_MONTH_SHARES
from tests.invoicing.support import CALLS
from tests.invoicing.test_accrual import recognise, ties
from tests.invoicing.test_audit_verify import unguarded
from tests.invoicing.test_journal import without_journal
from tests.invoicing.test_review import NOW, person, rules
from tests.invoicing.test_review_correction import request
from tests.invoicing.world import LONG_AGO, World, at

D = date.fromisoformat
BY_REGION = {
    **CALLS,
    "charge_id": "transfer",
    "meter_id": "transfer",
    "unit": "GB",
    "price": {"model": "per_unit", "unit_price": "1"},
}
PEAK = {**CALLS, "charge_id": "peak", "meter_id": "peak", "price": {"model": "per_unit", "unit_price": "1"}}
DOUBLED = {**CALLS, "charge_id": "doubled", "formula": "2 * calls / 1000", "price": PEAK["price"]}
EXCESS = {**CALLS, "charge_id": "excess", "formula": "max(0, calls - 100)"}
for _of_formula in (DOUBLED, EXCESS):
    del _of_formula["meter_id"]
TIERED = {
    **CALLS,
    "price": {
        "model": "graduated",
        "tiers": [{"up_to": "100", "unit_price": "1"}, {"up_to": None, "unit_price": "0.10"}],
    },
}
"""The first 100 calls at 1.00, each further one at 0.10."""


def revenue(world: World, known_at: str | None = None) -> list[str]:
    """``calls 2025-01 5.00`` a charge and month, as known then."""
    chosen = JournalFilter(account="revenue", known_at=None if known_at is None else at(known_at))
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for entry in list_entries(world.ledger, chosen=chosen, limit=10_000):
        for line in entry["lines"]:
            if line["account"] == "revenue":
                sums[line["charge_id"], str(entry["entry_date"])[:7]] -= line["amount_minor"]
    return [
        f"{charge} {month} {Decimal(amount).scaleb(-2)}"
        for (charge, month), amount in sorted(sums.items())
        if amount
    ]


def cent_moved(sign: str, day: str) -> str:
    """One cent of calls to or from revenue of a day, its entry still zero."""
    return (
        f"UPDATE journal_lines SET amount_minor = amount_minor {sign} "
        "CASE account WHEN 'revenue' THEN 1 ELSE -1 END WHERE charge_id = 'calls' AND entry_number IN "
        f"(SELECT entry_number FROM journal_entries WHERE kind = 'recognition' AND entry_date = '{day}')"
    )


def share_changed(change: str) -> str:
    return f"UPDATE line_month_shares SET {change} WHERE month_end = '2025-01-31' AND share = '600'"


def found_after(world: World, *changes: str) -> list[str]:
    """What is wrong once somebody with all rights has changed that; then it is as it was."""
    with closing(unguarded(world.ledger)) as transactions:
        connection = next(transactions)
        for change in changes:
            assert connection.execute(text(change)).rowcount > 0, change
        return list(check_month_parts(connection))


def months_of_revenue_are_verified(world: World) -> None:
    to_february = cent_moved("+", "2025-01-31"), cent_moved("-", "2025-02-14")
    (january, february) = found_after(world, *to_february)
    assert (
        "/2025-01-31 is not what its document posts: revenue acme c1 calls EUR -599 and not -600." in january
    )
    assert (
        "/2025-02-14 is not what its document posts: revenue acme c1 calls EUR -301 and not -300." in february
    )
    for change, words in (
        ("month_end = '2025-03-31'", "outside its period of 2025-01-15 to 2025-02-14"),
        ("month_end = '2025-01-30'", "neither the last of a month nor of its period"),
        ("share = '-300'", "come to nothing"),
    ):
        assert any(words in problem for problem in found_after(world, share_changed(change))), words
    assert verify_journal(world.ledger) == []


def table(words: str) -> list[str]:
    """The rows of a table people can read."""
    return [" ".join(row.split()) for row in words.strip().splitlines()]


@pytest.mark.requirement("REP-04")
def test_usage_is_revenue_of_the_month_it_was_consumed_in(any_world: World) -> None:
    """A month from the 15th, in Sao Paulo, three hours behind UTC."""
    world = any_world
    save_meter(world.ledger, Meter(meter_id="peak", event_type="call", aggregation="max"), now=LONG_AGO)
    world.plan(CALLS, BY_REGION, PEAK, DOUBLED, EXCESS)
    world.contract(start_date=date(2025, 1, 15), time_zone="America/Sao_Paulo")
    world.events(
        ("call", "c1-subject", "2025-01-20", "500"),
        ("call", "c1-subject", "2025-02-01T02:59", "100"),  # 31 January there
        ("call", "c1-subject", "2025-02-01T03:00", "300"),
        ("transfer", "c1-subject", "2025-01-20", "10", {"region": "eu"}),
        ("transfer", "c1-subject", "2025-02-14", "5", {"region": "us"}),
        ("transfer", "c1-subject", "2025-02-14", "10", {"region": "eu"}),
    )
    recognise(world, "2025-01-31", "2025-02-01T12:00")
    # Of 500 calls over 100 and of a peak of 500, 17 of 31 days.
    used_by_then = table("""
        calls    2025-01   6.00
        doubled  2025-01   1.20
        excess   2025-01   2.74
        peak     2025-01 274.19
        transfer 2025-01  10.00
    """)
    assert revenue(world) == used_by_then
    world.bill("2025-02-15", now=at("2025-02-16"))
    # What was accrued stands, and the invoice adds what came then. What is over 100 calls in all, and a peak,
    # are of no month: straight line, and the peak is still the same.
    assert revenue(world) == table("""
        calls    2025-01   6.00
        calls    2025-02   3.00
        doubled  2025-01   1.20
        doubled  2025-02   0.60
        excess   2025-01   4.39
        excess   2025-02   3.61
        peak     2025-01 274.19
        peak     2025-02 225.81
        transfer 2025-01  10.00
        transfer 2025-02  15.00
    """)
    assert revenue(world, "2025-02-10") == used_by_then
    ties(world)
    columns = LINE_MONTH_SHARES.c
    with world.ledger.connect() as connection:
        rows = connection.execute(select(columns.month_end, columns.share)).all()
    assert sorted(map(tuple, rows)) == [
        ("2025-01-31", "1.2"),
        ("2025-01-31", "10"),
        ("2025-01-31", "600"),
        ("2025-02-14", "0.6"),
        ("2025-02-14", "10"),
        ("2025-02-14", "300"),
        ("2025-02-14", "5"),
    ]
    shown = revenue(world)
    without_journal(world.ledger)
    assert post_missing(world.ledger).documents == 1
    assert revenue(world) == shown
    assert verify_journal(world.ledger) == []
    months_of_revenue_are_verified(world)
    assert verify_postings(world.ledger) == []
    for statement in ("UPDATE line_month_shares SET share = '1'", "DELETE FROM line_month_shares"):
        with pytest.raises(DBAPIError, match="never changes"), ledger_transaction(world.ledger) as connection:
            connection.execute(text(statement))


@pytest.mark.requirement("REP-04")
def test_late_usage_moves_revenue_to_where_it_belongs(world: World) -> None:
    """A quarter with tiers: 100 calls in January, 100 in March. Then 200 of February come late, and those of
    March turn out to be 2."""
    world.plan(TIERED)
    world.contract(start_date=date(2025, 1, 1), billing={"cadence": "quarterly"})
    world.events(("call", "c1-subject", "2025-01-20", "100"), ("call", "c1-subject", "2025-03-20", "100"))
    world.bill("2025-04-01", now=at("2025-04-02"))
    assert revenue(world) == table("""
        calls 2025-01 55.00
        calls 2025-03 55.00
    """)
    world.events(("call", "c1-subject", "2025-02-20", "200"), ("call", "c1-subject", "2025-05-01", "10"))
    world.bill("2025-07-01", now=at("2025-07-02"))
    # 130.00 in all, of which a quarter, a half, a quarter: the adjustment of 20.00 is -22.50, 65.00, -22.50.
    assert revenue(world) == table("""
        calls 2025-01 32.50
        calls 2025-02 65.00
        calls 2025-03 32.50
        calls 2025-05 10.00
    """)
    ties(world)
    world.event_store.command("ALTER TABLE events DELETE WHERE id = 'e2' SETTINGS mutations_sync = 2")
    world.events(("call", "c1-subject", "2025-03-21", "2"))
    world.bill("2025-10-01", now=at("2025-10-02"))
    # 302 calls come to 120.20.
    assert revenue(world) == table("""
        calls 2025-01 39.80
        calls 2025-02 79.60
        calls 2025-03  0.80
        calls 2025-05 10.00
    """)
    assert revenue(world, "2025-04-03") == ["calls 2025-01 55.00", "calls 2025-03 55.00"]
    ties(world)
    shown = revenue(world)
    without_journal(world.ledger)
    post_missing(world.ledger)
    assert revenue(world) == shown


@pytest.mark.requirement("REP-04")
def test_what_adjusts_a_minimum_is_revenue_of_its_day(world: World) -> None:
    """15 January to 14 February at 20.00 or more: 5.00 of usage in January, and 4.00 more that come late."""
    world.plan(CALLS, minimum_spend="20")
    world.contract(start_date=date(2025, 1, 15))
    world.events(("call", "c1-subject", "2025-01-20", "500"))
    world.bill("2025-02-15", now=at("2025-02-16"))
    billed = ["calls 2025-01 5.00", "minimum-spend 2025-02 15.00"]
    assert revenue(world) == billed
    world.events(("call", "c1-subject", "2025-01-21", "400"))
    world.bill("2025-03-15", issue=False, now=at("2025-03-16"))
    (draft,) = (one for one in world.invoices() if one.summary.number is None)
    adjusted = table("""
        calls         2025-01  9.00
        minimum-spend 2025-02 11.00
        minimum-spend 2025-03 20.00
    """)
    recognise(world, "2025-03-31", "2025-04-01T12:00")
    assert revenue(world) == adjusted
    issue_invoice(
        world.ledger, invoice_id=draft.summary.invoice_id, now=at("2025-04-02"), series_prefix="INV"
    )
    assert revenue(world) == adjusted
    ties(world)
    shown = revenue(world)
    without_journal(world.ledger)
    post_missing(world.ledger)
    assert revenue(world) == shown


def test_a_bill_of_nothing_that_moves_revenue_is_posted_again_too(world: World) -> None:
    """15 January to 14 February at 20.00 or more, after the end: 5.00 of late usage, not of the minimum."""
    world.plan(CALLS, minimum_spend="20")
    world.contract(start_date=date(2025, 1, 15), end_date=date(2025, 2, 15))
    world.bill("2025-02-15", now=at("2025-02-16"))
    world.events(("call", "c1-subject", "2025-01-20", "500"))
    world.bill("2025-03-01", now=at("2025-03-02"))
    assert [(one.invoice.total_minor, one.summary.number is None) for one in world.invoices()] == [
        (2000, False),
        (0, False),
    ]
    shown = revenue(world)
    assert shown == ["calls 2025-01 5.00", "minimum-spend 2025-02 15.00"]
    without_journal(world.ledger)
    assert post_missing(world.ledger).documents == 2
    assert revenue(world) == shown
    assert post_missing(world.ledger).documents == 0


def test_a_contract_of_a_pool_goes_by_its_own_usage(world: World) -> None:
    """100 calls of one in January, 100 of the other in February: 110.00 for both, half each."""
    world.plan({**TIERED, "pooled_over": "customer"})
    world.contracts(["c1", "c2"], start_date=date(2025, 1, 15))
    world.events(("call", "c1-subject", "2025-01-20", "100"), ("call", "c2-subject", "2025-02-03", "100"))
    world.bill("2025-02-15", now=at("2025-02-16"))
    assert revenue(world) == ["calls 2025-01 55.00", "calls 2025-02 55.00"]


def test_drafts_and_their_corrections_go_by_what_was_consumed(world: World) -> None:
    world.plan(CALLS)
    rules(world, policy="all", reviewers=["anna"], four_eyes=False)
    world.contract(start_date=date(2025, 1, 15))
    world.events(("call", "c1-subject", "2025-01-20", "500"), ("call", "c1-subject", "2025-02-03", "900"))
    world.bill("2025-02-15", now=at("2025-02-15"))
    recognise(world, "2025-01-31", "2025-02-15")
    assert revenue(world) == ["calls 2025-01 5.00"]
    (draft,) = world.invoices()
    invoice_id, (line,) = draft.summary.invoice_id, draft.invoice.lines
    correct(world.ledger, invoice_id, person("anna"), request(line.line_id, "28.00"), now=NOW)
    recognise(world, "2025-01-31", "2025-03-01")
    assert revenue(world) == ["calls 2025-01 10.00"]
    approve(world.ledger, invoice_id, person("anna"), reason="", now=NOW)
    issue_invoice(world.ledger, invoice_id=invoice_id, now=NOW, series_prefix="INV")
    assert revenue(world) == ["calls 2025-01 10.00", "calls 2025-02 18.00"]
    ties(world)


@pytest.mark.requirement("REP-04")
def test_random_usage_is_revenue_by_its_local_days(world: World) -> None:
    """Contracts of several cadences, zones and days to begin on, against a count made here event by event."""
    chosen = Random(20261126)
    world.plan(CALLS)
    contracts = [
        ("c1", "monthly", "UTC", D("2025-01-31")),
        ("c2", "quarterly", "Asia/Tokyo", D("2025-01-15")),
        ("c3", "quarterly", "America/Los_Angeles", D("2025-02-01")),
        ("c4", "monthly", "Europe/Berlin", D("2025-02-01")),
    ]
    wanted: dict[tuple[str, date], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    events = []
    for contract_id, cadence, zone, start in contracts:
        world.contract(contract_id, billing={"cadence": cadence}, time_zone=zone, start_date=start)
        for _ in range(40):
            moment = datetime(2025, 1, 14, tzinfo=UTC) + timedelta(minutes=chosen.randrange(60 * 24 * 100))
            value = chosen.randrange(1, 1_000)
            events.append(("call", f"{contract_id}-subject", moment.isoformat()[:16], str(value)))
            local = moment.astimezone(ZoneInfo(zone)).date()
            for first, end in periods(start, cadence):
                if first <= local < end <= D("2025-05-15"):
                    wanted[contract_id, first][str(local)[:7]] += value
    world.events(*events)
    world.bill("2025-05-15", now=at("2025-05-16"))
    # A call is one cent, so what a month consumed is its revenue and no rounding hides anything.
    for contract_id, *_ in contracts:
        chosen_entries = JournalFilter(account="revenue", contract_id=contract_id)
        found: dict[str, int] = defaultdict(int)
        for entry in list_entries(world.ledger, chosen=chosen_entries, limit=10_000):
            for line in entry["lines"]:
                if line["account"] != "revenue":
                    continue
                found[str(entry["entry_date"])[:7]] -= line["amount_minor"]
        own: dict[str, int] = defaultdict(int)
        for (owner, _), months in wanted.items():
            for month, value in months.items():
                own[month] += value if owner == contract_id else 0
        assert dict(found) == {month: value for month, value in own.items() if value}, contract_id
    ties(world)


def periods(start: date, cadence: str) -> Sequence[tuple[date, date]]:
    """Those of 2025, counted from the first day each time: the 31st is the last of a shorter month."""
    step = 1 if cadence == "monthly" else 3
    edges = []
    for number in range(0, 6 * step, step):
        month = start.month - 1 + number
        following = date(start.year + (month + 1) // 12, (month + 1) % 12 + 1, 1)
        last = (following - timedelta(days=1)).day
        edges.append(date(start.year + month // 12, month % 12 + 1, min(start.day, last)))
    return list(pairwise(edges))
