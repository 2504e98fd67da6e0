"""Goal: an invoice is credited over HTTP and by command, in the same words."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Run
from tests.api.test_credits import lines_of, october


@pytest.mark.requirement("TAX-07")
def test_an_invoice_is_credited_by_command_and_over_http(
    run: Run, http: httpx.Client, tmp_path: Path
) -> None:
    october(http)
    assert "No credit notes here." in run("credit-note", "list").out
    assert run("bill", "--as-of", "2026-11-01").status == 0
    (invoice,) = http.get("/v1/invoices").json()["items"]
    number = invoice["number"]
    create = ("credit-note", "create", number, "--reason", "counted twice")
    preview = run(*create, "--amount", "2.00", "--preview")
    assert "Credit note (preview, nothing issued) for invoice INV-2026-000001: counted twice" in preview.out
    assert run("credit-note", "list").out.startswith("No credit notes here.")
    line_id = http.get(f"/v1/invoices/{number}").json()["lines"][0]["line_id"]
    first = run(*create, "--line", f"{line_id}:20x")
    assert "The customer owes 2.00 EUR less." in first.out
    path, key = f"/v1/invoices/{number}/credit-notes", {"Idempotency-Key": "ticket-4711"}
    body = {"reason": "counted twice", "lines": [{"line_id": line_id, "amount": "1.00"}]}
    made = http.post(path, json=body, headers=key)
    again = http.post(path, json=body, headers=key)
    assert (made.status_code, again.status_code, again.json()) == (201, 201, made.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    other = http.post(path, json={**body, "reason": "another"}, headers=key)
    assert (other.status_code, other.json()["reason_code"]) == (409, "idempotency_key_reused")
    too_much = http.post(path, json={"reason": "why", "amount": "3.01"})
    assert (too_much.status_code, too_much.json()["reason_code"]) == (422, "credit_more_than_left")
    assert "3.00 EUR is left" in too_much.json()["detail"]
    standing = http.get(f"/v1/invoices/{number}").json()["standing"]
    assert (standing["state"], standing["credited_minor"], standing["open_minor"]) == ("issued", 300, 300)
    assert [action["action"] for action in standing["actions"]] == ["credit", "write_off", "print"]
    assert (standing["next_step"], standing["next_step_on"]) == ("becomes overdue", "2026-12-02")
    printed = run("invoice", "show", number).out
    assert "State: issued, credited 3.00, open 3.00 EUR." in printed
    assert "It can be done: credit, write_off, print. It becomes overdue on 2026-12-02." in printed
    last = run(*create)
    assert "the invoice is void" in last.out
    shown = lines_of(run("credit-note", "list", "--customer", "acme").out)
    assert sum("acme" in row for row in shown) == 3
    assert run("credit-note", "show", "CN-2026-000003").out == last.out
    assert run("credit-note", "pdf", "CN-2026-000003", "--out", str(tmp_path / "cn.pdf")).status == 0
    assert (tmp_path / "cn.pdf").read_bytes().startswith(b"%PDF")
    assert http.get(f"/v1/invoices/{number}").json()["standing"]["state"] == "void"
    refused = run(*create)
    assert refused.status == 1
    assert "credited in full already" in refused.err
