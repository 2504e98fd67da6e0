"""The ledger's record of billing runs: begun, finished, interrupted; and what a run has written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import orjson
import pyarrow as pa
from sqlalchemy import Connection, Engine, func, insert, select, tuple_, update

from ingest.errors import BrokenState, Conflict, NotFound
from ingest.ledger import ledger_transaction
from invoicing.bulk import halves_of, sum_of_halves
from invoicing.tables import BILLING_RUNS, INVOICE_LINES, INVOICES, SETTLED_BILLING_DATES

_HASHES_AT_ONCE: Final = 50_000
RUNNING = "running"
FINISHED = "finished"
INTERRUPTED = "interrupted"
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class BillingRun:
    """``report`` is None until the run has finished."""

    run_id: str
    as_of: date
    state: str
    started_at: str
    finished_at: str | None
    report: Mapping[str, Any] | None


def begin_run(ledger: Engine, *, run_id: str | None, as_of: date, now: datetime) -> str:
    """Put the run on record and return its id; call it with the billing lock held.

    Other runs still ``running`` are dead (their lock is gone) and become ``interrupted``. Without
    an id the interrupted or failed run of the same date is taken up again, or a new one is named
    ``bill-<date>-<n>``. Raises Conflict when the id belongs to another date.
    """
    day = as_of.isoformat()
    with ledger_transaction(ledger) as connection:
        dead = BILLING_RUNS.c.state == RUNNING
        connection.execute(update(BILLING_RUNS).where(dead).values(state=INTERRUPTED))
        if run_id is None:
            run_id = _open_run_id(connection, day)
        known = connection.execute(
            select(BILLING_RUNS.c.as_of).where(BILLING_RUNS.c.run_id == run_id)
        ).scalar_one_or_none()
        if known is None:
            connection.execute(
                insert(BILLING_RUNS).values(
                    run_id=run_id, as_of=day, state=RUNNING, started_at=now.isoformat()
                )
            )
            return run_id
        if known != day:
            raise Conflict(
                f"billing run {run_id!r} is on record as of {known}, not {day}. Use another run id.",
                reason_code="run_id_taken",
            )
        connection.execute(
            update(BILLING_RUNS)
            .where(BILLING_RUNS.c.run_id == run_id)
            .values(state=RUNNING, finished_at=None)
        )
    return run_id


def end_run(
    ledger: Engine, *, run_id: str, state: str, now: datetime, report: Mapping[str, Any] | None
) -> None:
    """Put the end of the run on record; ``state`` is finished or failed."""
    text = None if report is None else orjson.dumps(report).decode()
    with ledger_transaction(ledger) as connection:
        connection.execute(
            update(BILLING_RUNS)
            .where(BILLING_RUNS.c.run_id == run_id)
            .values(state=state, finished_at=now.isoformat(), report=text)
        )


def get_run(ledger: Engine, run_id: str) -> BillingRun:
    """One run by id. Raises NotFound."""
    with ledger.connect() as connection:
        row = connection.execute(select(BILLING_RUNS).where(BILLING_RUNS.c.run_id == run_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no billing run {run_id!r}. `ratemill bill` starts one and names it.")
    return _billing_run(row)


def list_runs(ledger: Engine, *, limit: int, after: tuple[str, str] | None = None) -> list[BillingRun]:
    """The newest runs first; those after (started_at, run_id)."""
    place = (BILLING_RUNS.c.started_at, BILLING_RUNS.c.run_id)
    newest = select(BILLING_RUNS).order_by(*(column.desc() for column in place))
    if after is not None:
        newest = newest.where(tuple_(*place) < tuple_(*after))
    with ledger.connect() as connection:
        return [_billing_run(row) for row in connection.execute(newest.limit(limit))]


def last_finished_run(connection: Connection, *, as_of: date) -> BillingRun | None:
    """The run as of that date that finished last, if any."""
    finished = (BILLING_RUNS.c.as_of == as_of.isoformat(), BILLING_RUNS.c.state == FINISHED)
    newest = select(BILLING_RUNS).where(*finished).order_by(BILLING_RUNS.c.finished_at.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return None if row is None else _billing_run(row)


def open_run_id(connection: Connection, *, prefix: str, as_of: date) -> str:
    """``<prefix>-<date>``, then ``<prefix>-<date>-2`` and so on: the first that is not finished."""
    first = f"{prefix}-{as_of.isoformat()}"
    named = BILLING_RUNS.c.run_id.startswith(first, autoescape=True)
    finished = select(BILLING_RUNS.c.run_id).where(named, BILLING_RUNS.c.state == FINISHED)
    taken = set(connection.execute(finished).scalars())
    run_id, number = first, 1
    while run_id in taken:
        number += 1
        run_id = f"{first}-{number}"
    return run_id


def count_settled(connection: Connection, *, as_of: date) -> int:
    """Billing dates up to ``as_of`` that are done with."""
    settled = SETTLED_BILLING_DATES
    statement = select(func.count()).where(settled.c.billing_date <= as_of.isoformat())
    return int(connection.execute(statement).scalar_one())


def invoiced_totals(connection: Connection, run_id: str) -> dict[str, int]:
    """Minor units by currency of a run's invoices, summed twice: by invoice and by line.

    Raises BrokenState when the two differ.
    """
    ours = INVOICES.c.run_id == run_id
    by_invoice = select(INVOICES.c.currency, *halves_of(INVOICES.c.total_minor)).where(ours)
    joined = INVOICES.join(INVOICE_LINES, INVOICES.c.invoice_id == INVOICE_LINES.c.invoice_id)
    halves = halves_of(INVOICE_LINES.c.amount_minor)
    by_line = select(INVOICES.c.currency, *halves).select_from(joined).where(ours)
    invoices, lines = (
        {row[0]: sum_of_halves(*row[1:]) for row in connection.execute(query.group_by(INVOICES.c.currency))}
        for query in (by_invoice, by_line)
    )
    if invoices != lines:
        raise BrokenState(
            f"the invoices of run {run_id} come to {invoices} minor units, their lines to {lines}. Stop "
            "billing and restore the ledger from its last backup."
        )
    return invoices


def count_invoiced(connection: Connection, run_id: str) -> int:
    """How many invoices a run has written."""
    statement = select(func.count()).select_from(INVOICES).where(INVOICES.c.run_id == run_id)
    return int(connection.execute(statement).scalar_one())


def manifest_hash(connection: Connection, *, as_of: date) -> str:
    """SHA-256 over the sorted document hashes of every invoice billed as of that date.

    The same catalogue, contracts and usage billed as of the same date give the same value, however
    many runs it took.
    """
    joined = INVOICES.join(BILLING_RUNS, INVOICES.c.run_id == BILLING_RUNS.c.run_id)
    statement = (
        select(INVOICES.c.document_hash).select_from(joined).where(BILLING_RUNS.c.as_of == as_of.isoformat())
    )
    rows = connection.execute(statement.execution_options(yield_per=_HASHES_AT_ONCE)).scalars()
    # Text in columns takes half the memory of Python's, and sorts as Python sorts hex digits.
    blocks = [pa.array(block, pa.string()) for block in rows.partitions()]
    hashes = pa.chunked_array(blocks, pa.string()).combine_chunks().sort()
    digest = hashlib.sha256()
    for first in range(0, len(hashes), _HASHES_AT_ONCE):
        block = hashes.slice(first, _HASHES_AT_ONCE).to_pylist()
        digest.update(("\n" if first else "").encode() + "\n".join(block).encode())
    return digest.hexdigest()


def _open_run_id(connection: Connection, day: str) -> str:
    same_day = BILLING_RUNS.c.as_of == day
    unfinished = connection.execute(
        select(BILLING_RUNS.c.run_id)
        .where(same_day, BILLING_RUNS.c.state != FINISHED)
        .order_by(BILLING_RUNS.c.started_at.desc(), BILLING_RUNS.c.run_id)
        .limit(1)
    ).scalar_one_or_none()
    if unfinished is not None:
        return str(unfinished)
    taken = set(connection.execute(select(BILLING_RUNS.c.run_id).where(same_day)).scalars())
    number = len(taken) + 1
    while f"bill-{day}-{number}" in taken:
        number += 1
    return f"bill-{day}-{number}"


def _billing_run(row: Any) -> BillingRun:
    return BillingRun(
        run_id=row.run_id,
        as_of=date.fromisoformat(row.as_of),
        state=row.state,
        started_at=row.started_at,
        finished_at=row.finished_at,
        report=None if row.report is None else orjson.loads(row.report),
    )
