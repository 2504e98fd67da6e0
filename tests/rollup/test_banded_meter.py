"""Goal: events are counted by the size of their number, free ones apart, exactly, stored or not."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import pytest

from ingest.clickhouse import EventStore
from ingest.document import canonical_json
from ingest.meter import Meter
from rollup.banded_meter import BandedMeter, BandPackages, banded_meter, is_stored, read_meter
from rollup.reference import reference_roll_up
from rollup.roll_up import roll_up_usage
from rollup.stored_usage import StoredUsage
from rollup.verify import verify_stored_usage

from .support import Event, add_events, at, calendar, event, meter, shown, stored_answer, stored_events

PAYMENTS = meter("payments", "pay", "sum")
BY_KIND = meter("by-kind", "pay", "sum", group_by=["kind"])
JANUARY = calendar((0, "a", "2025-01-01", "2025-02-01"))


def banded(base: Meter = PAYMENTS, *, free_events: int = 0, free_value: str | None = None) -> BandedMeter:
    return banded_meter(
        base,
        thresholds=(Decimal(10), Decimal(100)),
        free_events=free_events,
        free_value=None if free_value is None else Decimal(free_value),
    )


def payments(*values: str | None) -> list[Event]:
    """On one instant each second day, in order of arrival."""
    return [event("pay", "a", f"2025-01-{2 + 2 * (n // 2):02}", value) for n, value in enumerate(values)]


VALUES = ("5", "10", "99.999999999999", "100", "-3", "250")
"""Running totals: 5, 15, 114.999999999999, 214.999999999999, 211.999999999999, 461.999999999999."""


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ({}, {"0": ("2", 2), "1": ("109.999999999999", 2), "2": ("350", 2)}),
        ({"free_events": 3}, {"0": ("-3", 1), "2": ("350", 2), "free": ("114.999999999999", 3)}),
        ({"free_value": "20"},
         {"0": ("-3", 1), "1": ("94.999999999999", 1), "2": ("350", 2), "free": ("15", 2)}),
        ({"free_value": "15"},
         {"0": ("-3", 2), "1": ("99.999999999999", 1), "2": ("350", 2), "free": ("5", 1)}),
    ],
    ids=["none free", "three events", "20 of value", "an event that reaches the free value exactly"],
)  # fmt: skip
def test_events_fall_into_bands_and_the_first_are_free(
    event_store: EventStore, free: dict[str, object], expected: dict[str, tuple[str, int]]
) -> None:
    add_events(event_store, payments(*VALUES))
    by_band = banded(**free)  # type: ignore[arg-type]
    used = shown(roll_up_usage(event_store, calendar=JANUARY, meters=[by_band]).usage)
    assert {row[2]["(band)"]: (row[3], row[4]) for row in used} == expected


def test_what_does_not_add_up_is_not_stored_and_the_same_rule_is_one_meter() -> None:
    assert is_stored(banded())
    assert not is_stored(banded(free_events=1))
    assert not is_stored(banded(free_value="1"))
    assert banded() == banded()
    assert len({banded().meter_id, banded(free_events=1).meter_id, banded(BY_KIND).meter_id}) == 3
    for by_band in (banded(), banded(BY_KIND, free_value="0.5")):
        assert read_meter(canonical_json(by_band)) == by_band
    assert read_meter(canonical_json(PAYMENTS)) == PAYMENTS


@pytest.mark.parametrize("seed", range(2))
def test_the_store_equals_the_plain_reference(event_store: EventStore, seed: int) -> None:
    """Few instants, so that arrival decides; values at the thresholds; a negative one after the free value
    is used up does not make anything free again; events without a value take no free place."""
    source = Random(seed)
    edges = [Decimal(text) for text in ("10", "9.999999999999", "100", "99.999999999999", "-50", "60", "0")]
    sent = [
        Event(
            type="pay",
            subject=source.choice(("a", "b")),
            time=at(f"2025-01-{source.randint(1, 9):02}"),
            value=source.choice([*edges, Decimal(source.randrange(10**15)) / 10**12, None]),
            properties={"kind": source.choice("xy")},
        )
        for _ in range(60)
    ]
    asked = calendar(
        (0, "a", "2025-01-01", "2025-01-05"),
        (0, "b", "2025-01-01", "2025-01-09"),
        (1, "a", "2025-01-05", "2025-01-09"),
    )
    meters: list[Meter] = [
        PAYMENTS, banded(), banded(BY_KIND), banded(free_events=5), banded(BY_KIND, free_events=2),
        banded(free_value="120.5"), banded(BY_KIND, free_value="60"),
    ]  # fmt: skip
    stored = StoredUsage(event_store)
    add_events(event_store, sent[:30])
    stored.refresh(calendar=asked, meters=meters)
    add_events(event_store, sent[30:], first_sequence=31)
    expected = reference_roll_up(events=stored_events(sent), calendar=asked, meters=meters).usage
    assert shown(roll_up_usage(event_store, calendar=asked, meters=meters).usage) == shown(expected)
    kept = roll_up_usage(event_store, calendar=asked, meters=meters, stored=stored).usage
    assert shown(kept) == shown(expected)
    assert len(stored_answer(stored, asked, meters).others) >= 4
    assert verify_stored_usage(stored).differences == 0


@pytest.mark.requirement("RAT-01")
def test_bands_that_are_sold_in_packages_count_them(event_store: EventStore) -> None:
    """Five bands: below 0, below 10, up to 60 in packages of 7.5 above 10 (a started one whole), below 100 in
    whole ones of 20 above 60, and the rest as they are. Counted from events, stored and plainly: the same."""
    by_band = banded_meter(
        PAYMENTS,
        thresholds=tuple(Decimal(bound) for bound in ("0", "10", "60.000000000001", "100")),
        packages=(
            BandPackages(band=2, above=Decimal(10), size=Decimal("7.5"), round="up"),
            BandPackages(band=3, above=Decimal(60), size=Decimal(20), round="down"),
        ),
    )
    assert read_meter(canonical_json(by_band)) == by_band
    events = payments(
        "-3", "9", "10", "17.5", "17.500000000001", "60", "79.999999999999", "80", "100.5", None
    )
    add_events(event_store, events)
    used = roll_up_usage(event_store, calendar=JANUARY, meters=[by_band]).usage
    assert {row[2]["(band)"]: (row[3], row[4]) for row in shown(used)} == {
        "0": ("-3", 1),
        "1": ("9", 1),
        "2": ("10", 4),
        "3": ("1", 2),
        "4": ("100.5", 1),
    }
    plain = reference_roll_up(events=stored_events(events), calendar=JANUARY, meters=[by_band]).usage
    assert shown(plain) == shown(used)
    stored = StoredUsage(event_store)
    stored.refresh(calendar=JANUARY, meters=[by_band])
    kept = roll_up_usage(event_store, calendar=JANUARY, meters=[by_band], stored=stored).usage
    assert shown(kept) == shown(used)
