"""The periods of one contract around one day: which of them is open, in UTC."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from rating.contract import Contract
from rating.entitlement import EntitlementPeriod
from rollup.period import billing_boundaries, local_midnight


def runs_on(contract: Contract, day: date) -> bool:
    """Whether the contract covers that local day."""
    return contract.start_date <= day and (contract.end_date is None or day < contract.end_date)


def billing_period(contract: Contract, *, on: date) -> tuple[datetime, datetime]:
    """[start, end) of the billing period that holds a day on which the contract runs."""
    first, last = billing_boundaries(
        cadence=contract.billing.interval,
        anchor_date=contract.billing.anchor_date or contract.start_date,
        first=on,
        last=on,
    )
    first = max(contract.start_date, first)
    if contract.end_date is not None:
        last = min(last, contract.end_date)
    return local_midnight(first, contract.time_zone), local_midnight(last, contract.time_zone)


def entitlement_period(
    contract: Contract, period: EntitlementPeriod, *, on: date
) -> tuple[datetime, datetime | None]:
    """[start, end) of the period of a limit that holds a day on which the contract runs; no end for the
    whole life of a contract that is open."""
    if period == "billing_period":
        return billing_period(contract, on=on)
    zone = contract.time_zone
    if period == "contract":
        end = None if contract.end_date is None else local_midnight(contract.end_date, zone)
        return local_midnight(contract.start_date, zone), end
    if period == "day":
        return local_midnight(on, zone), local_midnight(on + timedelta(days=1), zone)
    first = on.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return local_midnight(first, zone), local_midnight(following, zone)
