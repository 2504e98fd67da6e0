"""Goal: the busiest day of a month is billed, for the days of a part, adjusted when usage comes late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ingest.errors import InvalidDocument
from ingest.meter import Meter, MeterParts
from ingest.meter_store import save_meter
from tests.invoicing.world import LONG_AGO, World, readable

BUSIEST = Meter(
    meter_id="busiest",
    event_type="call",
    aggregation="highest_sum",
    parts=MeterParts(by="day", time_zone="Europe/Berlin"),
    unit="call",
)
CAPACITY: Mapping[str, Any] = {
    "charge_id": "capacity",
    "name": "Capacity",
    "kind": "usage",
    "meter_id": "busiest",
    "price": {
        "model": "capacity",
        "tiers": [
            {"up_to": "10", "flat_amount": "31"},
            {"up_to": "20", "flat_amount": "62"},
            {"unit_price": "4"},
        ],
    },
}


def sold(world: World, *charges: Mapping[str, Any], **changes: Any) -> None:
    save_meter(world.ledger, BUSIEST, now=LONG_AGO)
    world.plan(*charges)
    world.contract(time_zone="Europe/Berlin", start_date="2025-01-01", **changes)


@pytest.mark.requirement("RAT-10")
def test_the_busiest_local_day_decides_and_late_usage_is_adjusted(world: World) -> None:
    """7 at 23:30 UTC of the 4th are of the 5th in Berlin, with 5 more: 12. Late, 9 more of that day: 21."""
    sold(world, CAPACITY)
    world.events(
        ("call", "c1-subject", "2025-01-04T10:00", "11"),
        ("call", "c1-subject", "2025-01-04T23:30", "7"),
        ("call", "c1-subject", "2025-01-05T10:00", "5"),
        ("call", "c1-subject", "2025-02-05T10:00", "3"),
    )
    world.bill("2025-02-01")
    world.events(("call", "c1-subject", "2025-01-05T12:00", "9"))
    world.bill("2025-03-01")
    assert [line for stored in world.invoices() for line in readable(stored)] == [
        "2025-02-01 capacity 2025-01-01..2025-02-01 12 call 62.00",
        "2025-03-01 capacity 2025-02-01..2025-03-01 3 call 31.00",
        "2025-03-01 capacity 2025-01-01..2025-02-01 21 call 22.00",
    ]


def test_a_part_of_a_month_pays_for_its_days(world: World) -> None:
    """Ends on 17 January: 16 of 31 days of 62.00."""
    sold(world, CAPACITY, end_date="2025-01-17")
    world.events(("call", "c1-subject", "2025-01-05T10:00", "12"))
    world.bill("2025-02-01")
    assert [line for stored in world.invoices() for line in readable(stored)] == [
        "2025-01-17 capacity 2025-01-01..2025-01-17 12 call 32.00"
    ]


def test_what_does_not_add_up_cannot_go_on_over_a_year(world: World) -> None:
    save_meter(world.ledger, BUSIEST, now=LONG_AGO)
    tiers = {"model": "graduated", "tiers": [{"up_to": "10", "unit_price": "1"}, {"unit_price": "0.5"}]}
    with pytest.raises(InvalidDocument) as refused:
        world.plan({**CAPACITY, "tiers_count": "year", "price": tiers})
    assert [issue.reason_code for issue in refused.value.issues] == ["tiers_count_meter"]
