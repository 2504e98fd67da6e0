"""Runs the server process: opens the stores, listens, notes where it listens, stops cleanly."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import orjson
import uvicorn

from api.app import create_app
from api.client import SERVER_FILE
from api.event_protocol import event_protocol
from api.scheduler import scheduling
from api.settings import Settings
from api.state import open_ratemill
from api.warm_up import keep_for_good, warm_up
from ingest.clock import SystemClock
from ingest.errors import StoreUnavailable

SHUTDOWN_SECONDS_MAX: Final = 30


def run_server(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished first.

    announce: called with the URL once it answers. Raises StoreUnavailable when the folder or the
    address is taken.
    """
    listener = _listen(settings.host, settings.port)
    try:
        state = open_ratemill(settings, SystemClock())
    except BaseException:
        listener.close()
        raise
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    try:
        config = uvicorn.Config(
            create_app(state),
            http=event_protocol(state),
            log_level="warning",
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
        )
        with _noted(settings.data, url), _quiet_signals(), scheduling(state):
            threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()
            # The socket listens already: whoever connects now is answered as soon as the loop runs.
            announce(url)
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()
        state.close()


def _warm_up() -> None:
    warm_up()
    keep_for_good()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StoreUnavailable(
            f"cannot listen on {host}:{port}: {error.strerror}. Is another `ratemill serve` running? "
            "--port chooses another port.",
            reason_code="address_taken",
        ) from error
    listener.listen(1024)
    return listener


@contextmanager
def _noted(data_folder: Path, url: str) -> Iterator[None]:
    """Leave a note in the data folder so that commands find this server."""
    note = data_folder / SERVER_FILE
    data_folder.mkdir(parents=True, exist_ok=True)
    fresh = note.with_suffix(".new")
    fresh.write_bytes(orjson.dumps({"url": url, "pid": os.getpid()}))
    fresh.replace(note)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """uvicorn raises the signal again once it has stopped; by then it has done its work."""

    def ignore(_number: int, _frame: FrameType | None) -> None:
        return None

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
