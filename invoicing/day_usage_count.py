"""Counts, for a report of revenue by day, what was consumed on each day of the lines that documents bill.

Usage is counted as it was known when the document was posted, so that an event that comes later moves
nothing: its adjustment does. Of archived events the days are not known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine, select

from ingest.clickhouse import EventStore
from ingest.meter import Meter
from invoicing.adjustment_shares import BilledPart
from invoicing.billing_catalogue import load_billing_catalogue
from invoicing.bulk import select_by_ids
from invoicing.day_usage import AdjustedByDay, UsedByDay, days_between
from invoicing.month_share_store import load_month_shares
from invoicing.month_shares import USAGE_KIND, consumed_by
from invoicing.posting import DocumentLine, PostedDocument, catches_up
from invoicing.recognition import CORRECTION_KIND
from invoicing.revenue_parts import DaysOfUse
from invoicing.tables import INVOICE_LINES, ISSUED_DOCUMENTS, LINE_ADJUSTMENTS
from rating.line_item import RATED_LINE_SCHEMA
from rating.steps import ADJUSTMENT_KIND
from rollup.roll_up import RolledUp, roll_up_usage

_LINES_AT_ONCE: Final = 10_000
_COLUMNS: Final = (
    *("line_id", "contract_id", "billing_date", "charge_kind", "period_start", "period_end", "dimensions"),
    *("meter_id", "plan_id", "plan_version", "agreement", "charge_id"),
)
_NOTHING: Final = UsedByDay({})


@dataclass(frozen=True, slots=True)
class _Adjusted:
    """An adjustment of a line of usage: the line, whose contract and billing date it has."""

    line_id: str
    contract_id: str
    billing_date: str


@dataclass(frozen=True, slots=True)
class _Billed:
    """What was billed of a line of usage, and when that was known."""

    line_id: str
    posted_at: datetime
    amount_minor: int


def days_of_use(
    event_store: EventStore,
    ledger: Engine,
    connection: Connection,
    documents: Iterable[tuple[PostedDocument, datetime]],
) -> dict[str, DaysOfUse]:
    """Of those lines of documents that go by what was used on their days, by line id. documents: each with
    the instant it was posted."""
    lines, corrected = _lines_of_use(documents)
    if not lines:
        return {}
    adjusting = [key for key, (line, _) in lines.items() if line.charge_kind == ADJUSTMENT_KIND]
    adjusted = _adjusted(connection, adjusting)
    before = _billed_before(connection, adjusted)
    asked: dict[datetime, set[str]] = defaultdict(set)
    for key, (line, posted_at) in lines.items():
        if line.charge_kind == USAGE_KIND or key in adjusted:
            asked[posted_at].add(key)
    for key, of in before.items():
        if of:
            asked[of[-1].posted_at].add(key)
    rated = _rated(event_store, sorted({key for keys in asked.values() for key in keys}), adjusted)
    known = {
        (key, instant): UsedByDay(dict(days))
        for instant, keys in sorted(asked.items())
        for key, days in _counted(event_store, ledger, rated, keys, instant)
    }
    shares = load_month_shares(connection, [one.line_id for of in before.values() for one in of])
    used: dict[str, DaysOfUse] = {}
    for key, (line, posted_at) in lines.items():
        now = known.get((key, posted_at), _NOTHING)
        if line.charge_kind == USAGE_KIND:
            used[key] = now
        elif key in adjusted:
            of = before[key]
            parts = [BilledPart(one.amount_minor, shares.get(one.line_id)) for one in of]
            then = known.get((key, of[-1].posted_at), _NOTHING) if of else _NOTHING
            used[key] = AdjustedByDay(line.period_start, line.period_end, parts, then, now)
    return used | {key: used[of] for key, of in corrected.items() if of in used}


def _lines_of_use(
    documents: Iterable[tuple[PostedDocument, datetime]],
) -> tuple[dict[str, tuple[DocumentLine, datetime]], dict[str, str]]:
    """Lines of usage over several days and adjustments, each with when it was posted; and corrections."""
    lines: dict[str, tuple[DocumentLine, datetime]] = {}
    corrected: dict[str, str] = {}
    for document, posted_at in documents:
        if catches_up(document):
            continue
        corrected |= _corrected(document.lines)
        for line in document.lines:
            days = (line.period_end - line.period_start).days
            if line.charge_kind in (USAGE_KIND, ADJUSTMENT_KIND) and days > 1:
                lines[line.line_id] = (line, posted_at)
    return lines, corrected


def _corrected(lines: Sequence[DocumentLine]) -> dict[str, str]:
    """The line that each correction of a review corrects, where that is one of usage: it has its charge and
    period."""
    corrections = [line for line in lines if line.charge_kind == CORRECTION_KIND]
    if not corrections:
        return {}
    places = {
        (line.charge_id, line.period_start, line.period_end): line.line_id
        for line in lines
        if line.charge_kind == USAGE_KIND
    }
    keys = {line.line_id: (line.charge_id, line.period_start, line.period_end) for line in corrections}
    return {line_id: places[key] for line_id, key in keys.items() if key in places}


def _adjusted(connection: Connection, line_ids: Sequence[str]) -> dict[str, _Adjusted]:
    columns = LINE_ADJUSTMENTS.c
    names = (columns.line_id, columns.adjusted_line_id, columns.contract_id, columns.billing_date)
    statement = select(*names).where(columns.charge_kind == USAGE_KIND)
    return {
        row.line_id: _Adjusted(row.adjusted_line_id, row.contract_id, row.billing_date)
        for row in select_by_ids(connection, statement, columns.line_id, line_ids)
    }


def _billed_before(connection: Connection, adjusted: Mapping[str, _Adjusted]) -> dict[str, list[_Billed]]:
    """All that issued documents billed of each adjusted line before the adjustment, in their order; by the id
    of the adjustment."""
    ids = sorted({one.line_id for one in adjusted.values()})
    line_id, adjusts = INVOICE_LINES.c.line_id, LINE_ADJUSTMENTS.c.adjusted_line_id
    register = ISSUED_DOCUMENTS.c
    facts = (line_id, INVOICE_LINES.c.amount_minor, register.issued_at, register.number)
    issued = INVOICE_LINES.join(ISSUED_DOCUMENTS, register.document_id == INVOICE_LINES.c.invoice_id)
    own = select(line_id.label("of"), *facts).select_from(issued)
    adjusting = select(adjusts.label("of"), *facts).select_from(
        issued.join(LINE_ADJUSTMENTS, LINE_ADJUSTMENTS.c.line_id == line_id)
    )
    found: dict[str, list[tuple[int, _Billed]]] = defaultdict(list)
    for statement, key in ((own, line_id), (adjusting, adjusts)):
        for row in select_by_ids(connection, statement, key, ids):
            billed = _Billed(row.line_id, datetime.fromisoformat(row.issued_at), row.amount_minor)
            found[row.of].append((row.number, billed))
    before = {}
    for adjustment, one in adjusted.items():
        in_order = sorted(found[one.line_id], key=lambda of: (of[1].posted_at, of[0]))
        of = [billed for _, billed in in_order]
        place = next((at for at, billed in enumerate(of) if billed.line_id == adjustment), len(of))
        before[adjustment] = of[:place]
    return before


def _rated(event_store: EventStore, line_ids: Sequence[str], adjusted: Mapping[str, _Adjusted]) -> pa.Table:
    """What ``consumed_by`` needs of the lines; adjustments under the contract and date of the line they
    adjust."""
    ids = pa.array([bytes.fromhex(key) for key in line_ids], pa.binary(16))
    with event_store.scratch_table("line_id FixedString(16)", pa.table({"line_id": ids})) as wanted:
        found = event_store.query(
            f"SELECT {', '.join(_COLUMNS)} FROM rated_lines FINAL\n"
            f"WHERE line_id IN (SELECT line_id FROM {wanted}) ORDER BY contract_id, billing_date, line_id"
        )
    found = found.cast(pa.schema([RATED_LINE_SCHEMA.field(name) for name in _COLUMNS]))
    if not adjusted:
        return found
    rows = found.select(["line_id", "contract_id", "billing_date", "charge_kind"]).to_pylist()
    for row in rows:
        of = adjusted.get(row["line_id"].hex())
        if of is not None:
            row |= {"contract_id": of.contract_id, "billing_date": date.fromisoformat(of.billing_date)}
            row["charge_kind"] = USAGE_KIND
    for name in ("contract_id", "billing_date", "charge_kind"):
        field = found.schema.field(name)
        values = pa.array([row[name] for row in rows], pa.string() if name != "billing_date" else field.type)
        place = found.schema.get_field_index(name)
        found = found.set_column(place, name, values)
    return found


def _counted(
    event_store: EventStore, ledger: Engine, rated: pa.Table, line_ids: Collection[str], known_at: datetime
) -> Iterator[tuple[str, list[tuple[date, int]]]]:
    """What was consumed on each day of the lines, as known then, some lines at a time; of those that add up
    over days."""

    def roll_up(calendar: pa.Table, meters: Sequence[Meter]) -> RolledUp:
        return roll_up_usage(event_store, calendar=calendar, meters=meters, known_at=known_at)

    ids = pa.array([bytes.fromhex(key) for key in sorted(line_ids)], rated.schema.field("line_id").type)
    chosen = rated.filter(pc.is_in(rated["line_id"], value_set=ids))
    for start in range(0, chosen.num_rows, _LINES_AT_ONCE):
        some = chosen.slice(start, _LINES_AT_ONCE).combine_chunks()
        contract_ids = sorted(set(some["contract_id"].to_pylist()))
        catalogue = load_billing_catalogue(ledger, contract_ids)
        yield from consumed_by(
            days_between, some, catalogue=catalogue, ledger=ledger, roll_up=roll_up
        ).items()
