"""Goal: what is written beside the caller ends in order, one at a time, and a failure stops what follows."""

from __future__ import annotations

import sys
import threading
from functools import partial

import pytest

from invoicing.write_behind import WriteBehind


def test_pieces_end_in_order_and_tell_the_caller() -> None:
    told: list[tuple[int, bool]] = []
    caller = threading.current_thread()
    with WriteBehind[int]() as behind:
        for number in range(5):
            behind.begin(
                partial(abs, -number),
                done=lambda result: told.append((result, threading.current_thread() is caller)),
            )
        behind.finish()
    assert told == [(number, True) for number in range(5)]


def test_the_caller_works_meanwhile_and_one_piece_at_a_time() -> None:
    go_on, begun = threading.Event(), list[str]()

    def piece(name: str) -> str:
        begun.append(name)
        assert go_on.wait(timeout=10)
        return name

    ended: list[str] = []
    with WriteBehind[str]() as behind:
        behind.begin(partial(piece, "first"), done=ended.append)
        assert ended == []  # the caller is back while the piece waits
        go_on.set()
        behind.begin(partial(piece, "second"), done=ended.append)
        assert ended == ["first"]
    assert begun == ["first", "second"]


def test_a_piece_that_fails_is_raised_before_the_next_begins() -> None:
    def fails() -> None:
        raise KeyboardInterrupt

    begun: list[str] = []
    with WriteBehind[None]() as behind:
        behind.begin(fails, done=lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            behind.begin(lambda: begun.append("next"), done=lambda _: None)
    assert begun == []


def test_a_piece_under_way_has_ended_when_the_caller_fails() -> None:
    ended = threading.Event()

    def slow() -> None:
        threading.Event().wait(0.05)
        ended.set()

    def caller() -> None:
        with WriteBehind[None]() as behind:
            behind.begin(slow, done=lambda _: None)
            raise ValueError("caller")

    with pytest.raises(ValueError, match="caller"):
        caller()
    assert ended.is_set()


def test_threads_take_short_turns_until_it_is_left() -> None:
    """Also when it is left by an error."""
    before = sys.getswitchinterval()
    with pytest.raises(KeyError, match="inside"):
        _fail_within(min(before, 0.001))
    assert sys.getswitchinterval() == pytest.approx(before)


def _fail_within(turn_seconds: float) -> None:
    with WriteBehind[int]():
        assert sys.getswitchinterval() == pytest.approx(turn_seconds)
        raise KeyError("inside")
