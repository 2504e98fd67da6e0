"""Many invoices as PDF at once, set by processes of their own: one typesets about as fast as one core can.

The processes are started by the first question and kept, because to start one takes longer than to print a
hundred documents. They know neither store: what a document is printed from goes to them, its bytes come back.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import Final

from ingest.errors import BrokenState
from invoicing.collector import collector_paused
from invoicing.document import InvoicePrinter
from invoicing.invoice import parse_invoice
from invoicing.template import DocumentTemplate

_CHUNK: Final = 8
"""Documents handed to a process at a time."""


@dataclass(frozen=True, slots=True)
class PrintJob:
    """An invoice by its canonical text, the template that prints it, and the logo of its seller."""

    text: str
    template: DocumentTemplate
    logo: bytes


class PrintingProcesses:
    """``count`` processes that print. May be shared by threads. ``close`` ends them. fonts: as of
    ``InvoicePrinter``."""

    def __init__(self, count: int, *, fonts: Path | None = None) -> None:
        self._count = count
        self._print = partial(print_all, fonts=fonts)
        self._lock = Lock()
        self._pool: ProcessPoolExecutor | None = None

    def printed(self, jobs: Sequence[PrintJob]) -> list[bytes]:
        """The PDF of each, in order: the bytes of ``InvoicePrinter.pdf``. Raises BrokenState when a process
        ended in the middle; the next question starts new ones."""
        chunks = [jobs[place : place + _CHUNK] for place in range(0, len(jobs), _CHUNK)]
        try:
            return list(chain.from_iterable(self._open().map(self._print, chunks)))
        except BrokenProcessPool as error:
            self.close()
            raise BrokenState(
                "a process that prints invoices ended before it had answered; memory may be short. Nothing "
                "was changed: ask again, or set RATEMILL_PRINT_PROCESSES lower."
            ) from error

    def close(self) -> None:
        """End the processes. They are started again when they are asked."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _open(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                # Forked children would share open stores.
                self._pool = ProcessPoolExecutor(
                    self._count, mp_context=get_context("spawn"), initializer=_use_one_thread
                )
            return self._pool


def print_all(jobs: Sequence[PrintJob], *, fonts: Path | None) -> list[bytes]:
    """What one process does."""
    printer = _own_printer(fonts)
    with collector_paused():
        return [printer.pdf(parse_invoice(job.text), job.template, logo=job.logo) for job in jobs]


@cache
def _own_printer(fonts: Path | None) -> InvoicePrinter:
    """Of the process; to read the fonts takes as long as ten documents."""
    return InvoicePrinter(fonts=fonts)


def _use_one_thread() -> None:
    """As many processes as cores leave the typesetter's own threads nothing to win."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
