"""Goal: `ratemill stream folder`: real files of every format, and a kill at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.api.conftest import Run
from tests.api.test_serve import RATEMILL
from tests.api.test_stream_nats import EVENTS_A_MESSAGE, KILLS, batch, event

ROOT = Path(__file__).resolve().parents[2]


def test_files_of_every_format(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([event(1), event(2)]), folder / "a.parquet")
    (folder / "b.ndjson").write_bytes(
        json.dumps(event(2)).encode() + b"\n{}\n" + json.dumps(event(3)).encode()
    )
    (folder / "c.csv").write_text(
        "source,id,type,subject,time,value\ns,e4,call,acme,2026-03-01T10:00:00Z,4.5\n"
    )
    (folder / "d.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-9])
    (folder / "e.txt").write_text("notes\n")
    (folder / "f.ndjson.part").write_text("{")
    ran = run("stream", "folder", str(folder), "--settle", "0", "--until-empty", "--json")
    assert ran.status == 1, ran.err  # something was refused
    assert ran.json() == {
        "files": 3,
        "files_failed": 2,
        "records": 6,
        "accepted": 4,
        "duplicates": 1,
        "conflicts": 0,
        "rejected": 1,
    }
    done = sorted(path.name for path in (folder / "done").iterdir() if not path.name.endswith(".json"))
    assert done == ["a.parquet", "b.ndjson", "c.csv"]
    report = json.loads((folder / "done" / "b.ndjson.report.json").read_text())
    assert [(refusal["line"], refusal["reason_code"]) for refusal in report["refusals"]] == [
        (2, "field_missing")
    ]
    failed = {path.name: json.loads(path.read_text()) for path in (folder / "failed").glob("*.json")}
    assert failed["d.parquet.report.json"]["reason_code"] == "unreadable_body"
    assert failed["e.txt.report.json"]["reason_code"] == "unknown_file_name"
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["f.ndjson.part"]


@pytest.mark.requirement("MET-09")
def test_killed_anywhere_every_event_counts_once(tmp_path: Path, run: Run) -> None:
    folder, random, files = tmp_path / "in", Random(20260303), 40
    folder.mkdir()
    for number in range(files):
        (folder / f"{number:03}.ndjson").write_bytes(batch(number * EVENTS_A_MESSAGE))
    options = ("stream", "folder", str(folder), "--settle", "0", "--until-empty", "--json")
    for _ in range(KILLS):
        waiting = len(list(folder.glob("*.ndjson")))
        environment = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
        process = subprocess.Popen([*RATEMILL, *options], env=environment, stdout=subprocess.PIPE)
        while process.poll() is None and len(list(folder.glob("*.ndjson"))) == waiting:
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        process.communicate()
    last = run(*options)
    assert last.status == 0, last.err
    assert len(list((folder / "done").glob("*.ndjson"))) == files
    listed = run("events", "list", "--limit", "1000", "--json").json()["items"]
    assert sorted(item["id"] for item in listed) == sorted(f"e{n}" for n in range(files * EVENTS_A_MESSAGE))
