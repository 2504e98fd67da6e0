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
from rating.agreement_store import get_agreement
from rating.catalogue import get_plan_version
from rating.explain import explain_line
from rating.reprice import reprice_line
from rating.store import get_rated_line
from rating.verify import differences
from tests.ingest.support import NDJSON
from tests.invoicing.support import CALLS
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

    def correct(self, name: str, value: str | None) -> None:
        """Another value for a call, or None: it never was."""
        self.fixes += 1
        change = {"kind": "cancel"} if value is None else {"kind": "amend", "value": value}
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
            found = explain_line(line, plan, agreement=agreement)
            assert differences(found.to_dict()) == []
            assert found.amount_minor == entry.amount_minor
            assert "adjustment" in found.to_text()
            wrong = json.loads(json.dumps(found.to_dict())) | {"amount_minor": entry.amount_minor + 1}
            assert differences(wrong) != []
            if agreement is None:
                assert reprice_line(line, plan) == 0
                assert reprice_line({**line, "amount_minor": line["amount_minor"] + 1}, plan) != 0
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
