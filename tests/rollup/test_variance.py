"""Goal: licences beside use, per subject, product and month, flagged when they are too far apart."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ingest.clickhouse import EventStore
from ingest.errors import InvalidInput
from rollup.usage import window_edges
from rollup.variance import VarianceReport, compare_provisioned

from .support import add_events, at, event, meter

SEATS = meter("seats", "seat", "time_weighted", reading="peak")
LOGINS = meter("users", "login", "unique_count", unique_property="user")


def report(store: EventStore, threshold_percent: str, subjects: list[str] | None = None) -> VarianceReport:
    edges = window_edges(
        time_from=at("2025-01-01"), time_to=at("2025-03-01"), window="month", time_zone="UTC"
    )
    return compare_provisioned(
        store,
        provisioned=SEATS,
        consumed=LOGINS,
        edges=edges,
        subjects=subjects,
        group_by=["product"],
        threshold_percent=Decimal(threshold_percent),
    )


def shown(found: VarianceReport) -> list[str]:
    return [
        f"{row.window_start:%b} {row.subject} {row.dimensions['product']} {row.provisioned:.0f} "
        f"{row.consumed:.0f} {row.difference:.0f}{' !' if row.flagged else ''}"
        for row in found.rows
    ]


@pytest.mark.requirement("MET-10")
def test_a_table_a_provisioning_team_can_read(event_store: EventStore) -> None:
    add_events(
        event_store,
        [
            event("seat", "acme", "2025-01-05", "4", product="crm"),
            event("seat", "acme", "2025-02-10", "2", product="crm", operation="add"),
            event("seat", "acme", "2025-01-05", "1", product="erp"),
            *(event("login", "acme", "2025-01-20", None, product="crm", user=f"u{n}") for n in range(3)),
            *(event("login", "acme", "2025-02-20", None, product="crm", user=f"u{n}") for n in range(6)),
            event("login", "beta", "2025-01-20", None, product="crm", user="pirate"),
        ],
    )
    assert shown(report(event_store, "25")) == [
        "Jan acme crm 4 3 1",  # exactly the threshold is not beyond it
        "Jan acme erp 1 0 1 !",
        "Jan beta crm 0 1 -1 !",
        "Feb acme crm 6 6 0",
        "Feb acme erp 1 0 1 !",
    ]
    assert shown(report(event_store, "24.999999999999", ["acme"]))[0] == "Jan acme crm 4 3 1 !"


def test_events_that_cannot_be_counted_are_named(event_store: EventStore) -> None:
    add_events(event_store, [event("login", "acme", "2025-01-20", None, product="crm")])
    found = report(event_store, "0")
    assert found.rows == ()
    assert [(one.meter_id, one.subject, one.reason_code, one.event_count) for one in found.unusable] == [
        ("users", "acme", "unique_property_missing", 1)
    ]


def test_a_threshold_below_zero_is_refused(event_store: EventStore) -> None:
    with pytest.raises(InvalidInput, match="give 0 or more"):
        report(event_store, "-1")
