"""Bills by itself what has become due: one thread that looks once a minute."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from api.billing import tick_once
from api.state import Ratemill

PERIOD_SECONDS: Final = 60

_logger = logging.getLogger("ratemill.scheduler")


@contextmanager
def scheduling(state: Ratemill) -> Iterator[None]:
    """Run the scheduler while the block runs, if the settings want it."""
    if state.settings.scheduler == "off":
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=(state, stop), name="scheduler", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _work(state: Ratemill, stop: threading.Event) -> None:
    while True:
        try:
            tick_once(state)
        except Exception as error:  # the next look may succeed; the log tells of this one
            _logger.error("the scheduled billing run failed; looking again in a minute", exc_info=error)
        if stop.wait(PERIOD_SECONDS):
            return
