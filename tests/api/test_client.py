"""Goal: a program sends files and documents through the client and hears exactly what became of them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import httpx
import orjson
import pytest
import zstandard

from api import slices
from api.client import ApiProblem, RatemillClient, connect, running_server
from api.settings import Settings
from ingest.errors import UnreadableBody
from tests.api.conftest import Run


def event_line(number: int, **changes: object) -> bytes:
    event = {
        "source": "till",
        "id": str(number),
        "type": "call",
        "subject": "acme",
        "time": "2026-11-01T00:00:00Z",
        "value": "1.5",
    }
    return orjson.dumps(event | changes) + b"\n"


def test_a_file_counts_once_for_ever(client: RatemillClient, tmp_path: Path) -> None:
    path = tmp_path / "e.ndjson"
    path.write_bytes(b"".join(event_line(number) for number in range(5)))
    first, second = client.post_file(path), client.post_file(path)
    assert (first.records, first.accepted, first.duplicates) == (5, 5, 0)
    assert (second.records, second.accepted, second.duplicates) == (5, 0, 5)


@pytest.mark.parametrize("bad_lines", [{7}, {1, 2, 3}, {3, 4, 10}])
def test_refused_lines_are_numbered_in_the_file(
    client: RatemillClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad_lines: set[int]
) -> None:
    """A slice of which nothing is taken answers 422; the file goes on all the same."""
    monkeypatch.setattr(slices, "SLICE_RECORDS_MAX", 3)
    path = tmp_path / "e.ndjson"
    lines = [b"{nonsense\n" if line in bad_lines else event_line(line) for line in range(1, 11)]
    path.write_bytes(b"".join(lines))
    report = client.post_file(path)
    assert {refusal["line"] for refusal in report.refusals} == bad_lines
    assert (report.records, report.rejected) == (10, len(bad_lines))
    assert report.accepted == 10 - len(bad_lines)


def test_a_file_cut_short_says_what_was_sent_and_may_be_sent_again(
    client: RatemillClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE_RECORDS_MAX", 100)
    lines = [event_line(number, subject=f"s{number * 7919**5 % 10**12}") for number in range(1_000)]
    whole = gzip.compress(b"".join(lines))
    path = tmp_path / "e.ndjson.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableBody, match=r"the first \d00 lines") as caught:
        client.post_file(path)
    assert caught.value.reason_code == "truncated_body"
    path.write_bytes(whole)
    report = client.post_file(path)
    assert 0 < report.duplicates < 1_000
    assert f"the first {report.duplicates} lines" in str(caught.value)
    assert (report.records, report.accepted, report.conflicts) == (1_000, 1_000 - report.duplicates, 0)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_the_command_refuses_a_file_cut_short(
    run: Run, tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"e.ndjson{suffix}"
    path.write_bytes(pack(b"".join(event_line(number) for number in range(1_000)))[:-20])
    said = run("ingest", str(path))
    assert said.status == 1
    assert f"{path.name}: " in said.err
    assert "ends too early" in said.err
    assert run("ingest", str(path), "--json").json()["reason_code"] == "truncated_body"


def test_progress_reaches_the_end(client: RatemillClient, tmp_path: Path) -> None:
    path = tmp_path / "e.ndjson"
    path.write_bytes(event_line(1))
    told: list[tuple[int, int]] = []
    client.post_file(path, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (path.stat().st_size, path.stat().st_size)


def test_a_problem_is_raised_with_its_document(client: RatemillClient) -> None:
    with pytest.raises(ApiProblem) as caught:
        client.get("/v1/meters/nothing")
    assert (caught.value.status, caught.value.reason_code) == (404, "not_found")


def test_a_server_that_is_not_there_is_a_problem_too(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, server="http://127.0.0.1:9", key="rm_x_y")
    with connect(settings) as client, pytest.raises(ApiProblem, match="Is it running") as caught:
        client.get("/health")
    assert caught.value.reason_code == "no_answer"


def test_a_server_without_a_key_is_refused_with_the_way_out(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, server="http://127.0.0.1:9")
    with pytest.raises(ApiProblem, match="ratemill keys create"), connect(settings):
        pass


def test_an_answer_that_is_no_problem_document_is_told_as_it_is() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(502, text="bad gateway"))
    client = RatemillClient(httpx.Client(transport=transport, base_url="http://x"), "the proxy")
    with pytest.raises(ApiProblem, match="the proxy answered 502: bad gateway"):
        client.get("/health")


def test_a_running_server_is_found_by_its_note(tmp_path: Path) -> None:
    assert running_server(tmp_path) is None
    note = tmp_path / "server.json"
    note.write_bytes(orjson.dumps({"url": "http://127.0.0.1:1", "pid": os.getpid()}))
    assert running_server(tmp_path) == "http://127.0.0.1:1"
    note.write_bytes(orjson.dumps({"url": "http://127.0.0.1:1", "pid": 2**22 + 1}))
    assert running_server(tmp_path) is None
    note.write_bytes(b"{")
    assert running_server(tmp_path) is None
