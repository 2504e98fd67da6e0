"""Where an event store is: its URL, shown without the password, and the lock of a folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ingest.errors import StoreUnavailable

EMBEDDED_SCHEME: Final = "chdb"


def shown_url(url: str) -> str:
    """The URL without its password, for messages."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, host = parts.netloc.rsplit("@", 1)
    return parts._replace(netloc=f"{user.split(':')[0]}:***@{host}").geturl()


def log_folder(url: str) -> Path:
    """Where the log of an embedded store is: beside its folder, which belongs to the engine."""
    folder = Path(urlsplit(url).path)
    return folder.parent / f"{folder.name}-log"


def lock_folder(url: str) -> int | None:
    """Hold the data folder for this process; chDB's own refusal does not say who has it.

    Returns the open lock, None for a server. Raises StoreUnavailable.
    """
    parts = urlsplit(url)
    if parts.scheme != EMBEDDED_SCHEME:
        return None
    folder = Path(parts.path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder.parent / f"{folder.name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreUnavailable(f"the event store at {url} cannot be opened: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StoreUnavailable(
            f"the event store at {url} is in use by process {holder}, probably `ratemill serve`. "
            "Stop it, or let the command talk to it with --server URL.",
            reason_code="store_in_use",
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock
