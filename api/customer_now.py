"""A customer's own view, as of now: usage, licences, limits, credit and the next billing dates, by contract.

Every figure comes from the function behind the endpoint that has it alone, so the two cannot differ.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from api.contract_usage import contract_usage, priced_meters
from api.json import rows_of
from api.routes.credit_grants import balances_answer
from api.routes.entitlements import standing_answer
from api.state import Ratemill
from ingest.meter import Meter
from invoicing.coming_dates import coming_dates
from invoicing.credit_store import entries_of, grants_of_customer
from invoicing.customer_store import get_customer
from rating.agreement_dates import plan_on
from rating.contract import Contract
from rating.contract_period import runs_on
from rating.entitlement_store import find_contracts
from rollup.period import find_time_zone

DATES_SHOWN: Final = 3


def customer_now(state: Ratemill, customer_id: str, *, at: datetime) -> dict[str, Any]:
    """The answer of GET /v1/customers/{customer_id}/now. Every figure holds all events up to
    ``as_of_sequence``. Raises NotFound, and StoreUnavailable where another process takes events in."""
    stored = get_customer(state.ledger, customer_id)
    sequence = state.entitlements.last_sequence(at=at)
    contracts = find_contracts(state.ledger, customer_id=customer_id)
    return {
        "customer_id": customer_id,
        "name": stored.customer.name,
        "as_of": at,
        "as_of_sequence": sequence,
        "contracts": [_contract_now(state, contract, at=at) for contract in contracts],
        "credit": _credit(state, customer_id, at=at),
    }


def _contract_now(state: Ratemill, contract: Contract, *, at: datetime) -> dict[str, Any]:
    contract_id = contract.contract_id
    today = at.astimezone(find_time_zone(contract.time_zone)).date()
    dates = [entry.to_dict() for entry in coming_dates(state.ledger, contract_id, count=DATES_SHOWN)]
    plan_id = plan_on(contract, today)
    head = {"contract_id": contract_id, "plan_id": plan_id, "next_billing_dates": dates}
    if not runs_on(contract, today):
        nothing: dict[str, list[Any]] = {"usage": [], "unusable": [], "licences": [], "entitlements": []}
        return {**head, "running": False, "period_start": None, "period_end": None, **nothing}
    found = contract_usage(state, contract_id, at=at)
    standings, _ = state.entitlements.standings(contract_id, at=at)
    meters = _licence_meters(state, contract, priced_meters(state, contract, on=today))
    levels, _ = state.entitlements.levels(contract, meters, at=at)
    return {
        **head,
        "running": True,
        "period_start": found.period_start,
        "period_end": found.period_end,
        "usage": rows_of(found.usage.drop_columns(["period_key"])),
        "unusable": rows_of(found.unusable.drop_columns(["period_key"])),
        "licences": [
            {
                "meter_id": meter.meter_id,
                "unit": meter.unit,
                "level": level.quantity,
                "unusable_events": level.unusable_events,
            }
            for meter, level in zip(meters, levels, strict=True)
        ],
        "entitlements": [standing_answer(one) for one in standings],
    }


def _licence_meters(state: Ratemill, contract: Contract, priced: list[Meter]) -> list[Meter]:
    """The licences that the plan prices or the contract's limits count."""
    named = {meter.meter_id for meter in priced}
    named |= {one.meter_id for one in contract.entitlements}
    named |= {one.provisioned_meter_id for one in contract.entitlements if one.provisioned_meter_id}
    return [
        meter
        for meter in state.meters.current()
        if meter.aggregation == "time_weighted" and meter.meter_id in named
    ]


def _credit(state: Ratemill, customer_id: str, *, at: datetime) -> list[dict[str, Any]]:
    grants = grants_of_customer(state.ledger, customer_id)
    entries = entries_of(state.ledger, [stored.grant.grant_id for stored in grants])
    currency_of = {stored.grant.grant_id: stored.grant.currency for stored in grants}
    return balances_answer(entries, currency_of, at.astimezone(UTC).date())
