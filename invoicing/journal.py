"""The journal's values: accounts, lines, entries, and the one rule that an entry sums to zero. Pure.

Amounts are signed minor units, a debit above zero. An entry has two times: ``entry_date``, the day it counts
for, and the instant it was posted, which the store adds: what was known then can be asked for at any time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, NamedTuple

from ingest.errors import BrokenState

Account = Literal[
    "receivable",
    "unbilled",
    "deferred",
    "revenue",
    "tax",
    "cash",
    "customer_credit",
    "prepaid_credit",
    "bad_debt",
    "rounding",
    "suspense",
]
ACCOUNTS: Final[Mapping[Account, str]] = {
    "receivable": "Owed by customers for issued documents, tax included",
    "unbilled": "Recognised and not yet billed (contract asset)",
    "deferred": "Billed and not yet recognised (contract liability)",
    "revenue": "Recognised revenue, net of tax",
    "tax": "Tax on issued documents, owed to the state",
    "cash": "Money received",
    "customer_credit": "Received and not applied to a document: overpayments, deposits, payments on account",
    "prepaid_credit": "Credit sold and not used, at what was paid for it",
    "bad_debt": "Receivable that was written off",
    "rounding": "Differences of rounding and bank fees",
    "suspense": "Money that came or went otherwise than by an invoice or a payment on record",
}
"""Every account and what its balance says. Assets and costs stand in debit, the others in credit."""

EntryKind = Literal[
    "invoice",
    "credit_note",
    "recognition",
    "accrual",
    "credit",
    "payment",
    "reversal",
    "allocation",
    "write_off",
    "pay_out",
]

DOCUMENT_KINDS: Final = ("invoice", "credit_note")
"""Kinds of the entry of a document itself."""


class JournalLine(NamedTuple):
    """One line of an entry. amount_minor: a debit above zero. part: of receivable, ``net`` or ``tax``.
    charge_id: where the amount is of one charge. A tuple, because a billing run makes millions."""

    account: Account
    amount_minor: int
    customer_id: str
    contract_id: str
    currency: str
    charge_id: str = ""
    part: str = ""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """What is posted at once for one day. entry_id: says what it is for, and is posted once."""

    entry_id: str
    kind: EntryKind
    entry_date: date
    lines: tuple[JournalLine, ...]
    document_id: str | None = None
    payment_id: str | None = None
    description: str = ""


def check_balanced(entry: JournalEntry) -> None:
    """Raises BrokenState when an entry does not sum to zero in every currency, or has no line."""
    sums = sums_by_currency(entry.lines)
    if not entry.lines or any(sums.values()):
        raise BrokenState(
            f"journal entry {entry.entry_id} sums to {dict(sums)} minor units, not to zero. Nothing was "
            "posted; report this with the entry's id."
        )


def sums_by_currency(lines: Iterable[JournalLine]) -> dict[str, int]:
    """What the lines come to, by currency."""
    sums: dict[str, int] = defaultdict(int)
    for line in lines:
        sums[line.currency] += line.amount_minor
    return sums
