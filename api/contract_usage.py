"""What a contract has used in the billing period that is open now, by every meter its plan prices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa

from api.state import Ratemill
from ingest.asked_events import AskedEvents
from ingest.errors import Conflict
from ingest.meter import Meter
from rating.agreement_dates import plan_windows
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
    subjects = list(contract.subjects)
    calendar = pa.table(
        [[0] * len(subjects), subjects, [start] * len(subjects), [end] * len(subjects)],
        schema=CALENDAR_SCHEMA,
    )
    meters = priced_meters(state, contract, on=today)
    with state.event_store.one_question(AskedEvents.counted(meters, subjects)):
        rolled = roll_up_usage(state.event_store, calendar=calendar, meters=meters)
    return ContractUsage(start, end, rolled.usage, rolled.unusable)


def priced_meters(state: Ratemill, contract: Contract, *, on: date) -> list[Meter]:
    """The meters priced by the plans of the billing period that holds the day, up to that day, in the order
    of the list of meters: a phase may have begun inside the period."""
    start, _ = billing_period(contract, on=on)
    first = start.astimezone(find_time_zone(contract.time_zone)).date()
    plan_ids = {
        plan_id
        for plan_id, begins, ends in plan_windows(contract)
        if begins <= on and (ends is None or ends > first)
    }
    plans = [get_plan_in_force(state.ledger, plan_id, on=on).plan for plan_id in sorted(plan_ids)]
    priced = {meter_id for plan in plans for charge in plan.charges for meter_id in charge.meter_ids()}
    return [meter for meter in state.meters.current() if meter.meter_id in priced]
