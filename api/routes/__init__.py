"""The routes, one file a noun."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from api import compatible
from api.routes import (
    api_keys,
    archives,
    backfills,
    billing_entities,
    billing_runs,
    calendars,
    contracts,
    corrections,
    credit_grants,
    customer_now,
    customer_records,
    customers,
    electronic_invoices,
    entitlements,
    event_lists,
    health,
    invoices,
    lines,
    meters,
    price_plans,
    prices,
    refusals,
    reports,
    rerate,
    rollups,
    schemas,
    tax_rates,
    usage,
    what_if,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    health.router,
    event_lists.router,
    corrections.router,
    backfills.router,
    archives.router,
    refusals.router,
    meters.router,
    price_plans.router,
    customer_records.router,
    customers.router,
    calendars.router,
    billing_entities.router,
    tax_rates.router,
    contracts.router,
    billing_runs.router,
    invoices.router,
    electronic_invoices.router,
    credit_grants.router,
    usage.router,
    entitlements.router,
    customer_now.router,
    rollups.router,
    reports.router,
    prices.router,
    what_if.router,
    rerate.router,
    lines.router,
    schemas.router,
    api_keys.router,
    *compatible.ROUTERS,
)
