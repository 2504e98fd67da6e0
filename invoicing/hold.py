"""Why a billing date is held back. Held dates are reported, never dropped: the next run tries again.

Reasons, in the order they are looked for:

    plan_not_in_force      no price covers the contract's first day
    customer_unknown       an invoice is never issued to nobody
    billing_dates_changed  the contract was changed behind a date already billed
    unusable_events        events a priced meter should count and cannot
    unrated_usage          usage that no price of its charge fits
    currency_mixed         the plan's currency changed inside the period
    negative_total         money owed to the customer is a credit note, never a negative invoice
    earlier_date_held      the contract is billed in order
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import polars as pl
import pyarrow as pa

from ingest.document import decimal_text
from rating.plan_version import PlanVersion

Key = tuple[str, date]


@dataclass(frozen=True, slots=True)
class Held:
    """A billing date that is due and was not billed."""

    contract_id: str
    billing_date: date
    reason_code: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"billing_date": self.billing_date.isoformat()}


def hold_without_plan(contracts: pa.Table, *, as_of: date) -> list[Held]:
    """``contracts``: (contract_id, plan_id, start_date) as ``without_plan`` gives them."""
    return [
        Held(
            row["contract_id"],
            row["start_date"],
            "plan_not_in_force",
            f"price plan {row['plan_id']!r} has no version in force on {row['start_date']}. Save one with an "
            "effective_from up to that day.",
        )
        for row in contracts.to_pylist()
        if row["start_date"] <= as_of
    ]


def hold_unknown_customers(
    dates: Iterable[Key], *, customer_of: Mapping[str, str], known: Iterable[str]
) -> list[Held]:
    """Every date of a contract whose customer is not among ``known``."""
    names = set(known)
    return [
        Held(
            contract_id,
            day,
            "customer_unknown",
            f"customer {customer_of[contract_id]!r} is not on record. Save it with "
            f"PUT /v1/customers/{customer_of[contract_id]}.",
        )
        for contract_id, day in dates
        if customer_of[contract_id] not in names
    ]


def hold_changed_dates(periods: pa.Table, *, settled: pa.Table) -> list[Held]:
    """An arrears period that begins before the last settled date would bill some days twice."""
    arrears = pl.DataFrame(periods).filter(pl.col("timing").cast(pl.String) == "arrears")
    starts = arrears.group_by("contract_id", "billing_date", maintain_order=True).agg(pl.col("days").sum())
    last = pl.DataFrame(settled).with_columns(pl.col("billing_date").cast(pl.String).str.to_date())
    last = last.group_by("contract_id").agg(pl.col("billing_date").max().alias("settled"))
    start = pl.col("billing_date") - pl.duration(days=pl.col("days"))
    behind = starts.join(last, on="contract_id", maintain_order="left").filter(start < pl.col("settled"))
    return [
        Held(
            row["contract_id"],
            row["billing_date"],
            "billing_dates_changed",
            f"the contract is billed up to {row['settled']}, which is no billing date of it any more. End it "
            "on that day and go on with a new contract, or undo the change.",
        )
        for row in behind.iter_rows(named=True)
    ]


def hold_unusable(
    unusable: pa.Table, *, periods: pa.Table, plan_versions: Sequence[PlanVersion]
) -> list[Held]:
    """Events of meters that the period's own plan version prices; others cannot change the bill."""
    priced = {
        (entry.plan.plan_id, entry.version, charge.meter_id)
        for entry in plan_versions
        for charge in entry.plan.charges
    }
    held = []
    for row in unusable.to_pylist():
        period = periods.slice(row["period_key"], 1).to_pylist()[0]
        if (period["plan_id"], period["plan_version"], row["meter_id"]) in priced:
            held.append(
                Held(
                    period["contract_id"],
                    period["billing_date"],
                    "unusable_events",
                    f"meter {row['meter_id']!r} cannot count {row['event_count']} events "
                    f"({row['reason_code']}), for one ({row['example_source']}, {row['example_id']}). "
                    "Correct what they carry, or the meter.",
                )
            )
    return held


def hold_unrated(unrated: pa.Table, *, periods: pa.Table) -> list[Held]:
    """Usage that a charge covers and no price of it fits (UNRATED_SCHEMA rows)."""
    held = []
    for row in unrated.to_pylist():
        period = periods.slice(row["period_key"], 1).to_pylist()[0]
        shown = "".join(f", {name} {value}" for name, value in row["dimensions"])
        held.append(
            Held(
                period["contract_id"],
                period["billing_date"],
                "unrated_usage",
                f"charge {row['charge_id']!r} has no price for {decimal_text(row['quantity'])} of meter "
                f"{row['meter_id']!r}{shown} ({row['reason_code']}). Add the price to the plan.",
            )
        )
    return held


def hold_by_amount(lines: pa.Table) -> list[Held]:
    """Invoices that cannot be: of two currencies, or below zero."""
    frame = pl.DataFrame(lines.select(["contract_id", "billing_date", "currency", "amount_minor"]))
    sums = frame.group_by("contract_id", "billing_date", maintain_order=True).agg(
        pl.col("amount_minor").cast(pl.Int128).sum(), pl.col("currency").cast(pl.String).unique().sort()
    )
    odd = sums.filter((pl.col("amount_minor") < 0) | (pl.col("currency").list.len() > 1))
    return [
        Held(
            contract_id,
            day,
            "currency_mixed",
            f"the lines are in {' and '.join(currencies)}. Let the new "
            "currency take effect on a billing date of the contract.",
        )
        if len(currencies) > 1
        else Held(
            contract_id,
            day,
            "negative_total",
            f"the lines come to {total} minor units of "
            f"{currencies[0]}. Money owed to the customer needs a credit note.",
        )
        for contract_id, day, total, currencies in odd.iter_rows()
    ]


def hold_in_order(dates: Iterable[Key], held: Iterable[Held]) -> list[Held]:
    """One entry a held date, the first reason found, and one for every later date of the contract.

    dates: all that are due, each contract's in order.
    """
    reasons: dict[Key, Held] = {}
    for entry in held:
        reasons.setdefault((entry.contract_id, entry.billing_date), entry)
    earliest: dict[str, date] = {}
    for contract_id, day in reasons:
        earliest[contract_id] = min(day, earliest.get(contract_id, day))
    for contract_id, day in dates if reasons else ():
        if (contract_id, day) not in reasons and earliest.get(contract_id, day) < day:
            reasons[contract_id, day] = Held(
                contract_id, day, "earlier_date_held", f"{earliest[contract_id]} is held and comes first."
            )
    return sorted(reasons.values(), key=lambda entry: (entry.contract_id, entry.billing_date))
