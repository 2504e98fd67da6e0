"""Runs kernels over slices of rows in threads: they hold no lock, so slices run at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Final

import numpy as np

ROWS_PER_SLICE_MIN: Final = 8192


def in_slices(work: Callable[[int, int], None], count: int, threads: int) -> None:
    """Call ``work(first, last)`` until all rows [0, count) are done, up to ``threads`` at a time. An
    exception of one slice is raised here."""
    slices = max(1, min(threads, count // ROWS_PER_SLICE_MIN))
    if slices == 1:
        work(0, count)
        return
    bounds = np.linspace(0, count, slices + 1, dtype=np.int64).tolist()
    with ThreadPoolExecutor(slices - 1) as pool:
        others = [pool.submit(work, *pair) for pair in pairwise(bounds[1:])]
        work(bounds[0], bounds[1])
        for done in others:
            done.result()
