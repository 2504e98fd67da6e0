"""Reads what a bill may give back of: earlier bills of its contract and the credit they drew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import orjson
from sqlalchemy import Connection, select

from invoicing.bulk import select_by_ids
from invoicing.credit import CreditEntry
from invoicing.credit_give_back import Past
from invoicing.credit_note_tables import CREDIT_NOTES
from invoicing.credit_store import read_entry, stored_grants
from invoicing.credit_tables import CREDIT_ENTRIES
from invoicing.invoice import Invoice, parse_invoice
from invoicing.tables import INVOICES, LATE_USAGE_SUFFIX, LINE_ALLOWANCES

_ENDS = ("expired", "rolled_over", "voided")
_I, _E = INVOICES.c, CREDIT_ENTRIES.c


def drew_credit(connection: Connection, contract_ids: Iterable[str], *, before_tax: bool) -> set[str]:
    """Those of the contracts with an issued bill that drew credit, before tax or after."""
    owners = {owner: contract_id for contract_id in contract_ids for owner in _owners(contract_id)}
    drew = select(_I.contract_id).distinct()
    if before_tax:
        drew = drew.join(LINE_ALLOWANCES, LINE_ALLOWANCES.c.invoice_id == _I.invoice_id)
        drew = drew.where(_I.state == "issued")
    else:
        drew = drew.where(_I.credit_minor > 0)
    return {owners[row[0]] for row in select_by_ids(connection, drew, _I.contract_id, sorted(owners))}


def load_past(connection: Connection, invoice: Invoice, *, beside: Sequence[Invoice]) -> Past:
    """Of a bill that is not issued yet. beside: bills of its contract that are issued before it in the same
    transaction, oldest first; what they drew is not on record yet."""
    own = select(_I.document, _I.billing_date, _I.invoice_id).where(
        _I.contract_id.in_(_owners(str(invoice.contract["contract_id"]))),
        _I.billing_date <= invoice.billing_date.isoformat(),
        _I.invoice_id.not_in([invoice.invoice_id, *(each.invoice_id for each in beside)]),
    )
    rows = connection.execute(own.order_by(_I.billing_date, _I.invoice_id))
    bills = [*(parse_invoice(row.document) for row in rows), *beside]
    drew = {entry.grant_id for bill in bills for entry in bill.drawn_credit}
    off = {entry.grant_id for bill in bills for line in bill.lines for entry in line.allowances}
    grant_ids = sorted(drew | off)
    return Past(
        bills=bills,
        credited=_credited(connection, [bill.invoice_id for bill in bills]),
        entries=drawn_and_returned(connection, grant_ids),
        grants=stored_grants(connection, grant_ids),
        ended=ended_grants(connection, grant_ids),
    )


def drawn_and_returned(connection: Connection, grant_ids: Collection[str]) -> list[CreditEntry]:
    """What documents drew of these grants, before tax and after, and gave back, in the order of their
    dates."""
    kinds = _E.kind.in_(("drawn", "returned", "taken_off", "put_back"))
    found = select_by_ids(
        connection, select(CREDIT_ENTRIES).where(kinds), _E.grant_id, sorted(set(grant_ids))
    )
    rows = sorted(found, key=lambda row: (row.entry_date, row.grant_id, row.invoice_id or ""))
    return [read_entry(row) for row in rows]


def ended_grants(connection: Connection, grant_ids: Collection[str]) -> frozenset[str]:
    """Those that have lapsed, rolled over or were voided."""
    ends = select(_E.grant_id).where(_E.kind.in_(_ENDS))
    return frozenset(row[0] for row in select_by_ids(connection, ends, _E.grant_id, sorted(set(grant_ids))))


def _owners(contract_id: str) -> tuple[str, str]:
    """The keys of the bills that give back of each other: of its billing dates, and its late usage."""
    return contract_id, f"{contract_id}{LATE_USAGE_SUFFIX}"


def _credited(connection: Connection, invoice_ids: Sequence[str]) -> Mapping[str, int]:
    """What credit notes say of each line, signed as they have it."""
    found: dict[str, int] = defaultdict(int)
    notes = select(CREDIT_NOTES.c.document)
    for row in select_by_ids(connection, notes, CREDIT_NOTES.c.invoice_id, sorted(invoice_ids)):
        for line in orjson.loads(row.document)["lines"]:
            found[line["line_id"]] += line["amount_minor"]
    return found
