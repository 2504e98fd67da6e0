"""The next billing dates of a contract: when each is invoiced, for which days, on which plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine

from ingest.errors import NotFound
from invoicing.billing_catalogue import load_billing_catalogue
from invoicing.due import due_service_periods
from invoicing.plan_schedule import ARREARS
from rating.contract_rules import LAST_DATE
from rating.holiday_calendar import WEEKENDS
from rating.invoice_day import InvoiceDayRule
from rollup.period import cadence_step, find_time_zone

DATES_MAX: Final = 36
_DAYS: Final = {"weeks": 7, "months": 31}
_NO_RULE: Final = InvoiceDayRule("none", WEEKENDS)


@dataclass(frozen=True, slots=True)
class ComingDate:
    """invoice_day: when its invoice is due to be made. first_day, last_day: of all that it bills, both
    included. plan_ids: that price these days."""

    billing_date: date
    invoice_day: date
    first_day: date
    last_day: date
    plan_ids: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def coming_dates(ledger: Engine, contract_id: str, *, count: int) -> list[ComingDate]:
    """The next ``count`` dates that are not settled, in order; fewer when the contract ends. Dates on which
    nothing can be charged are left out. Raises NotFound."""
    catalogue = load_billing_catalogue(ledger, [contract_id])
    if not catalogue.contracts.num_rows:
        raise NotFound(f"contract {contract_id!r} is not on record. `ratemill contract list` shows what is.")
    contract = catalogue.contracts.to_pylist()[0]
    settled = catalogue.settled["billing_date"].to_pylist()
    begin = max([contract["start_date"], *map(date.fromisoformat, settled)])
    unit, length = cadence_step(contract["cadence"])
    reach = timedelta(days=_DAYS[unit] * length * (count + 1))
    periods = due_service_periods(
        contracts=catalogue.contracts,
        plan_versions=catalogue.plan_versions,
        segments=catalogue.segments,
        agreements=catalogue.agreements,
        settled=catalogue.settled,
        as_of=min(begin + reach, LAST_DATE),
    )
    by_date: dict[date, list[Mapping[str, Any]]] = {}
    for row in periods.to_pylist():
        by_date.setdefault(row["billing_date"], []).append(row)
    rule = catalogue.invoice_days.get(contract_id, _NO_RULE)
    found: list[ComingDate] = []
    for day, rows in list(by_date.items())[:count]:
        invoiced = rule.invoice_day(day, bills_past=any(row["timing"] == ARREARS for row in rows))
        earliest = max([invoiced, *(entry.invoice_day for entry in found)])
        found.append(_coming(day, earliest, rows, contract["time_zone"]))
    return found


def _coming(day: date, invoice_day: date, rows: Sequence[Mapping[str, Any]], time_zone: str) -> ComingDate:
    def local(instant: datetime) -> date:
        return instant.astimezone(find_time_zone(time_zone)).date()

    return ComingDate(
        billing_date=day,
        invoice_day=invoice_day,
        first_day=min(local(row["period_start"]) for row in rows),
        last_day=max(local(row["period_end"]) for row in rows) - timedelta(days=1),
        plan_ids=tuple(dict.fromkeys(row["plan_id"] for row in rows)),
    )
