"""What the days keep between which something of a contract holds: overrides, commitments, fees, retainers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Protocol

from ingest.errors import Issue
from rating.contract import Contract


class Dated(Protocol):
    """Holds for the days of [effective_from, effective_until); left out: from the contract's first day, to
    its last."""

    @property
    def effective_from(self) -> date | None:
        """The first day."""
        ...

    @property
    def effective_until(self) -> date | None:
        """The first day on which it no longer holds."""
        ...


def window_rules(entry: Dated, contract: Contract, pointer: str) -> Iterator[Issue]:
    """Every rule its days break. pointer: its path in the contract."""
    start, until = entry.effective_from or contract.start_date, entry.effective_until
    if until is not None and until <= start:
        yield Issue(
            "end_not_after_start",
            f"{pointer}.effective_until",
            f"It begins on {start} and ends on {until}.",
            "a day after effective_from; it is the first day no longer covered.",
        )
    if start < contract.start_date:
        yield Issue(
            "before_contract",
            f"{pointer}.effective_from",
            f"It begins on {start}, the contract on {contract.start_date}.",
            f"a day from {contract.start_date} on, or no effective_from.",
        )


def overlap(one: Dated, other: Dated) -> bool:
    """Whether the two hold on a same day."""
    return _begins(one) < _ends(other) and _begins(other) < _ends(one)


def _begins(entry: Dated) -> date:
    return entry.effective_from or date.min


def _ends(entry: Dated) -> date:
    return entry.effective_until or date.max
