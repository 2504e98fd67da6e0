"""A real server on a unix socket for each test: real stores, real HTTP, a clock that stands still."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import typer
from sqlalchemy import Engine
from typer.testing import CliRunner

from api.auth import Scope
from api.cli import build_cli
from api.client import RatemillClient
from api.private import listening, serving
from api.settings import Settings
from api.state import Ratemill, compose
from ingest.clickhouse import EventStore
from ingest.clock import FixedClock

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

HttpFor = Callable[..., httpx.Client]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def state(
    event_store: EventStore, ledger: Engine, data_folder: Path, clock: FixedClock
) -> Iterator[Ratemill]:
    """The composed application on the session's event store and this test's ledger."""
    settings = Settings(
        data=data_folder,
        smtp_url="smtp://127.0.0.1:1",  # nobody listens there
        mail_from="invoices@seller.example",
        public_url="http://test",
        link_secret="a secret of tests, long enough",
    )
    composed = compose(settings, clock, event_store, ledger)
    yield composed
    composed.group_commit.close()
    composed.checks.close()
    composed.einvoices.close()


@pytest.fixture
def socket_path(state: Ratemill, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("s") / "s"
    with listening(path) as listener, serving(state, listener):
        yield path
    state.runs.wait()


@pytest.fixture
def http_for(state: Ratemill, socket_path: Path) -> Iterator[HttpFor]:
    """An HTTP client with a key of the scopes given, or without a key when none is."""
    opened = []

    def make(*scopes: Scope) -> httpx.Client:
        headers = {}
        if scopes:
            headers["Authorization"] = f"Bearer {state.keys.grant_in_memory('test', scopes)}"
        client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket_path), verify=False),
            base_url="http://test",
            headers=headers,
            timeout=60,
        )
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def http(http_for: HttpFor) -> httpx.Client:
    """An HTTP client that may do everything."""
    return http_for("admin")


@pytest.fixture
def client(http: httpx.Client) -> RatemillClient:
    """The client that commands use, with the admin scope."""
    return RatemillClient(http, "the test server")


@pytest.fixture
def server_url(state: Ratemill) -> Iterator[str]:
    """The application on a port of the loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with serving(state, listener):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        state.runs.wait()


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return orjson.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def _command() -> Any:
    """The whole command, built once: that takes longer than most commands."""
    return typer.main.get_command(build_cli())


@pytest.fixture
def run(
    server_url: str, state: Ratemill, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, _command: Any
) -> Run:
    """Run a command of ``ratemill`` against the test server."""
    monkeypatch.setenv("RATEMILL_SERVER", server_url)
    monkeypatch.setenv("RATEMILL_KEY", state.keys.grant_in_memory("test", ["admin"]))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: str, stdin: bytes | None = None) -> Ran:
        status = 0
        with CliRunner().isolation(input=stdin) as (out, err, _):
            try:
                _command.main(args=list(arguments), prog_name="ratemill")
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            sys.stdout.flush()
            sys.stderr.flush()
            printed = [stream.getvalue().decode().replace("\r\n", "\n") for stream in (out, err)]
        return Ran(status, *printed)

    return run_command
