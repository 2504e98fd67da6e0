"""Goal: through HTTP, what is billed cannot be changed behind its bill, and the answer says the way out."""

from __future__ import annotations

from typing import Any

import httpx

from tests.api.test_flow import CONTRACT, PLAN, put_world

FEE: dict[str, Any] = {
    "charge_id": "fee",
    "name": "Fee",
    "kind": "recurring",
    "timing": "advance",
    "price": {"model": "flat", "amount": "30"},
}


def billed(http: httpx.Client) -> dict[str, Any]:
    """The contract of ``put_world`` on a plan with a fee in advance, billed on 1 November."""
    put_world(http)
    plan = PLAN | {"charges": [*PLAN["charges"], FEE]}
    assert http.put("/v1/price-plans/basic", json=plan).status_code == 201
    run = http.post("/v1/billing-runs", json={"as_of": "2026-11-02"}).json()
    assert run["report"]["invoiced"] == 1
    return plan


def issues(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(issue["reason_code"], issue["pointer"]) for issue in answer.json()["issues"]]


def test_a_contract_is_changed_where_its_bills_end(http: httpx.Client) -> None:
    billed(http)
    path = "/v1/contracts/acme-1"
    moved = CONTRACT | {"time_zone": "America/New_York"}
    answer = http.put(path, json=moved)
    assert issues(answer) == [("contract_already_billed", "time_zone")]
    assert "end this contract on 2026-12-01 and make a new one from 2026-12-01" in answer.text
    many = http.post("/v1/contracts", json=[CONTRACT | {"contract_id": "acme-2", "subjects": []}, moved])
    assert issues(many) == [("contract_already_billed", "acme-1.time_zone")]
    assert http.get("/v1/contracts/acme-2").status_code == 404

    assert http.put(path, json=CONTRACT).status_code == 200
    assert http.put(path, json=CONTRACT | {"end_date": "2026-12-01"}).status_code == 201
    follower = moved | {"contract_id": "acme-2", "start_date": "2026-12-01"}
    assert http.put("/v1/contracts/acme-2", json=follower).status_code == 201


def test_a_price_changes_on_the_first_day_not_billed(http: httpx.Client) -> None:
    plan = billed(http)
    dearer = plan | {"charges": [*PLAN["charges"], FEE | {"price": {"model": "flat", "amount": "60"}}]}
    answer = http.put("/v1/price-plans/basic", json=dearer | {"effective_from": "2026-11-16"})
    assert issues(answer) == [("effective_in_billed_time", "effective_from")]
    assert "2026-12-01 or a later day" in answer.text
    assert http.put("/v1/price-plans/basic", json=plan).status_code == 200
    later = dearer | {"effective_from": "2026-12-01"}
    assert http.put("/v1/price-plans/basic", json=later).status_code == 201
