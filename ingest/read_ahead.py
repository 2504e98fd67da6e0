"""Reads the next piece of something while one is worked on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future, wait
from typing import Any, TypeVar

Piece = TypeVar("Piece")


def one_ahead(pieces: Iterator[Piece], reader: Executor) -> Iterator[Piece]:
    """The pieces in their order, the next one made by ``reader``. What making one raises is raised when it
    is asked for; when the caller stops early, the one under way is waited for."""
    nothing = object()
    coming: Future[Any] = reader.submit(next, pieces, nothing)
    try:
        while (piece := coming.result()) is not nothing:
            coming = reader.submit(next, pieces, nothing)
            yield piece
    finally:
        wait([coming])
