"""Goal: what analysts and accounting systems take away is whole, ties to the ledger and is the same again."""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import datetime
from pathlib import Path

import httpx
import polars as pl
import pytest

from ingest.clock import FixedClock
from tests.api.conftest import HttpFor, Run
from tests.api.test_credits import october
from tests.api.test_flow import event, send

ARROW = "application/vnd.apache.arrow.stream"


@pytest.mark.requirement("REP-11")
def test_invoice_lines_are_taken_away_as_parquet_and_asked_in_sql(
    run: Run, http: httpx.Client, http_for: HttpFor, tmp_path: Path
) -> None:
    october(http)
    assert run("bill", "--as-of", "2026-11-01").status == 0
    written = run("report", "invoice-lines", str(tmp_path / "lines.parquet"))
    assert written.status == 0
    lines = pl.read_parquet(tmp_path / "lines.parquet")
    (summary,) = http.get("/v1/invoices").json()["items"]
    invoice = http.get(f"/v1/invoices/{summary['number']}").json()
    assert lines["line_id"].to_list() == [line["line_id"] for line in invoice["lines"]]
    with pl.SQLContext(lines=lines) as asked:
        question = (
            "SELECT customer_id, charge_id, SUM(amount_minor) FROM lines GROUP BY customer_id, charge_id"
        )
        sums = asked.execute(question, eager=True)
    assert sums.rows() == [("acme", "calls", summary["total_minor"])]
    reader = http_for("read")
    said = reader.get("/v1/reports/invoice-lines", headers={"Accept": ARROW})
    assert pl.read_ipc_stream(said.content).equals(lines)
    text = reader.get("/v1/reports/invoice-lines", headers={"Accept": "text/csv"}).text
    assert [row["line_id"] for row in csv.DictReader(io.StringIO(text))] == lines["line_id"].to_list()
    for method in ("POST", "PUT", "DELETE"):  # read-only
        assert reader.request(method, "/v1/reports/invoice-lines").status_code == 405


@pytest.mark.requirement("CRM-02")
def test_the_journal_goes_to_accounting_once_and_ties(
    run: Run, http: httpx.Client, clock: FixedClock, tmp_path: Path
) -> None:
    """A book-keeping system that keys its rows by entry number and position."""
    october(http)
    books: dict[tuple[int, int], dict[str, str]] = {}

    def take(name: str, *options: str) -> tuple[int, str]:
        """Export and import; how many rows were new, and the file."""
        assert run("journal", "export", str(tmp_path / name), *options).status == 0
        text = (tmp_path / name).read_text()
        read = list(csv.DictReader(io.StringIO(text)))
        rows = {(int(row["entry_number"]), int(row["position"])): row for row in read}
        assert all(books.get(key, row) == row for key, row in rows.items())  # what was taken never changes
        new = len(rows.keys() - books.keys())
        books.update(rows)
        return new, text

    def ties() -> bool:
        sums: Counter[tuple[str, str]] = Counter()
        for row in books.values():
            sums[row["currency"], row["account"]] += int(row["amount_minor"])
        balance = http.get("/v1/journal/trial-balance").json()["items"]
        return {key: minor for key, minor in sums.items() if minor} == {
            (row["currency"], row["account"]): row["balance_minor"] for row in balance if row["balance_minor"]
        }

    assert run("bill", "--as-of", "2026-11-01").status == 0
    first, text = take("first.csv")
    assert (first > 0, ties()) == (True, True)
    assert take("again.csv") == (0, text)
    send(http, [event(2, subject="big", value="10") | {"time": "2026-11-05T00:00:00Z"}])
    clock.move_to(datetime.fromisoformat("2026-12-01T00:00:00Z"))
    assert run("bill", "--as-of", "2026-12-01").status == 0
    last = str(max(number for number, _ in books))
    rest, _ = take("rest.csv", "--after", last)
    assert (rest > 0, ties()) == (True, True)
    assert take("whole.csv")[0] == 0
