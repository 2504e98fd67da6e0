"""What a contract has used in the billing period that is open now, by every meter its plan prices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa

from api.state import Ratemill
from ingest.errors import Conflict
from rating.agreement_dates import phase_starts, plan_on
from rating.catalogue import get_plan_in_force
from rating.contract import Contract
from rating.contract_period import billing_period, runs_on
from rating.contract_store import get_contract
from rollup.period import find_time_zone
from rollup.roll_up import roll_up_usage
from rollup.schema import CALENDAR_SCHEMA


@dataclass(frozen=True, slots=True)
class ContractUsage:
    """usage: USAGE_SCHEMA, unusable: UNUSABLE_SCHEMA, of [period_start, period_end) in UTC."""

    period_start: datetime
    period_end: datetime
    usage: pa.Table
    unusable: pa.Table


def contract_usage(state: Ratemill, contract_id: str, *, at: datetime) -> ContractUsage:
    """Usage of the billing period that holds ``at``, counted as a billing run would count it.

    Raises NotFound, and Conflict when the contract does not run at that time.
    """
    contract = get_contract(state.ledger, contract_id)
    zone = find_time_zone(contract.time_zone)
    today = at.astimezone(zone).date()
    if not runs_on(contract, today):
        raise Conflict(
            f"contract {contract_id!r} runs from {contract.start_date} to "
            f"{contract.end_date or 'further notice'} and not on {today}. Ask for a time inside with `at`.",
            reason_code="contract_not_running",
        )
    start, end = billing_period(contract, on=today)
    priced = _priced_meters(state, contract, first=start.astimezone(zone).date(), last=today)
    subjects = list(contract.subjects)
    calendar = pa.table(
        [[0] * len(subjects), subjects, [start] * len(subjects), [end] * len(subjects)],
        schema=CALENDAR_SCHEMA,
    )
    meters = [meter for meter in state.meters.current() if meter.meter_id in priced]
    rolled = roll_up_usage(state.event_store, calendar=calendar, meters=meters)
    return ContractUsage(start, end, rolled.usage, rolled.unusable)


def _priced_meters(state: Ratemill, contract: Contract, *, first: date, last: date) -> frozenset[str]:
    """The meters priced by the plan the contract is on, or by those it was on before in the period: from day
    ``first`` up to and with ``last``."""
    days = {first, last, *(day for day, _ in phase_starts(contract) if first < day < last)}
    plans = (get_plan_in_force(state.ledger, plan_on(contract, day), on=day).plan for day in days)
    return frozenset(meter_id for plan in plans for charge in plan.charges for meter_id in charge.meter_ids())
