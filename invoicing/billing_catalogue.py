"""Everything a billing run reads from the ledger before it starts, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import orjson
import pyarrow as pa
from sqlalchemy import Connection, Engine, func, select

from ingest.document import canonical_json
from ingest.ledger import ledger_snapshots, reading
from ingest.meter import Meter
from ingest.meter_store import list_meters
from invoicing.bulk import select_by_ids
from invoicing.tables import SETTLED_BILLING_DATES
from rating.agreement import AgreedSegment, Agreement, agreed_versions
from rating.agreement_store import load_agreements, load_segments
from rating.catalogue import load_contract_subjects, load_contracts, load_plan_versions
from rating.compile import PriceBook, compile_price_book
from rating.holiday_calendar_store import load_invoice_days
from rating.invoice_day import InvoiceDayRule
from rating.plan_version import PlanVersion
from rating.pool_store import load_pools
from rating.priced_meters import priced_meters
from rating.tables import CONTRACT_POOLS, CONTRACT_VERSIONS, CONTRACTS


@dataclass(frozen=True, slots=True)
class BillingCatalogue:
    """contracts: sorted by id, so that every run walks them in the same order. meters: those a plan
    prices. segments: what contracts agree beyond their plans, by contract_id; agreements: by key.
    agreed_versions: the plan versions and, after them, those that come of the agreements. settled:
    (contract_id, billing_date, contract_version, looked_through) the last settled date of each contract, the
    version of the contract it was billed by, up to which event late usage was looked for. companions: when
    only some contracts were asked for and a plan pools contracts, the others of their customers and pools,
    with subjects and segments among those of the rest. invoice_days: the rules of contracts that are
    invoiced on business days, by contract_id. pool_ids: the pools that contracts name, by contract_id; empty
    when no plan counts the contracts of a pool together."""

    contracts: pa.Table
    subjects: pa.Table
    settled: pa.Table
    plan_versions: Sequence[PlanVersion]
    segments: Mapping[str, tuple[AgreedSegment, ...]]
    agreements: Mapping[str, Agreement]
    agreed_versions: Sequence[PlanVersion]
    meters: Sequence[Meter]
    price_book: PriceBook
    companions: pa.Table
    invoice_days: Mapping[str, InvoiceDayRule]
    pool_ids: Mapping[str, str]


def load_billing_catalogue(ledger: Engine, contract_ids: Sequence[str] | None = None) -> BillingCatalogue:
    """Read the catalogue, all contracts or those named (unknown ids are left out), as it is at one moment: a
    contract that is changed meanwhile is read as before the change in all its parts."""
    with ledger_snapshots(ledger, 2) as (connection, beside), ThreadPoolExecutor(max_workers=1) as pool:
        # Reading 100,000 contracts and the rest take turns with Python, so a third is saved.
        contracts = pool.submit(_sorted_contracts, beside, contract_ids)
        plan_versions = load_plan_versions(connection)
        meters = {meter.meter_id: meter for meter in list_meters(connection)}
        others = _companion_ids(connection, contract_ids, plan_versions)
        every_id = None if contract_ids is None else [*contract_ids, *others]
        subjects = pool.submit(load_contract_subjects, beside, every_id)
        segments = load_segments(connection, every_id)
        every = [segment for track in segments.values() for segment in track]
        agreements = load_agreements(connection, {segment.agreement_key for segment in every})
        invoice_days = load_invoice_days(connection, every_id)
        pool_ids = load_pools(connection, every_id) if "pool" in _ways_of_pooling(plan_versions) else {}
        settled = load_last_settled(connection, contract_ids)
        versions = agreed_versions(plan_versions, every, agreements)
        price_book, priced = _compiled(_ToCompile(_content_of(versions, meters), versions, meters))
        companions = _sorted_contracts(connection, others)
    return BillingCatalogue(
        contracts=contracts.result(),
        subjects=subjects.result(),
        settled=settled,
        plan_versions=plan_versions,
        segments=segments,
        agreements=agreements,
        agreed_versions=versions,
        meters=priced,
        price_book=price_book,
        companions=companions,
        invoice_days=invoice_days,
        pool_ids=pool_ids,
    )


@dataclass(frozen=True, slots=True)
class _ToCompile:
    """Plan versions and meters, equal to others of the same ``content``."""

    content: tuple[object, ...]
    versions: Sequence[PlanVersion] = field(compare=False)
    meters: Mapping[str, Meter] = field(compare=False)


def _content_of(versions: Sequence[PlanVersion], meters: Mapping[str, Meter]) -> tuple[object, ...]:
    """What decides a price book. A stored plan is parsed to one object, which is kept while its number is in
    use; an agreement's key is the hash of its content."""
    plans = (
        (entry.plan.plan_id, entry.version, entry.agreement) if entry.agreement else id(entry.plan)
        for entry in versions
    )
    return (*plans, *(canonical_json(meters[key]) for key in sorted(meters)))


@lru_cache(maxsize=2)
def _compiled(wanted: _ToCompile) -> tuple[PriceBook, tuple[Meter, ...]]:
    """The price book and the meters it prices; the last two are kept, because a preview of one contract
    needs all plans: 200 plans of 12 charges take 0.25 s."""
    book = compile_price_book(wanted.versions, wanted.meters)
    return book, tuple(priced_meters(wanted.versions, wanted.meters))


def _sorted_contracts(connection: Connection, contract_ids: Sequence[str] | None) -> pa.Table:
    contracts = load_contracts(connection, contract_ids)
    if contract_ids is None:
        return contracts  # sorted by their bytes
    # A database sorts text by its own rules; by code point it is the same everywhere.
    return contracts.sort_by("contract_id")


def _companion_ids(
    connection: Connection, contract_ids: Sequence[str] | None, plan_versions: Sequence[PlanVersion]
) -> list[str]:
    """The other contracts of the customers and of the pools of some contracts, if any plan counts them
    together."""
    ways = _ways_of_pooling(plan_versions)
    if contract_ids is None or not ways:
        return []
    owners = {"customer": CONTRACTS.c.customer_id, "pool": CONTRACT_POOLS.c.pool_id}
    found: set[str] = set()
    for way, owner in owners.items():
        if way not in ways:
            continue
        named = owner.table.c.contract_id
        wanted = sorted({row[0] for row in select_by_ids(connection, select(owner), named, contract_ids)})
        found |= {row[0] for row in select_by_ids(connection, select(named), owner, wanted)}
    return sorted(found - set(contract_ids))


def _ways_of_pooling(plan_versions: Sequence[PlanVersion]) -> set[str]:
    """What charges of the plans are pooled over, beside their own contract."""
    ways = {charge.pooled_over for entry in plan_versions for charge in entry.plan.charges}
    return {way for way in ways if way != "contract"}


def load_terms(connection: Connection, versions: Mapping[str, int]) -> dict[str, str]:
    """The terms of each contract as canonical JSON text, by contract_id.

    versions: the version wanted of each. A run names the versions it read at its start, so that a
    contract saved meanwhile does not put its terms on the invoice of the version before.
    """
    table = CONTRACT_VERSIONS
    statement = select(table.c.contract_id, table.c.version, table.c.document)
    rows = select_by_ids(connection, statement, table.c.contract_id, list(versions))
    return {
        contract_id: orjson.dumps(orjson.loads(text)["terms"], option=orjson.OPT_SORT_KEYS).decode()
        for contract_id, version, text in rows
        if versions[contract_id] == version
    }


def load_last_settled(ledger: Engine | Connection, contract_ids: Sequence[str] | None) -> pa.Table:
    """The last settled date of contracts, as ``BillingCatalogue`` has it; None: of all."""
    dates = SETTLED_BILLING_DATES
    # Dates are settled in order and versions only rise, so these maxima stand in one row.
    statement = select(
        dates.c.contract_id,
        func.max(dates.c.billing_date),
        func.max(dates.c.contract_version),
        func.max(dates.c.looked_through),
    ).group_by(dates.c.contract_id)
    with reading(ledger) as connection:
        if contract_ids is None:
            rows = [tuple(row) for row in connection.execute(statement)]
        else:
            found = select_by_ids(connection, statement, dates.c.contract_id, list(contract_ids))
            rows = [tuple(row) for row in found]
    return pa.table(
        {
            "contract_id": pa.array([row[0] for row in rows], pa.string()),
            "billing_date": pa.array([row[1] for row in rows], pa.string()),
            "contract_version": pa.array([row[2] for row in rows], pa.int64()),
            "looked_through": pa.array([row[3] for row in rows], pa.int64()),
        }
    )
