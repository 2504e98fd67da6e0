"""The journal in the event store, where analysts ask: copied after the ledger, in the order of entry
numbers.

The last entry number in the copy says how far it is. A block holds whole entries and lands whole or not
at all, so a copy that was killed goes on where it stopped. Nothing is ever read back into the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from threading import Lock
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, Engine, func, select

from ingest.clickhouse import EventStore
from invoicing.bulk import halves_of, sum_of_halves
from invoicing.day_usage_count import days_of_use
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.revenue_part_read import FindDays, parts_table, read_parts

POSTINGS_SCHEMA: Final = pa.schema(
    [
        ("entry_number", pa.uint64()),
        ("position", pa.uint32()),
        ("entry_date", pa.date32()),
        ("posted_at", pa.timestamp("us", "UTC")),
        ("kind", pa.string()),
        ("account", pa.string()),
        ("part", pa.string()),
        ("customer_id", pa.string()),
        ("contract_id", pa.string()),
        ("charge_id", pa.string()),
        ("currency", pa.string()),
        ("document_id", pa.string()),
        ("payment_id", pa.string()),
        ("amount_minor", pa.int64()),
    ]
)
"""One row a journal line; ids that an entry has not are empty."""
ENTRIES_PER_BLOCK: Final = 50_000
_ENTRIES_WITH_DAYS: Final = 20_000
"""At once, when days of revenue are made: their documents and what was used on each day are in memory."""
_E, _L = JOURNAL_ENTRIES.c, JOURNAL_LINES.c


@dataclass(frozen=True, slots=True)
class MirrorCheck:
    """Entries, lines and sums of both sides up to the last entry that is copied. debit_minor: what was
    debited, over all currencies, as a check sum."""

    through_entry: int
    waiting_entries: int
    ledger_lines: int
    mirror_lines: int
    ledger_debit_minor: int
    mirror_debit_minor: int

    @property
    def ties(self) -> bool:
        """Whether the copy is the journal."""
        return (self.ledger_lines, self.ledger_debit_minor) == (self.mirror_lines, self.mirror_debit_minor)

    def to_dict(self) -> dict[str, Any]:
        """With ``ties``."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "ties": self.ties}


@dataclass(frozen=True, slots=True)
class JournalMirror:
    """Copies the journal of ``ledger`` into ``event_store``; one a process, asked from any thread."""

    ledger: Engine
    event_store: EventStore
    _lock: Lock = field(default_factory=Lock)

    def catch_up(self) -> bool:
        """Copy what is new. False when this process may not write to the event store and something is new."""
        with self._lock:
            last = _last_copied(self.event_store)
            with self.ledger.connect() as connection:
                newest = int(connection.execute(select(func.max(_E.entry_number))).scalar() or 0)
                if newest > last and self.event_store.turn() is None:
                    return False
                for start in range(last, newest, ENTRIES_PER_BLOCK):
                    end = min(start + ENTRIES_PER_BLOCK, newest)
                    self.event_store.insert("journal_postings", read_postings(connection, start, end))
            return True

    def catch_up_days(self) -> int | None:
        """The same with the days of revenue. The last entry that is copied with its days; None when this
        process may not write to the event store and something is new."""
        if not self.catch_up():
            return None
        with self._lock:
            last, copied = _days_through(self.event_store), _last_copied(self.event_store)
            if copied > last and self.event_store.turn() is None:
                return None
            with self.ledger.connect() as connection:
                for start in range(last, copied, _ENTRIES_WITH_DAYS):
                    end = min(start + _ENTRIES_WITH_DAYS, copied)
                    parts = read_parts(connection, start, end, self.days_of_use(connection))
                    self.event_store.insert("revenue_parts", pa.concat_tables([parts, _all_through(end)]))
            return copied

    def days_of_use(self, connection: Connection) -> FindDays:
        """Counts in the event store on which days usage was."""
        return partial(days_of_use, self.event_store, self.ledger, connection)

    def check(self) -> MirrorCheck:
        """Hold the copy to the ledger, as far as it goes."""
        last = _last_copied(self.event_store)
        found = self.event_store.query(
            "SELECT count() AS lines, toString(sum(toInt128(greatest(amount_minor, 0)))) AS debit "
            "FROM journal_postings FINAL"
        ).to_pylist()[0]
        debit = _L.amount_minor > 0
        with self.ledger.connect() as connection:
            lines = connection.execute(select(func.count()).where(_L.entry_number <= last)).scalar_one()
            sums = select(*halves_of(_L.amount_minor)).where(_L.entry_number <= last, debit)
            high, low = connection.execute(sums).one()
            newest = connection.execute(select(func.max(_E.entry_number))).scalar() or 0
        return MirrorCheck(
            through_entry=last,
            waiting_entries=int(newest) - last,
            ledger_lines=int(lines),
            mirror_lines=int(found["lines"]),
            ledger_debit_minor=sum_of_halves(high or 0, low or 0),
            mirror_debit_minor=int(found["debit"]),
        )


def _last_copied(event_store: EventStore) -> int:
    found = event_store.query("SELECT max(entry_number) AS last FROM journal_postings")
    return int(found["last"][0].as_py())


def _days_through(event_store: EventStore) -> int:
    found = event_store.query("SELECT max(entry_number) AS last FROM revenue_parts WHERE position = 0")
    return int(found["last"][0].as_py())


def _all_through(entry_number: int) -> pa.Table:
    """The row that says the parts of all entries up to this one are there."""
    day, posted_at = date(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC)
    return parts_table([(entry_number, 0, day, day, day, posted_at, "", "", "", "", 0, ())])


def read_postings(connection: Connection, after: int, through: int) -> pa.Table:
    """The lines of entries behind ``after`` up to ``through``, as POSTINGS_SCHEMA, in their order."""
    names = POSTINGS_SCHEMA.names
    columns = [_L[name] if name in _L else _E[name] for name in names]
    statement = (
        select(*columns)
        .select_from(JOURNAL_LINES.join(JOURNAL_ENTRIES))
        .where(_L.entry_number > after, _L.entry_number <= through)
        .order_by(_L.entry_number, _L.position)
    )
    rows = connection.execute(statement).all()
    by_column = zip(*rows, strict=True) if rows else ((),) * len(POSTINGS_SCHEMA)
    arrays = [
        pa.array([_read(column.name, value) for value in values], column.type)
        for column, values in zip(POSTINGS_SCHEMA, by_column, strict=True)
    ]
    return pa.table(arrays, schema=POSTINGS_SCHEMA)


def _read(name: str, value: Any) -> Any:
    if name == "entry_date":
        return date.fromisoformat(value)
    if name == "posted_at":
        return datetime.fromisoformat(value)
    return "" if value is None else value
