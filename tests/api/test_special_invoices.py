"""Goal: a deposit and its final invoice are issued over HTTP and by command, in the same words."""

from __future__ import annotations

from pathlib import Path

import httpx
import orjson
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
    (tmp_path / "deposit.json").write_bytes(orjson.dumps({"kind": "deposit", "percent": "30", **order}))
    preview = run("special-invoice", "create", "deposit.json", "--preview")
    assert "Deposit invoice (preview, nothing issued) of contract big" in preview.out
    first = run("special-invoice", "create", "deposit.json", "--idempotency-key", "order-1")
    again = run("special-invoice", "create", "deposit.json", "--idempotency-key", "order-1")
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
    assert run("audit", "verify").status == 0
    assert run("journal", "verify").status == 0
