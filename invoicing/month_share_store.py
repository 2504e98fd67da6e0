"""Month shares in the ledger: written with their line, read whenever something is posted of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection, select

from ingest.document import decimal_text
from ingest.event import QUANTITY_SCALE
from invoicing.bulk import insert_rows, select_by_ids
from invoicing.month_shares import USAGE_KIND
from invoicing.posting import DocumentLine
from invoicing.posting_rows import RecognisedDays
from invoicing.recognition import CORRECTION_KIND, MonthShares
from invoicing.tables import LINE_MONTH_SHARES
from rating.steps import ADJUSTMENT_KIND
from rating.wide_columns import scaled_integer

_MAY_HAVE_SHARES: Final = frozenset({USAGE_KIND, ADJUSTMENT_KIND, CORRECTION_KIND})


def enter_month_shares(connection: Connection, shares: Mapping[str, MonthShares]) -> None:
    """Write the month shares of lines, by line id, in the transaction that writes the lines."""
    rows = [
        (line_id, day.isoformat(), decimal_text(Decimal(f"{share}E-{QUANTITY_SCALE}")))
        for line_id, months in shares.items()
        for day, share in months
    ]
    if rows:
        insert_rows(connection, LINE_MONTH_SHARES, rows)


def copy_month_shares(connection: Connection, *, line_id: str, to_line_id: str) -> None:
    """A line that corrects another is revenue when that one is."""
    columns = LINE_MONTH_SHARES.c
    own = select(columns.month_end, columns.share).where(columns.line_id == line_id)
    rows = connection.execute(own.order_by(columns.month_end)).all()
    if rows:
        copies = [(to_line_id, month_end, share) for month_end, share in rows]
        insert_rows(connection, LINE_MONTH_SHARES, copies)


def shares_of_lines(
    connection: Connection, lines: Iterable[DocumentLine], days: RecognisedDays
) -> dict[str, MonthShares]:
    """The month shares of those of the lines that have some, by line id; lines of one month are not asked
    for, and none where nobody bills over months."""
    if connection.execute(select(LINE_MONTH_SHARES.c.line_id).limit(1)).first() is None:
        return {}
    wanted = [
        line_id
        for line_id, _, kind, start, end, _ in lines
        if days[kind, start, end] is None and kind in _MAY_HAVE_SHARES
    ]
    return load_month_shares(connection, wanted)


def load_month_shares(connection: Connection, line_ids: Sequence[str]) -> dict[str, MonthShares]:
    """The month shares of lines, by line id; of lines that have some."""
    if not line_ids:
        return {}
    columns = LINE_MONTH_SHARES.c
    found: dict[str, list[tuple[date, int]]] = defaultdict(list)
    for line_id, day, share in select_by_ids(
        connection, select(columns.line_id, columns.month_end, columns.share), columns.line_id, line_ids
    ):
        found[line_id].append((date.fromisoformat(day), scaled_integer(Decimal(share))))
    return {line_id: tuple(sorted(shares)) for line_id, shares in found.items()}
