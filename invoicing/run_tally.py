"""What a billing run did, added up as it goes and compared with the ledger at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingest.errors import BrokenState
from invoicing.draft import Draft
from invoicing.hold import Held, Key


@dataclass(slots=True)
class Tally:
    """Counts are of billing dates; totals are minor units by currency. unpriced: held because no plan
    has their first day; held: all others. contracts_found, dates_found, periods_found: what has been looked
    at so far; dates_expected, periods_expected: from that, how many there will be in all.
    late: of the due dates, those that should have been invoiced before today; days_late_max: the longest.
    begun_minor: of all drafts whose writing has begun, as drafted: credit before tax comes off later."""

    contracts_found: int = 0
    dates_found: int = 0
    periods_found: int = 0
    dates_expected: int = 0
    periods_expected: int = 0
    due: int = 0
    late: int = 0
    days_late_max: int = 0
    invoiced: int = 0
    in_review: int = 0
    nothing_due: int = 0
    lines: int = 0
    totals_minor: Counter[str] = field(default_factory=Counter)
    begun_minor: Counter[str] = field(default_factory=Counter)
    unpriced: list[Held] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    credit_expired: list[str] = field(default_factory=list)

    def find(self, looked_at: int, dates: int, periods: int, *, contracts: int) -> None:
        """Count what is due of so many contracts more, of ``contracts`` in all."""
        self.contracts_found += looked_at
        self.dates_found += dates
        self.periods_found += periods
        self.dates_expected = -(-self.dates_found * contracts // self.contracts_found)
        self.periods_expected = -(-self.periods_found * contracts // self.contracts_found)

    def find_late(self, late: int, days_late_max: int) -> None:
        """Count how late the due dates of some contracts more are."""
        self.late += late
        self.days_late_max = max(self.days_late_max, days_late_max)

    def begin(self, drafts: Sequence[Draft]) -> None:
        """Count a chunk whose writing begins."""
        for draft in drafts:
            self.begun_minor[draft.currency] += draft.total_minor

    def add(self, drafts: Sequence[Draft], nothing_due: Sequence[Key]) -> None:
        """Count a chunk that is written."""
        self.invoiced += len(drafts)
        self.nothing_due += len(nothing_due)
        self.lines += sum(len(draft.line_ids) for draft in drafts)
        for draft in drafts:
            self.totals_minor[draft.currency] += draft.total_minor

    def check(self, *, stored: Mapping[str, int], before: Mapping[str, int]) -> None:
        """Raises BrokenState when the ledger's totals are not those ``before`` plus this run's."""
        expected = Counter(before)
        for currency, total in self.totals_minor.items():
            expected[currency] += total
        if dict(expected) != dict(stored):
            raise BrokenState(
                f"the run drafted {dict(expected)} minor units and the ledger has {dict(stored)}. Stop "
                "billing and restore the ledger from its last backup."
            )
