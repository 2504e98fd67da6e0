"""The journal in the ledger: entries added in the caller's transaction, balances on any day as known at any
time.

Who posts takes the journal's counter and holds it until the end of the transaction. So numbers have no gap,
entries become visible in their order, and two that look at the same open document wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, func, literal_column, select, update

from invoicing.bulk import halves_of, insert_rows, sum_of_halves
from invoicing.journal import ACCOUNTS, JournalEntry
from invoicing.journal_rows import JournalRows
from invoicing.journal_tables import JOURNAL_COUNTER, JOURNAL_ENTRIES, JOURNAL_LINES

_JOURNAL: Final = "journal"


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """One account in one currency, minor units: what was debited, what was credited (both at or above
    zero)."""

    account: str
    currency: str
    debit_minor: int
    credit_minor: int

    @property
    def balance_minor(self) -> int:
        """A debit balance above zero."""
        return self.debit_minor - self.credit_minor

    def to_dict(self) -> dict[str, Any]:
        """With the balance."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "balance_minor": self.balance_minor}


def posted_text(now: datetime) -> str:
    """An instant as the journal keeps it: in UTC with microseconds, so that texts sort as instants do."""
    return now.astimezone(UTC).isoformat(timespec="microseconds")


def lock_journal(connection: Connection) -> None:
    """Wait for whoever posts, and let nobody else post until this transaction ends."""
    _draw(connection, 0)


def append_entries(connection: Connection, entries: Sequence[JournalEntry], *, now: datetime) -> None:
    """Post entries in their order, in the caller's transaction. One that was posted breaks a key.

    Raises BrokenState when one does not sum to zero; then nothing of them is written.
    """
    if not entries:
        return
    rows = begin_rows(connection, now=now)
    for entry in entries:
        rows.add(entry)
    append_rows(connection, rows)


def begin_rows(connection: Connection, *, now: datetime) -> JournalRows:
    """No rows yet, with the number of the next entry; the journal is locked, so it stays the next one."""
    return JournalRows(next_entry_number(connection), posted_text(now))


def append_rows(connection: Connection, rows: JournalRows) -> None:
    """Post the rows of ``begin_rows``, in the same transaction. An entry that was posted breaks a key."""
    if not rows.entries:
        return
    _draw(connection, len(rows.entries))
    insert_rows(connection, JOURNAL_ENTRIES, rows.entries, sorted_by="entry_id")
    insert_rows(connection, JOURNAL_LINES, rows.lines)


def _draw(connection: Connection, count: int) -> int:
    """Take the next ``count`` entry numbers; the first of them."""
    counter = JOURNAL_COUNTER.c
    moved = (
        update(JOURNAL_COUNTER)
        .where(counter.journal == _JOURNAL)
        .values(next_number=counter.next_number + count)
        .returning(counter.next_number)
    )
    return int(connection.execute(moved).scalar_one()) - count


@dataclass(frozen=True, slots=True)
class JournalFilter:
    """Which lines: every field that is not None must hold. on: entry_date up to and with that day. known_at:
    posted up to that instant. from_date: entry_date on or after it."""

    on: date | None = None
    known_at: datetime | None = None
    from_date: date | None = None
    customer_id: str | None = None
    contract_id: str | None = None
    document_id: str | None = None
    payment_id: str | None = None
    account: str | None = None
    currency: str | None = None


def conditions_of(chosen: JournalFilter) -> list[ColumnElement[bool]]:
    """The conditions on JOURNAL_LINES joined with JOURNAL_ENTRIES."""
    entries, lines = JOURNAL_ENTRIES.c, JOURNAL_LINES.c
    found: list[ColumnElement[bool]] = []
    if chosen.on is not None:
        found.append(entries.entry_date <= chosen.on.isoformat())
    if chosen.from_date is not None:
        found.append(entries.entry_date >= chosen.from_date.isoformat())
    if chosen.known_at is not None:
        found.append(entries.posted_at <= posted_text(chosen.known_at))
    exact = (
        *((entries, name) for name in ("document_id", "payment_id")),
        *((lines, name) for name in ("customer_id", "contract_id", "account", "currency")),
    )
    wanted = ((columns[name], getattr(chosen, name)) for columns, name in exact)
    return [*found, *(column == value for column, value in wanted if value is not None)]


def trial_balance(ledger: Engine, *, chosen: JournalFilter) -> list[AccountBalance]:
    """The accounts that were used, by currency, in the order of ``ACCOUNTS``. Their balances sum to zero in
    every currency, unless ``chosen`` names a contract or an account."""
    lines = JOURNAL_LINES.c
    size = func.abs(lines.amount_minor)
    # A literal: PostgreSQL takes two parameters for two expressions, and would not group by the other.
    is_debit = lines.amount_minor > literal_column("0")
    statement = (
        select(lines.account, lines.currency, is_debit, *halves_of(size))
        .select_from(JOURNAL_LINES.join(JOURNAL_ENTRIES))
        .where(*conditions_of(chosen))
        .group_by(lines.account, lines.currency, is_debit)
    )
    sums: dict[tuple[str, str], list[int]] = {}
    with ledger.connect() as connection:
        for account, currency, debit, high, low in connection.execute(statement):
            sides = sums.setdefault((currency, account), [0, 0])
            sides[0 if debit else 1] += sum_of_halves(high, low)
    order = list(ACCOUNTS)
    keys = sorted(sums, key=lambda key: (key[0], order.index(key[1])))  # type: ignore[arg-type]
    return [AccountBalance(account, currency, *sums[currency, account]) for currency, account in keys]


def list_entries(
    ledger: Engine, *, chosen: JournalFilter, limit: int, after: int = 0
) -> list[dict[str, Any]]:
    """Up to ``limit`` entries with a number above ``after`` that have a line as chosen, in order of posting,
    each with all its lines."""
    entries, lines = JOURNAL_ENTRIES.c, JOURNAL_LINES.c
    numbers = (
        select(entries.entry_number)
        .where(entries.entry_number > after, *_entry_conditions(chosen))
        .order_by(entries.entry_number)
        .limit(limit)
    )
    statement = (
        select(JOURNAL_ENTRIES, JOURNAL_LINES)
        .select_from(JOURNAL_ENTRIES.join(JOURNAL_LINES))
        .where(entries.entry_number.in_(numbers.scalar_subquery()))
        .order_by(entries.entry_number, lines.position)
    )
    found: dict[int, dict[str, Any]] = {}
    with ledger.connect() as connection:
        for row in connection.execute(statement).mappings():
            number = row[entries.entry_number]
            if number not in found:
                found[number] = {column.name: row[column] for column in JOURNAL_ENTRIES.columns}
                found[number]["lines"] = []
            kept = (column for column in JOURNAL_LINES.columns if column.name != "entry_number")
            found[number]["lines"].append({column.name: row[column] for column in kept})
    return list(found.values())


def _entry_conditions(chosen: JournalFilter) -> list[ColumnElement[bool]]:
    """Conditions on entries alone; those on lines as "has such a line"."""
    of_lines = (chosen.customer_id, chosen.contract_id, chosen.account, chosen.currency)
    if not any(value is not None for value in of_lines):
        return conditions_of(chosen)
    has_line = (
        select(JOURNAL_LINES.c.entry_number)
        .select_from(JOURNAL_LINES.join(JOURNAL_ENTRIES))
        .where(*conditions_of(chosen))
    )
    return [JOURNAL_ENTRIES.c.entry_number.in_(has_line.scalar_subquery())]


def next_entry_number(connection: Connection) -> int:
    """The number the next entry gets; sure while the journal is locked."""
    return _draw(connection, 0)


def entry_named_id(connection: Connection, word: str, column: ColumnElement[str]) -> str:
    """An id after the next entry, like ``pay-000007``, that none in ``column`` has; call it while the journal
    is locked. Callers may choose ids too, those of another installation for one, so it may be taken."""
    named = f"{word}-{next_entry_number(connection):06d}"
    wanted, turn = named, 1
    while connection.execute(select(column).where(column == wanted)).first() is not None:
        turn += 1
        wanted = f"{named}-{turn}"
    return wanted
