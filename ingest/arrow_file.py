"""Rows as a file that the embedded engine can read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa


@contextmanager
def arrow_file(rows: pa.Table) -> Iterator[str]:
    """The path of a file with the rows that this process can open: in memory where the system has such
    files, because making one on a disk takes a millisecond of a small insert."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("ratemill-rows")
        try:
            with os.fdopen(handle, "wb", closefd=False) as file, pa.ipc.new_file(file, rows.schema) as writer:
                writer.write(rows)
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
        return
    handle, path = tempfile.mkstemp(suffix=".arrow")
    try:
        with os.fdopen(handle, "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
            writer.write(rows)
        yield path
    finally:
        Path(path).unlink(missing_ok=True)
