"""Goal: docs/tour.md works as written. Its ``sh`` blocks run in order, in one shell, in an empty folder.

Every command of the tour must succeed, and the amounts that the tour works out by hand must be
the ones the program printed. One server owns the folder meanwhile, so that each command is a quick
request; that commands also open a folder by themselves is shown in tests/api.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TOUR = Path(__file__).resolve().parent.parent / "docs" / "tour.md"
BIN = Path(sys.executable).parent


def _environment(**more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")}
    return {**own, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "160", **more}


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """`ratemill serve` on the folder ``data`` in ``folder``; yields an admin key."""
    environment = _environment(RATEMILL_DATA="data")
    make_key = [str(BIN / "ratemill"), "keys", "create", "--scope", "admin"]
    key = subprocess.run(
        make_key, cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    with subprocess.Popen(
        [BIN / "ratemill", "serve", "--port", "0", "--json"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            assert "http://" in server.stdout.readline(), "the server did not start"
            yield key
        finally:
            server.terminate()
            server.wait(timeout=60)


@pytest.mark.requirement("CON-04")
def test_the_tour_runs_as_written(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", TOUR.read_text(encoding="utf-8"), flags=re.DOTALL)
    script = "set -eu\n" + "\n".join(f"echo '== block {n}'\n{block}" for n, block in enumerate(blocks))
    folder = tmp_path / "tour"
    folder.mkdir()
    with _server(folder) as key:
        told = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=_environment(RATEMILL_KEY=key),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert told.returncode == 0, told.stdout + told.stderr
    printed = told.stdout.replace(",", "")
    for amount in ("65.00", "143.23", "257.23", "11.935483870968", "231.00"):
        assert amount in printed, f"{amount} was not printed:\n{told.stdout}"
    assert (folder / "acme.pdf").read_bytes().startswith(b"%PDF")
