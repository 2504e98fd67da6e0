"""Goal: of the processes that share a ClickHouse server one writes at a time, and the next one knows
what the one before it wrote."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from ingest.clickhouse import EventStore, OnlyWriter
from ingest.clock import FixedClock
from ingest.errors import StoreUnavailable
from ingest.writer_lease import LEASE, MARGIN, WriterLease
from tests.ingest.support import NOW, context, event, ndjson, send


def lease(ledger: Engine, clock: FixedClock, holder: str) -> WriterLease:
    return WriterLease(ledger, clock, store="http://server/ratemill", holder=holder)


def test_the_second_is_told_who_writes_and_until_when(ledger: Engine) -> None:
    clock = FixedClock(NOW)
    assert lease(ledger, clock, "process 1 on a").claim() == 1
    with pytest.raises(StoreUnavailable, match="process 1 on a writes to the event store") as caught:
        lease(ledger, clock, "process 2 on b").claim()
    assert caught.value.reason_code == "writer_elsewhere"
    assert (NOW + LEASE).isoformat() in str(caught.value)
    assert "--server" in str(caught.value)


def test_a_released_lease_is_free_at_once(ledger: Engine) -> None:
    clock = FixedClock(NOW)
    first, second = lease(ledger, clock, "first"), lease(ledger, clock, "second")
    assert first.claim() == 1
    first.release()
    assert second.claim() == 2
    with pytest.raises(StoreUnavailable, match="second writes"):
        first.claim()


def test_a_dead_holders_lease_ends_and_not_before(ledger: Engine) -> None:
    clock = FixedClock(NOW)
    first, second = lease(ledger, clock, "first"), lease(ledger, clock, "second")
    first.claim()
    clock.advance(LEASE - timedelta(microseconds=1))
    with pytest.raises(StoreUnavailable):
        second.claim()
    clock.advance(timedelta(microseconds=1))
    assert second.claim() == 2


def test_a_holder_that_renews_keeps_its_turn(ledger: Engine) -> None:
    clock = FixedClock(NOW)
    first, second = lease(ledger, clock, "first"), lease(ledger, clock, "second")
    first.claim()
    for _ in range(5):
        clock.advance(LEASE - MARGIN - timedelta(seconds=1))
        first.renew()
        with pytest.raises(StoreUnavailable):
            second.claim()
    assert first.claim() == 1


def test_a_holder_that_slept_asks_again_before_it_writes(ledger: Engine) -> None:
    """Within the margin of its end a lease is not believed: somebody may be about to take it."""
    clock = FixedClock(NOW)
    first, second = lease(ledger, clock, "first"), lease(ledger, clock, "second")
    first.claim()
    clock.advance(LEASE)
    second.claim()
    with pytest.raises(StoreUnavailable, match="second writes"):
        first.claim()
    second.release()
    assert first.claim() == 3


def test_a_new_turn_reads_what_the_other_wrote(event_store: EventStore, ledger: Engine) -> None:
    clock = FixedClock(NOW)
    first, second = lease(ledger, clock, "first"), lease(ledger, clock, "second")
    mine = context(event_store)
    theirs = context(event_store)
    try:
        event_store.writing = first
        assert send(mine, ndjson(event(1))).accepted == 1
        event_store.writing = second
        with pytest.raises(StoreUnavailable):
            send(theirs, ndjson(event(1)))
        first.release()
        assert send(theirs, ndjson(event(1), event(2))).duplicates == 1
        second.release()
        event_store.writing = first
        assert send(mine, ndjson(event(2))).duplicates == 1
    finally:
        event_store.writing = OnlyWriter()
    assert event_store.command("SELECT count() FROM events") == 2
