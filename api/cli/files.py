"""Files that commands write."""

from __future__ import annotations

from pathlib import Path

from api.cli.session import Session
from ingest.errors import InvalidInput


def save_file(session: Session, path: Path, body: bytes) -> None:
    """Write it and say so. Raises as ``write_file``."""
    write_file(path, body)
    session.show({"path": str(path), "bytes": len(body)}, f"{path} ({len(body):,} bytes)")


def write_file(path: Path, body: bytes) -> None:
    """Raises InvalidInput, which says why the file cannot be written."""
    try:
        path.write_bytes(body)
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be written: {error.strerror}. Name another file.", reason_code="file_not_written"
        ) from None
