"""A ClickHouse server for tests: its HTTP interface, answered by chDB, in a process of its own.

``python -m tests.support.clickhouse_server FOLDER 0`` prints its port and serves on loopback until its
standard input ends, which it does when the process that started it ends, however it ends. What is
behind is the engine a server runs; what is not here are users, replication and streamed answers (each
is made whole before it is sent).
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

ROOT: Final = Path(__file__).resolve().parents[2]
DATABASE: Final = "ratemill_test"

_NOT_SETTINGS: Final = frozenset(
    {"query", "database", "query_id", "session_id", "client_protocol_version", "wait_end_of_query"}
    | {"send_progress_in_http_headers", "http_headers_progress_interval_ms", "enable_http_compression"}
)
_DATA_AFTER: Final = re.compile(rb"\s*INSERT\s+INTO\s+[^\n]*?\sFORMAT\s+\w+\n", re.IGNORECASE)
_INSERT: Final = re.compile(r"\s*(INSERT\s+INTO\s+.*?)\s+FORMAT\s+(\w+)\s*$", re.IGNORECASE | re.DOTALL)
_ANSWERS: Final = re.compile(r"\s*(SELECT|WITH|SHOW|EXISTS|DESCRIBE|EXPLAIN)\b", re.IGNORECASE)
_FORMAT: Final = re.compile(r"\bFORMAT\s+(\w+)\s*$", re.IGNORECASE)


CLUSTER: Final = "main"
_ONE_SHARD: Final = f"""<clickhouse><tcp_port>9000</tcp_port><remote_servers><{CLUSTER}><shard><replica>
<host>127.0.0.1</host><port>9000</port></replica></shard></{CLUSTER}></remote_servers></clickhouse>"""
"""The shard is the engine itself, which knows it by its own port; nothing listens there."""


def _without_replication(sql: str) -> str:
    """What needs a keeper is left out; spreading over shards stays."""
    sql = sql.replace(f" ON CLUSTER '{CLUSTER}'", "").replace("replicated_dedup", "non_replicated_dedup")
    return re.sub(r"Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?", r"\1(", sql)


class _Engine:
    """chDB handles in a folder, one for each request at work."""

    def __init__(self, folder: str, as_cluster: bool) -> None:
        import chdb

        self._as_cluster = as_cluster
        if as_cluster:
            config = Path(f"{folder}.xml")
            config.write_text(_ONE_SHARD, encoding="utf-8")
            folder = f"{folder}?config-file={config}"
        self._open: Callable[[], Any] = partial(chdb.connect, folder)
        self._idle: LifoQueue[Any] = LifoQueue()

    def run(self, sql: str, *, data: bytes, database: str, settings: Mapping[str, str], bound: Any) -> bytes:
        """The answer of one statement; ``data`` are the rows of an INSERT."""
        if self._as_cluster:
            sql = _without_replication(sql)
        try:
            handle = self._idle.get_nowait()
        except Empty:
            handle = self._open()
        try:
            handle.query(f"USE `{database or 'default'}`")
            for name, value in settings.items():
                handle.query(f"SET {name} = '{value}'")
            with _with_file(sql, data) as statement:
                return bytes(handle.query(statement, "TabSeparated", params=bound).bytes() or b"")
        finally:
            for name in settings:
                handle.query(f"SET {name} = DEFAULT")
            self._idle.put(handle)


@contextmanager
def _with_file(sql: str, data: bytes) -> Iterator[str]:
    insert = _INSERT.match(sql)
    if insert is None:
        yield sql + data.decode()
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        yield f"{insert[1]} FROM INFILE '{file.name}' FORMAT {insert[2]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    engine: _Engine

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_arguments: object) -> None:
        """Nothing: the output is the port and no more."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        body = self._body()
        if parts.path == "/ping":
            self._send(200, b"Ok.\n", {})
            return
        asked = dict(parse_qsl(parts.query, keep_blank_values=True))
        sql, data = _statement(asked.get("query", ""), body)
        settings = {name: value for name, value in asked.items() if not _is_about_the_request(name)}
        bound = {name[6:]: value for name, value in asked.items() if name.startswith("param_")}
        try:
            answer = self.engine.run(
                sql, data=data, database=asked.get("database", ""), settings=settings, bound=bound
            )
        except RuntimeError as error:
            found = re.search(r"Code: (\d+)", str(error))
            code = found[1] if found else "1000"
            self._send(500, str(error).encode(), {"X-ClickHouse-Exception-Code": code})
            return
        about = {"X-ClickHouse-Summary": "{}", "X-ClickHouse-Timezone": "UTC"}
        if _ANSWERS.match(sql):
            shape = _FORMAT.search(sql)
            about["X-ClickHouse-Format"] = shape[1] if shape else "TabSeparated"
        self._send(200, answer, about)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _is_about_the_request(name: str) -> bool:
    return name in _NOT_SETTINGS or name.startswith("param_")


def _statement(query: str, body: bytes) -> tuple[str, bytes]:
    """The statement, and the rows when it is an INSERT that brings them."""
    if query:
        return query, body
    inserted = _DATA_AFTER.match(body)
    if inserted is None:
        return body.decode(), b""
    return inserted[0].decode(), body[inserted.end() :]


def serve(folder: str, as_cluster: bool) -> None:
    """Serve the folder on a free port of loopback; never returns."""
    handler = type("Handler", (_Handler,), {"engine": _Engine(folder, as_cluster)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=_stop_with_parent, daemon=True).start()
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


def _stop_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


@contextmanager
def clickhouse_server(folder: Path, *, as_cluster: bool = False) -> Iterator[str]:
    """A running server that keeps its data in ``folder``; yields the URL of a database, not made yet.

    as_cluster: it is the one shard of a cluster named CLUSTER, without replication.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.clickhouse_server", str(folder), str(int(as_cluster))],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the server's pipes are missing")
        port = process.stdout.readline().strip()
        try:
            yield f"http://127.0.0.1:{port}/{DATABASE}"
        finally:
            process.stdin.close()


if __name__ == "__main__":
    serve(sys.argv[1], as_cluster=sys.argv[2] == "1")
