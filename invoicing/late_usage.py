"""Contracts whose billed time was touched since their last bill: events that came late, or were corrected.

A billing run notes with every date it settles up to which event it knew (``looked_through``). The next bill
of the contract asks for what came after that number with a time before its last billing date. So nothing is
looked at twice, nothing is missed by a run that was killed, and only touched contracts are rated again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine, select

from ingest.clickhouse import EventStore
from ingest.clock import from_micros
from ingest.in_force import read_cut
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.bulk import select_by_ids
from invoicing.pools import pool_owners
from invoicing.seats_in_advance import NO_SEATS, SeatsKnown, seat_meters, seats_known
from invoicing.tables import SETTLED_BILLING_DATES
from invoicing.wider_periods import is_pooled
from rating.late_usage_store import contracts_without_adjustments
from rollup.period import find_time_zone, local_midnights_micros
from rollup.stored_rows import newest_events

_COLUMNS: Final = "contract_id String, subject String, looked_through Int64, settled_micros Int64"
_A_DAY: Final = timedelta(days=1)
_SCHEMA: Final = pa.schema(
    [
        ("contract_id", pa.string()),
        ("subject", pa.string()),
        ("looked_through", pa.int64()),
        ("settled_micros", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class LateUsage:
    """What a billing run knows of late usage.

    looked_through: everything up to that event or correction was looked at. touched: contracts of which
    something that is billed may differ, with a day before the first date that may: those of
    ``touched_contracts`` that do not ignore it, and those of ``changed_seats``. ended: contracts that are
    billed to their end, with that day. ignoring: contracts that let late usage be. seats: what is known of
    licences in advance. seats_only: contracts of which only what the last bill had in advance is put right.
    """

    looked_through: int
    touched: Mapping[str, date]
    ended: Mapping[str, date]
    ignoring: Collection[str]
    seats: SeatsKnown = NO_SEATS
    seats_only: Collection[str] = frozenset()


def find_late_usage(
    store: EventStore,
    ledger: Engine,
    catalogue: BillingCatalogue,
    periods: pa.Table,
    *,
    looked_through: int,
    recounted: Collection[str],
) -> LateUsage:
    """Look for late usage of the contracts that are due and of those that have ended, and for changes of
    licences that were billed in advance. periods: SERVICE_PERIOD_SCHEMA, those that are due. looked_through:
    ``newest_change``, asked before any usage is counted: what comes in afterwards is looked at by the next
    bill. recounted: contracts whose licences are counted again whatever events say, because the contract
    changed."""
    due = pc.unique(periods["contract_id"]).to_pylist()
    with ledger.connect() as connection:
        ignoring = contracts_without_adjustments(connection, catalogue.contracts["contract_id"].to_pylist())
    ended = ended_contracts(catalogue)
    touched = touched_contracts(store, catalogue, {*due, *ended} - ignoring)
    known = seats_known(catalogue, periods)
    if known is NO_SEATS:
        return LateUsage(looked_through, touched, ended, ignoring)
    changed = {*changed_seats(store, catalogue, known), *recounted}
    first = _first_dates(ledger, catalogue, touched, changed)
    return LateUsage(looked_through, first, ended, ignoring, known, changed & set(ignoring))


def changed_seats(store: EventStore, catalogue: BillingCatalogue, known: SeatsKnown) -> list[str]:
    """Contracts with changes of licences in advance after the beginning of the period that was billed last
    and before the date that is billed now, whenever they came in."""
    meters = seat_meters(catalogue)
    types = sorted({meter.event_type for meter in catalogue.meters if meter.meter_id in meters})
    rows = _billed_subjects(catalogue, known.until.keys())
    if not len(rows) or not types:
        return []
    until = pl.DataFrame({"contract_id": list(known.until), "until_micros": list(known.until.values())})
    rows = rows.join(until, on="contract_id").drop("looked_through")
    first: Any = rows["settled_micros"].min()
    last: Any = rows["until_micros"].max()
    columns = "contract_id String, subject String, settled_micros Int64, until_micros Int64"
    sql = (
        "SELECT DISTINCT c.contract_id AS contract_id FROM (\n"
        "    SELECT toString(subject) AS subject, toUnixTimestamp64Micro(time) AS micros FROM events\n"
        "    WHERE type IN {types:Array(String)}\n"
        f"        AND time >= fromUnixTimestamp64Micro(toInt64({first:d}), 'UTC')\n"
        f"        AND time < fromUnixTimestamp64Micro(toInt64({last:d}), 'UTC')\n"
        ") AS e INNER JOIN {scratch} AS c ON e.subject = c.subject\n"
        "WHERE e.micros >= c.settled_micros AND e.micros < c.until_micros ORDER BY contract_id"
    )
    with store.scratch_table(columns, rows.to_arrow()) as scratch:
        found = store.query(sql.replace("{scratch}", scratch), {"types": types})
    return [str(contract_id) for contract_id in found["contract_id"].to_pylist()]


def _first_dates(
    ledger: Engine, catalogue: BillingCatalogue, touched: Mapping[str, date], changed: Collection[str]
) -> dict[str, date]:
    """Where usage is billed after its day, a licence in advance is billed on the last date before it: the day
    before that date, of each contract."""
    columns = (catalogue.settled[name].to_pylist() for name in ("contract_id", "billing_date"))
    last = {key: date.fromisoformat(day) for key, day in zip(*columns, strict=True)}
    days = {**touched, **{key: last[key] for key in changed if key in last and key not in touched}}
    table = SETTLED_BILLING_DATES
    statement = select(table.c.contract_id, table.c.billing_date)
    found = dict(days)
    with ledger.connect() as connection:
        settled: dict[str, date] = {}
        for key, text in select_by_ids(connection, statement, table.c.contract_id, sorted(days)):
            day = date.fromisoformat(text)
            if day <= days[key]:
                settled[key] = max(day, settled.get(key, day))
    for key, day in settled.items():
        found[key] = min(found[key], day - _A_DAY)
    return found


def newest_change(store: EventStore) -> int:
    """The number of the last event or correction. Whoever reads it sees all before it."""
    return max(newest_events(store, after=0), read_cut(store, known_at=None).correction_sequence)


def touched_contracts(
    store: EventStore, catalogue: BillingCatalogue, contract_ids: Collection[str]
) -> dict[str, date]:
    """Of these contracts, those with billed time that was touched since it was looked at: the earliest local
    day that was. Of a contract that was never billed nothing is touched.

    Usage of another contract that shares a pool touches this one too. A contract may be named in vain (an
    event that none of its meters counts): rating it again then gives no difference.
    """
    rows = _billed_subjects(catalogue, contract_ids)
    types = sorted({meter.event_type for meter in catalogue.meters})
    if not len(rows) or not types:
        return {}
    lowest: Any = rows["looked_through"].min()
    latest: Any = rows["settled_micros"].max()
    sql = (
        "SELECT c.contract_id AS contract_id, min(e.micros) AS first FROM (\n"
        "    SELECT toString(subject) AS subject, toInt64(sequence) AS number,\n"
        "        toUnixTimestamp64Micro(time) AS micros FROM events\n"
        f"    WHERE sequence > {lowest:d} AND replaces = 0 AND type IN {{types:Array(String)}}\n"
        f"        AND time < fromUnixTimestamp64Micro(toInt64({latest:d}), 'UTC')\n"
        "    UNION ALL\n"
        "    SELECT toString(subject) AS subject, toInt64(correction_sequence) AS number,\n"
        "        toUnixTimestamp64Micro(assumeNotNull(arrayJoin(arrayFilter(one -> isNotNull(one),\n"
        "            [toNullable(time), replacement_time])))) AS micros FROM superseded_events\n"
        f"    WHERE correction_sequence > {lowest:d} AND type IN {{types:Array(String)}}\n"
        ") AS e INNER JOIN {scratch} AS c ON e.subject = c.subject\n"
        "WHERE e.number > c.looked_through AND e.micros < c.settled_micros GROUP BY contract_id"
    )
    with store.scratch_table(_COLUMNS, rows.to_arrow().cast(_SCHEMA)) as scratch:
        found = store.query(sql.replace("{scratch}", scratch), {"types": types}).to_pylist()
    zones = dict(
        zip(*(catalogue.contracts[name].to_pylist() for name in ("contract_id", "time_zone")), strict=True)
    )
    return {
        row["contract_id"]: from_micros(row["first"])
        .astimezone(find_time_zone(zones[row["contract_id"]]))
        .date()
        for row in sorted(found, key=lambda row: str(row["contract_id"]))
    }


def ended_contracts(catalogue: BillingCatalogue) -> dict[str, date]:
    """Contracts whose last billing date is settled: the day they ended."""
    settled = pl.DataFrame(catalogue.settled.select(["contract_id", "billing_date"]))
    ends = pl.DataFrame(catalogue.contracts.select(["contract_id", "end_date"]))
    both = ends.with_columns(pl.col("end_date").cast(pl.String)).join(settled, on="contract_id")
    over = both.filter(pl.col("billing_date") >= pl.col("end_date"))
    return {row[0]: date.fromisoformat(row[1]) for row in over.select("contract_id", "end_date").iter_rows()}


def _billed_subjects(catalogue: BillingCatalogue, contract_ids: Collection[str]) -> pl.DataFrame:
    """_SCHEMA: every subject whose usage the contracts were billed for, and up to when."""
    facts = pl.DataFrame(catalogue.contracts.select(["contract_id", "customer_id", "time_zone"]))
    settled = pl.DataFrame(catalogue.settled.select(["contract_id", "billing_date", "looked_through"]))
    wanted = pl.DataFrame({"contract_id": sorted(contract_ids)}, schema={"contract_id": pl.String})
    billed = facts.join(wanted, on="contract_id", how="semi").join(settled, on="contract_id")
    if not len(billed):
        return billed
    parts = [
        zone.with_columns(settled_micros=_midnights(zone["billing_date"], str(name[0])))
        for name, zone in billed.group_by("time_zone", maintain_order=True)
    ]
    billed = pl.concat(parts).with_columns(pl.col("looked_through").fill_null(0))
    return billed.join(_subjects(catalogue), on="contract_id").select(_SCHEMA.names)


def _subjects(catalogue: BillingCatalogue) -> pl.DataFrame:
    """(contract_id, subject): those of each contract, and where plans pool those of the others counted with
    it."""
    own = pl.DataFrame(catalogue.subjects.select(["contract_id", "subject"]))
    pooled = any(is_pooled(charge) for entry in catalogue.plan_versions for charge in entry.plan.charges)
    if not pooled:
        return own
    owners = pool_owners(catalogue)
    beside = owners.join(owners, on=["way", "owner"], suffix="_beside").select(
        "contract_id", pl.col("contract_id_beside").alias("beside")
    )
    beside = beside.unique(maintain_order=True)
    return beside.join(own, left_on="beside", right_on="contract_id").select("contract_id", "subject")


def _midnights(dates: pl.Series, time_zone: str) -> pl.Series:
    """First instants of local days (ISO texts) in microseconds."""
    days = sorted({date.fromisoformat(text) for text in dates.to_list()})
    marks: Mapping[str, int] = {
        day.isoformat(): int(mark)
        for day, mark in zip(days, local_midnights_micros(days, time_zone).tolist(), strict=True)
    }
    return pl.Series([marks[text] for text in dates.to_list()], dtype=pl.Int64)
