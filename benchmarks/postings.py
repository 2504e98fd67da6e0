"""A journal of any size as the event store keeps it: whole documents, recognised, billed and paid.

Every customer gets one document a month for twelve months. Its lines are those that ``invoicing/posting.py``
gives a document of five charges: recognised on the last day of the month, billed with 19 % tax on the day
after, paid on the 15th, but for every seventh document. Amounts come of the document's number.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.canonical import Int64s, draw, subject_names
from invoicing.journal_mirror import POSTINGS_SCHEMA
from invoicing.revenue_part_read import PARTS_SCHEMA

POSTING_CUSTOMERS: Final = {"tiny": 50, "small": 4_000, "full": 40_000}
"""At full size the journal has 9.9 million lines."""
MONTHS: Final = 12
CHARGES: Final = ("api", "compute", "network", "storage", "support")
AS_OF: Final = date(2026, 12, 31)
_SEED, _AMOUNT = 7, 70
_POSTED: Final = datetime(2026, 1, 1, tzinfo=UTC)
_UNPAID: Final = 7

# Kind of entry, account, part, number of the charge if it is of one, sign.
_LINES: Final = (
    *(("recognition", "unbilled", "", number, 1) for number in range(len(CHARGES))),
    *(("recognition", "revenue", "", number, -1) for number in range(len(CHARGES))),
    ("invoice", "receivable", "net", None, 1),
    ("invoice", "receivable", "tax", None, 1),
    ("invoice", "tax", "", None, -1),
    *(("invoice", "unbilled", "", number, -1) for number in range(len(CHARGES))),
    ("payment", "cash", "", None, 1),
    ("payment", "receivable", "net", None, -1),
    ("payment", "receivable", "tax", None, -1),
)
_KINDS: Final = ("recognition", "invoice", "payment")


def posting_tables(customers: int) -> Iterator[pa.Table]:
    """POSTINGS_SCHEMA, a table a month: every customer's document of the month, in order of entries."""
    for month in range(MONTHS):
        document = np.arange(customers, dtype=np.int64) + month * customers
        yield _table(document, customers, month)


def part_tables(customers: int) -> Iterator[pa.Table]:
    """PARTS_SCHEMA of the same journal: each row of revenue is of the days of its month."""
    for postings in posting_tables(customers):
        rows = postings.filter(pc.equal(postings["account"], "revenue"))
        last = rows["entry_date"]
        columns = {
            **{name: rows[name] for name in rows.column_names},
            "first_day": pc.floor_temporal(last, unit="month"),
            "last_day": last,
            "billed_on": pa.array([last[0].as_py() + timedelta(days=1)] * rows.num_rows, pa.date32()),
            "amount_minor": pc.negate(rows["amount_minor"]),
            "through_minor": pa.array([[]] * rows.num_rows, pa.list_(pa.int64())),
        }
        arrays = [columns[field.name].cast(field.type) for field in PARTS_SCHEMA]
        yield pa.Table.from_arrays(arrays, schema=PARTS_SCHEMA)


def _table(document: Int64s, customers: int, month: int) -> pa.Table:
    charged = np.stack(
        [
            (draw(_SEED, _AMOUNT + number, document.astype(np.uint64)) % np.uint64(100_000)).astype(np.int64)
            for number in range(len(CHARGES))
        ]
    )
    net = charged.sum(axis=0)
    tax = (net * 19 + 50) // 100
    place = np.tile(np.arange(len(_LINES)), len(document))
    amounts = np.stack([_amounts(line, charged, net, tax) for line in _LINES], axis=1).reshape(-1)
    whole = np.repeat(document, len(_LINES))
    kind = np.array([_KINDS.index(line[0]) for line in _LINES])[place]
    kept = (kind != _KINDS.index("payment")) | (whole % _UNPAID != 0)
    place, amounts, whole, kind = place[kept], amounts[kept], whole[kept], kind[kept]
    first = date(2026 + (month + 1) // 12, (month + 1) % 12 + 1, 1)
    days = pa.array([first - timedelta(days=1), first, first + timedelta(days=14)], pa.date32())
    named = subject_names(whole % customers)
    empty = pa.array([""] * len(whole))
    columns = {
        "entry_number": pa.array(whole * len(_KINDS) + kind + 1),
        "position": pa.array(place + 1),
        "entry_date": days.take(pa.array(kind)),
        "posted_at": pa.array([_POSTED] * len(whole), POSTINGS_SCHEMA.field("posted_at").type),
        "kind": pa.array(_KINDS).take(pa.array(kind)),
        "account": pa.array([line[1] for line in _LINES]).take(pa.array(place)),
        "part": pa.array([line[2] for line in _LINES]).take(pa.array(place)),
        "customer_id": named,
        "contract_id": named,
        "charge_id": pa.array(["" if line[3] is None else CHARGES[line[3]] for line in _LINES]).take(
            pa.array(place)
        ),
        "currency": pa.array(["EUR"] * len(whole)),
        "document_id": pa.array(whole).cast(pa.string()),
        "payment_id": empty,
        "amount_minor": pa.array(amounts),
    }
    arrays = [columns[field.name].cast(field.type) for field in POSTINGS_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=POSTINGS_SCHEMA)


def _amounts(
    line: tuple[str, str, str, int | None, int], charged: Int64s, net: Int64s, tax: Int64s
) -> Int64s:
    _, account, part, charge, sign = line
    if charge is not None:
        size: Int64s = charged[charge]
    elif account == "cash":
        size = net + tax
    else:
        size = net if part == "net" else tax
    return sign * size
