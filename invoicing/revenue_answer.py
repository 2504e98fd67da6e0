"""The report of recognised, billed and collected, out of the store that can answer."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from invoicing.journal_mirror import JournalMirror
from invoicing.revenue import RevenueQuestion, revenue_report, sums_from_ledger
from invoicing.revenue_by_day import revenue_by_day
from invoicing.revenue_columns import revenue_from_mirror


def answer_revenue(mirror: JournalMirror, question: RevenueQuestion) -> Iterator[pa.Table]:
    """The report in tables of REVENUE_SCHEMA, in the order of its rows: out of the event store when its copy
    of the journal can be brought up to date, else out of the ledger. By day there may be many, each made
    when it is asked for. Raises BrokenState when a row does not tie, instead of the table it is in."""
    if question.by == "day":
        yield from revenue_by_day(mirror, question)
    elif mirror.catch_up():
        yield revenue_from_mirror(mirror.event_store, question)
    else:
        with mirror.ledger.connect() as connection:
            yield revenue_report(question, sums_from_ledger(connection, question))
