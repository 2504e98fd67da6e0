"""Holiday calendars in the ledger, and which contracts are invoiced by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update

from ingest.document import canonical_json, document_hash, validate_document
from ingest.errors import NotFound
from ingest.ledger import ledger_transaction
from rating.contract import Contract
from rating.contract_columns import rows_of
from rating.holiday_calendar import WEEKENDS, BusinessDays, HolidayCalendar, calendar_rules
from rating.invoice_day import InvoiceDayRule
from rating.plan_version import Entered, SavedDocument
from rating.tables import CONTRACT_INVOICE_DAYS, HOLIDAY_CALENDARS


@dataclass(frozen=True, slots=True)
class StoredCalendar:
    """A calendar in force and how often it was changed."""

    calendar: HolidayCalendar
    version: int


def save_calendar(
    ledger: Engine,
    document: HolidayCalendar | Mapping[str, Any],
    *,
    now: datetime,
    entered: Entered | None = None,
) -> SavedDocument:
    """Check and save a calendar; the same document again changes nothing. It counts from the next billing run
    on. entered: called inside the transaction with what was saved. Raises InvalidDocument."""
    data = document.model_dump() if isinstance(document, HolidayCalendar) else dict(document)
    name = data.get("calendar_id", "?")
    calendar = validate_document(HolidayCalendar, data, what=f"calendar {name!r}", rules=calendar_rules)
    table, digest = HOLIDAY_CALENDARS, document_hash(calendar)
    content = {
        "document": canonical_json(calendar),
        "document_hash": digest,
        "updated_at": now.isoformat(),
    }
    key = table.c.calendar_id == calendar.calendar_id
    with ledger_transaction(ledger) as connection:
        row = connection.execute(select(table.c.version, table.c.document_hash).where(key)).one_or_none()
        if row is not None and row[1] == digest:
            return SavedDocument(calendar.calendar_id, row[0], created=False)
        version = 1 if row is None else row[0] + 1
        if row is None:
            new = {"calendar_id": calendar.calendar_id, "version": 1, "created_at": now.isoformat()}
            connection.execute(insert(table), new | content)
        else:
            connection.execute(update(table).where(key).values(version=version, **content))
        saved = SavedDocument(calendar.calendar_id, version, created=True)
        if entered is not None:
            entered(connection, [saved])
    return saved


def get_calendar(ledger: Engine, calendar_id: str) -> StoredCalendar:
    """The calendar in force. Raises NotFound."""
    table = HOLIDAY_CALENDARS
    query = select(table.c.document, table.c.version).where(table.c.calendar_id == calendar_id)
    with ledger.connect() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"calendar {calendar_id!r} is not on record. `ratemill calendar list` shows what is.")
    return StoredCalendar(HolidayCalendar.model_validate_json(row[0]), row[1])


def list_calendars(ledger: Engine) -> list[StoredCalendar]:
    """All calendars, by id."""
    table = HOLIDAY_CALENDARS
    query = select(table.c.document, table.c.version).order_by(table.c.calendar_id)
    with ledger.connect() as connection:
        rows = connection.execute(query).all()
    return [StoredCalendar(HolidayCalendar.model_validate_json(text), version) for text, version in rows]


def calendar_ids(connection: Connection) -> frozenset[str]:
    """The ids of all calendars on record."""
    return frozenset(connection.execute(select(HOLIDAY_CALENDARS.c.calendar_id)).scalars())


def forget_invoice_days(connection: Connection, contract_ids: Sequence[str]) -> None:
    """Take the rules of the contracts away. Few enough ids for one statement."""
    table = CONTRACT_INVOICE_DAYS
    connection.execute(delete(table).where(table.c.contract_id.in_(contract_ids)))


def write_invoice_days(connection: Connection, contracts: Iterable[Contract]) -> None:
    """Keep the rules of the contracts that have one."""
    rows = [
        {
            "contract_id": contract.contract_id,
            "business_day": contract.billing.business_day,
            "calendar_id": contract.billing.calendar_id or "",
        }
        for contract in contracts
        if contract.billing.business_day != "none"
    ]
    if rows:
        connection.execute(insert(CONTRACT_INVOICE_DAYS), rows)


def load_invoice_days(
    connection: Connection, contract_ids: Sequence[str] | None = None
) -> dict[str, InvoiceDayRule]:
    """The rule of each contract (all, or those named) that has one, by contract_id."""
    rows = rows_of(connection, CONTRACT_INVOICE_DAYS, contract_ids)
    if not rows:
        return {}
    texts = connection.execute(select(HOLIDAY_CALENDARS.c.document)).scalars()
    calendars = [HolidayCalendar.model_validate_json(text) for text in texts]
    days: dict[str, BusinessDays] = {"": WEEKENDS}
    days |= {calendar.calendar_id: BusinessDays.of(calendar) for calendar in calendars}
    rules = {key: InvoiceDayRule(key[0], days[key[1]]) for key in {(row[1], row[2]) for row in rows}}
    return {row[0]: rules[row[1], row[2]] for row in rows}
