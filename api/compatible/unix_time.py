"""Unix seconds as other products send them, to RFC 3339 text; exact, and no digit lost."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_SECONDS: Final = re.compile(r"([0-9]{1,11})(?:\.([0-9]+))?\Z")


def rfc3339_of_unix(seconds: str) -> str | None:
    """``1700000000.25`` is ``2023-11-14T22:13:20.25Z``; None for text that is no such number."""
    found = _SECONDS.match(seconds)
    if found is None:
        return None
    whole = datetime.fromtimestamp(int(found[1]), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{found[2]}Z" if found[2] else f"{whole}Z"
