"""Saves and reads customers. Saving the same document again changes nothing.

``customers`` holds the customer in force, which invoices are addressed to. Where other systems have sent
records of a customer (``customer_sync.py``), a document saved here is what was entered directly, and the
customer in force is made of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select

from ingest.document import canonical_json, document_hash, validate_document
from ingest.errors import InvalidDocument, Issue, NotFound
from ingest.ledger import ledger_transaction
from invoicing.bulk import insert_rows, select_by_ids
from invoicing.customer import Customer, customer_rules
from invoicing.customer_claims import (
    StoredRecord,
    keep_external_ids,
    load_records,
    load_sources,
    lock_customers,
    merge_records,
    sent_record,
    write_conflicts,
    write_records,
)
from invoicing.customer_record import DIRECT, MergedCustomer
from invoicing.deletion import lock_referring
from invoicing.tables import CUSTOMERS
from invoicing.tax_id import unchecked_warning
from rating.plan_version import Entered, SavedDocument

ISSUES_MAX: Final = 100
"""The most issues one refusal names; beyond it nobody reads on."""
_SEARCH_BLOCK: Final = 1_000
_NOT_ON_INVOICES: Final = ("account_owner", "delivery")
_MARKS: Final = tuple(f'"{name}":' for name in _NOT_ON_INVOICES)


@dataclass(frozen=True, slots=True)
class StoredCustomer:
    """A customer in force, with the version that invoices quote."""

    customer: Customer
    version: int


def save_customer(
    ledger: Engine, document: Any, *, now: datetime, entered: Entered | None = None
) -> SavedDocument:
    """Check and save one customer document (a mapping, or a Customer). Raises InvalidDocument."""
    return save_customers(ledger, [document], now=now, entered=entered)[0]


def save_customers(
    ledger: Engine, documents: Sequence[Any], *, now: datetime, entered: Entered | None = None
) -> list[SavedDocument]:
    """Check all documents, then save them in one transaction: all of them or none.

    A document named twice in the list is saved in the order given. Raises InvalidDocument with all that is
    wrong in any of them, Conflict when an external id belongs to another customer.
    """
    customers = _all_checked(documents)
    stamp = now.isoformat()
    with ledger_transaction(ledger) as connection:
        held = load_records(connection, sorted({customer.customer_id for customer in customers}))
        if held:
            saved = _save_merged(connection, customers, held, now=stamp)
        else:
            saved = write_in_force(connection, customers, now=stamp)
        if entered is not None:
            entered(connection, saved)
    return [
        replace(one, warnings=(*one.warnings, *_unchecked(customer)))
        for one, customer in zip(saved, customers, strict=True)
    ]


def _unchecked(customer: Customer) -> tuple[Issue, ...]:
    told = unchecked_warning(customer.tax_id, country=customer.country)
    return () if told is None else (told,)


def _save_merged(
    connection: Connection,
    customers: Sequence[Customer],
    held: Mapping[str, dict[str, StoredRecord]],
    *,
    now: str,
) -> list[SavedDocument]:
    """As ``save_customers``, where other systems know some of the customers: what was entered is one record
    beside theirs. ``created`` says that what was entered is new; a conflict is a warning."""
    lock_customers(connection, sorted(held))
    on_record = load_records(connection, sorted(held))
    held = {key: dict(records) for key, records in on_record.items()}
    sources = load_sources(connection).sources
    in_force, merged, changed = [], {}, []
    for customer in customers:
        key = customer.customer_id
        records = held.get(key)
        if records is None:
            in_force.append(customer)
            changed.append(False)
            continue
        issues = list(other_id_issues(key, customer.external_ids, records))
        if issues:
            raise InvalidDocument(f"customer {key!r}", issues)
        before = records.get(DIRECT)
        records[DIRECT] = sent_record(key, DIRECT, customer, before=before, now=now)
        merged[key] = merge_records(key, records, sources)
        in_force.append(Customer.model_validate(merged[key].document))
        changed.append(records[DIRECT] is not before)
    saved = write_in_force(connection, in_force, now=now)
    write_records(connection, held, before=on_record)
    write_conflicts(connection, merged)
    return [
        replace(one, created=one.created or new, warnings=tuple(conflict_warnings(merged.get(one.key))))
        for one, new in zip(saved, changed, strict=True)
    ]


def other_id_issues(
    customer_id: str, external_ids: Mapping[str, str], records: Mapping[str, StoredRecord]
) -> Iterator[Issue]:
    """External ids that a document gives a customer, and that systems' own records contradict."""
    for system, external_id in external_ids.items():
        record = records.get(system)
        if record is not None and record.claim.external_id != external_id:
            yield Issue(
                "system_has_other_id",
                f"external_ids.{system}",
                f"{system} itself calls customer {customer_id!r} {record.claim.external_id!r}, "
                f"and this says {external_id!r}.",
                f"the same, or none; `ratemill customer forget {system} {record.claim.external_id}` takes "
                "that record away.",
            )


def conflict_warnings(merged: MergedCustomer | None) -> Iterator[Issue]:
    """A warning for each field on which systems differ: which value is in force, and who says otherwise."""
    for one in merged.conflicts() if merged else ():
        others = ", ".join(claim.system for claim in one.claims if claim.value != one.value)
        yield Issue(
            "customer_conflict",
            one.field,
            f"{one.system} says {one.value!r}, which is in force ({one.why}); {others} differs.",
            "the same in all systems, or another order in `ratemill customer sources`.",
        )


def write_in_force(connection: Connection, customers: Sequence[Customer], *, now: str) -> list[SavedDocument]:
    """Write the customers in the order given, in the caller's transaction: what invoices are addressed to.

    Raises Conflict when an external id belongs to another customer.
    """
    known = _versions(connection, sorted({customer.customer_id for customer in customers}))
    new: dict[str, tuple[str, int, str, str, str, str]] = {}
    saved = []
    for customer in customers:
        key, text, digest = customer.customer_id, canonical_json(customer), document_hash(customer)
        version, on_record = known.get(key, (0, ""))
        changed = digest != on_record
        if changed:
            version += 1
            if key in new or version == 1:
                new[key] = (key, version, text, digest, now, now)
            else:
                connection.execute(
                    CUSTOMERS.update()
                    .where(CUSTOMERS.c.customer_id == key)
                    .values(version=version, document=text, document_hash=digest, updated_at=now)
                )
            known[key] = (version, digest)
        saved.append(SavedDocument(key, version, created=changed))
    insert_rows(connection, CUSTOMERS, new.values())
    keep_external_ids(connection, customers)
    return saved


def get_customer(ledger: Engine, customer_id: str) -> StoredCustomer:
    """The customer in force. Raises NotFound."""
    with ledger.connect() as connection:
        row = connection.execute(
            select(CUSTOMERS.c.document, CUSTOMERS.c.version).where(CUSTOMERS.c.customer_id == customer_id)
        ).one_or_none()
    if row is None:
        raise unknown_customer(customer_id)
    return StoredCustomer(_parse(row[0]), row[1])


def require_customer(connection: Connection, customer_id: str) -> None:
    """That there is such a customer, and will be until the transaction ends: call it before what refers to
    the customer is written, and before other locks are taken. Raises NotFound."""
    lock_referring(connection)
    query = select(CUSTOMERS.c.customer_id).where(CUSTOMERS.c.customer_id == customer_id)
    if connection.execute(query).first() is None:
        raise unknown_customer(customer_id)


def unknown_customer(customer_id: str) -> NotFound:
    """What is said of a customer that is not there."""
    return NotFound(
        f"there is no customer {customer_id!r}. Save it with `ratemill customer put` or "
        f"PUT /v1/customers/{customer_id}."
    )


def list_customers(
    ledger: Engine, *, limit: int, after: str | None = None, search: str | None = None
) -> list[StoredCustomer]:
    """Up to ``limit`` customers by id, those after the id ``after``.

    search: text that the id, name, legal name, e-mail address, tax id or an external id holds, in any case.
    """
    statement = select(CUSTOMERS.c.customer_id, CUSTOMERS.c.document, CUSTOMERS.c.version)
    statement = statement.order_by(CUSTOMERS.c.customer_id)
    block = limit if search is None else max(limit, _SEARCH_BLOCK)
    found: list[StoredCustomer] = []
    with ledger.connect() as connection:
        while len(found) < limit:
            further = statement if after is None else statement.where(CUSTOMERS.c.customer_id > after)
            rows = connection.execute(further.limit(block)).all()
            read = (StoredCustomer(_parse(row.document), row.version) for row in rows)
            found += [one for one in read if search is None or _holds(one.customer, search.casefold())]
            if len(rows) < block:
                break
            after = rows[-1].customer_id
    return found[:limit]


def _holds(customer: Customer, folded: str) -> bool:
    # Not in SQL: SQLite knows upper and lower case of ASCII only.
    texts = (customer.customer_id, customer.name, customer.legal_name, customer.email, customer.tax_id)
    return any(folded in text.casefold() for text in (*texts, *customer.external_ids.values()))


def load_customer_texts(connection: Connection, ids: Sequence[str]) -> Mapping[str, tuple[int, str]]:
    """Version and canonical JSON text of each known customer among ``ids``: what invoices embed. Who looks
    after it and how it wants its documents is left out."""
    statement = select(CUSTOMERS.c.customer_id, CUSTOMERS.c.version, CUSTOMERS.c.document)
    rows = select_by_ids(connection, statement, CUSTOMERS.c.customer_id, ids)
    return {row[0]: (int(row[1]), _for_invoices(row[2])) for row in rows}


def load_customers(connection: Connection, ids: Sequence[str]) -> Mapping[str, Customer]:
    """Each known customer among ``ids``, in force now, with all it says."""
    statement = select(CUSTOMERS.c.customer_id, CUSTOMERS.c.document)
    rows = select_by_ids(connection, statement, CUSTOMERS.c.customer_id, ids)
    return {row[0]: _parse(row[1]) for row in rows}


def _for_invoices(text: str) -> str:
    if not any(mark in text for mark in _MARKS):
        return text
    document = orjson.loads(text)
    for name in _NOT_ON_INVOICES:
        document.pop(name, None)
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


def _all_checked(documents: Sequence[Any]) -> list[Customer]:
    """Of several, what is wrong is said of all, each by its place in the list (from 0) and its key."""
    if len(documents) == 1:
        return [_checked(documents[0])]
    customers, issues = [], []
    for place, document in enumerate(documents):
        try:
            customers.append(_checked(document))
        except InvalidDocument as error:
            issues += [
                replace(issue, pointer=f"[{place}].{issue.pointer}", message=f"{error.what}: {issue.message}")
                for issue in error.issues
            ]
    if issues:
        raise InvalidDocument("the list of customers", first_issues(issues))
    return customers


def first_issues(issues: Sequence[Issue]) -> Sequence[Issue]:
    """As many as people read, and how many more there are."""
    left = len(issues) - ISSUES_MAX
    if left <= 0:
        return issues
    more = Issue("more_issues", "", f"{left} more issues are not shown.", "the ones above put right first.")
    return [*issues[:ISSUES_MAX], more]


def _checked(document: Any) -> Customer:
    if isinstance(document, Customer):
        document = document.model_dump()
    name = document.get("customer_id", "?") if isinstance(document, Mapping) else "?"
    return validate_document(Customer, document, what=f"customer {name!r}", rules=customer_rules)


def _versions(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    statement = sa.select(CUSTOMERS.c.customer_id, CUSTOMERS.c.version, CUSTOMERS.c.document_hash)
    rows = select_by_ids(connection, statement, CUSTOMERS.c.customer_id, ids)
    return {row[0]: (int(row[1]), row[2]) for row in rows}


def _parse(text: str) -> Customer:
    return Customer.model_validate(orjson.loads(text))
