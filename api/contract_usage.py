"""What a contract has used in the billing period that is open now, by every meter its plan prices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from api.state import Ratemill
from ingest.clock import from_micros
from ingest.errors import Conflict
from rating.catalogue import get_plan_in_force
from rating.contract_store import get_contract
from rollup.period import billing_boundaries, find_time_zone, local_midnights_micros
from rollup.roll_up import roll_up_usage
from rollup.schema import CALENDAR_SCHEMA

_LOOK = timedelta(days=800)
"""Longer than any cadence, so that a boundary lies within it on both sides."""


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
    today = at.astimezone(find_time_zone(contract.time_zone)).date()
    if today < contract.start_date or (contract.end_date is not None and today >= contract.end_date):
        raise Conflict(
            f"contract {contract_id!r} runs from {contract.start_date} to "
            f"{contract.end_date or 'further notice'} and not on {today}. Ask for a time inside with `at`.",
            reason_code="contract_not_running",
        )
    edges = billing_boundaries(
        cadence=contract.billing.interval,
        anchor_date=contract.billing.anchor_date or contract.start_date,
        first=today - _LOOK,
        last=today + _LOOK,
    )
    first = max(contract.start_date, *(day for day in edges if day <= today))
    last = min(day for day in edges if day > today)
    if contract.end_date is not None:
        last = min(last, contract.end_date)
    start, end = (
        from_micros(int(mark)) for mark in local_midnights_micros([first, last], contract.time_zone)
    )
    plan = get_plan_in_force(state.ledger, contract.plan_id, on=today).plan
    priced = {meter_id for charge in plan.charges for meter_id in charge.meter_ids()}
    subjects = list(contract.subjects)
    calendar = pa.table(
        [[0] * len(subjects), subjects, [start] * len(subjects), [end] * len(subjects)],
        schema=CALENDAR_SCHEMA,
    )
    meters = [meter for meter in state.meters.current() if meter.meter_id in priced]
    rolled = roll_up_usage(state.event_store, calendar=calendar, meters=meters)
    return ContractUsage(start, end, rolled.usage, rolled.unusable)
