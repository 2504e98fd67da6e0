"""Goal: a deposit and its final invoice are issued over HTTP and by command, in the same words."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Run
from tests.api.test_credits import lines_of, october


@pytest.mark.requirement("GEN-09")
@pytest.mark.requirement("CON-17")
def test_a_deposit_and_its_final_invoice(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    october(http)
    assert "No special invoices here." in run("special-invoice", "list").out
    lines = [{"description": "Plant", "amount": "1000.00"}]
    order = {"contract_id": "big", "project": "plant", "lines": lines}
    lines_text = "lines: [{description: Plant, amount: 1000.00}]"
    (tmp_path / "deposit.yaml").write_text(
        f"kind: deposit\npercent: 30\ncontract_id: big\nproject: plant\n{lines_text}\n", encoding="utf-8"
    )
    preview = run("special-invoice", "create", "deposit.yaml", "--preview")
    assert "Deposit invoice (preview, nothing issued) of contract big" in preview.out
    first = run("special-invoice", "create", "deposit.yaml", "--idempotency-key", "order-1")
    again = run("special-invoice", "create", "deposit.yaml", "--idempotency-key", "order-1")
    assert first.out == again.out
    assert "Net 300.00, tax 0.00, to pay 300.00 EUR by " in first.out
    number = http.get("/v1/special-invoices", params={"open_deposits": "true"}).json()["items"][0]["number"]
    assert number.startswith("DEP-")
    final = http.post("/v1/special-invoices", json={"kind": "final", **order})
    assert (final.status_code, final.json()["net_minor"]) == (201, 70000)
    assert [one["number"] for one in final.json()["deducts"]] == [number]
    shown = lines_of(run("special-invoice", "list", "--contract", "big").out)
    assert any(number in row and final.json()["number"] in row for row in shown)
    assert f"Deposit invoice {number}" in run("special-invoice", "show", final.json()["number"]).out
    assert run("special-invoice", "pdf", number, "--out", str(tmp_path / "d.pdf")).status == 0
    assert (tmp_path / "d.pdf").read_bytes().startswith(b"%PDF")
    refused = http.post("/v1/special-invoices", json={"kind": "final", "deducts": [number], **order})
    assert (refused.status_code, refused.json()["reason_code"]) == (409, "deducted_already")
    early = run("credit-note", "create", number, "--reason", "not ordered")
    assert f"Credit {final.json()['number']} in full first" in early.err
    path = f"/v1/invoices/{final.json()['number']}/credit-notes"
    assert http.post(path, json={"reason": "not ordered"}).json()["voids"] is True
    note = run("credit-note", "create", number, "--reason", "not ordered")
    assert f"for invoice {number}: not ordered" in note.out
    assert http.get(f"/v1/special-invoices/{number}").json()["voided"] is True
    assert run("audit", "verify").status == 0
    assert run("journal", "verify").status == 0


@pytest.mark.requirement("CON-18")
def test_a_document_is_paid_in_parts(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    october(http)
    lines = [{"description": "Lost badge", "amount": "1000.00"}]
    body = {"kind": "miscellaneous", "contract_id": "big", "reason": "lost", "lines": lines}
    number = http.post("/v1/special-invoices", json=body).json()["number"]
    parts = ("--part", "2027-01-01:400.00", "--part", "2027-02-01:600.00")
    agreed = run("instalments", "agree", number, *parts)
    assert f"{number}: 1,000.00 EUR open, in parts" in agreed.out
    assert run("instalments", "show", number).out == agreed.out
    items = http.get("/v1/reports/outstanding").json()["items"]
    assert [(item["instalment"], item["open_minor"]) for item in items] == [(1, 40000), (2, 60000)]
    assert "2027-02-01" in run("report", "outstanding").out
    first = http.get("/v1/reports/outstanding?limit=1").json()
    assert (len(first["items"]), first["left_off"]) == (1, 1)
    written = run("report", "outstanding", "--out", str(tmp_path / "open.csv"))
    assert written.status == 0
    rows = (tmp_path / "open.csv").read_text().splitlines()
    assert [row.split(",")[7] for row in rows] == ['"open_minor"', "40000", "60000"]
    assert "receivable" in run("journal", "entries", "--document", number).out
    unknown = run("journal", "entries", "--document", "INV-2026-999999")
    assert "no document 'INV-2026-999999' was issued" in unknown.err
    assert http.get("/v1/journal/entries?account=receivables").status_code == 422
    for words in (("special-invoice", "create"), ("quote", "put"), ("archive", "verify")):
        assert "does not exist" in " ".join(run(*words, "no-file.yaml").err.split())
    refused = run("instalments", "agree", number, "--part", "2027-01-01:400.00")
    assert refused.status == 1
    assert "parts that sum to 1000.00" in refused.err
