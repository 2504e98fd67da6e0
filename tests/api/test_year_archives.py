"""Goal: what closes a year is a command each, and the audit trail says who archived it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Run
from tests.api.test_credits import october


@pytest.mark.requirement("TAX-05")
@pytest.mark.requirement("AUD-11")
def test_a_year_is_accrued_searched_and_archived_by_commands(
    run: Run, http: httpx.Client, tmp_path: Path
) -> None:
    october(http)
    accrued = run("journal", "recognise", "--through", "2026-10-31").out
    assert "6.00 EUR recognised and unbilled, of 1 invoices to come. 1 entries posted." in accrued
    assert "Give 2026-10-31" in run("journal", "recognise", "--through", "2026-10-30").err
    lines = [{"description": "Lost badge", "amount": "1000.00"}]
    body = {"kind": "miscellaneous", "contract_id": "big", "reason": "lost", "lines": lines}
    number = http.post("/v1/special-invoices", json=body).json()["number"]
    year = number.split("-")[1]
    assert number in run("document", "list", "--search", "lost badge").out
    assert "No issued document has all of 'lost key'" in run("document", "list", "--search", "lost key").out
    assert run("document", "index", "--json").json() == {"taken_in": 0, "behind": 0}
    path = tmp_path / "year.zip"
    made = run("archive", "year", year, "--out", str(path), "--reason", "tax audit")
    assert made.status == 0, made.err
    assert "documents of" in made.out
    assert "proved" in made.out
    assert run("archive", "verify", str(path), "--json").json()["proved"]
    (entry,) = http.get("/v1/audit", params={"object_kind": "year_archive"}).json()["items"]
    assert (entry["object_id"], entry["reason"]) == (year, "tax audit")
    assert entry["occurred_at"][:16].replace("T", " ") in run("archive", "years").out.replace("T", " ")
    refused = run("archive", "year", "1999", "--out", str(tmp_path / "none.zip"))
    assert refused.status == 1
    assert "no document was issued in 1999" in refused.err
    assert not (tmp_path / "none.zip").exists()
    path.write_bytes(path.read_bytes()[:-100])
    assert run("archive", "verify", str(path)).status == 1
