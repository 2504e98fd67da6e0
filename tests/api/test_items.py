"""Goal: items, invoices for them and the queue are the same over HTTP as inside, with clear refusals."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.examples import ITEM, ITEM_CSV


@pytest.mark.requirement("MET-05")
def test_a_csv_over_http_is_taken_in_once_and_conflicts_are_listed(http: httpx.Client) -> None:
    headers = {"Content-Type": "text/csv"}
    first, again = (http.post("/v1/items", content=ITEM_CSV, headers=headers).json() for _ in range(2))
    assert (first["accepted"], again["accepted"], again["duplicate"]) == (2, 0, 2)
    other = ITEM_CSV.replace("1.5", "2")
    assert http.post("/v1/items", content=other, headers=headers).json()["conflict"] == 1
    (listed,) = http.get("/v1/item-conflicts").json()["items"]
    assert listed["item"]["quantity"] == "2"
    amended = http.post("/v1/items", params={"amend": True}, content=other, headers=headers).json()
    assert amended["amended"] == 1


def test_pages_of_items_and_what_happens_to_one(http: httpx.Client) -> None:
    items = [{**ITEM, "external_id": str(number)} for number in range(3)]
    ids = [one["item_id"] for one in http.post("/v1/items", json={"items": items}).json()["items"]]
    page = http.get("/v1/items", params={"limit": 2}).json()
    rest = http.get("/v1/items", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert sorted(one["item_id"] for one in [*page["items"], *rest["items"]]) == sorted(ids)
    changed = {"item": {**items[0], "quantity": "9"}, "reason": "more"}
    assert http.put(f"/v1/items/{ids[0]}", json=changed).json()["version"] == 2
    closed = http.post("/v1/items/close", json={"item_ids": ids[:1], "reason": "a favour"})
    assert closed.json()["items"][0]["state"] == "closed"
    assert refusal(http.put(f"/v1/items/{ids[0]}", json=changed)) == (409, "item_settled")
    assert refusal(http.get("/v1/items/nothing"))[0] == 404
    assert refusal(http.post("/v1/items/close", json={"item_ids": ids[1:], "reason": ""}))[0] == 422


def test_refusals_of_invoices_for_items(http: httpx.Client) -> None:
    assert refusal(http.post("/v1/item-invoices", json={"contract_id": "c"})) == (422, "no_items")
    assert refusal(http.post("/v1/item-invoices", json={})) == (422, "item_invoice_owner")
    assert refusal(http.post("/v1/item-invoices/x/cancel", json={"reason": "no"}))[0] == 404


@pytest.mark.requirement("GEN-04")
def test_an_item_of_nobody_is_in_the_queue_with_its_reason(http: httpx.Client) -> None:
    http.post("/v1/items", json=[ITEM])
    queue = http.get("/v1/demand", params={"by": "source"}).json()
    (row,) = queue["rows"]
    assert (row["source"], row["state"], row["reason_code"], row["count"]) == (
        "timesheet",
        "held",
        "contract_unknown",
        1,
    )
    assert queue["items"]["open"] == 1


def refusal(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()["reason_code"]
