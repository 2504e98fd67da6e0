"""Goal: `ratemill migrate-store` takes a folder's events to a server, where they count once as before."""

from __future__ import annotations

import subprocess
from pathlib import Path

import orjson

from tests.api.test_client import event_line
from tests.api.test_serve import RATEMILL, environment
from tests.support.clickhouse_server import clickhouse_server


def test_a_folder_moves_to_a_server(tmp_path: Path) -> None:
    sent = tmp_path / "e.ndjson"
    sent.write_bytes(event_line(1))

    def run(*arguments: str, **settings: str) -> dict[str, object]:
        done = subprocess.run(
            [*RATEMILL, *arguments, "--json"],
            env=environment(tmp_path / "data") | settings,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        answer: dict[str, object] = orjson.loads(done.stdout)
        return answer

    run("ingest", str(sent))
    with clickhouse_server(tmp_path / "clickhouse") as url:
        copied = run("migrate-store", "--to", url)["tables"]
        assert isinstance(copied, list)
        assert {one["table"]: one["rows"] for one in copied if one["rows"]} == {"store_facts": 1, "events": 1}
        again = run("ingest", str(sent), RATEMILL_EVENTS_URL=url)["files"]
        assert isinstance(again, list)
        assert again[0]["duplicates"] == 1
