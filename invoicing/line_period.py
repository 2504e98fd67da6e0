"""The period of service that every line of an invoice has (BG-26 of EN 16931)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from ingest.errors import BrokenState

_DATES: Final = ("period_start", "period_end")


def line_period(line: Mapping[str, Any]) -> dict[str, date]:
    """``period_start`` and ``period_end`` of a line of a stored document: local, half-open. Raises
    BrokenState for one without: nothing is issued that does not say what time it is for."""
    if not all(line.get(name) for name in _DATES):
        raise BrokenState(
            f"line {line.get('line_id')!r} of an invoice has no period of service. Restore the ledger from "
            "its last backup."
        )
    return {name: date.fromisoformat(line[name]) for name in _DATES}
