"""Goal: drafts are reviewed over HTTP and by command, and scopes keep duties apart."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.api.conftest import HttpFor, Run
from tests.api.test_credits import october


@pytest.mark.requirement("APP-01")
def test_a_draft_is_reviewed_by_command(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    october(http)
    assert "No draft waits here." in run("review", "list").out
    (tmp_path / "rules.yaml").write_text("rules_id: default\npolicy: all\nreviewers: [anna, ben]\n")
    assert run("review-rules", "put", "rules.yaml").status == 0
    assert "all" in run("review-rules", "list").out
    assert "1 of them wait for a review" in run("bill", "--as-of", "2026-11-01").out
    (review,) = http.get("/v1/reviews", params={"reviewer": "anna"}).json()["items"]
    invoice_id = review["invoice_id"]
    refused = http.post(f"/v1/invoices/{invoice_id}/issue")
    assert (refused.status_code, refused.json()["reason_code"]) == (409, "not_approved")
    assert http.get(f"/v1/invoices/{invoice_id}").json()["standing"]["actions"] == [
        {"action": "review", "method": "GET", "path": f"/v1/reviews/{invoice_id}"}
    ]
    listed = run("review", "list", "--mine", "anna").out
    assert invoice_id in listed
    assert "policy_all" in listed
    assert "Every invoice is reviewed." in run("review", "show", invoice_id).out
    assert "No draft waits here." in run("review", "list", "--mine", "ben").out
    assert "ben's own key" not in run("review", "approve", invoice_id, "--as", "anna").err
    assert "with anna" in run("review", "back", invoice_id, "--reason", "why so much", "--as", "ben").out
    assert ": returned" in run("review", "back", invoice_id, "--reason", "so it is", "--as", "anna").out
    assert "with anna" in run("review", "submit", invoice_id, "--reason", "it is right").out
    assert "with carl" in run("review", "delegate", invoice_id, "--to", "carl", "--as", "anna").out
    assert run("review", "release").out.startswith("No draft is approved")
    for name in ("carl", "ben"):
        assert run("review", "approve", invoice_id, "--as", name).status == 0
    assert "INV-2026-000001" in run("review", "release").out
    assert "net: issued" in run("review", "show", invoice_id).out
    trail = http.get("/v1/audit", params={"object_id": invoice_id}).json()["items"]
    assert [entry["action"] for entry in reversed(trail)] == [
        "submitted",
        "approved",
        "sent_back",
        "sent_back",
        "submitted",
        "delegated",
        "approved",
        "approved",
        "issued",
    ]


@pytest.mark.requirement("APP-09")
def test_who_sends_neither_approves_nor_corrects_and_who_reviews_does_not_send(
    http: httpx.Client, http_for: HttpFor
) -> None:
    october(http)
    # Keys of these tests are all called `test`.
    http.put("/v1/review-rules/default", json={"policy": "all", "reviewers": ["test", "ben"]})
    http.post("/v1/billing-runs", json={"as_of": "2026-11-01"})
    (review,) = http.get("/v1/reviews").json()["items"]
    path, sender, reviewer = f"/v1/reviews/{review['invoice_id']}", http_for("send"), http_for("review")
    for action in ("approve", "send-back", "delegate", "escalate", "submit", "corrections"):
        answer = sender.post(f"{path}/{action}", json={"reason": "why", "to": "ben"})
        assert answer.status_code == 403, action
        assert answer.json()["reason_code"] == "scope_missing", action
    own = reviewer.post(f"{path}/approve", json={})
    assert (own.status_code, own.json()["reason_code"]) == (403, "own_invoice")
    other = reviewer.post(f"{path}/approve", json={"reviewer": "ben"})
    assert (other.status_code, other.json()["reason_code"]) == (403, "not_your_name")
    assert reviewer.post(f"{path}/delegate", json={"to": "carl"}).status_code == 200
    for name in ("carl", "ben"):
        assert http.post(f"{path}/approve", json={"reviewer": name}).status_code == 200
    issue = f"/v1/invoices/{review['invoice_id']}/issue"
    assert reviewer.post(issue).json()["reason_code"] == "scope_missing"
    assert sender.post(issue).json()["number"] == "INV-2026-000001"
