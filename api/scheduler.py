"""What a server does by itself: bills what has become due, delivers what was issued, adds up usage ahead of
billing, and counts ahead what questions about entitlements will ask for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Final

from api.billing import tick_once
from api.state import Ratemill
from invoicing.open_usage import keep_open_usage

BILLING_SECONDS: Final = 60
DELIVERY_SECONDS: Final = 30
ENTITLEMENT_SECONDS: Final = 1
"""How soon a contract that was saved is counted; without one the work is done once a minute."""
TURNS_UNTIL_NEW_PERIODS: Final = 10
"""New events are added up every time; whether contracts began new periods is looked up seldom, as that reads
all contracts (a second of processor time for 100,000)."""

_logger = logging.getLogger("ratemill.scheduler")


@contextmanager
def scheduling(state: Ratemill) -> Iterator[None]:
    """Do all of it while the block runs, as far as the settings want it: a thread each."""
    with ExitStack() as stack:
        stack.enter_context(_repeated("entitlements", ENTITLEMENT_SECONDS, _entitlement_work(state)))
        if state.settings.rollup_seconds:
            stack.enter_context(_repeated("usage", state.settings.rollup_seconds, _usage_work(state)))
        if state.settings.scheduler == "on":
            stack.enter_context(_repeated("billing", BILLING_SECONDS, lambda: tick_once(state)))
            stack.enter_context(_repeated("delivery", DELIVERY_SECONDS, lambda: deliver_once(state)))
        yield


def deliver_once(state: Ratemill) -> None:
    """Send what is issued and due. Any number of processes may do it at once."""
    state.delivery.deliver(state.ledger, state.clock)


def _usage_work(state: Ratemill) -> Callable[[], None]:
    turns = count()

    def work() -> None:
        if state.event_store.turn() is None:
            return  # the process that writes to the store does it
        if next(turns) % TURNS_UNTIL_NEW_PERIODS == 0:
            keep_open_usage(state.stored_usage, ledger=state.ledger, now=state.clock.now())
        else:
            state.stored_usage.catch_up()

    return work


def _entitlement_work(state: Ratemill) -> Callable[[], None]:
    def work() -> None:
        if state.event_store.turn() is not None:
            state.entitlements.keep_ready()

    return work


@contextmanager
def _repeated(what: str, seconds: int, work: Callable[[], None]) -> Iterator[None]:
    stop = threading.Event()

    def loop() -> None:
        while True:
            try:
                work()
            except Exception as error:  # the next time may succeed; the log tells of this one
                _logger.error("scheduled %s failed; again in %d seconds", what, seconds, exc_info=error)
            if stop.wait(seconds):
                return

    thread = threading.Thread(target=loop, name=f"scheduled-{what}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
