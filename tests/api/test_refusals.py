"""Goal: refused records are repaired and dismissed over HTTP and on the command line, in the same words."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.api.conftest import Run
from tests.api.test_flow import event


def test_refused_records_are_mended_in_a_file_and_sent_again(
    run: Run, http: httpx.Client, tmp_path: Path
) -> None:
    http.post("/v1/events", json=[event(1) | {"time": "yesterday"}, event(2) | {"value": "x"}, event(3)])
    http.post("/v1/events", content="a,b\n1,2\n", headers={"Content-Type": "application/x-ndjson"})
    path = tmp_path / "mend.ndjson"
    assert run("events", "refused", "--state", "open", "--out", str(path)).status == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 4
    path.write_text(path.read_text().replace('"yesterday"', '"2026-11-02T00:00:00Z"'))
    said = run("events", "repair", str(path))
    assert said.status == 1
    assert "1 repaired, 0 already repaired, 3 refused" in said.out
    assert "value_not_a_number" in said.out
    left = http.get("/v1/events/refused", params={"state": "open"}).json()["items"]
    assert len(left) == 3
    names = [one["refusal_id"] for one in left]
    assert run("events", "dismiss", *names, "--reason", "a test").out.strip() == "3 dismissed."
    kept = http.get("/v1/events/refused", params={"state": "dismissed"}).json()["items"]
    assert {"a test"} < {one["settled_reason"] for one in kept}
    (repaired,) = http.get("/v1/events/refused", params={"state": "repaired"}).json()["items"]
    assert repaired["repaired_id"] == "1"
    assert (
        http.post("/v1/events/refused/dismiss", json={"refusal_ids": ["x-1"], "reason": "r"}).status_code
        == 404
    )
