"""Goal: every error of the API has the one shape of RFC 9457 and tells the caller what to do."""

from __future__ import annotations

import httpx
import pytest

from api.problem import problem_of
from api.state import Ratemill
from ingest.errors import BrokenState, Busy, InvalidDocument, Issue, StoreUnavailable, UnreadableBody
from tests.api.test_flow import put_world

MEMBERS = {"type", "title", "status", "detail", "reason_code", "issues"}


def check_problem(response: httpx.Response, status: int, reason_code: str) -> dict[str, object]:
    """The problem document of an answer that must be one."""
    document: dict[str, object] = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert document.keys() >= MEMBERS
    assert (response.status_code, document["status"], document["reason_code"]) == (
        status,
        status,
        reason_code,
    )
    assert document["type"] == f"urn:problem-type:ratemill:{reason_code}"
    return document


def test_an_unknown_key_answers_404(http: httpx.Client) -> None:
    document = check_problem(http.get("/v1/meters/nothing"), 404, "not_found")
    assert "nothing" in str(document["detail"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason_code"),
    [
        ("GET", "/v1/nothing", b"", 404, "no_such_route"),
        ("PATCH", "/v1/meters", b"", 405, "method_not_allowed"),
        ("GET", "/v1/meters?limit=0", b"", 422, "invalid_request"),
        ("GET", "/v1/meters?limit=many", b"", 422, "invalid_request"),
        ("GET", "/v1/meters?cursor=%21%21", b"", 422, "bad_cursor"),
        ("GET", "/v1/reports/revenue?by=month&from=2026-01-01", b"", 422, "unknown_parameter"),
        ("GET", "/v1/billing-entities?page=2", b"", 422, "unknown_parameter"),
        ("GET", "/v1/contracts?cursor=W10", b"", 422, "bad_cursor"),
        ("PUT", "/v1/meters/x", b"", 400, "empty_body"),
        ("PUT", "/v1/meters/x", b"{", 400, "unreadable_body"),
        ("PUT", "/v1/meters/x", b"\xff\xfe", 400, "unreadable_body"),
        ("PUT", "/v1/meters/x", b"[1]", 400, "unreadable_body"),
        ("PUT", "/v1/meters/x", b"a: 1\n---\nb: 2\n", 400, "not_one_document"),
        ("PUT", "/v1/meters/x", b"meter_id: y", 422, "invalid_document"),
        ("POST", "/v1/api-keys", b'{"name": "x", "scopes": ["all"]}', 422, "invalid_input"),
        ("DELETE", "/v1/api-keys/nothing", b"", 404, "not_found"),
        ("GET", "/v1/schemas/nothing", b"", 404, "not_found"),
    ],
)
def test_bad_requests(
    http: httpx.Client, method: str, path: str, body: bytes, status: int, reason_code: str
) -> None:
    check_problem(http.request(method, path, content=body), status, reason_code)


def test_every_broken_rule_is_an_issue_with_its_place(http: httpx.Client) -> None:
    body = b"event_type: call\naggregation: guess\nfactors: []\nsurprise: 1\n"
    document = check_problem(http.put("/v1/meters/calls", content=body), 422, "invalid_document")
    issues = document["issues"]
    assert isinstance(issues, list)
    assert {issue["pointer"] for issue in issues} == {"aggregation", "surprise"}
    assert all(issue["message"] and issue["expected"] for issue in issues)


def test_an_unexpected_error_tells_no_internals(
    state: Ratemill, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(state.meters), "current", lambda _: fail())
    document = check_problem(http.get("/v1/meters"), 500, "internal_error")
    assert "secret" not in str(document)
    assert str(document["reference"]) in str(document["detail"])
    assert "secret detail" in caplog.text


def test_runs_are_listed_page_by_page(http: httpx.Client) -> None:
    made = [
        http.post("/v1/billing-runs", json={"as_of": f"2026-0{month}-01"}).json()["run_id"]
        for month in (1, 2, 3)
    ]
    first = http.get("/v1/billing-runs?limit=2").json()
    rest = http.get("/v1/billing-runs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert {run["run_id"] for run in (*first["items"], *rest["items"])} == set(made)
    assert (len(first["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)


def test_statuses_of_our_own_errors() -> None:
    issue = Issue("r", "p", "m", "e")
    expected = {
        400: UnreadableBody("x"),
        413: UnreadableBody("x", reason_code="body_too_large"),
        415: UnreadableBody("x", reason_code="unknown_content_type"),
        422: InvalidDocument("x", [issue]),
        429: Busy("x"),
        500: BrokenState("x"),
        503: StoreUnavailable("x"),
    }
    assert {status: problem_of(error)["status"] for status, error in expected.items()} == {
        status: status for status in expected
    }
    assert problem_of(expected[422])["issues"] == [issue.to_dict()]


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00%2B02:00", "9999-12-31T23:59:59Z"])
def test_a_time_beyond_all_contracts_is_refused_in_words(http: httpx.Client, instant: str) -> None:
    put_world(http)
    for path in (
        f"/v1/contracts/acme-1/preview?at={instant}",
        f"/v1/contracts/acme-1/usage?at={instant}",
        f"/v1/reports/quantities?time_from={instant}&time_to=2026-12-01T00:00:00Z",
    ):
        answer = http.get(path)
        assert (answer.status_code, answer.json()["reason_code"]) == (422, "time_out_of_range"), path
