"""Takes in what systems know of customers, and keeps the customer in force what all of them make.

The story of ``sync_records``: check every record, find whose it is, put it beside the other systems' records,
merge, write the customer in force; in one transaction, all records or none. Sent again, nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, delete, insert, select

from ingest.document import canonical_json, document_hash, validate_document
from ingest.errors import Conflict, InvalidDocument, InvalidInput, Issue, NotFound
from ingest.ledger import ledger_transaction
from invoicing.customer import Customer
from invoicing.customer_claims import (
    StoredRecord,
    load_records,
    load_sources,
    lock_customers,
    merge_records,
    owners_of_external_ids,
    read_record,
    sent_record,
    write_conflicts,
    write_records,
)
from invoicing.customer_record import (
    DIRECT,
    CustomerRecord,
    CustomerSources,
    MergedCustomer,
    record_rules,
    sources_rules,
)
from invoicing.customer_store import first_issues, write_in_force
from invoicing.customer_tables import CUSTOMER_RECORDS, CUSTOMER_SOURCES
from rating.plan_version import SavedDocument

_IDS_PER_MERGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class SyncedRecord:
    """What became of one record. outcome: ``created``, ``changed`` or ``unchanged``. version: of the customer
    in force. conflicts: fields on which systems differ now."""

    external_id: str
    customer_id: str
    outcome: str
    version: int
    conflicts: tuple[str, ...]


def sync_records(
    ledger: Engine, system: str, documents: Sequence[Any], *, now: datetime
) -> list[SyncedRecord]:
    """Take in the records of one system, all of them or none.

    Raises InvalidDocument with the issues of all records, Conflict when an external id belongs to another
    customer.
    """
    records = _checked(system, documents)
    with ledger_transaction(ledger) as connection:
        owners = _owners(connection, system, records)
        ids = sorted(set(owners.values()))
        customers = lock_customers(connection, ids)
        before = load_records(connection, ids)
        held = _with_entered(before, customers)
        issues: list[Issue] = []
        for place, record in enumerate(records):
            owner = owners[record.external_id]
            beside = held.setdefault(owner, {})
            issues += _clashes(place, system, record, owner, beside)
            beside[system] = sent_record(
                owner, system, record, before=beside.get(system), now=now.isoformat()
            )
        sources = load_sources(connection).sources
        merged = {owner: merge_records(owner, held[owner], sources) for owner in ids}
        first_place = {owners[record.external_id]: place for place, record in reversed([*enumerate(records)])}
        issues += [
            _nameless(first_place[owner], owner) for owner in ids if "name" not in merged[owner].document
        ]
        _refuse(system, issues)
        versions = _write(connection, merged, held, before, now=now.isoformat())
    return [
        _synced(record, owners[record.external_id], system, before, held, merged, versions)
        for record in records
    ]


def forget_record(ledger: Engine, system: str, external_id: str, *, now: datetime) -> SavedDocument:
    """Take a system's record away; the customer is made of what is left.

    Raises NotFound, and Conflict when the customer would be without a name.
    """
    with ledger_transaction(ledger) as connection:
        record = _find(connection, system, external_id)
        owner = record.customer_id
        lock_customers(connection, [owner])
        records = load_records(connection, [owner])[owner]
        del records[system]
        merged = merge_records(owner, records, load_sources(connection).sources)
        if "name" not in merged.document:
            raise Conflict(
                f"customer {owner!r} would be without a name: {system} alone knows it. Enter the customer "
                "first with `ratemill customer put`.",
                reason_code="customer_without_name",
            )
        table = CUSTOMER_RECORDS
        key = (table.c.system == system) & (table.c.external_id == external_id)
        connection.execute(delete(table).where(key))
        customer = Customer.model_validate(merged.document)
        saved = write_in_force(connection, [customer], now=now.isoformat())[0]
        write_conflicts(connection, {owner: merged})
    return saved


def save_sources(ledger: Engine, document: Any, *, now: datetime) -> SavedDocument:
    """Save which system is believed for which field, and make every customer again by it.

    The same document again changes nothing. Raises InvalidDocument.
    """
    sources = validate_document(
        CustomerSources, document, what="the document of sources", rules=sources_rules
    )
    with ledger_transaction(ledger) as connection:
        current = load_sources(connection)
        if current.version and current.sources == sources:
            return SavedDocument("sources", current.version, created=False)
        row = {
            "version": current.version + 1,
            "document": canonical_json(sources),
            "document_hash": document_hash(sources),
            "created_at": now.isoformat(),
        }
        connection.execute(insert(CUSTOMER_SOURCES).values(**row))
        query = select(CUSTOMER_RECORDS.c.customer_id).distinct().order_by(CUSTOMER_RECORDS.c.customer_id)
        ids = list(connection.execute(query).scalars())
        for start in range(0, len(ids), _IDS_PER_MERGE):
            _merge_again(connection, ids[start : start + _IDS_PER_MERGE], sources, now=now.isoformat())
    return SavedDocument("sources", current.version + 1, created=True)


def get_record(ledger: Engine, system: str, external_id: str) -> StoredRecord:
    """What a system has sent under a key of its own. Raises NotFound."""
    with ledger.connect() as connection:
        return _find(connection, system, external_id)


def _checked(system: str, documents: Sequence[Any]) -> list[CustomerRecord]:
    if system == DIRECT or not system.strip() or len(system) > 128:
        raise InvalidInput(
            f"{system!r} cannot be the name of a system: {DIRECT!r} stands for what is entered as a customer "
            "document, and a name has 1 to 128 characters.",
            reason_code="bad_system",
        )
    records: list[CustomerRecord] = []
    issues: list[Issue] = []
    places: dict[str, int] = {}
    for place, document in enumerate(documents):
        try:
            record = validate_document(CustomerRecord, document, what="a record", rules=record_rules)
        except InvalidDocument as error:
            issues += [_at(place, issue) for issue in error.issues]
            continue
        if record.external_id in places:
            words = f"{record.external_id!r} is in record {places[record.external_id] + 1} already."
            issue = Issue("external_id_twice", "external_id", words, "each external id once.")
            issues.append(_at(place, issue))
        places.setdefault(record.external_id, place)
        records.append(record)
    _refuse(system, issues)
    return records


def _refuse(system: str, issues: Sequence[Issue]) -> None:
    if issues:
        raise InvalidDocument(f"what {system} knows of customers", first_issues(issues))


def _at(place: int, issue: Issue) -> Issue:
    pointer = f"[{place}].{issue.pointer}" if issue.pointer else f"[{place}]"
    return Issue(issue.reason_code, pointer, issue.message, issue.expected)


def _owners(connection: Connection, system: str, records: Sequence[CustomerRecord]) -> dict[str, str]:
    """The customer of each record, by external id: the one on record, or the one the record names."""
    keys = [(system, record.external_id) for record in records]
    known = owners_of_external_ids(connection, keys)
    owners, issues = {}, []
    for place, record in enumerate(records):
        owner = known.get((system, record.external_id)) or record.customer_id
        if owner is None:
            words = f"Nothing on record says which customer {record.external_id!r} of {system} is."
            expected = "the customer's key, the first time a system sends a customer; a new one makes it."
            issues.append(_at(place, Issue("customer_not_named", "customer_id", words, expected)))
            continue
        if record.customer_id not in (None, owner):
            raise Conflict(
                f"{record.external_id!r} of {system} belongs to customer {owner!r}, and the record says "
                f"{record.customer_id!r}; nothing was saved. `ratemill customer forget {system} "
                f"{record.external_id}` takes it off {owner!r}.",
                reason_code="external_id_taken",
            )
        owners[record.external_id] = owner
    _refuse(system, issues)
    return owners


def _with_entered(
    held: Mapping[str, Mapping[str, StoredRecord]], customers: Sequence[Any]
) -> dict[str, dict[str, StoredRecord]]:
    """The records by customer. Of a customer without any, what is on record was entered directly."""
    records = {owner: dict(of_owner) for owner, of_owner in held.items()}
    for row in customers:
        if row.customer_id not in held:
            entered = Customer.model_validate(orjson.loads(row.document))
            record = sent_record(row.customer_id, DIRECT, entered, before=None, now=row.updated_at)
            records[row.customer_id] = {DIRECT: record}
    return records


def _clashes(
    place: int,
    system: str,
    record: CustomerRecord,
    owner: str,
    beside: Mapping[str, StoredRecord],
) -> Iterator[Issue]:
    """Another id that the customer has in the same system already, by a record or by what was entered."""
    other = beside[system].claim.external_id if system in beside else None
    if other is None and DIRECT in beside:
        other = orjson.loads(beside[DIRECT].document)["external_ids"].get(system)
    if other not in (None, record.external_id):
        words = f"Customer {owner!r} is {other!r} in {system}, and this record is {record.external_id!r}."
        expected = f"one key of {system} a customer: forget the other record, or change external_ids."
        yield _at(place, Issue("system_has_other_id", "external_id", words, expected))


def _nameless(place: int, owner: str) -> Issue:
    words = f"Nobody says the name of customer {owner!r}."
    return _at(place, Issue("name_missing", "name", words, "a name, from one system at least."))


def _write(
    connection: Connection,
    merged: Mapping[str, MergedCustomer],
    held: Mapping[str, Mapping[str, StoredRecord]],
    before: Mapping[str, Mapping[str, StoredRecord]],
    *,
    now: str,
) -> dict[str, int]:
    """Customers first: records point at them. Returns the version of each customer."""
    customers = [Customer.model_validate(one.document) for one in merged.values()]
    saved = write_in_force(connection, customers, now=now)
    write_records(connection, held, before=before)
    write_conflicts(connection, merged)
    return {one.key: one.version for one in saved}


def _synced(
    record: CustomerRecord,
    owner: str,
    system: str,
    before: Mapping[str, Mapping[str, StoredRecord]],
    held: Mapping[str, Mapping[str, StoredRecord]],
    merged: Mapping[str, MergedCustomer],
    versions: Mapping[str, int],
) -> SyncedRecord:
    was = before.get(owner, {}).get(system)
    outcome = "created" if was is None else "unchanged" if was is held[owner][system] else "changed"
    conflicts = tuple(one.field for one in merged[owner].conflicts())
    return SyncedRecord(record.external_id, owner, outcome, versions[owner], conflicts)


def _merge_again(connection: Connection, ids: Sequence[str], sources: CustomerSources, *, now: str) -> None:
    lock_customers(connection, ids)
    held = load_records(connection, ids)
    merged = {owner: merge_records(owner, held[owner], sources) for owner in ids}
    write_in_force(connection, [Customer.model_validate(one.document) for one in merged.values()], now=now)
    write_conflicts(connection, merged)


def _find(connection: Connection, system: str, external_id: str) -> StoredRecord:
    table = CUSTOMER_RECORDS
    key = (table.c.system == system) & (table.c.external_id == external_id)
    row = connection.execute(select(table).where(key)).one_or_none()
    if row is None or system == DIRECT:
        raise NotFound(
            f"{system} has sent nothing under {external_id!r}. `ratemill customer sync --system {system} "
            "FILE` sends records."
        )
    return read_record(row)
