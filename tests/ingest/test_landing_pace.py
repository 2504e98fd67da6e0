"""Goal: while the engine takes a block in, the log fills as fast as the engine empties it, and nobody waits
without need."""

from __future__ import annotations

import pytest

from ingest.landing_pace import ROWS_AT_ONCE, LandingPace

BLOCK = 400_000


@pytest.fixture
def pace() -> LandingPace:
    """After a block of 400,000 rows that took two seconds."""
    made = LandingPace(BLOCK)
    made.begin(BLOCK, now=100.0)
    made.end(landed=True, now=102.0)
    return made


def test_what_may_wait_behind_a_block_grows_as_it_lands(pace: LandingPace) -> None:
    pace.begin(BLOCK, now=200.0)
    for behind, waited in [(0, 0.0), (ROWS_AT_ONCE, 0.0), (200_000, 0.5), (300_000, 1.0), (500_000, 2.0)]:
        assert pace.seconds_to_wait(behind, now=200.0) == pytest.approx(waited)
        assert pace.seconds_to_wait(behind, now=200.4) == pytest.approx(max(0.0, waited - 0.4))


def test_a_block_half_as_large_is_expected_in_half_the_time(pace: LandingPace) -> None:
    pace.begin(BLOCK // 2, now=200.0)
    assert pace.seconds_to_wait(300_000, now=200.0) == pytest.approx(0.5)


def test_nobody_waits_longer_than_the_block_was_expected_to_take(pace: LandingPace) -> None:
    pace.begin(BLOCK, now=200.0)
    assert pace.seconds_to_wait(10**9, now=200.0) == pytest.approx(2.0)
    assert pace.seconds_to_wait(10**9, now=202.0) == 0.0


def test_nobody_waits_without_a_block_or_before_the_engine_is_known(pace: LandingPace) -> None:
    assert pace.seconds_to_wait(10**9, now=200.0) == 0.0
    fresh = LandingPace(BLOCK)
    fresh.begin(BLOCK, now=200.0)
    assert fresh.seconds_to_wait(10**9, now=200.0) == 0.0


@pytest.mark.parametrize(("rows", "landed"), [(BLOCK, False), (1_000, True)])
def test_a_block_that_failed_or_is_small_says_nothing_of_the_speed(
    pace: LandingPace, rows: int, landed: bool
) -> None:
    pace.begin(rows, now=200.0)
    pace.end(landed=landed, now=260.0)
    pace.begin(BLOCK, now=300.0)
    assert pace.seconds_to_wait(500_000, now=300.0) == pytest.approx(2.0)
