"""All reasons to hold, asked together: the billing run and the preview answer the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from ingest.errors import Issue
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.hold import (
    Held,
    Key,
    hold_by_amount,
    hold_changed_contracts,
    hold_in_order,
    hold_too_large,
    hold_unknown_customers,
    hold_unrated,
    hold_unusable,
)
from invoicing.pricing import PricedPeriods
from invoicing.settings import NegativeTotal


def held_dates(
    dates: Sequence[Key],
    *,
    periods: pa.Table,
    priced: PricedPeriods,
    contracts: pa.Table,
    catalogue: BillingCatalogue,
    customers: Mapping[str, tuple[int, str]],
    changed: Mapping[str, Sequence[Issue]],
    totals_minor: Mapping[str, int],
    negative_total: NegativeTotal,
    late: Sequence[Held] = (),
) -> list[Held]:
    """One entry a date of ``dates`` that cannot be billed, with the first reason found.

    contracts: those of the dates, as ``load_contracts`` gives them. customers: the known ones.
    changed: what ``changed_behind_bill`` found. totals_minor: what the run has billed so far.
    negative_total: what becomes of dates below zero. late: why late
    usage of earlier dates cannot be adjusted, and what ``prepare_tax`` found.
    """
    owners = dict(
        zip(contracts["contract_id"].to_pylist(), contracts["customer_id"].to_pylist(), strict=True)
    )
    return hold_in_order(
        dates,
        [
            *hold_unknown_customers(dates, customer_of=owners, known=customers),
            *hold_changed_contracts(dates, changed=changed),
            *late,
            *hold_unusable(priced.unusable, periods=periods, plan_versions=catalogue.plan_versions),
            *hold_unrated(priced.unrated, periods=periods),
            *hold_by_amount(priced.lines, negative_total=negative_total),
            *hold_too_large(priced.lines, totals_minor=totals_minor),
        ],
    )
