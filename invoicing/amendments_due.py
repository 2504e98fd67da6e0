"""Amendments of contracts that changed since their last bill: read here, made in ``amendment_rows.py``.

A run prices the next billing date of such a contract with what puts its paid fees right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine, select

from ingest.clickhouse import EventStore
from ingest.ledger import ledger_transaction
from ingest.meter_store import list_meters
from invoicing.amendment import ONCE
from invoicing.amendment_rows import (
    AmendmentRows,
    ChangedContract,
    amendment_rows,
    next_date,
    with_rows,
)
from invoicing.billed_time import load_billed, load_contract_versions
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.bulk import select_by_ids
from invoicing.fee_return import FeeReturn
from invoicing.hold import Key
from invoicing.left_to_give_back import left_to_give_back
from invoicing.run_blocks import billing_dates
from invoicing.seat_changes import CutRow
from invoicing.tables import INVOICE_LINES, INVOICES
from rating.agreement import Agreement
from rating.agreement_dates import terms_by_day
from rating.agreement_store import load_agreements, write_agreement_documents
from rating.compile import compile_price_book
from rating.contract import Contract
from rating.line_item import RATED_LINE_SCHEMA
from rating.store import line_to_python, read_rated_lines
from rollup.period import find_time_zone, local_midnight


@dataclass(frozen=True, slots=True)
class AmendedCatalogue:
    """catalogue: with the agreements that the amendments need. periods: SERVICE_PERIOD_SCHEMA, with those of
    the amendments. credits: RATED_LINE_SCHEMA, by contract and billing date; returns: what they are made of.
    agreements: new ones, by key. cuts: of billed periods whose licences in advance end earlier."""

    catalogue: BillingCatalogue
    periods: pa.Table
    credits: pa.Table
    agreements: Mapping[str, Agreement]
    returns: Sequence[FeeReturn] = ()
    cuts: Sequence[CutRow] = ()

    def recounted(self) -> set[str]:
        """The contracts whose licences in advance are counted again."""
        return {cut.key[0] for cut in self.cuts}

    def keep_agreements(self, ledger: Engine) -> None:
        """Write the new agreements, which rated lines will name. Doing it again changes nothing."""
        if self.agreements:
            with ledger_transaction(ledger) as connection:
                write_agreement_documents(connection, self.agreements)


def with_amendments(
    catalogue: BillingCatalogue,
    periods: pa.Table,
    *,
    event_store: EventStore,
    ledger: Engine,
    as_of: date,
    now: datetime | None,
    run_id: str,
) -> AmendedCatalogue:
    """The periods due on ``as_of`` and the catalogue, with the amendments of contracts whose next billing
    date is due. as_of, now: as in ``due_service_periods``, which gave the periods."""
    nothing = AmendedCatalogue(catalogue, periods, RATED_LINE_SCHEMA.empty_table(), {})
    with ledger.connect() as connection:
        candidates = list(_changed(connection, catalogue))
        if not candidates:
            return nothing
        ids = pa.array([entry.contract.contract_id for entry in candidates], pa.string())
        dates = set(billing_dates(periods.filter(pc.is_in(periods["contract_id"], value_set=ids))))
        changed = {
            entry.contract.contract_id: entry
            for entry in candidates
            if _is_due(entry, catalogue, dates, _last_day(entry.contract, as_of, now))
        }
        if not changed:
            return nothing
        lines = billed_fees(connection, event_store, changed)
        wanted = [line["line_id"] for entry in lines.values() for line in entry]
        left = left_to_give_back(connection, wanted, known_at=None)
        keys = {line["agreement"] for entry in lines.values() for line in entry}
        before = load_agreements(connection, keys - catalogue.agreements.keys())
    agreements = {**catalogue.agreements, **before}
    made = amendment_rows(
        changed,
        lines,
        left_minor=left,
        contracts=catalogue.contracts,
        plan_versions=catalogue.plan_versions,
        segments=catalogue.segments,
        agreements=agreements,
        run_id=run_id,
    )
    if not made.rows and not made.cuts:
        return replace(nothing, returns=made.returns)
    return AmendedCatalogue(
        _grown(catalogue, made, agreements, ledger),
        with_rows(periods, made.rows) if made.rows else periods,
        pa.Table.from_pylist(made.credits, schema=RATED_LINE_SCHEMA),
        made.agreements,
        made.returns,
        made.cuts,
    )


def _grown(
    catalogue: BillingCatalogue, made: AmendmentRows, agreements: Mapping[str, Agreement], ledger: Engine
) -> BillingCatalogue:
    """The catalogue with all prices that the lines of the amendments name."""
    known = {(entry.plan.plan_id, entry.version, entry.agreement) for entry in catalogue.agreed_versions}
    new = [entry for key, entry in sorted(made.versions.items()) if key not in known]
    versions = [*catalogue.agreed_versions, *new]
    meters = {meter.meter_id: meter for meter in list_meters(ledger)}
    return replace(
        catalogue,
        agreements={**agreements, **made.agreements},
        agreed_versions=versions,
        price_book=compile_price_book(versions, meters) if new else catalogue.price_book,
    )


def _changed(connection: Connection, catalogue: BillingCatalogue) -> Iterator[ChangedContract]:
    """Contracts that were billed by another version, with other terms or another end."""
    versions = pl.DataFrame(catalogue.contracts.select(["contract_id", "version"]))
    moved = versions.join(pl.DataFrame(catalogue.settled), on="contract_id").filter(
        pl.col("version") != pl.col("contract_version")
    )
    rows = list(moved.iter_rows(named=True))
    if not rows:
        return
    standing = load_contract_versions(connection, {row["contract_id"]: row["version"] for row in rows})
    settled = {
        row["contract_id"]: (date.fromisoformat(row["billing_date"]), row["contract_version"]) for row in rows
    }
    for contract_id, billed in sorted(load_billed(connection, settled).items()):
        contract = standing[contract_id]
        alike = terms_by_day(contract) == terms_by_day(billed.contract)
        if alike and contract.end_date == billed.contract.end_date:
            continue
        if contract.end_date is None or contract.end_date > billed.settled:
            yield ChangedContract(contract, billed, next_date(contract, billed.settled))


def billed_fees(
    connection: Connection, store: EventStore, changed: Mapping[str, ChangedContract]
) -> dict[str, list[dict[str, Any]]]:
    """The recurring fees and what was due once, in advance, of each contract's last bill, as Python
    values, by contract_id."""
    statement = select(INVOICES.c.contract_id, INVOICES.c.billing_date, INVOICE_LINES.c.line_id).join(
        INVOICE_LINES, INVOICE_LINES.c.invoice_id == INVOICES.c.invoice_id
    )
    wanted = [
        bytes.fromhex(line_id)
        for contract_id, day, line_id in select_by_ids(
            connection, statement, INVOICES.c.contract_id, list(changed)
        )
        if day == changed[contract_id].billed.settled.isoformat()
    ]
    table = read_rated_lines(store, line_ids=wanted)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in range(table.num_rows):
        line = line_to_python(table, row)
        entry = changed[line["contract_id"]]
        begins = local_midnight(entry.billed.settled, entry.contract.time_zone)
        if line["charge_kind"] in ("recurring", ONCE) and line["period_start"] >= begins:
            found.setdefault(line["contract_id"], []).append(line)
    return found


def _is_due(
    entry: ChangedContract, catalogue: BillingCatalogue, dates: Collection[Key], last_day: date
) -> bool:
    """Whether the next billing date is billed now: with what else is due on it, or on its invoice day."""
    if (entry.contract.contract_id, entry.billing_date) in dates:
        return True
    rule = catalogue.invoice_days.get(entry.contract.contract_id)
    if rule is None:
        return entry.billing_date <= last_day
    return rule.invoice_day(entry.billing_date, bills_past=True) <= last_day


def _last_day(contract: Contract, as_of: date, now: datetime | None) -> date:
    if now is None:
        return as_of
    return min(as_of, now.astimezone(find_time_zone(contract.time_zone)).date())
