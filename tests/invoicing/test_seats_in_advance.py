"""Goal: licences are billed before they are had; what changes is put right once, on the next invoice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ingest.correct import correct_events
from ingest.load import IngestContext, ingest_batch, open_ingest
from ingest.meter import Meter
from ingest.meter_store import save_meter
from ingest.settings import IngestSettings
from invoicing.audit_verify import verify_books
from invoicing.journal_check import verify_journal
from invoicing.preview import preview_contract
from tests.ingest.support import NDJSON
from tests.invoicing.test_adjustments import explained
from tests.invoicing.test_rerate import again, rows
from tests.invoicing.world import LONG_AGO, METERS, World, at

SEATS: dict[str, Any] = {
    "charge_id": "seats",
    "name": "Seats",
    "kind": "licence",
    "timing": "advance",
    "meter_id": "seats",
    "unit": "seat",
    "price": {"model": "per_unit", "unit_price": "31.00"},
}
MORE_METERS = (
    Meter(meter_id="high", event_type="seat", aggregation="time_weighted", reading="high_water", unit="seat"),
    Meter(meter_id="peak", event_type="seat", aggregation="time_weighted", reading="peak", unit="seat"),
    Meter(
        meter_id="seat-days", event_type="seat", aggregation="time_weighted", reading="unit_days", unit="day"
    ),
    Meter(
        meter_id="by-product",
        event_type="seat",
        aggregation="time_weighted",
        reading="average",
        unit="seat",
        group_by=("product",),
    ),
)
JANUARY: dict[str, Any] = {"start_date": date(2025, 1, 1)}


@dataclass(slots=True)
class Seats:
    """Sends licence events and corrections of them, by names."""

    world: World
    ingest: IngestContext = field(init=False)
    sent: int = 0
    fixes: int = 0

    def __post_init__(self) -> None:
        for meter in MORE_METERS:
            save_meter(self.world.ledger, meter, now=LONG_AGO)
        every = (*METERS, *MORE_METERS)
        self.ingest = open_ingest(self.world.event_store, meters=lambda: every, settings=IngestSettings())

    def send(self, contract: str, *changes: str, **properties: str) -> None:
        """``2025-01-11T15:00 add 2`` each."""
        self.send_all([(contract, change) for change in changes], **properties)

    def send_all(self, changes: Iterable[tuple[str, str]], **properties: str) -> None:
        """The same of several contracts, in one batch."""
        lines = []
        for contract, change in changes:
            time, operation, value = change.split()
            self.sent += 1
            lines.append(
                {
                    "source": "test",
                    "id": f"s{self.sent}",
                    "type": "seat",
                    "subject": f"{contract}-subject",
                    "time": f"{time}:00Z",
                    "value": value,
                    "properties": {"operation": operation, **properties},
                }
            )
        self._load(lines, ingest_batch)

    def amend(self, numbers: Iterable[int], **changes: str) -> None:
        """Other fields for the events of these numbers, or none: they never were."""
        lines = []
        for number in numbers:
            self.fixes += 1
            names = {"source": "test", "id": f"fix{self.fixes}", "corrects": f"s{number}", "reason": "r"}
            lines.append({**names, "kind": "amend" if changes else "cancel", **changes})
        self._load(lines, correct_events)

    def _load(self, lines: list[dict[str, Any]], load: Callable[..., Any]) -> None:
        report = load(
            "\n".join(json.dumps(line) for line in lines).encode(),
            content_type=NDJSON,
            content_encoding=None,
            received_at=at("2025-01-31"),
            ingest=self.ingest,
        )
        assert report.accepted == len(lines), report.refusals


@pytest.fixture
def seats(world: World) -> Seats:
    return Seats(world)


def lines(world: World, contract_id: str) -> list[str]:
    """``2025-02-01 01-01..02-01 12 = 322.00, of 2025-01-01: 310.00 before`` a line."""
    found = []
    for stored in world.invoices(contract_id=contract_id):
        for line in stored.invoice.lines:
            was = line.adjusts
            before = "" if was is None else f", of {was.billing_date}: {was.billed_amount:.2f} before"
            found.append(
                f"{stored.invoice.billing_date} {line.period_start:%m-%d}..{line.period_end:%m-%d} "
                f"{line.quantity.normalize():f} = {Decimal(line.amount_minor).scaleb(-2)}{before}"
            )
    return found


def settled(world: World) -> None:
    """Nothing is left to put right, every adjustment explains itself, and the books agree."""
    assert rows(again(world, end="2025-12-01")) == []
    explained(world)
    assert verify_journal(world.ledger) == []
    assert verify_books(world.ledger).broken == ()


def test_each_variant_bills_the_level_at_the_beginning_and_puts_changes_right(seats: Seats) -> None:
    """Ten seats, two more on the 11th at 12:00, three less on the 22nd at 00:00; 31.00 a month each."""
    world = seats.world
    variants: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "second": (SEATS, {"proration": "by_second"}),
        "day": (SEATS, {}),
        "thirty": (SEATS, {"proration": "thirty_360"}),
        "none": (SEATS, {"proration": "none"}),
        "high": (SEATS | {"meter_id": "high"}, {}),
        "peak": (SEATS | {"meter_id": "peak"}, {}),
        "days": (SEATS | {"meter_id": "seat-days", "price": {"model": "per_unit", "unit_price": "1.00"}}, {}),
    }
    for name, (charge, more) in variants.items():
        world.plan(charge, plan_id=name, **more)
        world.contract(name, plan_id=name, **JANUARY)
        seats.send(name, "2025-01-01T00:00 set 10", "2025-01-11T12:00 add 2", "2025-01-22T00:00 remove 3")
    for day in ("2025-01-01", "2025-02-01", "2025-03-01"):
        assert world.bill(day).held == ()
    one_month = ["2025-01-01 01-01..02-01 10 = 310.00", "2025-02-01 02-01..03-01 9 = 279.00"]
    charged = "2025-02-01 01-01..02-01 {} = {}, of 2025-01-01: 310.00 before"
    credited = "2025-02-01 01-01..02-01 {} = {}, of 2025-01-01: {} before"
    found = {name: lines(world, name) for name in variants}
    last = {name: one.pop() for name, one in found.items()}
    assert last == dict.fromkeys(variants, "2025-03-01 03-01..04-01 9 = 279.00") | {
        "days": "2025-03-01 03-01..04-01 279 = 279.00"
    }
    assert found == {
        # Two for 20.5 days and three less for 10: 310 + 41 - 30 seat-days
        "second": [
            *one_month,
            charged.format("11.322580645161", "41.00"),
            credited.format("10.354838709677", "-30.00", "351.00"),
        ],
        # The 11th counts whole: 310 + 2 x 21 - 3 x 10
        "day": [
            *one_month,
            charged.format("11.354838709677", "42.00"),
            credited.format("10.387096774194", "-30.00", "352.00"),
        ],
        # Of a month of 30 days: (300 + 2 x 20 - 3 x 9) / 30 seats
        "thirty": [
            *one_month,
            charged.format("11.333333333333", "41.33"),
            credited.format("10.433333333333", "-27.90", "351.33"),
        ],
        "none": one_month,
        # What is removed is paid to the end: 10 x 10 + 12 x 21
        "high": [*one_month, charged.format("11.354838709677", "42.00")],
        "peak": [*one_month, charged.format("12", "62.00")],
        "days": [
            "2025-01-01 01-01..02-01 310 = 310.00",
            "2025-02-01 02-01..03-01 252 = 252.00",
            charged.format("351", "41.00"),
            credited.format("321", "-30.00", "351.00"),
        ],
    }
    settled(world)


@pytest.mark.requirement("RAT-07")
def test_what_comes_late_is_taken_up_once(any_world: World) -> None:
    """A removal of January comes after February's bill, another contract lets late usage be."""
    world, seats = any_world, Seats(any_world)
    world.plan(SEATS, proration="by_second")
    world.contract("c1", **JANUARY)
    world.contract("ignores", late_usage="ignore", **JANUARY)
    for name in ("c1", "ignores"):
        seats.send(name, "2025-01-01T00:00 set 10")
    world.bill("2025-01-01")
    for name in ("c1", "ignores"):
        seats.send(name, "2025-01-17T00:00 add 2")
    world.bill("2025-02-01")
    late = ("2025-01-25T00:00 remove 4", "2025-02-01T00:00 add 1", "2025-02-15T00:00 add 7")
    seats.send_all((name, change) for name in ("c1", "ignores") for change in late)
    world.bill("2025-03-01")
    world.bill("2025-04-01")
    january = ["2025-01-01 01-01..02-01 10 = 310.00", "2025-02-01 02-01..03-01 12 = 372.00"]
    added = "2025-02-01 01-01..02-01 10.967741935484 = 30.00, of 2025-01-01: 310.00 before"
    # Four less for the last 7 days of January, and 12 - 4 + 1 = 9 from the 1st, 16 from the 15th of February.
    april = "2025-04-01 04-01..05-01 16 = 496.00"
    february = "2025-03-01 02-01..03-01 12.5 = 15.50, of 2025-02-01: 372.00 before"
    assert lines(world, "c1") == [
        *january,
        added,
        "2025-03-01 03-01..04-01 16 = 496.00",
        "2025-03-01 01-01..02-01 10.064516129032 = -28.00, of 2025-01-01: 340.00 before",
        february,
        april,
    ]
    assert lines(world, "ignores") == [
        *january,
        added,
        "2025-03-01 03-01..04-01 16 = 496.00",
        february,
        april,
    ]
    assert rows(again(world, end="2025-12-01", contract_ids=["c1"])) == []


def test_a_run_that_comes_late_bills_what_was_had(seats: Seats) -> None:
    world = seats.world
    world.plan(SEATS, proration="by_second")
    world.contract("c1", **JANUARY)
    seats.send("c1", "2025-01-01T00:00 set 10", "2025-01-17T00:00 add 2", "2025-02-15T00:00 add 1")
    world.bill("2025-02-01")
    assert lines(world, "c1") == [
        "2025-01-01 01-01..02-01 10.967741935484 = 340.00",
        "2025-02-01 02-01..03-01 12 = 372.00",
    ]
    preview = preview_contract(
        contract_id="c1", at=at("2025-02-20"), event_store=world.event_store, ledger=world.ledger
    )
    assert [(line.quantity, line.amount_minor) for line in preview.lines] == [
        (Decimal(13), 40300),
        (Decimal("12.5"), 1550),
    ]
    world.bill("2025-03-01")
    assert [Decimal(one.invoice.total_minor) for one in world.invoices()][-1] == 40300 + 1550
    settled(world)


def test_products_are_lines_of_their_own(seats: Seats) -> None:
    world = seats.world
    world.plan(SEATS | {"meter_id": "by-product"})
    world.contract("c1", **JANUARY)
    seats.send("c1", "2025-01-01T00:00 set 10", product="pro")
    world.bill("2025-01-01")
    seats.send("c1", "2025-01-02T08:00 add 2", product="pro")
    seats.send("c1", "2025-01-22T00:00 set 3", product="lite")
    world.bill("2025-02-01")
    assert sorted(lines(world, "c1")) == [
        "2025-01-01 01-01..02-01 10 = 310.00",
        "2025-02-01 01-01..02-01 0.967741935484 = 30.00, of 2025-01-01: 0.00 before",
        "2025-02-01 01-01..02-01 11.935483870968 = 60.00, of 2025-01-01: 310.00 before",
        "2025-02-01 02-01..03-01 12 = 372.00",
        "2025-02-01 02-01..03-01 3 = 93.00",
    ]
    settled(world)


def test_a_contract_that_ends_or_changes_pays_for_the_days_it_has(seats: Seats) -> None:
    """Changed on 10 January, to end on the 22nd or be on another plan from then on."""
    world = seats.world
    world.plan(SEATS)
    world.plan(SEATS | {"price": {"model": "per_unit", "unit_price": "62.00"}}, plan_id="plus")
    kept = {"unused": "none"}
    for name in ("ends", "moves", "stays", "priced"):
        world.contract(name, **JANUARY, **(kept if name == "stays" else {}))
        seats.send(name, "2025-01-01T00:00 set 10", "2025-01-11T00:00 add 2")
    world.bill("2025-01-01")
    world.contract("ends", end_date=date(2025, 1, 22), **JANUARY)
    world.contract("moves", phases=[{"plan_id": "plus", "effective_from": "2025-01-22"}], **JANUARY)
    world.contract("stays", end_date=date(2025, 1, 22), **JANUARY, **kept)
    cheaper = {"charge_id": "seats", "price": {"model": "per_unit", "unit_price": "15.50"}}
    world.contract("priced", overrides=[cheaper | {"effective_from": "2025-01-22"}], **JANUARY)
    for day in ("2025-01-22", "2025-02-01", "2025-03-01"):
        assert world.bill(day).held == ()
    assert {name: lines(world, name)[1:] for name in ("ends", "moves", "stays", "priced")} == {
        "ends": [
            "2025-01-22 01-01..01-22 11.047619047619 = 232.00, of 2025-01-01: 0.00 before",
            "2025-01-22 01-01..02-01 0 = -310.00, of 2025-01-01: 310.00 before",
        ],
        "moves": [
            "2025-02-01 01-22..02-01 12 = 240.00",
            "2025-02-01 02-01..03-01 12 = 744.00",
            "2025-02-01 01-01..01-22 11.047619047619 = 232.00, of 2025-01-01: 0.00 before",
            "2025-02-01 01-01..02-01 0 = -310.00, of 2025-01-01: 310.00 before",
            "2025-03-01 03-01..04-01 12 = 744.00",
        ],
        "stays": ["2025-01-22 01-01..02-01 11.354838709677 = 42.00, of 2025-01-01: 310.00 before"],
        "priced": [
            "2025-02-01 01-22..02-01 12 = 60.00",
            "2025-02-01 02-01..03-01 12 = 186.00",
            "2025-02-01 01-01..01-22 11.047619047619 = 232.00, of 2025-01-01: 0.00 before",
            "2025-02-01 01-01..02-01 0 = -310.00, of 2025-01-01: 310.00 before",
            "2025-03-01 03-01..04-01 12 = 186.00",
        ],
    }
    settled(world)
