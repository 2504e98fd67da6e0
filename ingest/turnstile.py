"""Processes and threads that wait for one thing pass one by one, in the order they came in.

A turnstile is a file that stands beside what they wait for. Who passes holds a lock on it and waits for the
thing alone; the others wait in the kernel, which wakes the one who came first. A process that dies gives
the lock back.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def turnstile(path: str) -> Iterator[float]:
    """Inside the block nobody else is next. Yields the seconds waited for that. path: made if it is missing.

    Where no file can be locked (a file system without locks, a folder that cannot be written to) everybody
    passes at once.
    """
    asked_at = time.monotonic()
    opened = None
    with suppress(OSError):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(opened, fcntl.LOCK_EX)
    try:
        yield time.monotonic() - asked_at
    finally:
        if opened is not None:
            with suppress(OSError):
                fcntl.flock(opened, fcntl.LOCK_UN)  # a process forked meanwhile has the file open as well
            os.close(opened)
