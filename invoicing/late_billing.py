"""Billing dates that are late: how late those of a run are, and which no run has billed a day later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import polars as pl
import pyarrow as pa
from sqlalchemy import Engine

from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from invoicing.due import due_service_periods, without_plan
from invoicing.hold import hold_without_plan
from invoicing.run_record import FINISHED, list_runs
from rating.invoice_day import InvoiceDayRule
from rollup.period import find_time_zone

A_DAY: Final = timedelta(days=1)
NOT_LOOKED_AT: Final = "not_looked_at"
_EARTH_AHEAD: Final = timedelta(hours=14)
_RUNS: Final = 20
"""Of the newest runs, the first that finished says why it held what it held."""


@dataclass(frozen=True, slots=True)
class LateDate:
    """A billing date that should have been invoiced on ``invoice_day`` and is not. days_late: local days
    since then. reason_code, message: why the last run held it, or that none has looked at it."""

    contract_id: str
    billing_date: date
    invoice_day: date
    days_late: int
    reason_code: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """As answers have it."""
        return asdict(self)


def late_dates(ledger: Engine, *, now: datetime) -> list[LateDate]:
    """What should have been invoiced a whole day ago or earlier, in the contract's own time, and is not even
    a draft, the longest wait first. Reads all contracts."""
    catalogue = load_billing_catalogue(ledger)
    as_of = (now - A_DAY + _EARTH_AHEAD).date()
    periods = due_service_periods(
        contracts=catalogue.contracts,
        plan_versions=catalogue.plan_versions,
        segments=catalogue.segments,
        agreements=catalogue.agreements,
        settled=catalogue.settled,
        as_of=as_of,
        now=now - A_DAY,
        invoice_days=catalogue.invoice_days,
    )
    days = _invoice_days(_dates(periods), catalogue.invoice_days)
    unpriced = hold_without_plan(
        without_plan(catalogue.contracts, catalogue.plan_versions), as_of=(now - A_DAY).date()
    )
    held = {(entry.contract_id, entry.billing_date): (entry.reason_code, entry.message) for entry in unpriced}
    days |= {key: key[1] for key in held}
    held = _held_last(ledger) | held
    today = _local_days(catalogue, now)
    found = []
    for (contract_id, billing_date), day in days.items():
        why = held.get((contract_id, billing_date), (NOT_LOOKED_AT, _NOBODY))
        found.append(LateDate(contract_id, billing_date, day, (today[contract_id] - day).days, *why))
    return sorted(found, key=lambda late: (-late.days_late, late.contract_id, late.billing_date))


_NOBODY: Final = (
    "No billing run has looked at it. `ratemill tick` bills what is due now; `ratemill serve --scheduler` "
    "does it every minute."
)


def lateness(
    periods: pa.Table, invoice_days: Mapping[str, InvoiceDayRule], *, as_of: date
) -> tuple[int, int]:
    """Of what a run as of that date found due: how many billing dates should have been invoiced on an earlier
    day, and by how many days at most. periods: SERVICE_PERIOD_SCHEMA."""
    ruled = pl.col("contract_id").is_in(list(invoice_days))
    dates = _dates(periods)
    days = _invoice_days(dates.filter(ruled), invoice_days).values() if invoice_days else ()
    early = [day for day in days if day < as_of]
    plain = dates.filter(~ruled & (pl.col("billing_date") < as_of))["billing_date"]
    oldest = min([*early, *plain.sort().head(1)], default=as_of)
    return len(early) + len(plain), (as_of - oldest).days


def _dates(periods: pa.Table) -> pl.DataFrame:
    """Each billing date once, with whether it bills time up to itself (``past``)."""
    columns = pl.DataFrame(periods.select(["contract_id", "billing_date", "timing"]))
    past = (pl.col("timing").cast(pl.String) == "arrears").any().alias("past")
    return columns.group_by("contract_id", "billing_date").agg(past)


def _invoice_days(
    dates: pl.DataFrame, invoice_days: Mapping[str, InvoiceDayRule]
) -> dict[tuple[str, date], date]:
    """The day on which each billing date should be invoiced. dates: as ``_dates`` gives them."""
    return {
        (contract_id, day): _invoice_day(invoice_days.get(contract_id), day, bills_past=bills_past)
        for contract_id, day, bills_past in dates.iter_rows()
    }


def _invoice_day(rule: InvoiceDayRule | None, billing_date: date, *, bills_past: bool) -> date:
    return billing_date if rule is None else rule.invoice_day(billing_date, bills_past=bills_past)


def _held_last(ledger: Engine) -> dict[tuple[str, date], tuple[str, str]]:
    newest = (run for run in list_runs(ledger, limit=_RUNS) if run.state == FINISHED and run.report)
    for run in newest:
        return {
            (entry["contract_id"], date.fromisoformat(entry["billing_date"])): (
                entry["reason_code"],
                entry["message"],
            )
            for entry in (run.report or {}).get("held_dates", ())
        }
    return {}


def _local_days(catalogue: BillingCatalogue, now: datetime) -> dict[str, date]:
    zones = catalogue.contracts["time_zone"].to_pylist()
    today = {name: now.astimezone(find_time_zone(name)).date() for name in set(zones)}
    ids = catalogue.contracts["contract_id"].to_pylist()
    return {contract_id: today[name] for contract_id, name in zip(ids, zones, strict=True)}
