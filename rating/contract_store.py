"""Contracts in the ledger: every version kept as a document, the newest one also as flat columns.

A billing run reads the flat columns of all contracts at once and parses no document. Saving the
newest document again changes nothing; a changed one becomes the next version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, Engine, Table, delete, insert, select

from ingest.document import canonical_json, document_hash, validate_document
from ingest.errors import InvalidDocument, Issue, NotFound
from ingest.ledger import ledger_transaction, reading
from ingest.meter import Meter
from ingest.meter_store import list_meters
from rating.agreement_store import forget_agreements, load_segments, write_agreements
from rating.contract import Contract
from rating.contract_columns import columns_table, read_columns, read_columns_of
from rating.contract_entity_store import forget_billing_entities, write_billing_entities
from rating.contract_rules import (
    ContractSurroundings,
    SubjectHolder,
    contract_rules,
    plan_facts,
    plan_ids_of,
)
from rating.entitlement_store import forget_entitlements, write_entitlements
from rating.holiday_calendar_store import calendar_ids, forget_invoice_days, write_invoice_days
from rating.late_usage_store import forget_late_usage, write_late_usage
from rating.plan_version import Entered, SavedDocument
from rating.pool_store import forget_pools, write_pools
from rating.price_plan import PricePlan
from rating.tables import CONTRACT_SUBJECTS, CONTRACT_VERSIONS, CONTRACTS, PRICE_PLAN_VERSIONS

_KEYS_PER_QUERY: Final = 500  # far under the variable limits of both databases
_IDS_AT_ONCE: Final = 50_000

FurtherRules = Callable[[Connection, Sequence[Contract]], Mapping[str, Sequence[Issue]]]
"""What other rooms hold against contracts that would change: issues by contract_id."""

CONTRACT_SCHEMA: Final = pa.schema(
    [
        pa.field("contract_id", pa.string(), nullable=False),
        pa.field("version", pa.uint32(), nullable=False),
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("plan_id", pa.string(), nullable=False),
        pa.field("start_date", pa.date32(), nullable=False),
        pa.field("end_date", pa.date32(), nullable=True),
        pa.field("time_zone", pa.string(), nullable=False),
        pa.field("cadence", pa.string(), nullable=False),
        pa.field("anchor_date", pa.date32(), nullable=False),
    ]
)
"""Contracts in force, sorted by contract_id. Dates are local to ``time_zone``; ``end_date`` is the
first day no longer covered, or null. ``anchor_date`` is the start date when none was given."""

CONTRACT_SUBJECT_SCHEMA: Final = pa.schema(
    [pa.field("contract_id", pa.string(), nullable=False), pa.field("subject", pa.string(), nullable=False)]
)


@dataclass(frozen=True, slots=True)
class ContractVersion:
    """One version of a contract with its document and when it was saved (ISO 8601, UTC)."""

    contract: Contract
    version: int
    created_at: str


def save_contract(
    engine: Engine,
    document: Contract | Mapping[str, Any],
    *,
    now: datetime,
    further_rules: FurtherRules | None = None,
    entered: Entered | None = None,
) -> SavedDocument:
    """Check every rule and save a new version if the document is new; see ``save_contracts``.

    Raises InvalidDocument with every broken rule; then nothing was saved.
    """
    return save_contracts(engine, [document], now=now, further_rules=further_rules, entered=entered)[0]


def save_contracts(
    engine: Engine,
    documents: Sequence[Contract | Mapping[str, Any]],
    *,
    now: datetime,
    further_rules: FurtherRules | None = None,
    entered: Entered | None = None,
) -> list[SavedDocument]:
    """Save many contracts in one transaction: all of them, or none when one breaks a rule.

    They are checked against each other too, so a subject cannot be billed twice by two contracts of
    one call. further_rules: asked inside the transaction, with the contracts that would change;
    the issues it finds are refused like those of the rules here. entered: called inside the transaction
    with what was saved. Raises InvalidDocument with the
    issues of the first documents that break a rule.
    """
    with ledger_transaction(engine) as connection:
        return save_contracts_in(
            engine, connection, documents, now=now, further_rules=further_rules, entered=entered
        )


def save_contracts_in(
    engine: Engine,
    connection: Connection,
    documents: Sequence[Contract | Mapping[str, Any]],
    *,
    now: datetime,
    further_rules: FurtherRules | None = None,
    entered: Entered | None = None,
) -> list[SavedDocument]:
    """As ``save_contracts``, in the caller's transaction."""
    contracts = [_parsed(document) for document in documents]
    overriding = any(_agrees(contract) or contract.entitlements for contract in contracts)
    meters = {meter.meter_id: meter for meter in list_meters(engine)} if overriding else {}
    standing = _standing_versions(connection, contracts)
    surroundings = _surroundings(connection, contracts, meters)
    saved, changed = _numbered(contracts, standing)
    changing = [contract for contract, _, _ in changed]
    further = {} if further_rules is None else further_rules(connection, changing)
    _check(contracts, surroundings, further)
    _write(connection, changed, created_at=now.isoformat())
    if entered is not None:
        entered(connection, saved)
    return saved


def get_contract(engine: Engine, contract_id: str) -> Contract:
    """The newest version of a contract. Raises NotFound."""
    return contract_history(engine, contract_id)[-1].contract


def contract_history(engine: Engine, contract_id: str) -> list[ContractVersion]:
    """Every version of a contract, oldest first. Raises NotFound."""
    table = CONTRACT_VERSIONS
    query = (
        select(table.c.document, table.c.version, table.c.created_at)
        .where(table.c.contract_id == contract_id)
        .order_by(table.c.version)
    )
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    if not rows:
        raise NotFound(f"contract {contract_id!r} is not on record. `ratemill contract list` shows what is.")
    return [ContractVersion(Contract.model_validate_json(text), number, at) for text, number, at in rows]


def load_contracts(ledger: Engine | Connection, ids: Iterable[str] | None = None) -> pa.Table:
    """The contracts in force (all, or those named) as CONTRACT_SCHEMA; unknown ids are left out."""
    return _load(ledger, CONTRACTS, CONTRACT_SCHEMA, ids)


def load_contract_subjects(ledger: Engine | Connection, ids: Iterable[str] | None = None) -> pa.Table:
    """The subjects of the contracts (all, or those named), sorted by contract and subject."""
    return _load(ledger, CONTRACT_SUBJECTS, CONTRACT_SUBJECT_SCHEMA, ids)


def contracts_table(contracts: Sequence[tuple[Contract, int]]) -> pa.Table:
    """Contracts with their version numbers as CONTRACT_SCHEMA, in the order given."""
    rows = [_flat(contract, version) for contract, version in contracts]
    return columns_table([[row[name] for row in rows] for name in CONTRACT_SCHEMA.names], CONTRACT_SCHEMA)


def load_contract_ids(engine: Engine) -> pa.Array:
    """The ids of all contracts, ascending by their bytes."""
    ids = select(CONTRACTS.c.contract_id)
    with engine.connect() as connection:
        blocks = connection.execute(ids.execution_options(yield_per=_IDS_AT_ONCE)).scalars().partitions()
        parts = [pa.array(block, pa.string()) for block in blocks]
    return pa.chunked_array(parts, pa.string()).combine_chunks().sort()


def _load(
    ledger: Engine | Connection, table: Table, schema: pa.Schema, ids: Iterable[str] | None
) -> pa.Table:
    with reading(ledger) as connection:
        if ids is None:
            return read_columns(connection, table, schema)
        return read_columns_of(connection, table, schema, sorted(set(ids)))


def _parsed(document: Contract | Mapping[str, Any]) -> Contract:
    if isinstance(document, Contract):
        return document
    return validate_document(
        Contract, dict(document), what=f"contract {document.get('contract_id', '')!r}", rules=lambda _: ()
    )


def _standing_versions(connection: Connection, contracts: Sequence[Contract]) -> dict[str, tuple[int, str]]:
    """contract_id -> (newest version, its document hash), of the contracts already on record.

    A document kept before a field was known is hashed as it would be kept today: the same contract
    sent again is not a new version because Ratemill was installed anew.
    """
    table = CONTRACT_VERSIONS
    found: dict[str, tuple[int, str]] = {}
    new = {contract.contract_id: document_hash(contract) for contract in contracts}
    for part in _parts(list(new)):
        query = (
            select(table.c.contract_id, table.c.version, table.c.document_hash)
            .where(table.c.contract_id.in_(part))
            .order_by(table.c.version)
        )
        for contract_id, version, digest in connection.execute(query):
            found[contract_id] = (version, digest)
    differing = [key for key, (_, digest) in found.items() if digest != new[key]]
    for part in _parts(differing):
        query = select(table.c.contract_id, table.c.version, table.c.document)
        for contract_id, version, text in connection.execute(query.where(table.c.contract_id.in_(part))):
            if version == found[contract_id][0]:
                kept = document_hash(Contract.model_validate_json(text))
                found[contract_id] = (version, kept)
    return found


def _surroundings(
    connection: Connection, contracts: Sequence[Contract], meters: Mapping[str, Meter]
) -> ContractSurroundings:
    """What the rules compare with: the plans, and who else holds the subjects named."""
    table = PRICE_PLAN_VERSIONS
    plans = select(table.c.plan_id, table.c.document).order_by(table.c.plan_id, table.c.version)
    documents = connection.execute(plans).all()
    overridden = {plan_id for contract in contracts if _agrees(contract) for plan_id in plan_ids_of(contract)}
    versions: dict[str, list[PricePlan]] = {}
    for plan_id, text in documents:
        if plan_id in overridden:
            versions.setdefault(plan_id, []).append(PricePlan.model_validate_json(text))
    subjects = sorted({subject for contract in contracts for subject in contract.subjects})
    changing = {contract.contract_id for contract in contracts}
    holders: list[SubjectHolder] = []
    for part in _parts(subjects):
        query = (
            select(
                CONTRACT_SUBJECTS.c.subject,
                CONTRACTS.c.contract_id,
                CONTRACTS.c.plan_id,
                CONTRACTS.c.start_date,
                CONTRACTS.c.end_date,
                CONTRACTS.c.time_zone,
            )
            .join(CONTRACTS, CONTRACTS.c.contract_id == CONTRACT_SUBJECTS.c.contract_id)
            .where(CONTRACT_SUBJECTS.c.subject.in_(part))
        )
        holders.extend(
            SubjectHolder(*row) for row in connection.execute(query) if row.contract_id not in changing
        )
    return ContractSurroundings.of(
        plans=plan_facts(text for _, text in documents),
        holders=_by_phase(connection, holders),
        versions=versions,
        meters=meters,
        calendars=calendar_ids(connection),
    )


def _by_phase(connection: Connection, holders: Sequence[SubjectHolder]) -> Iterator[SubjectHolder]:
    """Each holder once a plan it is on, for the days it is."""
    segments = load_segments(connection, [holder.contract_id for holder in holders])
    for holder in holders:
        track = segments.get(holder.contract_id, ())
        starts = [holder.start_date, *(segment.effective_from.isoformat() for segment in track[1:])]
        plans = [segment.plan_id for segment in track] or [holder.plan_id]
        ends = [*starts[1:], holder.end_date]
        for plan_id, start, end in zip(plans, starts, ends, strict=True):
            if holder.end_date is None or start < holder.end_date:
                last = end if holder.end_date is None or end is None else min(end, holder.end_date)
                yield replace(holder, plan_id=plan_id, start_date=start, end_date=last)


def _agrees(contract: Contract) -> bool:
    # a trial has no rules
    agreed = (contract.overrides, contract.discounts, contract.commitments)
    life = (contract.phases, contract.additions, contract.quantities)
    return any((*agreed, *life, contract.term_commitments, contract.retainers))


def _check(
    contracts: Sequence[Contract],
    surroundings: ContractSurroundings,
    further: Mapping[str, Sequence[Issue]],
) -> None:
    """Every contract against the rules, in order; each joins the surroundings of those after it."""
    issues: list[Issue] = []
    broken: list[str] = []
    for contract in contracts:
        found = list(contract_rules(contract, surroundings=surroundings))
        found.extend(further.get(contract.contract_id, ()))
        surroundings.add(contract)
        if found:
            broken.append(contract.contract_id)
            if len(contracts) == 1:
                issues.extend(found)
            else:
                issues.extend(
                    Issue(
                        issue.reason_code,
                        f"{contract.contract_id}.{issue.pointer}",
                        issue.message,
                        issue.expected,
                    )
                    for issue in found
                )
    if issues:
        shown = ", ".join(repr(contract_id) for contract_id in broken[:3])
        more = "" if len(broken) <= 3 else f" and {len(broken) - 3} more"
        raise InvalidDocument(f"contract {shown}{more}", issues[:100])


def _numbered(
    contracts: Sequence[Contract], standing: dict[str, tuple[int, str]]
) -> tuple[list[SavedDocument], list[tuple[Contract, int, str]]]:
    saved: list[SavedDocument] = []
    changed: list[tuple[Contract, int, str]] = []
    for contract in contracts:
        digest = document_hash(contract)
        version, standing_digest = standing.get(contract.contract_id, (0, ""))
        if digest == standing_digest:
            saved.append(SavedDocument(contract.contract_id, version, created=False))
            continue
        standing[contract.contract_id] = (version + 1, digest)
        changed.append((contract, version + 1, digest))
        saved.append(SavedDocument(contract.contract_id, version + 1, created=True))
    return saved, changed


def _write(connection: Connection, changed: Sequence[tuple[Contract, int, str]], *, created_at: str) -> None:
    if not changed:
        return
    newest = {contract.contract_id: (contract, version) for contract, version, _ in changed}
    for part in _parts(list(newest)):
        connection.execute(delete(CONTRACT_SUBJECTS).where(CONTRACT_SUBJECTS.c.contract_id.in_(part)))
        forget_agreements(connection, part)
        forget_invoice_days(connection, part)
        forget_entitlements(connection, part)
        forget_late_usage(connection, part)
        forget_billing_entities(connection, part)
        forget_pools(connection, part)
        connection.execute(delete(CONTRACTS).where(CONTRACTS.c.contract_id.in_(part)))
    connection.execute(
        insert(CONTRACT_VERSIONS),
        [
            {
                "contract_id": contract.contract_id,
                "version": version,
                "document": canonical_json(contract),
                "document_hash": digest,
                "created_at": created_at,
            }
            for contract, version, digest in changed
        ],
    )
    connection.execute(insert(CONTRACTS), [_flat(contract, version) for contract, version in newest.values()])
    subjects = [
        {"contract_id": contract.contract_id, "subject": subject}
        for contract, _ in newest.values()
        for subject in contract.subjects
    ]
    if subjects:
        connection.execute(insert(CONTRACT_SUBJECTS), subjects)
    standing = [contract for contract, _ in newest.values()]
    write_agreements(connection, standing)
    write_invoice_days(connection, standing)
    write_entitlements(connection, standing)
    write_late_usage(connection, standing)
    write_billing_entities(connection, standing)
    write_pools(connection, standing)


def _flat(contract: Contract, version: int) -> dict[str, Any]:
    return {
        "contract_id": contract.contract_id,
        "version": version,
        "customer_id": contract.customer_id,
        "plan_id": contract.plan_id,
        "start_date": contract.start_date.isoformat(),
        "end_date": contract.end_date.isoformat() if contract.end_date else None,
        "time_zone": contract.time_zone,
        "cadence": contract.billing.interval,
        "anchor_date": (contract.billing.anchor_date or contract.start_date).isoformat(),
    }


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        yield keys[start : start + _KEYS_PER_QUERY]
