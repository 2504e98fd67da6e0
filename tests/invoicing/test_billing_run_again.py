"""Goal: a run repeated, broken off, beside another or out of order bills everything once."""

from __future__ import annotations

import itertools
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from ingest.clickhouse import EventStore
from ingest.clock import FixedClock
from ingest.errors import Conflict, InvalidInput
from ingest.ledger import default_ledger_url, open_ledger
from invoicing import billing_run
from invoicing.invoice import invoice_hash
from invoicing.issue import Written, issue_invoice, write_invoices
from invoicing.lock import billing_lock
from invoicing.run_record import get_run
from invoicing.settings import BillingSettings
from invoicing.tables import BILLING_RUNS
from invoicing.tick import tick
from tests.invoicing.test_billing_run import check_numbers
from tests.invoicing.world import World, at, unseen


@pytest.mark.requirement("RAT-07")
def test_same_inputs_same_bytes_in_two_fresh_ledgers(event_store: EventStore, tmp_path: Path) -> None:
    manifests, texts = [], []
    for name, chunk in (("first", 10_000), ("second", 2)):
        world = World(event_store, open_ledger(default_ledger_url(tmp_path / name)))
        world.plan()
        world.contracts([f"c{number}" for number in range(7)])
        if name == "first":
            world.events(*[("call", f"c{n % 7}-subject", f"2025-01-{16 + n % 9}", "7") for n in range(50)])
        manifests.append(
            world.bill("2025-02-15", chunk_contracts=chunk, pricing_contracts=chunk).manifest_hash
        )
        texts.append([stored.text for stored in world.invoices()])
        world.ledger.dispose()
    assert manifests[0] == manifests[1]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 14


@pytest.mark.parametrize("killed_after", [0, 1, 2])
@pytest.mark.parametrize("same_id", [True, False])
def test_a_run_that_dies_between_chunks_is_simply_run_again(
    any_world: World, monkeypatch: pytest.MonkeyPatch, killed_after: int, same_id: bool
) -> None:
    any_world.plan()
    any_world.contracts([f"c{number}" for number in range(6)])
    any_world.events(*[("call", f"c{n % 6}-subject", "2025-01-20", "3") for n in range(30)])
    calls = itertools.count()
    real = write_invoices

    def dies(*arguments: Any, **named: Any) -> Written:
        if next(calls) == killed_after:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(billing_run, "write_invoices", dies)
    with pytest.raises(KeyboardInterrupt):
        any_world.bill("2025-02-15", run_id="night", chunk_contracts=2)
    monkeypatch.undo()
    assert get_run(any_world.ledger, "night").state == "failed"
    report = any_world.bill("2025-02-15", run_id="night" if same_id else "morning", chunk_contracts=2)
    assert report.invoiced == 12 - 4 * killed_after
    # What a run says of itself is all it did, and not what was left when it was taken up.
    assert report.of_run()["invoiced"] == (12 if same_id else report.invoiced)
    if same_id:
        assert report.of_run()["totals"] == {"EUR": "360.90"}
        assert ("12 in all (360.90 EUR net)" in report.summary()) == (killed_after > 0)
    stored = any_world.invoices()
    assert [s.summary.number for s in stored] == [f"INV-2025-{n:06}" for n in range(1, 13)]
    assert sum(s.summary.total_minor for s in stored) == 6 * (30_00 * 2 + 15)
    check_numbers(any_world.ledger)


def test_a_run_left_running_by_a_dead_process_is_taken_up_again(any_world: World) -> None:
    any_world.plan()
    any_world.contract()
    with any_world.ledger.begin() as connection:
        connection.execute(
            BILLING_RUNS.insert().values(
                run_id="dead", as_of="2025-02-15", state="running", started_at="2025-02-15T00:00:00+00:00"
            )
        )
    report = any_world.bill("2025-02-15")
    assert report.run_id == "dead"
    assert get_run(any_world.ledger, "dead").state == "finished"


def test_a_finished_run_asked_for_again_keeps_what_it_did(world: World) -> None:
    world.plan()
    world.contract()
    world.bill("2025-02-15", run_id="night")
    world.bill("2025-02-15", run_id="night")
    report = get_run(world.ledger, "night").report
    assert report is not None
    assert (report["due"], report["of_run"]["invoiced"]) == (0, 2)
    assert report["of_run"]["totals"] == {"EUR": "60.00"}


def test_two_runs_at_once_are_refused_with_the_way_out(any_world: World) -> None:
    any_world.plan()
    any_world.contract()
    with billing_lock(any_world.ledger), pytest.raises(Conflict, match="Wait for it to end"):
        any_world.bill("2025-02-15")
    assert any_world.bill("2025-02-15").invoiced == 2


def test_drafts_are_issued_one_by_one_with_numbers_in_that_order(any_world: World) -> None:
    any_world.plan()
    any_world.contract()
    report = any_world.bill("2025-02-15", issue=False)
    assert (report.invoiced, report.issued) == (2, 0)
    first, second = any_world.invoices(state="draft")
    assert second.summary.number is None
    issued = issue_invoice(
        any_world.ledger, invoice_id=second.summary.invoice_id, now=at("2025-02-16"), series_prefix="INV"
    )
    assert (issued.summary.number, issued.summary.due_date) == ("INV-2025-000001", date(2025, 3, 18))
    assert issued.summary.document_hash == invoice_hash(issued.text)
    assert issued.invoice.lines == second.invoice.lines
    with pytest.raises(Conflict, match="is issued already"):
        issue_invoice(
            any_world.ledger, invoice_id=second.summary.invoice_id, now=at("2025-02-17"), series_prefix="INV"
        )
    with pytest.raises(Conflict, match="2025-02-16"):
        issue_invoice(
            any_world.ledger, invoice_id=first.summary.invoice_id, now=at("2025-02-15"), series_prefix="INV"
        )
    assert any_world.bill("2025-02-16").due == 0


def test_a_date_in_the_future_is_refused(world: World) -> None:
    with pytest.raises(InvalidInput, match="usage of days to come"):
        world.bill("2025-02-16", now=at("2025-02-15T09:00"))
    assert world.bill("2025-02-16", now=at("2025-02-15T10:00")).due == 0


def test_an_earlier_date_than_the_last_issued_one_is_refused_before_any_work(world: World) -> None:
    world.plan()
    world.contract()
    world.bill("2025-02-15")
    with pytest.raises(Conflict, match="issued up to 2025-02-15"):
        world.bill("2025-02-14")


def test_a_run_id_belongs_to_one_date(world: World) -> None:
    world.bill("2025-02-15", run_id="mine")
    with pytest.raises(Conflict, match="'mine' is on record as of 2025-02-15"):
        world.bill("2025-02-16", run_id="mine")


@pytest.mark.requirement("GEN-01")
def test_when_the_clock_passes_the_billing_date_the_invoice_is_there(world: World) -> None:
    world.plan()
    world.contract("berlin", time_zone="Europe/Berlin")
    world.contract("denver", time_zone="America/Denver")
    clock = FixedClock(at("2025-01-14T22:59"))

    def look() -> list[str]:
        tick(
            clock=clock,
            event_store=world.event_store,
            ledger=world.ledger,
            settings=BillingSettings(),
            progress=unseen,
        )
        return [f"{s.summary.contract_id} {s.summary.billing_date}" for s in world.invoices()]

    assert look() == []
    clock.move_to(at("2025-01-15T00:00"))
    assert look() == ["berlin 2025-01-15"]
    clock.move_to(at("2025-01-15T06:59"))
    assert look() == ["berlin 2025-01-15"]
    clock.move_to(at("2025-01-15T07:00"))
    assert look() == ["berlin 2025-01-15", "denver 2025-01-15"]
    clock.move_to(at("2025-02-15T12:00"))
    assert len(look()) == 4
    assert get_run(world.ledger, "tick-2025-01-15").state == "finished"


def test_progress_counts_every_stage_to_its_end(world: World) -> None:
    world.plan()
    world.contracts(["c1", "c2", "c3"])
    seen: list[tuple[str, int, int]] = []
    report = billing_run.run_billing(
        run_id=None,
        as_of=date(2025, 2, 15),
        event_store=world.event_store,
        ledger=world.ledger,
        now=datetime.fromisoformat("2026-01-01T00:00+00:00"),
        settings=BillingSettings(chunk_contracts=2),
        progress=lambda *step: seen.append(step),
    )
    last = {stage: (done, total) for stage, done, total in seen}
    assert last["roll up and rate"] == (9, 9)
    assert last["issue"] == (report.invoiced, 6)
    assert list(report.stage_seconds)[:4] == ["find due", "adjust", "roll up", "rate"]
