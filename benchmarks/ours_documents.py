"""Ratemill: what one person waits for (the preview of a contract), and invoices as PDF, in one process and in
two of their own."""

from __future__ import annotations

import hashlib
import resource
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import numpy as np
import sqlalchemy as sa

from benchmarks import history
from benchmarks.canonical import contract_names
from benchmarks.history import BILLED_CONTRACTS
from benchmarks.ours_billing import FEBRUARY, fill_with_january, forget_invoices
from benchmarks.ours_history import silent
from benchmarks.ours_stores import open_stores
from benchmarks.request import CaseRequest, Measured, measured, time_repeatedly
from invoicing.billing_run import BillingSettings, run_billing
from invoicing.document import InvoicePrinter
from invoicing.invoice import Invoice, invoice_text, parse_invoice
from invoicing.preview import preview_contract
from invoicing.print_many import PrintingProcesses, PrintJob
from invoicing.tables import INVOICES
from invoicing.template import PLAIN
from rollup.stored_usage import StoredUsage

_PROCESSES: Final = 2
_PREVIEWS: Final = 20
_PRINTED: Final = {"tiny": 10, "small": 200, "full": 1_000}
_AT: Final = datetime(2025, 1, 20, 12, tzinfo=UTC)


def run_preview(request: CaseRequest) -> Measured:
    """The next invoice of 20 contracts spread over all of them, one after the other. rows: previews."""
    contracts = BILLED_CONTRACTS[request.size]
    places = range(0, contracts, contracts // _PREVIEWS)[:_PREVIEWS]
    names = contract_names(np.array(places)).to_pylist()
    found: list[Invoice] = []
    waited: list[float] = []
    with open_stores(request.work) as stores:
        forget_invoices(request, stores)

        def job() -> None:
            for name in names:
                started = time.perf_counter()
                found.append(
                    preview_contract(
                        contract_id=name, at=_AT, event_store=stores.events, ledger=stores.ledger
                    )
                )
                waited.append(time.perf_counter() - started)

        def reset() -> None:
            found.clear()
            waited.clear()

        seconds = time_repeatedly(request, job, reset)
        middle, slowest = sorted(waited)[_PREVIEWS // 2], max(waited)
        sys.stderr.write(f"  a preview: p50 {middle * 1000:.0f} ms, slowest {slowest * 1000:.0f} ms\n")
        if not all(len(invoice.lines) == len(history.BILLED_KINDS) and invoice.tax for invoice in found):
            raise RuntimeError("a preview lacks lines or tax.")
        return measured(
            request,
            seconds,
            exact=True,
            rows=len(found),
            hash_result=lambda: _hash(invoice_text(invoice).encode() for invoice in found),
        )


def load_pdf(request: CaseRequest) -> None:
    """Issued invoices of five lines with tax. Not timed."""
    with open_stores(request.work) as stores:
        fill_with_january(stores, contracts=_PRINTED[request.size])
        run_billing(
            run_id=None,
            as_of=FEBRUARY,
            event_store=stores.events,
            stored_usage=StoredUsage(stores.events),
            ledger=stores.ledger,
            now=history.NOW,
            settings=BillingSettings(),
            progress=silent,
        )


def run_pdf(request: CaseRequest) -> Measured:
    """Every invoice from its canonical text to the bytes of its PDF. rows: documents."""
    texts = _texts(request)
    printer = InvoicePrinter()
    found: list[bytes] = []

    def job() -> None:
        found.extend(printer.pdf(parse_invoice(text)) for text in texts)

    seconds = time_repeatedly(request, job, found.clear)
    if len(found) != _PRINTED[request.size]:
        raise RuntimeError(f"{len(found)} documents were printed, not {_PRINTED[request.size]}.")
    return measured(request, seconds, exact=True, rows=len(found), hash_result=lambda: _hash(found))


def run_print(request: CaseRequest) -> Measured:
    """The same by two processes, started before. rows: documents."""
    jobs = [PrintJob(text, PLAIN, b"") for text in _texts(request)]
    printing = PrintingProcesses(_PROCESSES)
    found: list[bytes] = []
    try:
        seconds = time_repeatedly(request, lambda: found.extend(printing.printed(jobs)), found.clear)
    finally:
        printing.close()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    rounds = len(seconds) + request.warm_up
    each = (used.ru_utime + used.ru_stime) / (rounds * len(jobs))
    sys.stderr.write(f"  processor time a document, start of the processes included: {each * 1000:.1f} ms\n")
    return measured(request, seconds, exact=True, rows=len(found), hash_result=lambda: _hash(found))


def _texts(request: CaseRequest) -> list[str]:
    with open_stores(request.work) as stores, stores.ledger.connect() as connection:
        return list(connection.execute(sa.select(INVOICES.c.document).order_by(INVOICES.c.number)).scalars())


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
