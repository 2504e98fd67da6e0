"""Instants become microseconds and back without losing one; clocks stand still until moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.clock import FixedClock, SystemClock, from_micros, to_micros


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2199, 12, 31)))
def test_micros_round_trip(naive: datetime) -> None:
    instant = naive.replace(tzinfo=UTC)
    assert from_micros(to_micros(instant)) == instant


def test_an_instant_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_micros(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="time zone"):
        FixedClock(datetime(2026, 1, 1))


def test_a_fixed_clock_moves_only_forward() -> None:
    clock = FixedClock(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))))
    assert clock.now() == datetime(2026, 1, 1, tzinfo=UTC)
    clock.advance(timedelta(days=1))
    assert clock.now() == datetime(2026, 1, 2, tzinfo=UTC)
    with pytest.raises(ValueError, match="backwards"):
        clock.move_to(datetime(2026, 1, 1, tzinfo=UTC))


def test_the_system_clock_is_aware() -> None:
    assert SystemClock().now().tzinfo is UTC
