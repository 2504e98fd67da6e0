"""Goal: the real processes: `ratemill serve` with commands beside it, and commands on their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from tests.api.test_client import event_line

RATEMILL = [sys.executable, "-c", "from api.cli import main; main()"]


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")}
    return kept | {"RATEMILL_DATA": str(folder), "PYTHONPATH": str(Path.cwd())}


def ratemill(folder: Path, *arguments: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
    extra = {"RATEMILL_KEY": key} if key else {}
    return subprocess.run(
        [*RATEMILL, *arguments],
        env=environment(folder) | extra,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def served(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A running `ratemill serve` and its URL."""
    process = subprocess.Popen(
        [*RATEMILL, "serve", "--port", "0", "--json"],
        env=environment(folder),
        stdout=subprocess.PIPE,
    )
    try:
        if process.stdout is None:
            pytest.fail("the server has no output")
        yield process, orjson.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.communicate()


def test_a_command_opens_the_folder_and_finds_what_another_left(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "e.ndjson"
    path.write_bytes(event_line(1))
    first = ratemill(folder, "ingest", str(path), "--json")
    assert first.returncode == 0, first.stderr
    assert orjson.loads(first.stdout)["files"][0]["accepted"] == 1
    second = ratemill(folder, "ingest", str(path))
    assert "opened by this command" in second.stderr
    assert not (folder / "private.sock").exists()


def test_commands_beside_a_server(
    folder: Path, served: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    process, url = served
    assert httpx.get(f"{url}/health", timeout=30).json()["status"] == "ok"
    without = ratemill(folder, "meter", "list")
    assert without.returncode == 1
    assert "RATEMILL_KEY" in without.stderr
    made = ratemill(folder, "keys", "create", "--scope", "admin")
    key = made.stdout.strip()
    path = tmp_path / "e.ndjson"
    path.write_bytes(event_line(1))
    sent = ratemill(folder, "ingest", str(path), "--json", key=key)
    assert orjson.loads(sent.stdout)["files"][0]["accepted"] == 1, sent.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert not (folder / "server.json").exists()


def test_what_is_in_use_is_named(folder: Path, served: tuple[subprocess.Popen[bytes], str]) -> None:
    process, url = served
    same_folder = ratemill(folder, "serve", "--port", "0")
    assert same_folder.returncode == 1
    assert f"in use by process {process.pid}" in same_folder.stderr
    same_port = ratemill(folder, "serve", "--port", url.rsplit(":", 1)[1])
    assert same_port.returncode == 1
    assert "--port" in same_port.stderr


def test_price_starts_without_stores(folder: Path) -> None:
    """What is loaded is what costs: neither the stores nor the compiler may be."""
    pytest.importorskip("rating.price")
    program = (
        "import sys, io\nfrom api.cli import build_cli\n"
        "sys.argv = ['ratemill', 'price']\n"
        "try:\n    build_cli()()\nexcept SystemExit:\n    pass\n"
        "costly = {'numba', 'chdb', 'clickhouse_connect', 'sqlalchemy', 'polars', 'fastapi', 'httpx'}\n"
        "heavy = costly & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    request = (
        b'{"charge": {"charge_id": "c", "name": "Calls", "kind": "usage", "meter_id": "calls", '
        b'"price": {"model": "per_unit", "unit_price": "0.01"}}, "quantity": "250", "currency": "EUR"}\n'
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        input=request,
        env=environment(folder),
        capture_output=True,
        timeout=60,
        check=True,
    )
    rated, heavy = ran.stdout.splitlines()
    assert orjson.loads(rated)["amount_minor"] == 250
    assert heavy == b"[]"
    assert not folder.exists()
