"""Goal: a closed deal becomes a contract with its first billing date, without retyping."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from pathlib import Path

import httpx
import orjson
import pytest

from ingest.clock import FixedClock
from tests.api.conftest import HttpFor, Run
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


@pytest.mark.requirement("CON-11")
@pytest.mark.requirement("CON-21")
@pytest.mark.requirement("POR-05")
def test_a_customer_accepts_on_a_page_without_an_account(
    run: Run, http: httpx.Client, http_for: HttpFor, clock: FixedClock
) -> None:
    october(http)
    contract = {**CONTRACT, "contract_id": "won", "subjects": ["won"], "start_date": "2026-11-01"}
    quote = {
        "quote_id": "deal",
        "customer_id": contract["customer_id"],
        "title": "Calls & <more>",
        "contract": contract,
        "lines": [{"description": "Set-up", "amount": "1000.00"}],
        "deposit_percent": "30",
        "terms_version": "2026-01",
        "terms_text": "Disputes go to Hamburg.",
        "valid_until": "2026-11-30",
    }
    assert http.put("/v1/quotes/deal", json=quote).status_code == 201
    address, opens = run("quote", "link", "deal").out.split()[0], http.get("/v1/quotes/deal/link").json()
    assert (address, opens["last_day"]) == (opens["url"], "2027-02-20")
    path, anybody = address.removeprefix("http://test"), http_for()
    page = anybody.get(path)
    assert (page.status_code, page.headers["referrer-policy"]) == (200, "no-referrer")
    for words in (
        "Calls &amp; &lt;more&gt;",
        "Set-up",
        "1,000.00",
        "A deposit of 30",
        "Disputes go to Hamburg.",
    ):
        assert words in page.text, words
    assert not re.search(r"<script|<img|https?://", page.text)
    assert anybody.get(f"{path}/pdf").content == http.get("/v1/quotes/deal/pdf").content
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
    assert fields == {
        "document_hash": http.get("/v1/quotes/deal").json()["document_hash"],
        "terms_version": "2026-01",
    }

    def press(**changes: str) -> tuple[int, str]:
        answer = anybody.post(f"{path}/accept", data={**fields, "name": "Ada Müller", **changes})
        return answer.status_code, html.unescape(
            " ".join(re.findall(r"<p class=\"told.*?>(.*?)</p>", answer.text))
        )

    assert press(name="  ") == (422, "Your name is missing. Nothing is accepted yet.")
    assert press(terms_version="") == (422, "The terms were not agreed to. Nothing is accepted yet.")
    assert http.put("/v1/quotes/deal", json={**quote, "title": "Calls"}).status_code == 201
    assert press() == (
        409,
        "The quote was changed while you read it, and nothing is accepted. This is what is offered now.",
    )
    assert http.get("/v1/contracts/won").status_code == 404
    fields["document_hash"] = http.get("/v1/quotes/deal").json()["document_hash"]
    accepted = "Accepted by Ada Müller on 22 November 2026. Thank you: the contract is in force."
    for _ in range(2):  # again is safe
        assert press() == (200, accepted)
    assert press(name="Eve") == (409, f"Somebody else has accepted this quote already. {accepted}")
    kept = http.get("/v1/quotes/deal").json()["accepted"]
    assert (kept["name"], kept["recorded_by"], kept["terms_version"]) == ("Ada Müller", "portal", "2026-01")
    assert (kept["document_hash"], kept["accepted_at"][:16]) == (fields["document_hash"], "2026-11-22T12:00")
    assert http.get("/v1/contracts/won").json()["document"]["signed_by"] == "Ada Müller"
    [deposit] = http.get("/v1/special-invoices", params={"open_deposits": "true"}).json()["items"]
    assert deposit["net_minor"] == 30000
    assert "<form" not in anybody.get(path).text  # nothing is left to press
    assert anybody.get(path[:-3] + "abc").status_code == 404
    clock.advance(timedelta(days=91))
    closed = anybody.get(path, headers={"Accept-Language": "de"})
    assert (closed.status_code, "Der Link ist abgelaufen" in closed.text) == (410, True)
    assert anybody.post(f"{path}/accept", data=fields).status_code == 410


@pytest.mark.requirement("CON-11")
def test_the_address_of_who_accepted_is_kept(http: httpx.Client, server_url: str) -> None:
    october(http)
    offered = {**CONTRACT, "contract_id": "won", "subjects": ["won"]}
    quote = {"quote_id": "deal", "customer_id": offered["customer_id"], "title": "Calls", "contract": offered}
    http.put("/v1/quotes/deal", json=quote)
    path = http.get("/v1/quotes/deal/link").json()["url"].removeprefix("http://test")
    form = {"name": "Ada", "document_hash": http.get("/v1/quotes/deal").json()["document_hash"]}
    assert httpx.post(f"{server_url}{path}/accept", data=form).status_code == 200
    assert http.get("/v1/quotes/deal").json()["accepted"]["ip_address"] == "127.0.0.1"
