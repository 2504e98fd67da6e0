"""Goal: what is under way is bounded, and a request alone is never refused for its size."""

from __future__ import annotations

import pytest

from ingest.errors import Busy
from ingest.queue_room import REQUEST_BYTES_MIN, QueueRoom


def test_what_does_not_fit_is_refused_until_room_is_given_back() -> None:
    room = QueueRoom(3 * REQUEST_BYTES_MIN)
    first, second = room.enter(), room.enter()
    second.more(REQUEST_BYTES_MIN)
    with pytest.raises(Busy) as caught:
        room.enter()
    assert caught.value.reason_code == "queue_full"
    with pytest.raises(Busy):
        first.refuse_unless(1)
    with pytest.raises(Busy):
        first.more(1)
    second.release()
    second.release()
    first.refuse_unless(1_000_000)
    first.more(1)
    assert (room.requests_held, room.bytes_held) == (1, REQUEST_BYTES_MIN + 1)


def test_a_request_alone_may_be_as_large_as_it_is() -> None:
    room = QueueRoom(10)
    with room.enter() as held:
        held.more(1_000_000)
        with pytest.raises(Busy):
            room.enter()
    assert (room.requests_held, room.bytes_held) == (0, 0)


def test_nobody_enters_a_closed_room_and_those_inside_stay() -> None:
    room = QueueRoom(1_000_000)
    held = room.enter()
    room.close()
    held.more(10)
    with pytest.raises(Busy) as caught:
        room.enter()
    assert caught.value.reason_code == "shutting_down"
