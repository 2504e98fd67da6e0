"""Goal: invoices draw prepaid credit when they are issued, once, whatever is killed and repeated; what is
left lapses or rolls over when nothing can draw on it any more; the ledger knows the credit of any day."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from sqlalchemy import Engine

from ingest.clock import FixedClock
from ingest.errors import Conflict, InvalidDocument, InvalidInput, NotFound
from ingest.ledger import default_ledger_url, ledger_transaction, open_ledger
from invoicing.bulk import insert_rows
from invoicing.credit import CreditEntry, CreditGrant
from invoicing.credit_balance import CreditBalance, balance_on
from invoicing.credit_expiry import expire_credit
from invoicing.credit_issue import settle_invoice
from invoicing.credit_store import (
    entries_of,
    get_grant,
    grant_credit,
    grants_of_customer,
    list_grants,
    void_grant,
)
from invoicing.customer_store import save_customer
from invoicing.document import printed
from invoicing.invoice import invoice_hash, invoice_text
from invoicing.issue import issue_invoice
from invoicing.preview import preview_contract
from invoicing.settings import BillingSettings
from invoicing.tick import tick
from tests.invoicing.credit_case import NEW_YEAR, Account, grant, invoice, line
from tests.invoicing.support import CALLS
from tests.invoicing.test_credit_draw import grant_lists, steps
from tests.invoicing.world import LONG_AGO, World, at, unseen


def give(world: World, grant_id: str = "g", amount: str = "100", **changes: Any) -> None:
    document = grant(grant_id, amount, **{"effective_from": "2025-01-01", **changes})
    grant_credit(world.ledger, document, now=LONG_AGO)


def months(world: World, *calls: int, **contract: Any) -> None:
    """Contract c1 from 1 January 2025, so many calls at 0.01 on the tenth of each month."""
    world.plan(CALLS)
    world.contract(start_date=date(2025, 1, 1), **contract)
    for month, count in enumerate(calls, start=1):
        world.events(("call", "c1-subject", f"2025-{month:02}-10", str(count)))


def ledger_of(world: World, customer_id: str = "acme") -> list[CreditEntry]:
    ids = [stored.grant.grant_id for stored in grants_of_customer(world.ledger, customer_id)]
    return entries_of(world.ledger, ids)


def balance(world: World, day: str) -> CreditBalance:
    return balance_on(ledger_of(world), date.fromisoformat(day))


def sums(world: World) -> list[tuple[str, int, int, int]]:
    """(billing date, total, credit, due) of every invoice."""
    summaries = [entry.summary for entry in world.invoices()]
    return [
        (str(entry.billing_date), entry.total_minor, entry.credit_minor, entry.due_minor)
        for entry in summaries
    ]


@pytest.mark.requirement("PAY-09")
def test_invoices_draw_credit_when_they_are_issued(any_world: World) -> None:
    """Bought for 8.00: 10.00 of credit. January takes 6.00, February the rest."""
    world = any_world
    months(world, 600, 700)
    give(world, amount="10", cost_basis="8")
    world.bill("2025-02-01")
    world.bill("2025-03-01")
    world.bill("2025-03-01")  # again: nothing is drawn twice
    assert sums(world) == [("2025-02-01", 600, 600, 0), ("2025-03-01", 700, 400, 300)]
    shown = world.invoices()[-1].invoice
    assert [(entry.grant_id, entry.amount_minor, entry.remaining_minor) for entry in shown.drawn_credit] == [
        ("g", 400, 0)
    ]
    assert (shown.credit_minor, shown.due_minor) == (400, 300)
    after = balance(world, "2025-02-01")
    assert (after.remaining_minor, after.recognised_cost, after.remaining_cost) == (400, 480, 320)
    assert balance(world, "2024-12-31").granted_minor == 0
    assert balance(world, "2025-03-01").recognised_cost == 800


def test_a_draft_shows_what_it_would_draw_and_draws_when_issued(world: World) -> None:
    months(world, 600)
    give(world, amount="10")
    world.bill("2025-02-01", issue=False)
    draft = world.invoices()[0]
    assert (draft.invoice.credit_minor, draft.summary.credit_minor) == (600, 0)
    assert balance(world, "2025-12-31").drawn_minor == 0

    give(world, "first", "1", priority=1)  # comes first by the time it is issued
    issued = issue_invoice(
        world.ledger, invoice_id=draft.summary.invoice_id, now=at("2025-02-03"), series_prefix="INV"
    )
    assert [(entry.grant_id, entry.amount_minor) for entry in issued.invoice.drawn_credit] == [
        ("first", 100),
        ("g", 500),
    ]
    assert issued.summary.credit_minor == 600
    assert invoice_hash(issued.text) == issued.summary.document_hash
    assert invoice_text(issued.invoice) == issued.text
    drawn = [entry for entry in ledger_of(world) if entry.kind == "drawn"]
    assert {(entry.entry_date, entry.amount_minor) for entry in drawn} == {
        (date(2025, 2, 3), -100),
        (date(2025, 2, 3), -500),
    }
    line_id = issued.invoice.lines[0].line_id
    assert {entry.lines for entry in drawn} == {((line_id, 100),), ((line_id, 500),)}


def test_without_credit_a_document_has_no_such_field(world: World) -> None:
    months(world, 600)
    world.bill("2025-02-01")
    assert "drawn_credit" not in world.invoices()[0].text


def test_a_killed_run_draws_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the drawing and before the commit; two contracts share one grant."""
    world.plan(CALLS)
    world.contracts(["c1", "c2"], start_date=date(2025, 1, 1))
    for contract_id in ("c1", "c2"):
        world.events(("call", f"{contract_id}-subject", "2025-01-10", "700"))
    give(world, amount="10")
    write, calls = insert_rows, []

    def killed(*arguments: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) == 4:  # invoices, lines and settled dates of c1 are in; of c2 the invoice is next
            raise RuntimeError("killed")
        write(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr("invoicing.issue.insert_rows", killed)
        with pytest.raises(RuntimeError):
            world.bill("2025-02-01", chunk_contracts=1)
    assert [entry.amount_minor for entry in ledger_of(world)] == [1000, -700]
    world.bill("2025-02-01", chunk_contracts=1)
    assert sums(world) == [("2025-02-01", 700, 700, 0), ("2025-02-01", 700, 300, 400)]
    assert sorted(entry.amount_minor for entry in ledger_of(world)) == [-700, -300, 1000]


def test_the_same_inputs_give_the_same_bytes(world: World, tmp_path: Path) -> None:
    """In another ledger, billed at another hour."""
    months(world, 600, 700)
    other = World(world.event_store, open_ledger(default_ledger_url(tmp_path / "other")))
    other.plan(CALLS)
    other.contract(start_date=date(2025, 1, 1))
    for each, hour in ((world, "09"), (other, "17")):
        give(each, amount="10", cost_basis="8")
        for day in ("2025-02-01", "2025-03-01"):
            each.bill(day, now=at(f"{day}T{hour}:00"))
    texts = [[entry.text for entry in each.invoices()] for each in (world, other)]
    assert texts[0] == texts[1]
    assert ledger_of(world) == ledger_of(other)
    other.ledger.dispose()


def test_a_preview_shows_the_credit_and_draws_none(world: World) -> None:
    months(world, 600, 700)
    give(world, amount="10")
    seen = preview_contract(
        contract_id="c1", at=at("2025-02-20"), event_store=world.event_store, ledger=world.ledger
    )
    assert (seen.total_minor, seen.credit_minor, seen.due_minor) == (1300, 1000, 300)
    assert [(entry.amount_minor, entry.remaining_minor) for entry in seen.drawn_credit] == [(1000, 0)]
    assert balance(world, "2025-12-31").drawn_minor == 0
    page = printed(seen)
    assert page["total_label"] == "Amount due"
    assert page["total"] == "3.00 EUR"
    assert page["sums"] == [
        {"label": "Subtotal", "value": "13.00"},
        {"label": "Credit: Credit g (0.00 left)", "value": "-10.00"},
    ]


def test_what_is_left_lapses_after_the_last_bill_it_could_pay(any_world: World) -> None:
    """The grant ends on 1 February: January's bill of that day still draws on it, then the rest lapses."""
    world = any_world
    months(world, 600, 700)
    give(world, amount="10", cost_basis="8", expires_on="2025-02-01")
    assert expire_credit(world.ledger, as_of=date(2025, 2, 1), now=LONG_AGO).waiting == ("g",)
    report = world.bill("2025-02-01")
    assert report.credit_expired == ("g",)
    world.bill("2025-03-01")
    assert sums(world) == [("2025-02-01", 600, 600, 0), ("2025-03-01", 700, 0, 700)]
    entries = [
        (entry.kind, str(entry.entry_date), entry.amount_minor, entry.cost_minor)
        for entry in ledger_of(world)
    ]
    assert entries == [
        ("granted", "2025-01-01", 1000, 800),
        ("drawn", "2025-02-01", -600, -480),
        ("expired", "2025-02-01", -400, -320),
    ]  # fmt: skip
    assert expire_credit(world.ledger, as_of=date(2025, 3, 1), now=LONG_AGO).grants == ()


def test_a_grant_waits_for_a_bill_that_is_held_or_a_draft(world: World) -> None:
    months(world, 600)
    give(world, amount="10", expires_on="2025-02-01")
    report = world.bill("2025-02-01", issue=False)
    assert (report.credit_expired, report.credit_waiting) == ((), ("g",))
    draft = world.invoices()[0].summary.invoice_id
    issue_invoice(world.ledger, invoice_id=draft, now=at("2025-02-10"), series_prefix="INV")
    assert expire_credit(world.ledger, as_of=date(2025, 2, 10), now=LONG_AGO).grants == ()  # with the invoice
    lapsed = ledger_of(world)[-2:]
    assert [(entry.kind, str(entry.entry_date)) for entry in lapsed] == [
        ("expired", "2025-02-01"),
        ("drawn", "2025-02-10"),
    ]
    assert balance(world, "2025-02-05").remaining_minor == 600


def test_part_of_the_rest_rolls_over_once(any_world: World) -> None:
    """10.00 for 8.00; of the rest of 4.00 at most 3.00 roll over, with their 2.40 of cost, for a month."""
    world = any_world
    months(world, 600, 200, 300)
    rollover = {"maximum": "3", "expires_on": "2025-03-01"}
    give(world, amount="10", cost_basis="8", expires_on="2025-02-01", rollover=rollover)
    for day in ("2025-02-01", "2025-03-01", "2025-04-01"):
        world.bill(day)
    assert sums(world) == [
        ("2025-02-01", 600, 600, 0),
        ("2025-03-01", 200, 200, 0),
        ("2025-04-01", 300, 0, 300),
    ]
    rolled = get_grant(world.ledger, "g:rollover")
    assert (rolled.origin, rolled.origin_id, rolled.grant.rollover) == ("rollover", "g", None)
    assert (rolled.amount_minor, rolled.cost_minor, rolled.remaining_minor) == (300, 240, 0)
    entries = [
        (entry.grant_id, entry.kind, entry.amount_minor, entry.cost_minor) for entry in ledger_of(world)
    ]
    assert entries == [
        ("g", "granted", 1000, 800),
        ("g:rollover", "rolled_in", 300, 240),
        ("g", "drawn", -600, -480),
        ("g", "rolled_over", -300, -240),
        ("g", "expired", -100, -80),
        ("g:rollover", "drawn", -200, -160),
        ("g:rollover", "expired", -100, -80),
    ]
    last = balance(world, "2025-04-01")
    assert (last.recognised_cost, last.remaining_cost, last.committed_cost) == (800, 0, 800)


def test_a_tick_lets_credit_lapse_although_nothing_is_due(world: World) -> None:
    give(world, amount="10", expires_on="2025-02-01")
    report = tick(
        clock=FixedClock(at("2025-02-01T10:00")),
        event_store=world.event_store,
        ledger=world.ledger,
        settings=BillingSettings(),
        progress=unseen,
    )
    assert report is None
    assert balance(world, "2025-02-01").expired_minor == 1000


def test_voiding_takes_back_what_is_left_and_no_more(any_world: World) -> None:
    world = any_world
    months(world, 600)
    give(world, amount="10", cost_basis="8")
    world.bill("2025-02-01")
    with pytest.raises(InvalidInput, match="a day to come"):
        void_grant(world.ledger, "g", reason="x", on=date(2025, 3, 1), now=at("2025-02-05"))
    with pytest.raises(InvalidInput, match="say why"):
        void_grant(world.ledger, "g", reason=" ", on=date(2025, 2, 5), now=at("2025-02-06"))
    assert (
        void_grant(
            world.ledger, "g", reason="mistake", on=date(2025, 2, 5), now=at("2025-02-06")
        ).remaining_minor
        == 0
    )
    after = balance(world, "2025-02-05")
    assert (after.voided_minor, after.voided_cost, after.committed_cost, after.recognised_cost) == (
        400,
        320,
        480,
        480,
    )
    with pytest.raises(Conflict) as caught:
        void_grant(world.ledger, "g", reason="again", on=date(2025, 2, 6), now=at("2025-02-06"))
    assert caught.value.reason_code == "credit_used_up"
    assert [
        entry.grant.grant_id
        for entry in list_grants(world.ledger, customer_id="acme", only_open=True, limit=9)
    ] == []


def test_a_grant_is_given_once_and_never_changed(world: World) -> None:
    assert grant_credit(world.ledger, grant(), now=LONG_AGO).created
    assert not grant_credit(world.ledger, grant(), now=LONG_AGO).created
    with pytest.raises(Conflict) as caught:
        grant_credit(world.ledger, grant(amount="101"), now=LONG_AGO)
    assert caught.value.reason_code == "grant_id_taken"
    with pytest.raises(NotFound, match="customer"):
        grant_credit(world.ledger, grant("h", customer_id="nobody"), now=LONG_AGO)
    with pytest.raises(InvalidDocument):
        grant_credit(world.ledger, {"grant_id": "x"}, now=LONG_AGO)
    assert get_grant(world.ledger, "g").grant.amount == Decimal(100)


_customers = itertools.count()


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(entries=grant_lists, actions=steps)
def test_the_ledger_keeps_what_the_pure_account_keeps(
    ledger: Engine, entries: Sequence[CreditGrant], actions: list[tuple[str, object]]
) -> None:
    """The same grants, bills, voids and expiries in the ledger and in memory: equal on every day."""
    customer = f"customer-{next(_customers)}"
    save_customer(ledger, {"customer_id": customer, "name": "Acme"}, now=LONG_AGO)
    account, today, now = Account(), NEW_YEAR, at("2027-01-01")
    for entry in entries:
        given = entry.model_copy(update={"grant_id": f"{customer}:{entry.grant_id}", "customer_id": customer})
        grant_credit(ledger, given, now=LONG_AGO)
        account.give(given)
    for number, (action, value) in enumerate(actions):
        today += timedelta(days=9)
        if action == "bill" and isinstance(value, list):
            lines = (
                line(amount, charge, period_start=today - timedelta(days=9), period_end=today)
                for amount, charge in zip(value, ("calls", "hours", "seats"), strict=False)
            )
            billed = invoice(*lines, invoice_id=f"{customer}-{number}", billing_date=today)
            draws = account.bill(billed, issued_on=today)
            account.expire(as_of=today)
            with ledger_transaction(ledger) as connection:
                settled = settle_invoice(connection, billed, customer_id=customer, issue_date=today, now=now)
            assert settled.credit_minor == sum(draw.amount_minor for draw in draws)
        elif action == "void" and isinstance(value, int):
            grant_id = list(account.grants)[value % len(account.grants)]
            if account.remaining()[grant_id]:
                void_grant(ledger, grant_id, reason="test", on=today, now=now)
            account.void(grant_id, on=today)
        elif isinstance(value, int):
            account.expire(as_of=today)
            expire_credit(ledger, as_of=today, now=now)
    found = grants_of_customer(ledger, customer)
    kept = entries_of(ledger, [stored.grant.grant_id for stored in found])
    assert {stored.grant.grant_id: stored.remaining_minor for stored in found} == account.remaining()
    for day in account.days():
        assert balance_on(kept, day) == account.balance(day)


def test_drafts_issued_at_one_moment_share_what_there_is(any_world: World) -> None:
    """Four drafts of 7.00 and 10.00 of credit: whoever comes first, 10.00 are drawn."""
    world = any_world
    contracts = [f"c{number}" for number in range(4)]
    world.plan(CALLS)
    world.contracts(contracts, start_date=date(2025, 1, 1))
    world.events(*(("call", f"{name}-subject", "2025-01-10", "700") for name in contracts))
    give(world, amount="10")
    world.bill("2025-02-01", issue=False)
    ids = [entry.summary.invoice_id for entry in world.invoices()]

    def issue(invoice_id: str) -> int:
        issued = issue_invoice(world.ledger, invoice_id=invoice_id, now=at("2025-02-03"), series_prefix="INV")
        return issued.summary.credit_minor

    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(issue, ids))
    assert sorted(drawn) == [0, 0, 300, 700]
    assert get_grant(world.ledger, "g").remaining_minor == 0
