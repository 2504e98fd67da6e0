"""Goal: one absurd value or a run that died never stops or falsifies the bills of the others."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from ingest.clock import FixedClock
from ingest.errors import Conflict
from invoicing import billing_run
from invoicing.report import BillingReport
from invoicing.run_record import get_run, list_runs
from invoicing.settings import BillingSettings
from invoicing.store import InvoiceFilter, invoice_totals
from invoicing.tick import tick
from rating.store import read_rated_lines
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.world import World, at, unseen

HUGE = CALLS | {"price": {"model": "per_unit", "unit_price": "100"}}
HUGE_TOO = HUGE | {"charge_id": "calls-too"}
QUANTITY = "500000000000000"
"""At 100 EUR each: 5 x 10**18 minor units, more than half of what 64 bits hold."""


def test_an_invoice_too_large_for_the_ledger_is_held_and_the_others_billed(world: World) -> None:
    world.plan(CALLS)
    world.plan(HUGE, HUGE_TOO, plan_id="huge")
    world.contract("fine")
    world.contract("big", plan_id="huge")
    world.events(
        ("call", "big-subject", "2025-01-20", QUANTITY), ("call", "fine-subject", "2025-01-20", "500")
    )
    report = world.bill("2025-02-15")
    assert [(held.contract_id, held.reason_code) for held in report.held] == [("big", "total_too_large")]
    assert report.totals_minor == {"EUR": 500}


def test_invoices_too_large_together_are_billed_run_by_run_and_summed_exactly(any_world: World) -> None:
    any_world.plan(HUGE)
    any_world.contracts(["a", "b", "c"])
    any_world.events(
        ("call", "a-subject", "2025-01-20", QUANTITY),
        ("call", "b-subject", "2025-01-20", QUANTITY),
        ("call", "c-subject", "2025-01-20", "1"),
    )
    first = any_world.bill("2025-02-15")
    assert [(held.contract_id, held.reason_code) for held in first.held] == [("b", "total_too_large")]
    assert first.totals_minor == {"EUR": 5 * 10**18 + 10_000}
    assert any_world.bill("2025-02-15").totals_minor == {"EUR": 5 * 10**18}
    (total,) = invoice_totals(any_world.ledger, chosen=InvoiceFilter())
    assert total.total_minor == 10**19 + 10_000 > 1 << 63


def test_lines_of_a_run_that_died_do_not_stay_when_the_next_bills_otherwise(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A price from 1 February on, saved after the kill, makes two lines of one."""
    world.plan(CALLS)
    world.contracts(["c1", "c2"])
    world.events(("call", "c1-subject", "2025-02-10", "100"), ("call", "c2-subject", "2025-02-10", "7"))
    world.bill("2025-02-01")

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(billing_run, "write_invoices", dies)
    with pytest.raises(KeyboardInterrupt):
        world.bill("2025-02-15")
    monkeypatch.undo()
    assert read_rated_lines(world.event_store).num_rows == 2
    world.plan(CALLS | {"price": {"model": "per_unit", "unit_price": "0.02"}}, start="2025-02-01")
    world.contract("c2", customer_id="ghost")  # held now: nothing of it is billed
    report = world.bill("2025-02-15")
    (stored,) = world.invoices()
    kept = read_rated_lines(world.event_store)
    assert [line.hex() for line in kept["line_id"].to_pylist()] == [
        line.line_id for line in stored.invoice.lines
    ]
    assert sum(kept["amount_minor"].to_pylist()) == stored.summary.total_minor == 200
    assert report.totals_minor == {"EUR": 200}


def test_what_is_invoiced_stays_when_a_later_run_clears_up(world: World) -> None:
    world.plan()
    world.contract()
    world.events(("call", "c1-subject", "2025-01-20", "100"), ("call", "c1-subject", "2025-02-20", "3"))
    world.bill("2025-02-15")
    before = read_rated_lines(world.event_store)
    world.bill("2025-03-15")
    after = read_rated_lines(world.event_store)
    assert after.num_rows == before.num_rows + 2
    assert set(before["line_id"].to_pylist()) <= set(after["line_id"].to_pylist())


def test_dates_rise_over_the_turn_of_the_year(world: World) -> None:
    world.plan(MONTHLY_FEE)
    world.contract("c1", start_date=date(2025, 12, 1))
    world.bill("2026-01-02", now=at("2026-02-01"))
    world.contract("c2", start_date=date(2025, 12, 1))
    with pytest.raises(Conflict, match="issued up to 2026-01-02"):
        world.bill("2025-12-31", now=at("2026-02-01"))
    assert world.bill("2026-01-02", now=at("2026-02-01")).invoiced == 2
    assert world.bill("2025-12-31", now=at("2026-02-01"), series="OTHER").due == 0


def test_a_held_date_is_not_tried_all_day_and_the_day_s_report_stays(world: World) -> None:
    world.plan()
    world.contract("fine")
    world.contract("nobody", customer_id="ghost")
    world.contract("west", time_zone="America/Denver")
    clock = FixedClock(at("2025-01-15T00:01"))

    def look() -> BillingReport | None:
        return tick(
            clock=clock,
            event_store=world.event_store,
            ledger=world.ledger,
            settings=BillingSettings(),
            progress=unseen,
        )

    first = look()
    assert first is not None
    assert (first.invoiced, len(first.held)) == (1, 1)
    clock.advance(timedelta(minutes=1))
    assert look() is None
    clock.move_to(at("2025-01-15T07:01"))  # 15 January has come to Denver
    second = look()
    assert second is not None
    assert (second.run_id, second.invoiced, len(second.held)) == ("tick-2025-01-15-2", 1, 1)
    clock.advance(timedelta(minutes=1))
    assert look() is None
    record = get_run(world.ledger, "tick-2025-01-15").report
    assert record is not None
    assert record["invoiced"] == 1
    assert len(list_runs(world.ledger, limit=10)) == 2
    world.contract("nobody")  # it has a customer now; the next day tries again
    clock.move_to(at("2025-01-16T00:01"))
    third = look()
    assert third is not None
    assert third.invoiced == 1
