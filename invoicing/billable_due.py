"""Which open items ride on which billing dates, and what they come to: the part that reads the ledger.

An item of a day is billed on the first billing date after it that is not settled yet, with whatever else that
date bills. An item without a price holds its date, as unrated usage does: a bill that misses something is
worse than a late one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, Engine, select

from invoicing.billable_item import OPEN, StoredItem
from invoicing.billable_price import ItemLines, PlacedItem, price_items
from invoicing.billable_read import stored_item
from invoicing.billable_tables import BILLABLE_ITEMS
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.bulk import select_by_ids
from invoicing.hold import Held, Key
from invoicing.plan_schedule import PlanSchedule, compile_plan_schedule
from rating.line_item import RATED_LINE_SCHEMA
from rating.plan_version import PlanVersion
from rating.tables import CONTRACTS

_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class ItemsDue:
    """lines: RATED_LINE_SCHEMA. items: (item_id, version) by line id in hex, descriptions and tax_classes
    alike. held: dates that an item holds back."""

    lines: pa.Table = field(default_factory=RATED_LINE_SCHEMA.empty_table)
    items: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    tax_classes: Mapping[str, str] = field(default_factory=dict)
    held: Sequence[Held] = ()


@dataclass(frozen=True, slots=True)
class ContractFacts:
    """What placing an item needs of its contract."""

    contract_id: str
    customer_id: str
    plan_id: str
    start: date
    end: date | None
    time_zone: str

    def holds_on(self, day: date) -> bool:
        return self.start <= day and (self.end is None or day < self.end)


@dataclass(frozen=True, slots=True)
class OwnedItem:
    """An open item and its contract; None with the reason why there is none."""

    stored: StoredItem
    contract: ContractFacts | None
    reason_code: str = ""
    message: str = ""


def items_due(ledger: Engine, catalogue: BillingCatalogue, dates: Sequence[Key], *, run_id: str) -> ItemsDue:
    """The items that the unsettled billing dates of some contracts bill. Nothing is written."""
    wanted = list(dict.fromkeys(contract_id for contract_id, _ in dates))
    with ledger.connect() as connection:
        owned = open_items_of(connection, wanted)
    if not owned:
        return ItemsDue()
    by_contract: dict[str, list[date]] = {}
    for contract_id, day in dates:
        by_contract.setdefault(contract_id, []).append(day)
    versions = VersionsByDay(catalogue)
    placed = [
        placed_item(one.stored, one.contract, versions, owner=one.contract.contract_id, billing_date=day)
        for one in owned
        if one.contract is not None and one.stored.item_invoice_id is None
        for day in [_first_after(by_contract.get(one.contract.contract_id, ()), one.stored.item.date)]
        if day is not None
    ]
    return due_of(price_items(placed, run_id=run_id))


def due_of(priced: ItemLines) -> ItemsDue:
    """The lines of priced items, and one held date for each that an item has no price on."""
    held: dict[Key, Held] = {}
    for one in priced.problems:
        item, key = one.placed.stored.item, (one.placed.contract_id, one.placed.billing_date)
        message = (
            f"item {item.external_id!r} of {item.source_system!r} has no price: {one.message} Amend or close "
            "it (`ratemill items`), or add the price."
        )
        held.setdefault(key, Held(*key, one.reason_code, message))
    return ItemsDue(priced.lines, priced.items, priced.descriptions, priced.tax_classes, list(held.values()))


def placed_item(
    stored: StoredItem, contract: ContractFacts, versions: VersionsByDay, *, owner: str, billing_date: date
) -> PlacedItem:
    """The item under the prices of its day."""
    found = versions.of(contract, stored.item.date)
    return PlacedItem(stored, contract.contract_id, owner, billing_date, contract.time_zone, found)


class VersionsByDay:
    """The plan version, under its agreement, that prices a day of a contract."""

    def __init__(self, catalogue: BillingCatalogue) -> None:
        self._schedule: PlanSchedule = compile_plan_schedule(
            catalogue.plan_versions, catalogue.segments, catalogue.agreements
        )
        self._versions: dict[tuple[str, int, str], PlanVersion] = {
            (entry.plan.plan_id, entry.version, entry.agreement): entry for entry in catalogue.agreed_versions
        }
        self._known: dict[tuple[str, date], PlanVersion | None] = {}

    def of(self, contract: ContractFacts, day: date) -> PlanVersion | None:
        """None when no version is in force that day."""
        key = (contract.contract_id, day)
        if key not in self._known:
            self._known[key] = self._find(contract, day)
        return self._known[key]

    def _find(self, contract: ContractFacts, day: date) -> PlanVersion | None:
        schedule = self._schedule
        track = schedule.contract_tracks.get(contract.contract_id)
        if track is None:
            track = schedule.plan_tracks.get(contract.plan_id)
        if track is None or not schedule.key.size:
            return None
        number = (day - _EPOCH).days
        entry = int(schedule.in_force(np.array([track]), np.array([number]))[0])
        if entry < 0 or schedule.track_of(entry) != track:
            return None
        plan_id = schedule.plan_ids[schedule.plan[entry]]
        agreement = schedule.agreements[schedule.agreement[entry]]
        return self._versions.get((plan_id, int(schedule.version[entry]), agreement))


def open_items_of(connection: Connection, contract_ids: Sequence[str] | None) -> list[OwnedItem]:
    """Open items by date and id: those of some contracts and, beside them, those that name only a customer of
    theirs; None for all there are."""
    table = BILLABLE_ITEMS
    query = select(table).where(table.c.state == OPEN)
    if connection.execute(select(table.c.item_id).where(table.c.state == OPEN).limit(1)).first() is None:
        return []  # as nearly always: then nobody's contracts are read
    if contract_ids is None:
        rows = list(connection.execute(query))
    else:
        customers = {one.customer_id for one in _facts(connection, CONTRACTS.c.contract_id, contract_ids)}
        rows = list(select_by_ids(connection, query, table.c.contract_id, contract_ids))
        of_customer = query.where(table.c.contract_id.is_(None))
        rows += select_by_ids(connection, of_customer, table.c.customer_id, sorted(customers))
    rows.sort(key=lambda row: (row.item_date, row.item_id))
    return _with_contracts(connection, [stored_item(row) for row in rows])


def contracts_named(
    connection: Connection, *, contract_id: str | None, customer_id: str | None
) -> list[ContractFacts]:
    """The contract, or all of the customer."""
    if contract_id is not None:
        return _facts(connection, CONTRACTS.c.contract_id, [contract_id])
    return _facts(connection, CONTRACTS.c.customer_id, [] if customer_id is None else [customer_id])


def items_of_invoice(connection: Connection, item_invoice_id: str) -> list[OwnedItem]:
    """Open items that wait for an invoice of their own."""
    table = BILLABLE_ITEMS
    query = select(table).where(table.c.state == OPEN, table.c.item_invoice_id == item_invoice_id)
    rows = connection.execute(query.order_by(table.c.item_date, table.c.item_id))
    return _with_contracts(connection, [stored_item(row) for row in rows])


def _with_contracts(connection: Connection, items: Sequence[StoredItem]) -> list[OwnedItem]:
    named = sorted({one.item.contract_id for one in items if one.item.contract_id})
    customers = sorted(
        {one.item.customer_id for one in items if not one.item.contract_id and one.item.customer_id}
    )
    contracts = {one.contract_id: one for one in _facts(connection, CONTRACTS.c.contract_id, named)}
    by_customer: dict[str, list[ContractFacts]] = {}
    for one in _facts(connection, CONTRACTS.c.customer_id, customers):
        by_customer.setdefault(one.customer_id, []).append(one)
    return [_owned(one, contracts, by_customer) for one in items]


def _owned(
    stored: StoredItem,
    contracts: Mapping[str, ContractFacts],
    by_customer: Mapping[str, Sequence[ContractFacts]],
) -> OwnedItem:
    item = stored.item
    if item.contract_id is not None:
        contract = contracts.get(item.contract_id)
        if contract is None:
            return OwnedItem(
                stored, None, "contract_unknown", f"contract {item.contract_id!r} is not on record."
            )
        if item.customer_id not in (None, contract.customer_id):
            owner = contract.customer_id
            said = f"contract {item.contract_id!r} is customer {owner!r}'s, not {item.customer_id!r}'s."
            return OwnedItem(stored, None, "item_owner", said)
        if not contract.holds_on(item.date):
            said = f"contract {item.contract_id!r} does not cover {item.date}."
            return OwnedItem(stored, None, "item_outside_contract", said)
        return OwnedItem(stored, contract)
    fitting = [one for one in by_customer.get(item.customer_id or "", ()) if one.holds_on(item.date)]
    if len(fitting) == 1:
        return OwnedItem(stored, fitting[0])
    if not fitting:
        said = f"customer {item.customer_id!r} has no contract on {item.date}."
        return OwnedItem(stored, None, "contract_missing", said)
    named = ", ".join(sorted(one.contract_id for one in fitting))
    said = f"customer {item.customer_id!r} has several contracts on {item.date} ({named}); name one."
    return OwnedItem(stored, None, "contract_ambiguous", said)


def _facts(connection: Connection, key: Any, ids: Sequence[str]) -> list[ContractFacts]:
    table = CONTRACTS
    columns = [
        table.c[name]
        for name in ("contract_id", "customer_id", "plan_id", "start_date", "end_date", "time_zone")
    ]
    rows: Iterable[Any] = select_by_ids(connection, select(*columns), key, list(ids))
    return [
        ContractFacts(
            row[0],
            row[1],
            row[2],
            date.fromisoformat(row[3]),
            None if row[4] is None else date.fromisoformat(row[4]),
            row[5],
        )
        for row in rows
    ]


def _first_after(dates: Iterable[date], day: date) -> date | None:
    return min((one for one in dates if one > day), default=None)
