"""Goal: usage that comes or is corrected after its invoice is on the next one, by exactly the difference."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from ingest.correct import correct_events
from ingest.load import IngestContext, ingest_batch, open_ingest
from ingest.settings import IngestSettings
from invoicing.document import printed
from invoicing.invoice import invoice_text
from invoicing.preview import preview_contract
from rating.agreement import agreed_plan
from rating.agreement_store import get_agreement
from rating.catalogue import get_plan_version
from rating.explain import explain_line
from rating.reprice import reprice_line
from rating.store import get_rated_line
from rating.verify import differences
from tests.ingest.support import NDJSON
from tests.invoicing.support import CALLS, MONTHLY_FEE
from tests.invoicing.test_completeness import shown
from tests.invoicing.test_credits import give
from tests.invoicing.test_rerate import again, rows
from tests.invoicing.world import METERS, World, at

JANUARY: dict[str, Any] = {"start_date": date(2025, 1, 1)}
GRADUATED = CALLS | {
    "price": {
        "model": "graduated",
        "tiers": [{"up_to": "100", "unit_price": "0.10"}, {"up_to": None, "unit_price": "0.05"}],
    }
}


@dataclass(slots=True)
class Sender:
    """Sends calls and corrections of them, by names. at: when they come in."""

    world: World
    received_at: datetime = field(default_factory=lambda: at("2025-01-31"))
    ingest: IngestContext = field(init=False)
    fixes: int = 0

    def __post_init__(self) -> None:
        self.ingest = open_ingest(self.world.event_store, meters=lambda: METERS, settings=IngestSettings())

    def calls(self, *calls: tuple[str, str, str, str]) -> None:
        """(name, contract, day, value) each."""
        lines = [
            {
                "source": "test",
                "id": name,
                "type": "call",
                "subject": f"{contract}-subject",
                "time": f"{day}T12:00:00Z",
                "value": value,
            }
            for name, contract, day, value in calls
        ]
        report = ingest_batch(
            "\n".join(json.dumps(line) for line in lines).encode(),
            content_type=NDJSON,
            content_encoding=None,
            received_at=self.received_at,
            ingest=self.ingest,
        )
        assert report.accepted == len(calls), report.refusals

    def correct(self, name: str, value: str | None, day: str | None = None) -> None:
        """Another value and day for a call, or None: it never was."""
        self.fixes += 1
        change = {"kind": "cancel"} if value is None else {"kind": "amend", "value": value}
        change |= {} if day is None else {"time": f"{day}T12:00:00Z"}
        record = {"source": "test", "id": f"fix{self.fixes}", "corrects": name, "reason": "r", **change}
        report = correct_events(
            json.dumps(record).encode(),
            content_type=NDJSON,
            content_encoding=None,
            received_at=self.received_at,
            ingest=self.ingest,
        )
        assert report.accepted == 1, report.refusals


def adjustments(world: World, **chosen: Any) -> list[str]:
    """``2025-03-01 late calls of 2025-02-01: 100 -> 150, 1.00 -> 1.50: 0.50`` an adjustment."""
    found = []
    for stored in world.invoices(**chosen):
        for line in stored.invoice.lines:
            if line.adjusts is None:
                assert line.charge_kind != "adjustment"
                continue
            was = line.adjusts
            assert was.rated_amount - was.billed_amount == line.amount
            found.append(
                f"{stored.invoice.billing_date} {stored.summary.contract_id} {line.charge_id} of "
                f"{was.billing_date}: {was.billed_quantity.normalize():f} -> {line.quantity.normalize():f}, "
                f"{was.billed_amount:.2f} -> {was.rated_amount:.2f}: {line.amount:.2f}"
            )
    return found


def totals(world: World) -> dict[str, Decimal]:
    """What each contract was billed in all."""
    found: dict[str, Decimal] = {}
    for stored in world.invoices():
        key = stored.summary.contract_id
        found[key] = found.get(key, Decimal(0)) + Decimal(stored.invoice.total_minor).scaleb(-2)
    return found


def explained(world: World) -> list[str]:
    """Every adjustment explained, priced again and verified; the last step of each."""
    last = []
    for stored in world.invoices():
        for entry in stored.invoice.lines:
            if entry.adjusts is None:
                continue
            line = get_rated_line(world.event_store, entry.line_id)
            plan = get_plan_version(world.ledger, line["plan_id"], line["plan_version"]).plan
            agreement = get_agreement(world.ledger, line["agreement"])
            found = explain_line(line, plan, agreement=agreement if line["agreement"] else None)
            assert differences(found.to_dict()) == []
            rated_minor = entry.amount_minor + sum(each.amount_minor for each in entry.allowances)
            assert found.amount_minor == rated_minor
            assert "adjustment" in found.to_text()
            wrong = json.loads(json.dumps(found.to_dict())) | {"amount_minor": rated_minor + 1}
            assert differences(wrong) != []
            agreed = agreed_plan(plan, agreement)
            assert reprice_line(line, agreed, agreement) == 0
            assert reprice_line({**line, "amount_minor": line["amount_minor"] + 1}, agreed, agreement) != 0
            last.append(f"{stored.summary.contract_id} {found.steps[-1].text} -> {found.steps[-1].result}")
    return last


@pytest.mark.requirement("RAT-07")
def test_each_change_after_the_bill_is_one_line_of_the_difference(world: World) -> None:
    """Calls at 0.01, by tiers of 0.10 up to 100 and 0.05 above, less 10 %, or for 5.00 a month at least."""
    sender = Sender(world)
    world.plan(CALLS)
    world.plan(GRADUATED, plan_id="tiers")
    world.plan(CALLS, plan_id="least", minimum_spend="5")
    ten = {"discounts": [{"discount_id": "ten", "name": "Ten", "percent": "10"}]}
    world.contracts(["amended", "cancelled", "late", "new", "same", "twice"], **JANUARY)
    world.contract("percent", **JANUARY, **ten)
    world.contract("tiers", plan_id="tiers", **JANUARY)
    world.contract("least", plan_id="least", **JANUARY)
    billed_late = ("amended", "cancelled", "late", "same", "twice", "percent", "least")
    sender.calls(*((f"{name}-1", name, "2025-01-10", "100") for name in billed_late))
    sender.calls(("tiers-1", "tiers", "2025-01-10", "90"))
    sender.calls(*((f"{name}-feb", name, "2025-02-10", "2000") for name in [*billed_late, "new", "tiers"]))
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    sender.received_at = at("2025-02-05")
    late = ("late", "new", "percent", "tiers", "least")
    sender.calls(*((f"{name}-2", name, "2025-01-31", "50") for name in late))
    sender.correct("amended-1", "70")
    sender.correct("cancelled-1", None)
    sender.correct("twice-1", "130")
    sender.calls(("same-2", "same", "2025-01-11", "0.1"))
    world.bill("2025-03-01", now=at("2025-03-01T06:00"))
    assert adjustments(world) == [
        "2025-03-01 amended calls of 2025-02-01: 100 -> 70, 1.00 -> 0.70: -0.30",
        "2025-03-01 cancelled calls of 2025-02-01: 100 -> 0, 1.00 -> 0.00: -1.00",
        "2025-03-01 late calls of 2025-02-01: 100 -> 150, 1.00 -> 1.50: 0.50",
        "2025-03-01 least calls of 2025-02-01: 100 -> 150, 1.00 -> 1.50: 0.50",
        "2025-03-01 least minimum-spend of 2025-02-01: 1 -> 1.5, 4.00 -> 3.50: -0.50",
        "2025-03-01 new calls of 2025-02-01: 0 -> 50, 0.00 -> 0.50: 0.50",
        "2025-03-01 percent calls of 2025-02-01: 100 -> 150, 0.90 -> 1.35: 0.45",
        "2025-03-01 tiers calls of 2025-02-01: 90 -> 140, 9.00 -> 12.00: 3.00",
        "2025-03-01 twice calls of 2025-02-01: 100 -> 130, 1.00 -> 1.30: 0.30",
    ]
    assert rows(again(world)) == [], "a tenth of a call is no cent, and nothing else is left"
    sender.received_at = at("2025-03-05")
    sender.calls(("twice-3", "twice", "2025-03-10", "2000"), ("new-3", "new", "2025-03-10", "2000"))
    sender.correct("twice-1", "10")
    sender.correct("new-2", None)
    world.bill("2025-04-01", now=at("2025-04-01T06:00"))
    assert [row for row in adjustments(world) if row.startswith("2025-04")] == [
        "2025-04-01 new calls of 2025-02-01: 50 -> 0, 0.50 -> 0.00: -0.50",
        "2025-04-01 twice calls of 2025-02-01: 130 -> 10, 1.30 -> 0.10: -1.20",
    ]
    world.bill("2025-05-01", now=at("2025-05-01T06:00"))
    assert len(adjustments(world)) == 11
    assert rows(again(world, end="2025-06-01")) == []
    assert totals(world) == {
        "amended": Decimal("20.70"),
        "cancelled": Decimal("20.00"),
        "late": Decimal("21.50"),
        "least": Decimal("35.00"),
        "new": Decimal("40.00"),
        "percent": Decimal("19.35"),
        "same": Decimal("21.00"),
        "tiers": Decimal("117.00"),
        "twice": Decimal("40.10"),
    }
    steps = explained(world)
    assert len(steps) == 11
    assert "late 1.00 EUR billed before, for a quantity of 100 -> 0.50 EUR" in steps


@pytest.mark.requirement("RAT-07")
def test_preview_invoice_and_document_show_it(any_world: World) -> None:
    world = any_world
    sender = Sender(world)
    world.plan(MONTHLY_FEE, CALLS)
    world.contract(**JANUARY)
    give(world, amount="100")
    sender.calls(("one", "c1", "2025-01-10", "100"))
    world.bill("2025-02-01")
    sender.calls(("two", "c1", "2025-01-11", "50"), ("three", "c1", "2025-02-03", "200"))
    preview = preview_contract(
        contract_id="c1", at=at("2025-02-20"), event_store=world.event_store, ledger=world.ledger
    )
    world.bill("2025-03-01")
    _, first, second = world.invoices()
    assert [line.line_id for line in preview.lines] == [line.line_id for line in second.invoice.lines]
    assert preview.total_minor == second.invoice.total_minor == 3250
    assert second.invoice.credit_minor == 3250, "credit of January pays an adjustment of January"
    assert invoice_text(second.invoice) == second.text
    assert '"adjusts"' not in first.text
    (line,) = [line for line in second.invoice.lines if line.adjusts]
    assert line.description == "API calls, adjustment"
    assert line.adjusts is not None
    assert (line.adjusts.invoice_id, line.adjusts.invoice_number) == (
        first.summary.invoice_id,
        first.invoice.number,
    )
    (shown_line,) = [row for row in printed(second.invoice)["lines"] if "adjustment" in row["description"]]
    assert "adjusts" in shown_line["detail"]
    assert [(row["label"], row["units"], row["amount"]) for row in shown_line["tiers"]] == [
        ("Comes to", "150 call", "1.50"),
        ("Billed before", "100 call", "-1.00"),
    ]


@pytest.mark.requirement("RAT-07")
@pytest.mark.requirement("MET-08")
def test_what_is_not_adjusted_is_reported(world: World) -> None:
    """One contract lets late usage be, one has ended, one would be owed money, one is adjusted."""
    sender = Sender(world)
    world.plan(CALLS)
    world.contract("adjusts", **JANUARY)
    world.contract("ended", **JANUARY, end_date=date(2025, 2, 1))
    world.contract("ignores", **JANUARY, late_usage="ignore")
    world.contract("owed", **JANUARY)
    sender.calls(
        *((f"{name}-1", name, "2025-01-10", "100") for name in ("adjusts", "ended", "ignores", "owed"))
    )
    world.bill("2025-02-01", now=at("2025-02-01T06:00"))
    assert shown(world, now=at("2025-02-02")) == ["call billed  4 400"]
    sender.received_at = at("2025-02-05")
    sender.calls(*((f"{name}-2", name, "2025-01-11", "7") for name in ("adjusts", "ended", "ignores")))
    sender.correct("owed-1", "40")
    assert shown(world, now=at("2025-02-06")) == [
        "call billed  3 300",
        "call unbilled amended_later 1 40",
        "call unbilled late 2 14",
        "call unbilled late_ignored 1 7",
    ]
    report = world.bill("2025-03-01", now=at("2025-03-01T06:00"), negative_total="hold")
    held = {entry.contract_id: entry for entry in report.held}
    assert {key: entry.reason_code for key, entry in held.items()} == {"owed": "negative_total"}
    assert report.due == report.invoiced + report.nothing_due + len(report.held)
    assert adjustments(world) == [
        "2025-03-01 adjusts calls of 2025-02-01: 100 -> 107, 1.00 -> 1.07: 0.07",
        "2025-03-01 ended calls of 2025-02-01: 100 -> 107, 1.00 -> 1.07: 0.07",
    ]
    assert shown(world, now=at("2025-03-02")) == [
        "call billed  5 314",
        "call unbilled amended_later 1 40",
        "call unbilled late_ignored 1 7",
    ]
    # The one that is owed 0.60 uses more, in time, and its bill is not below zero any more.
    sender.calls(("owed-2", "owed", "2025-02-11", "80"))
    world.contract("ignores", **JANUARY)
    report = world.bill("2025-04-01", now=at("2025-04-01T06:00"))
    assert not report.held
    assert adjustments(world)[2:] == [
        "2025-04-01 ignores calls of 2025-02-01: 100 -> 107, 1.00 -> 1.07: 0.07",
        "2025-03-01 owed calls of 2025-02-01: 100 -> 40, 1.00 -> 0.40: -0.60",
    ]


def test_a_date_that_cannot_be_rated_now_holds_the_next(world: World) -> None:
    world.plan(CALLS)
    world.contract(**JANUARY)
    world.events(("call", "c1-subject", "2025-01-20", "100"))
    world.bill("2025-02-01")
    world.events(("call", "c1-subject", "2025-01-21", ""), ("call", "c1-subject", "2025-02-21", "3"))
    report = world.bill("2025-03-01")
    assert [(entry.billing_date, entry.reason_code) for entry in report.held] == [
        (date(2025, 3, 1), "unusable_events")
    ]
    assert "late usage changes the bill of 2025-02-01" in report.held[0].message


@pytest.mark.requirement("RAT-07")
def test_what_one_date_changes_on_others(world: World) -> None:
    """Tiers over a year, a pool of two contracts, 3.00 off shared with a fee, 100.00 committed a quarter."""
    sender = Sender(world)
    world.plan(GRADUATED | {"tiers_count": "year"}, plan_id="year")
    world.plan(GRADUATED | {"pooled_over": "customer"}, plan_id="pool")
    world.plan(MONTHLY_FEE, CALLS)
    world.plan(CALLS, plan_id="plain")
    off = {"discounts": [{"discount_id": "off", "name": "Off", "amount": "3"}]}
    quarter = {
        "commitment_id": "q1",
        "amount": "100",
        "effective_from": date(2025, 1, 1),
        "effective_until": date(2025, 4, 1),
    }
    world.contract("committed", plan_id="plain", **JANUARY, term_commitments=[quarter])
    world.contracts(["pool-a", "pool-b"], plan_id="pool", **JANUARY)
    world.contract("shared", **JANUARY, **off)
    world.contract("year", plan_id="year", **JANUARY)
    sender.calls(
        ("k1", "committed", "2025-01-10", "1000"),
        ("a1", "pool-a", "2025-01-10", "60"),
        ("b1", "pool-b", "2025-01-10", "60"),
        ("b2", "pool-b", "2025-02-10", "200"),
        ("s1", "shared", "2025-01-10", "1000"),
        ("y1", "year", "2025-01-10", "90"),
        ("y2", "year", "2025-02-10", "90"),
    )
    world.bill("2025-02-01")
    sender.calls(("k2", "committed", "2025-01-11", "1000"), ("a2", "pool-a", "2025-01-11", "80"))
    sender.calls(("s2", "shared", "2025-01-11", "1000"))
    world.bill("2025-03-01")
    sender.calls(("y3", "year", "2025-01-11", "20"))
    world.bill("2025-04-01")
    sender.calls(("k3", "committed", "2025-02-11", "500"), ("k4", "committed", "2025-03-11", "1000"))
    world.bill("2025-05-01")
    assert adjustments(world) == [
        "2025-03-01 committed calls of 2025-02-01: 1000 -> 2000, 10.00 -> 20.00: 10.00",
        "2025-05-01 committed calls of 2025-03-01: 0 -> 500, 0.00 -> 5.00: 5.00",
        "2025-05-01 committed calls of 2025-04-01: 0 -> 1000, 0.00 -> 10.00: 10.00",
        "2025-05-01 committed commitment-true-up of 2025-04-01: 20 -> 35, 80.00 -> 65.00: -15.00",
        "2025-03-01 pool-a calls of 2025-02-01: 60 -> 140, 5.50 -> 10.50: 5.00",
        "2025-03-01 pool-b calls of 2025-02-01: 60 -> 60, 5.50 -> 4.50: -1.00",
        "2025-03-01 shared calls of 2025-02-01: 1000 -> 2000, 9.25 -> 18.80: 9.55",
        "2025-03-01 shared fee of 2025-02-01: 1 -> 1, 27.75 -> 28.20: 0.45",
        "2025-04-01 year calls of 2025-02-01: 90 -> 110, 9.00 -> 10.50: 1.50",
        "2025-04-01 year calls of 2025-03-01: 90 -> 90, 5.00 -> 4.50: -0.50",
    ]
    assert rows(again(world, end="2025-06-01")) == []
    assert totals(world)["committed"] == Decimal("100.00")
    assert totals(world)["year"] == Decimal("15.00")
    assert len(explained(world)) == 10
