"""Goal: what was changed, and that nothing issued was altered, over HTTP and by command."""

from __future__ import annotations

import httpx
from sqlalchemy import text

from api.state import Ratemill
from ingest.ledger import ledger_transaction
from tests.api.conftest import Run
from tests.api.test_credits import lines_of, october


def test_issues_are_in_the_trail_and_the_books_are_proved(
    run: Run, http: httpx.Client, state: Ratemill
) -> None:
    october(http)
    assert "Nothing was changed yet" in run("audit", "list").out
    assert run("bill", "--as-of", "2026-11-01").status == 0
    (entry,) = http.get("/v1/audit", params={"action": "issued"}).json()["items"]
    (invoice,) = http.get("/v1/invoices").json()["items"]
    assert (entry["object_id"], entry["actor"]) == (invoice["invoice_id"], "test")
    assert entry["after"]["number"] == "INV-2026-000001"
    assert "number: - -> INV-2026-000001" in run("audit", "list", "--kind", "invoice").out
    proved = run("audit", "verify")
    assert proved.status == 0
    assert "Proved: 1 documents, 1 audit entries." in proved.out
    with ledger_transaction(state.ledger) as connection:
        connection.execute(text("DROP TRIGGER issued_documents_never_update"))
        connection.execute(text("UPDATE issued_documents SET net_minor = 1"))
    found = run("audit", "verify")
    assert found.status == 1
    assert "INV-2026-000001 the register has net_minor 1, the document 600. register_differs" in lines_of(
        found.out
    )
    assert http.get("/v1/audit/verify").json()["proved"] is False
