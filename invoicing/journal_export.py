"""The journal for accounting systems: rows for CSV, Arrow and Parquet, and a Beancount ledger. Pure but
for reading.

The same journal is the same bytes: entries never change and are written in the order of their numbers, so
a second export begins with the first. A row is known by its entry number and position: who reads it twice
keeps one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import groupby
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Engine, func, select

from invoicing.journal_mirror import ENTRIES_PER_BLOCK, POSTINGS_SCHEMA, read_postings
from invoicing.journal_tables import JOURNAL_ENTRIES
from rating.money import format_minor, minor_to_decimal

_AMOUNT: Final = pa.decimal128(38, 4)
EXPORT_SCHEMA: Final = POSTINGS_SCHEMA.append(pa.field("amount", _AMOUNT))
"""POSTINGS_SCHEMA with ``amount`` in major units."""
BEANCOUNT_ACCOUNTS: Final[Mapping[str, str]] = {
    "receivable": "Assets:Receivable",
    "unbilled": "Assets:Unbilled",
    "cash": "Assets:Cash",
    "suspense": "Assets:Suspense",
    "deferred": "Liabilities:Deferred",
    "tax": "Liabilities:Tax",
    "customer_credit": "Liabilities:Customer-Credit",
    "prepaid_credit": "Liabilities:Prepaid-Credit",
    "revenue": "Income:Revenue",
    "bad_debt": "Expenses:Bad-Debt",
    "rounding": "Expenses:Rounding",
}


def posting_tables(ledger: Engine, *, after: int = 0) -> Iterator[pa.Table]:
    """Every posting behind entry number ``after``, block by block, as POSTINGS_SCHEMA."""
    with ledger.connect() as connection:
        newest = int(connection.execute(select(func.max(JOURNAL_ENTRIES.c.entry_number))).scalar() or 0)
        for start in range(after, newest, ENTRIES_PER_BLOCK):
            yield read_postings(connection, start, min(start + ENTRIES_PER_BLOCK, newest))


def with_amounts(postings: pa.Table) -> pa.Table:
    """The same with ``amount`` in major units, exact, for people and their spreadsheets."""
    pairs = zip(postings["amount_minor"].to_pylist(), postings["currency"].to_pylist(), strict=True)
    amounts = [minor_to_decimal(minor, currency) for minor, currency in pairs]
    return postings.append_column("amount", pa.array(amounts, _AMOUNT))


def beancount_text(tables: Iterable[pa.Table]) -> Iterator[str]:
    """The journal as a Beancount ledger that ``bean-check`` accepts, piece by piece.

    tables: of ``posting_tables``. An entry is a transaction; a commodity is a currency; customer,
    contract and charge are metadata of the posting.
    """
    blocks = list(tables)
    days = [day for block in blocks for day in block["entry_date"].to_pylist()]
    first = min(days, default=date(1970, 1, 1))
    yield 'option "title" "Ratemill journal"\n\n'
    for name in sorted(BEANCOUNT_ACCOUNTS.values()):
        yield f"{first.isoformat()} open {name}\n"
    for block in blocks:
        rows = block.to_pylist()
        for _, lines in groupby(rows, key=lambda row: row["entry_number"]):
            yield _transaction(list(lines))


def _transaction(lines: list[dict[str, Any]]) -> str:
    entry = lines[0]
    about = entry["document_id"] or entry["payment_id"]
    text = [
        f'\n{entry["entry_date"].isoformat()} * "{entry["kind"]} {_quoted(about)}"',
        f"  entry-number: {entry['entry_number']}",
        f'  posted-at: "{entry["posted_at"].isoformat()}"',
    ]
    for line in lines:
        amount = format_minor(line["amount_minor"], line["currency"])
        text.append(f"  {BEANCOUNT_ACCOUNTS[line['account']]}  {amount} {line['currency']}")
        for name, field in (
            ("customer", "customer_id"),
            ("contract", "contract_id"),
            ("charge", "charge_id"),
        ):
            if line[field]:
                text.append(f'    {name}: "{_quoted(line[field])}"')
    return "\n".join(text) + "\n"


def _quoted(words: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", words)
