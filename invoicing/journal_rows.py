"""Entries of the journal as the rows of its two tables, numbered in the order of posting. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from invoicing.journal import JournalEntry, check_balanced

EntryRow = tuple[int, str, str, str, str, str | None, str | None, str]
"""As the columns of ``JOURNAL_ENTRIES``."""
LineRow = tuple[int, int, str, str, str, str, str, str, int]
"""As the columns of ``JOURNAL_LINES``."""


@dataclass(slots=True)
class JournalRows:
    """Rows to post. next_number: of the next entry. posted_at: as the journal keeps instants."""

    next_number: int
    posted_at: str
    entries: list[EntryRow] = field(default_factory=list)
    lines: list[LineRow] = field(default_factory=list)

    def add(self, entry: JournalEntry) -> None:
        """Raises BrokenState when the entry does not sum to zero."""
        check_balanced(entry)
        number = self.next_number
        self.next_number += 1
        self.entries.append(
            (
                number,
                entry.entry_id,
                entry.kind,
                entry.entry_date.isoformat(),
                self.posted_at,
                entry.document_id,
                entry.payment_id,
                entry.description,
            )
        )
        self.lines += [
            (
                number,
                position,
                line.account,
                line.part,
                line.customer_id,
                line.contract_id,
                line.charge_id,
                line.currency,
                line.amount_minor,
            )
            for position, line in enumerate(entry.lines, 1)
        ]
