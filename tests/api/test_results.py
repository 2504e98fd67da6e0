"""Goal: who asks for it hears of every record what became of it."""

from __future__ import annotations

from typing import Any

import httpx

from tests.api.test_client import event_line
from tests.api.test_errors import check_problem


def send(http: httpx.Client, body: bytes, results: str) -> httpx.Response:
    headers = {"Content-Type": "application/x-ndjson"}
    return http.post("/v1/events", content=body, headers=headers, params={"results": results})


def outcomes(results: list[dict[str, Any]]) -> list[tuple[int, str, str | None]]:
    return [(record["line"], record["outcome"], record.get("reason_code")) for record in results]


def test_all_results_say_line_by_line_what_became_of_a_record(http: httpx.Client) -> None:
    lines = [event_line(1), event_line(1), b"\n", b"broken\n", event_line(2), event_line(1, value="9")]
    answer = send(http, b"".join(lines), "all").json()
    assert outcomes(answer["results"]) == [
        (1, "accepted", None),
        (2, "duplicate", None),
        (4, "rejected", "malformed_json"),
        (5, "accepted", None),
        (6, "conflict", "identity_conflict"),
    ]
    assert answer["results"][2] == answer["refusals"][0]
    assert outcomes(send(http, b"".join(lines), "refused").json()["results"]) == [
        (4, "rejected", "malformed_json"),
        (6, "conflict", "identity_conflict"),
    ]


def test_nothing_is_left_out_of_a_hundred_thousand_records(http: httpx.Client) -> None:
    lines = [event_line(number) if number % 20 else b"x\n" for number in range(100_000)]
    answer = send(http, b"".join(lines), "all").json()
    assert (answer["accepted"], answer["rejected"]) == (95_000, 5_000)
    assert (len(answer["refusals"]), answer["refusals_truncated"]) == (1_000, True)
    assert [record["line"] for record in answer["results"]] == list(range(1, 100_001))
    assert {record["outcome"] for record in answer["results"][0::20]} == {"rejected"}
    assert sum(record["outcome"] == "accepted" for record in answer["results"]) == 95_000


def test_a_batch_of_which_nothing_was_taken_has_results_too(http: httpx.Client) -> None:
    document = check_problem(send(http, b"x\ny\n", "all"), 422, "all_records_refused")
    assert len(document["results"]) == 2  # type: ignore[arg-type]


def test_an_unknown_word_is_refused_before_anything_is_read(http: httpx.Client) -> None:
    check_problem(send(http, event_line(1), "some"), 422, "unknown_results")
    assert http.get("/v1/events").json()["items"] == []
