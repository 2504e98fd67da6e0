"""What a customer's credit comes to on any day, and what of it is revenue. Pure: a sum of entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date

from ingest.errors import BrokenState
from invoicing.credit import CreditEntry


@dataclass(frozen=True, slots=True)
class CreditBalance:
    """Minor units of one currency up to the end of a day; each also at cost basis.

    committed = granted - voided = drawn + expired + remaining, in amounts and at cost. What rolls over is in
    neither: it moves from one grant to another. What a credit note or a bill below zero gave back counts
    as not drawn.
    recognised_cost: of what was paid, what is revenue by now: used up or lapsed. remaining_cost: what is
    still owed as service (deferred).
    """

    granted_minor: int
    granted_cost: int
    voided_minor: int
    voided_cost: int
    drawn_minor: int
    drawn_cost: int
    expired_minor: int
    expired_cost: int
    remaining_minor: int
    remaining_cost: int

    @property
    def committed_cost(self) -> int:
        """What was paid for credit that was not taken back."""
        return self.granted_cost - self.voided_cost

    @property
    def recognised_cost(self) -> int:
        """What of it is revenue."""
        return self.drawn_cost + self.expired_cost

    def to_dict(self) -> dict[str, int]:
        """Every figure, by name."""
        plain = {field.name: int(getattr(self, field.name)) for field in fields(self)}
        return {**plain, "committed_cost": self.committed_cost, "recognised_cost": self.recognised_cost}


def balance_on(entries: Iterable[CreditEntry], day: date) -> CreditBalance:
    """The balance at the end of ``day``. entries: all of one currency. Raises BrokenState when what is left
    is not what the entries leave."""
    sums: dict[str, list[int]] = {}
    remaining = [0, 0]
    for entry in entries:
        if entry.entry_date > day:
            continue
        parts = (entry.amount_minor, entry.cost_minor)
        known = sums.setdefault(entry.kind, [0, 0])
        for place, part in enumerate(parts):
            known[place] += part
            remaining[place] += part
    moved = _pair(sums, "rolled_in"), _pair(sums, "rolled_over")
    if any(came + went for came, went in zip(*moved, strict=True)):
        raise BrokenState(
            f"credit that rolled over by {day} does not come to what rolled in. Restore the ledger from its "
            "last backup."
        )
    granted, voided, drawn, expired = (
        _pair(sums, kind) for kind in ("granted", "voided", "drawn", "expired")
    )
    off, back = _pair(sums, "taken_off"), _pair(sums, "put_back")
    returned = tuple(
        came + went + again for came, went, again in zip(_pair(sums, "returned"), off, back, strict=True)
    )
    return CreditBalance(
        granted_minor=granted[0],
        granted_cost=granted[1],
        voided_minor=-voided[0],
        voided_cost=-voided[1],
        drawn_minor=-drawn[0] - returned[0],
        drawn_cost=-drawn[1] - returned[1],
        expired_minor=-expired[0],
        expired_cost=-expired[1],
        remaining_minor=remaining[0],
        remaining_cost=remaining[1],
    )


def _pair(sums: Mapping[str, list[int]], kind: str) -> tuple[int, int]:
    amount, cost = sums.get(kind, [0, 0])
    return amount, cost
