"""Posts entries of credit that no document posts: given for money outside the books, lapsed, voided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, select

from invoicing.bulk import select_by_ids
from invoicing.credit import CreditEntry
from invoicing.credit_posted import SOLD_BY_INVOICE
from invoicing.credit_tables import CREDIT_GRANTS
from invoicing.journal import JournalEntry
from invoicing.journal_store import append_entries
from invoicing.posting import CreditPosting, credit_entry

POSTED_CREDIT: Final = ("granted", "expired", "voided")
"""Entries of credit with a posting of their own. What is drawn is posted with the invoice, as is what an
invoice sells, and what is returned with the credit note; what rolls over stays what it is."""


def post_credit(connection: Connection, entries: Iterable[CreditEntry], *, now: datetime) -> None:
    """Post entries of credit in the caller's transaction, those that have a posting of their own."""
    posted = [entry for entry in entries if entry.kind in POSTED_CREDIT and entry.cost_minor]
    if not posted:
        return
    columns = CREDIT_GRANTS.c
    statement = select(
        columns.grant_id, columns.customer_id, columns.currency, columns.origin, columns.document
    )
    ids = sorted({entry.grant_id for entry in posted})
    grants = {row.grant_id: row for row in select_by_ids(connection, statement, columns.grant_id, ids)}
    append_entries(connection, list(_credit_entries(posted, grants)), now=now)


def _credit_entries(entries: Iterable[Any], grants: Mapping[str, Any]) -> Iterator[JournalEntry]:
    for entry in entries:
        grant = grants[entry.grant_id]
        if entry.kind == "granted" and grant.origin in SOLD_BY_INVOICE:
            continue
        contracts = orjson.loads(grant.document).get("contract_ids", ())
        yield credit_entry(
            CreditPosting(
                grant_id=entry.grant_id,
                kind=entry.kind,
                entry_date=date.fromisoformat(str(entry.entry_date)),
                customer_id=grant.customer_id,
                contract_id=contracts[0] if len(contracts) == 1 else "",
                currency=grant.currency,
                cost_minor=entry.cost_minor,
                reason=entry.reason,
            )
        )
