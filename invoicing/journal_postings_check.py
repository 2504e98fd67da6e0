"""Posts every issued document once more, on paper, and holds the journal to it: the days, accounts,
customers, charges and amounts of its entries, and when they became known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, Engine, select, true

from invoicing.bulk import select_by_ids
from invoicing.journal import DOCUMENT_KINDS
from invoicing.journal_tables import JOURNAL_ENTRIES, JOURNAL_LINES
from invoicing.posting import PostedDocument, document_entries
from invoicing.posting_rows import RecognisedDays
from invoicing.posting_store import posted_documents, registered_where
from invoicing.tables import ISSUED_DOCUMENTS

_SHOWN_MAX: Final = 20
_E, _L = JOURNAL_ENTRIES.c, JOURNAL_LINES.c
_LineKey = tuple[str, str, str, str, str, str]
"""Account, part, customer, contract, charge, currency."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """amounts: what its lines come to, those at zero left out."""

    entry_date: date
    posted_at: datetime
    amounts: Mapping[_LineKey, int]


def verify_postings(ledger: Engine) -> list[str]:
    """Where the journal does not say of an issued document what the document posts, one sentence each; empty
    when all does. It reads every document, some thousands at a time."""
    days, found = RecognisedDays(), list[str]()
    with ledger.connect() as connection:
        for documents in registered_where(connection, true()):
            ids = [document.document_id for document in documents]
            in_journal, issued_at = _in_journal(connection, ids), _issued_at(connection, ids)
            for document in posted_documents(connection, documents, days):
                known = in_journal.get(document.document_id, {})
                found += _differences(document, issued_at[document.document_id], known)
    left_off = len(found) - _SHOWN_MAX
    return [*found[:_SHOWN_MAX], f"... and {left_off:,} more of this kind."] if left_off > 0 else found


def _differences(
    document: PostedDocument, issued_at: datetime, posted: Mapping[str, _Entry]
) -> Iterator[str]:
    wanted = {
        entry.entry_id: _Entry(
            entry.entry_date,
            issued_at,
            _amounts(
                (
                    (
                        line.account,
                        line.part,
                        line.customer_id,
                        line.contract_id,
                        line.charge_id,
                        line.currency,
                    ),
                    line.amount_minor,
                )
                for line in entry.lines
            ),
        )
        for entry in document_entries(document)
    }
    for entry_id in sorted({*wanted, *posted}):
        should, does = wanted.get(entry_id), posted.get(entry_id)
        if should is None:
            yield f"entry {entry_id} is in the journal, and its document posts no such entry."
        elif does is None:
            yield f"entry {entry_id} of its document is not in the journal."
        elif should.entry_date != does.entry_date:
            yield f"entry {entry_id} is posted on {does.entry_date} and belongs on {should.entry_date}."
        elif should.posted_at != does.posted_at:
            yield (
                f"entry {entry_id} is said to be known since {does.posted_at.isoformat()}, and its document "
                f"was issued at {should.posted_at.isoformat()}."
            )
        elif should.amounts != does.amounts:
            yield f"entry {entry_id} is not what its document posts: {_first(should.amounts, does.amounts)}."


def _first(should: Mapping[_LineKey, int], does: Mapping[_LineKey, int]) -> str:
    key = min(key for key in {*should, *does} if should.get(key, 0) != does.get(key, 0))
    words = " ".join(word for word in key if word)
    return f"{words} {does.get(key, 0)} and not {should.get(key, 0)}"


def _amounts(lines: Iterator[tuple[_LineKey, int]]) -> dict[_LineKey, int]:
    sums: Counter[_LineKey] = Counter()
    for key, amount in lines:
        sums[key] += amount
    return {key: amount for key, amount in sums.items() if amount}


def _issued_at(connection: Connection, document_ids: Sequence[str]) -> dict[str, datetime]:
    register = ISSUED_DOCUMENTS.c
    statement = select(register.document_id, register.issued_at)
    rows = select_by_ids(connection, statement, register.document_id, document_ids)
    return {row[0]: datetime.fromisoformat(row[1]) for row in rows}


def _in_journal(connection: Connection, document_ids: Sequence[str]) -> dict[str, dict[str, _Entry]]:
    """By document and entry_id."""
    statement = (
        select(
            _E.document_id,
            _E.entry_id,
            _E.entry_date,
            _E.posted_at,
            _L.account,
            _L.part,
            _L.customer_id,
            _L.contract_id,
            _L.charge_id,
            _L.currency,
            _L.amount_minor,
        )
        .select_from(JOURNAL_LINES.join(JOURNAL_ENTRIES))
        .where(_E.kind.in_((*DOCUMENT_KINDS, "recognition")))
    )
    heads: dict[tuple[str, str], tuple[date, datetime]] = {}
    lines: dict[tuple[str, str], list[tuple[_LineKey, int]]] = defaultdict(list)
    for row in select_by_ids(connection, statement, _E.document_id, document_ids):
        key = (row[0], row[1])
        heads[key] = (date.fromisoformat(row[2]), datetime.fromisoformat(row[3]))
        lines[key].append((tuple(row[4:10]), row[10]))
    found: dict[str, dict[str, _Entry]] = defaultdict(dict)
    for (document_id, entry_id), head in heads.items():
        found[document_id][entry_id] = _Entry(*head, _amounts(iter(lines[document_id, entry_id])))
    return found
