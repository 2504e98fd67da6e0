"""Opaque cursors for lists: where the next page starts, as text that callers only hand back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import Query

from ingest.errors import InvalidInput

PAGE_LIMIT_MAX: Final = 1_000

Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT_MAX, description="Items a page.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]


def write_cursor(*position: Any) -> str:
    """A cursor for the page that starts after ``position`` (texts and integers)."""
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


def read_cursor(cursor: str | None, *, fields: int) -> list[Any] | None:
    """The position in a cursor; None without one. Raises InvalidInput for a text that is no cursor."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        position = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        position = None
    if not isinstance(position, list) or len(position) != fields:
        raise InvalidInput(
            f"{cursor[:80]!r} is not a cursor of this list. Send `next_cursor` of the page before as it is.",
            reason_code="bad_cursor",
        )
    return position


def page(items: Sequence[Any], *, limit: int, position: Any) -> dict[str, Any]:
    """A page out of up to ``limit + 1`` items; ``position(item)`` is a tuple to go on after."""
    shown = list(items[:limit])
    more = len(items) > limit
    return {"items": shown, "next_cursor": write_cursor(*position(shown[-1])) if more else None}
