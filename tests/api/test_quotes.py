"""Goal: a closed deal becomes a contract with its first billing date, without retyping."""

from __future__ import annotations

from pathlib import Path

import httpx
import orjson
import pytest

from tests.api.conftest import Run
from tests.api.test_credits import october
from tests.api.test_flow import CONTRACT


@pytest.mark.requirement("CRM-03")
@pytest.mark.requirement("CON-11")
def test_a_won_deal_is_billed_without_retyping(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    october(http)
    assert "No quotes here." in run("quote", "list").out
    contract = CONTRACT | {"contract_id": "won", "subjects": ["won"], "start_date": "2026-10-01"}
    document = {
        "quote_id": "deal-4711",
        "customer_id": contract["customer_id"],
        "title": "Calls",
        "contract": contract,
        "terms_version": "2026-01",
        "external_ids": {"crm": "006-4711"},
    }
    (tmp_path / "quote.json").write_bytes(orjson.dumps(document))
    assert run("quote", "put", "quote.json").out == "Quote deal-4711, version 1.\n"
    assert http.put("/v1/quotes/deal-4711", json=document).status_code == 200  # again: nothing more
    offered = http.get("/v1/quotes/deal-4711").json()
    assert (offered["state"], offered["accepted"]) == ("open", None)
    assert run("quote", "pdf", "deal-4711", "--out", str(tmp_path / "q.pdf")).status == 0
    assert (tmp_path / "q.pdf").read_bytes() == http.get("/v1/quotes/deal-4711/pdf").content
    preview = run("contract", "preview", "big", "--pdf", str(tmp_path / "pro-forma.pdf"))
    assert (preview.status, (tmp_path / "pro-forma.pdf").read_bytes()[:4]) == (0, b"%PDF")
    digest = ("--hash", offered["document_hash"])
    refused = run("quote", "accept", "deal-4711", "--name", "Ada", *digest)
    assert "terms_not_acknowledged" in refused.err or "acknowledged are" in refused.err
    accepted = run("quote", "accept", "deal-4711", "--name", "Ada", *digest, "--terms", "2026-01")
    assert "Accepted by Ada at " in accepted.out
    assert "contract won, version 1." in accepted.out
    assert run("quote", "show", "deal-4711").out == accepted.out
    body = {"name": "Ada", "document_hash": offered["document_hash"], "terms_version": "2026-01"}
    assert http.post("/v1/quotes/deal-4711/accept", json=body).json()["state"] == "accepted"
    dates = http.get("/v1/contracts/won/billing-dates").json()
    assert "2026-11-01" in orjson.dumps(dates).decode()
    assert run("audit", "verify").status == 0


@pytest.mark.requirement("CRM-05")
def test_terms_the_customer_does_not_keep_are_heard_of_while_there_is_only_a_quote(
    run: Run, http: httpx.Client, tmp_path: Path
) -> None:
    """NET 15 is offered to a customer whose accounts payable pays after 45 days."""
    october(http)
    path = f"/v1/customers/{CONTRACT['customer_id']}"
    customer = http.get(path).json()["document"]
    assert http.put(path, json={**customer, "ap_terms_days": 45}).status_code == 201
    offered = {**CONTRACT, "contract_id": "offered", "subjects": [], "terms": {"payment_days": 15}}
    quote = {"quote_id": "q", "customer_id": offered["customer_id"], "title": "Calls", "contract": offered}
    [warning] = http.put("/v1/quotes/q", json=quote).json()["warnings"]
    assert (warning["reason_code"], warning["pointer"]) == ("payment_terms_conflict", "terms.payment_days")
    assert http.get("/v1/quotes/q").json()["warnings"] == [warning]
    (tmp_path / "quote.json").write_bytes(orjson.dumps(quote))
    for shown in (run("quote", "put", "quote.json"), run("quote", "show", "q")):
        assert shown.status == 0
        assert "asks for payment within 15 days" in shown.out
        assert "pays within 45" in " ".join(shown.out.split())
    quote["contract"] = {**offered, "terms": {"payment_days": 45}}
    assert "warnings" not in http.put("/v1/quotes/q", json=quote).json()
    assert http.get("/v1/quotes/q").json()["warnings"] == []
    assert http.get("/v1/contracts/offered").status_code == 404  # nothing is a contract yet
