"""Goal: finance writes all invoices of a run as PDF with one command, the same bytes as one by one."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import httpx
import pytest

from ingest.errors import BrokenState
from invoicing.document import InvoicePrinter
from invoicing.invoice import invoice_text
from invoicing.print_many import PrintingProcesses, PrintJob
from invoicing.sample_invoice import sample_invoice
from invoicing.template import PLAIN, DocumentTemplate
from tests.api.conftest import Run
from tests.api.test_credits import october


def test_the_invoices_of_a_run_are_printed(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    october(http)
    assert "No issued invoice fits." in run("invoice", "print", "--out", str(tmp_path / "none")).out
    report = http.post("/v1/billing-runs", json={"as_of": "2026-11-01", "run_id": "october"}).json()
    assert report["state"] == "finished", report
    folder = tmp_path / "october"
    shown = run("invoice", "print", "--run", "october", "--out", str(folder))
    numbers = [one["number"] for one in http.get("/v1/invoices").json()["items"]]
    assert f"{len(numbers)} files" in shown.out
    for number in numbers:
        assert (folder / f"{number}.pdf").read_bytes() == http.get(f"/v1/invoices/{number}/pdf").content
    answer = http.post("/v1/invoices/pdf", json={"invoices": numbers[:1] * 2})
    assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == [f"{numbers[0]}.pdf"]
    assert http.post("/v1/invoices/pdf", json={"invoices": ["INV-1999-000001"]}).status_code == 404
    assert http.post("/v1/invoices/pdf", json={"invoices": []}).status_code == 422


def test_processes_print_the_same_bytes_and_are_started_again_when_one_died() -> None:
    invoice = sample_invoice()
    template = DocumentTemplate(template_id="own", name="Own", accent="#0a7d5a")
    jobs = [PrintJob(invoice_text(invoice), look, b"") for look in (PLAIN, template)] * 12
    printing = PrintingProcesses(1)
    try:
        expected = [InvoicePrinter().pdf(invoice, look) for look in (PLAIN, template)] * 12
        assert printing.printed(jobs) == expected
        pool = printing._pool
        assert pool is not None
        for process in list(pool._processes.values()):
            process.kill()
        with pytest.raises(BrokenState, match="RATEMILL_PRINT_PROCESSES"):
            printing.printed(jobs)
        assert printing.printed(jobs[:2]) == expected[:2]
    finally:
        printing.close()
