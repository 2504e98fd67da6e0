"""Goal: the collector of cycles is back after a pause, however it ends."""

from __future__ import annotations

import gc
import threading

import pytest

from invoicing.collector import collector_paused


def test_the_collector_is_paused_and_goes_on_also_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyError, match="inside"):
        _fail_inside()
    assert gc.isenabled()


def _fail_inside() -> None:
    with collector_paused():
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise KeyError("inside")


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_stays_paused_until_the_last_thread_leaves() -> None:
    """One thread drafts while another writes: the first to end must not start it for the other."""
    entered, leave = threading.Event(), threading.Event()

    def write() -> None:
        with collector_paused():
            entered.set()
            leave.wait(10)

    with collector_paused():
        writer = threading.Thread(target=write)
        writer.start()
        assert entered.wait(10)
    assert not gc.isenabled()
    leave.set()
    writer.join(10)
    assert gc.isenabled()
