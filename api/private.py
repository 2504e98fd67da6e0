"""The application on a unix socket that only this process knows, for the time of one command."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx
import uvicorn

from api.app import create_app
from api.event_protocol import event_protocol
from api.settings import Settings
from api.state import Ratemill, open_ratemill
from ingest.clock import SystemClock
from ingest.errors import StoreUnavailable

SOCKET_PATH_BYTES_MAX: Final = 100
"""The kernel takes 107; a folder deeper than this gets its socket in a private temporary folder."""
START_SECONDS_MAX: Final = 60
_TICK_SECONDS: Final = 0.1
"""What uvicorn counts in."""
_LEAVING_SECONDS: Final = 0.001


@contextmanager
def private_server(settings: Settings) -> Iterator[tuple[httpx.BaseTransport, str]]:
    """Open the data folder and serve it; yields the way to it and a token with the admin scope.

    The token lives in this process's memory and ends with it. Raises StoreUnavailable.
    """
    state = open_ratemill(settings, SystemClock())
    try:
        token = state.keys.grant_in_memory("this command", ["admin"])
        with _private_socket(settings.data) as (listener, path), serving(state, listener):
            yield httpx.HTTPTransport(uds=str(path), verify=False), token  # no TLS there
    finally:
        state.close()


@contextmanager
def serving(state: Ratemill, listener: socket.socket) -> Iterator[None]:
    """Serve ``state`` on a listening socket, in a thread, while the block runs."""
    config = uvicorn.Config(
        create_app(state),
        http=event_protocol(state),
        log_level="warning",
        access_log=False,
        lifespan="on",
    )
    server = _PromptServer(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="private-server", daemon=True)
    thread.start()
    try:
        _await_start(server, thread)
        yield
    finally:
        server.stop()
        thread.join()


class _PromptServer(uvicorn.Server):
    """Ends when it is told to. Uvicorn looks every tenth of a second whether it is to, and then waits another
    tenth: more than many a command takes."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """May be called by another thread."""
        self.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), _TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:
            await asyncio.sleep(_LEAVING_SECONDS)
        await self.lifespan.shutdown()


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A unix socket at ``path`` that only this user may open; it is removed at the end."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(64)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _await_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    pause = threading.Event()
    for _ in range(START_SECONDS_MAX * 200):
        if server.started:
            return
        if not thread.is_alive():
            break
        pause.wait(0.005)
    raise StoreUnavailable("the private server of this command did not start; the lines above say why.")


@contextmanager
def _private_socket(data_folder: Path) -> Iterator[tuple[socket.socket, Path]]:
    path = data_folder.resolve() / "private.sock"
    if len(str(path).encode()) <= SOCKET_PATH_BYTES_MAX:
        path.parent.mkdir(parents=True, exist_ok=True)
        with listening(path) as listener:
            yield listener, path
        return
    with tempfile.TemporaryDirectory(prefix="ratemill-") as folder:
        path = Path(folder) / "private.sock"
        with listening(path) as listener:
            yield listener, path
