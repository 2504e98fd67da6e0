"""Billed dates under the version of the contract that each was billed by, with their amendments.

A contract may change its plan or its fees on the way. Rating its history again by the version in force
would bill fees of a past period as if the change had been known; so each date is taken by its own version,
and what the next version put right stands on the next date, as it did when it was billed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine, select

from ingest.clickhouse import EventStore
from ingest.meter_store import list_meters
from invoicing.amendment_rows import AmendmentRows, ChangedContract, amendment_rows, with_rows
from invoicing.amendments_due import billed_fees
from invoicing.billed_time import Billed
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.bulk import select_by_ids
from invoicing.due import due_service_periods
from invoicing.fee_return import FeeReturn
from invoicing.history import BillingDates
from invoicing.hold import Key
from invoicing.left_to_give_back import left_to_give_back
from invoicing.seat_changes import CutRow, RowKey
from invoicing.tables import BILLING_RUNS, SETTLED_BILLING_DATES
from rating.agreement import AgreedSegment, Agreement, agreed_versions
from rating.agreement_dates import agreed_segments, terms_by_day
from rating.agreement_store import load_agreements
from rating.compile import compile_price_book
from rating.contract import Contract
from rating.contract_store import contracts_table
from rating.tables import CONTRACT_VERSIONS, CONTRACTS


@dataclass(frozen=True, slots=True)
class PeriodsAsBilled:
    """periods: SERVICE_PERIOD_SCHEMA. returns: of fees, as they were billed. catalogue: with all prices they
    name. cut: the periods whose licences in advance count no more, because others stand instead."""

    catalogue: BillingCatalogue
    periods: pa.Table
    returns: Sequence[FeeReturn] = ()
    cut: frozenset[RowKey] = frozenset()


@dataclass(frozen=True, slots=True)
class _Step:
    """A settled billing date and the contract it was billed by."""

    day: date
    contract: Contract
    version: int


def periods_as_billed(
    catalogue: BillingCatalogue,
    periods: pa.Table,
    dates: BillingDates,
    *,
    event_store: EventStore,
    ledger: Engine,
    now: datetime,
    cuts: Sequence[CutRow] = (),
) -> PeriodsAsBilled:
    """The periods of settled dates, each by the version of its bill. periods: of contracts of the catalogue,
    by the versions in force; dates that are not settled stay so. cuts: what the bill that is made now cuts,
    with the prices it needs in the catalogue; what earlier ones did is found."""
    nothing = _cut(PeriodsAsBilled(catalogue, periods), cuts, dates)
    ids = pc.unique(periods["contract_id"]).to_pylist()
    with ledger.connect() as connection:
        steps = _steps(connection, catalogue, ids, dates)
        if not steps:
            return nothing
        made, agreements = _amendments(connection, event_store, catalogue, steps, dates)
    parts, segments = [_without(periods, steps)], list[AgreedSegment]()
    for batch in _batches(steps):
        agreements |= {
            agreement.key(): agreement
            for entry in batch.values()
            for _, _, agreement in terms_by_day(entry.contract)
        }
        tracks = {key: tuple(agreed_segments(entry.contract)) for key, entry in batch.items()}
        segments += [segment for track in tracks.values() for segment in track]
        due = due_service_periods(
            contracts=contracts_table([(entry.contract, entry.version) for entry in batch.values()]),
            plan_versions=catalogue.plan_versions,
            segments={key: track for key, track in tracks.items() if track},
            agreements=agreements,
            settled=catalogue.settled.slice(0, 0),
            as_of=dates.end - timedelta(days=1),
            now=now,
        )
        wanted = {
            (key, step.day)
            for key, entry in batch.items()
            for step in steps[key]
            if step.version == entry.version and step.day >= dates.first
        }
        parts.append(_only(due, wanted))
    made_versions = [
        *agreed_versions(catalogue.plan_versions, segments, agreements),
        *made.versions.values(),
    ]
    known = {(entry.plan.plan_id, entry.version, entry.agreement) for entry in catalogue.agreed_versions}
    new = {(entry.plan.plan_id, entry.version, entry.agreement): entry for entry in made_versions}
    versions = [*catalogue.agreed_versions, *(entry for key, entry in new.items() if key not in known)]
    meters = {meter.meter_id: meter for meter in list_meters(ledger)}
    grown = replace(
        catalogue,
        agreements={**catalogue.agreements, **agreements, **made.agreements},
        agreed_versions=versions,
        price_book=compile_price_book(versions, meters),
    )
    both = with_rows(pa.concat_tables(parts).unify_dictionaries(), made.rows)
    found = PeriodsAsBilled(grown, both, made.returns)
    return _cut(found, [*made.cuts, *cuts], dates)


def _cut(found: PeriodsAsBilled, cuts: Sequence[CutRow], dates: BillingDates) -> PeriodsAsBilled:
    """With the rows that stand instead of those cut."""
    inside = [cut for cut in cuts if cut.key[1] >= dates.first]
    instead = [cut.row for cut in inside if cut.row is not None]
    periods = with_rows(found.periods, instead) if instead else found.periods
    return replace(found, periods=periods, cut=frozenset(cut.key for cut in inside))


def _steps(
    connection: Connection, catalogue: BillingCatalogue, ids: Sequence[str], dates: BillingDates
) -> dict[str, list[_Step]]:
    """The settled dates before ``dates.end`` of the contracts whose terms changed on the way, in order."""
    table = SETTLED_BILLING_DATES
    other = (
        select(table.c.contract_id)
        .join(CONTRACTS, CONTRACTS.c.contract_id == table.c.contract_id)
        .where(CONTRACTS.c.version != table.c.contract_version)
    )
    statement = select(table.c.contract_id, table.c.billing_date, table.c.contract_version).where(
        table.c.billing_date < dates.end.isoformat(), table.c.contract_id.in_(other)
    )
    found: dict[str, list[tuple[date, int]]] = {}
    for contract_id, day, version in select_by_ids(connection, statement, table.c.contract_id, ids):
        found.setdefault(contract_id, []).append((date.fromisoformat(day), version))
    numbers = (catalogue.contracts[name].to_pylist() for name in ("contract_id", "version"))
    standing = dict(zip(*numbers, strict=True))
    wanted = {
        contract_id: {standing[contract_id], *(version for _, version in settled)}
        for contract_id, settled in found.items()
        if {version for _, version in settled} != {standing[contract_id]}
    }
    documents = _documents(connection, wanted)
    return {
        contract_id: [
            _Step(day, documents[contract_id, version], version)
            for day, version in sorted(found[contract_id])
        ]
        for contract_id, versions in wanted.items()
        if len({_terms(documents[contract_id, version]) for version in versions}) > 1
    }


def _terms(contract: Contract) -> tuple[object, ...]:
    terms = ((day, plan_id, agreement.key()) for day, plan_id, agreement in terms_by_day(contract))
    return (contract.end_date, *terms)


def _documents(connection: Connection, wanted: Mapping[str, set[int]]) -> dict[tuple[str, int], Contract]:
    table = CONTRACT_VERSIONS
    statement = select(table.c.contract_id, table.c.version, table.c.document)
    return {
        (contract_id, version): Contract.model_validate_json(text)
        for contract_id, version, text in select_by_ids(
            connection, statement, table.c.contract_id, list(wanted)
        )
        if version in wanted[contract_id]
    }


def _batches(steps: Mapping[str, Sequence[_Step]]) -> Iterator[dict[str, _Step]]:
    """A step a contract and version, no contract twice in a batch."""
    distinct = {
        key: list({step.version: step for step in entries}.values()) for key, entries in steps.items()
    }
    for place in range(max(map(len, distinct.values()), default=0)):
        yield {key: entries[place] for key, entries in distinct.items() if place < len(entries)}


def _amendments(
    connection: Connection,
    store: EventStore,
    catalogue: BillingCatalogue,
    steps: Mapping[str, Sequence[_Step]],
    dates: BillingDates,
) -> tuple[AmendmentRows, dict[str, Agreement]]:
    """What each version put right on its first date, and the agreements of the lines given back of."""
    made, every = AmendmentRows(), dict[str, Agreement]()
    for contract_id, entries in steps.items():
        for before, step in pairwise(entries):
            if step.version == before.version or step.day < dates.first:
                continue
            billed = Billed(before.contract, before.day)
            changed = {contract_id: ChangedContract(step.contract, billed, step.day)}
            lines = billed_fees(connection, store, changed)
            keys = {line["agreement"] for line in lines.get(contract_id, ())} - catalogue.agreements.keys()
            agreements = {
                **catalogue.agreements,
                **load_agreements(connection, keys),
                **{agreement.key(): agreement for _, _, agreement in terms_by_day(step.contract)},
            }
            wanted = [line["line_id"] for line in lines.get(contract_id, ())]
            billed_at = _billed_at(connection, contract_id, step.day)
            track = tuple(agreed_segments(step.contract))
            made.join(
                amendment_rows(
                    changed,
                    lines,
                    left_minor=left_to_give_back(connection, wanted, known_at=billed_at),
                    contracts=contracts_table([(step.contract, step.version)]),
                    plan_versions=catalogue.plan_versions,
                    segments={contract_id: track} if track else {},
                    agreements=agreements,
                    run_id="rerate",
                )
            )
            every |= agreements
    return made, every


def _billed_at(connection: Connection, contract_id: str, day: date) -> datetime:
    """When the run that settled a date began: credit notes issued later left it all to give back."""
    settled = SETTLED_BILLING_DATES.c
    run = (
        select(BILLING_RUNS.c.started_at)
        .join(SETTLED_BILLING_DATES, settled.run_id == BILLING_RUNS.c.run_id)
        .where(settled.contract_id == contract_id, settled.billing_date == day.isoformat())
    )
    return datetime.fromisoformat(connection.execute(run).scalar_one())


def _without(periods: pa.Table, steps: Mapping[str, Sequence[_Step]]) -> pa.Table:
    settled = {(key, step.day) for key, entries in steps.items() for step in entries}
    return _chosen(periods, settled, how="anti")


def _only(periods: pa.Table, wanted: set[Key]) -> pa.Table:
    return _chosen(periods, wanted, how="semi")


def _chosen(periods: pa.Table, wanted: set[Key], *, how: str) -> pa.Table:
    names = {"contract_id": pl.String, "billing_date": pl.Date}
    keys = pl.DataFrame(periods.select(list(names))).with_row_index()
    chosen = pl.DataFrame(sorted(wanted), schema=names, orient="row")
    kept = keys.join(chosen, on=list(names), how="anti" if how == "anti" else "semi", maintain_order="left")
    return periods.take(kept["index"].to_arrow())
