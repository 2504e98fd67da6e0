"""Why a billing date is held back. Held dates are reported, never dropped: the next run tries again.

Reasons; those of the run's own dates in the order they are looked for:

    plan_not_in_force      no price covers the contract's first day
    customer_unknown       an invoice is never issued to nobody
    billing_dates_changed  the contract was changed behind what is already billed
    unusable_events        events a priced meter should count and cannot
    unrated_usage          usage that no price of its charge fits
    billing_entity_unclear, billing_entity_unknown  nobody knows who sends the invoice (``tax_desk.py``)
    tax_country_missing, tax_id_missing, tax_id_invalid, tax_rates_missing, tax_rate_missing,
    tax_treatment_missing  what tax is due is not known (``tax_decision.py``)
    statutory_field_missing  what the seller's country asks for is empty (``country_profile.py``)
    currency_mixed         the plan's currency changed inside the period
    negative_total         money is owed to the customer, and what would be a credit note is to be held
    total_too_large        the invoice, or the run with it, comes to 2**63 minor units or more
    earlier_date_held      the contract is billed in order
    adjustment_refused     late usage changes a fee in a way that no adjustment can say
    final_bill_today       more late usage of an ended contract, on a day its late usage was billed already

Late usage of billed dates that cannot be rated now holds the next date, for the reason of that one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

import polars as pl
import pyarrow as pa

from ingest.document import decimal_text
from ingest.errors import Issue
from invoicing.settings import NegativeTotal
from rating.event_bounds import USAGE_CHANGED
from rating.plan_version import PlanVersion

Key = tuple[str, date]

_ADD_THE_PRICE: Final = "Add the price to the plan."
_UNRATED_ADVICE: Final = {
    USAGE_CHANGED: "Events came in or were corrected meanwhile; the next run counts them again.",
    "currency_mixed": "The lines of the term are in several currencies, which cannot be compared; end the "
    "commitment on the day the currency changes, and agree another from then on.",
    "negative_quantity": "Correct the events that came to less than nothing, or price them by a model that "
    "has a meaning for it (per_unit, percentage, dynamic).",
    "amount_too_large": "Correct the events or the price: no line can hold the amount.",
    "formula_divides_by_zero": "Let the formula of the plan not divide by what may be 0.",
}
_INT64_MAX: Final = (1 << 63) - 1


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
            f"`ratemill customer put` or PUT /v1/customers/{customer_of[contract_id]}.",
        )
        for contract_id, day in dates
        if customer_of[contract_id] not in names
    ]


def hold_changed_contracts(dates: Iterable[Key], *, changed: Mapping[str, Sequence[Issue]]) -> list[Held]:
    """The first date of every contract that ``changed_behind_bill`` names; the rest waits for it."""
    first: dict[str, date] = {}
    for contract_id, day in dates:
        if contract_id in changed:
            first[contract_id] = min(day, first.get(contract_id, day))
    return [
        Held(
            contract_id,
            day,
            "billing_dates_changed",
            "the contract was changed behind its last bill, so some time would be billed twice or never. "
            + " ".join(str(issue) for issue in changed[contract_id]),
        )
        for contract_id, day in first.items()
    ]


def hold_unusable(
    unusable: pa.Table, *, periods: pa.Table, plan_versions: Sequence[PlanVersion]
) -> list[Held]:
    """Events of meters that the period's own plan version prices; others cannot change the bill."""
    priced = {
        (entry.plan.plan_id, entry.version, meter_id)
        for entry in plan_versions
        for charge in entry.plan.charges
        for meter_id in charge.meter_ids()
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
        shown = f" of meter {row['meter_id']!r}" if row["meter_id"] else ""
        shown += "".join(f", {name} {value}" for name, value in row["dimensions"])
        held.append(
            Held(
                period["contract_id"],
                period["billing_date"],
                "unrated_usage",
                f"charge {row['charge_id']!r} has no price for {decimal_text(row['quantity'])}"
                f"{shown} ({row['reason_code']}). {_UNRATED_ADVICE.get(row['reason_code'], _ADD_THE_PRICE)}",
            )
        )
    return held


def hold_by_amount(lines: pa.Table, *, negative_total: NegativeTotal) -> list[Held]:
    """Bills that cannot be: of two currencies, or below zero where that is to be held."""
    sums = _invoice_sums(lines)
    below_zero = (pl.col("amount_minor") < 0) & (negative_total == "hold")
    odd = sums.filter(below_zero | (pl.col("currency").list.len() > 1))
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
            f"{currencies[0]}. Money owed to the customer is a credit note: let billing issue it "
            "(RATEMILL_NEGATIVE_TOTAL=credit_note), as of the day of the last credit note or later.",
        )
        for contract_id, day, total, currencies in odd.iter_rows()
    ]


def hold_too_large(lines: pa.Table, *, totals_minor: Mapping[str, int]) -> list[Held]:
    """Invoices that a ledger of 64-bit amounts cannot hold, alone or added to the run's totals.

    totals_minor: what the run has billed so far, by currency.
    """
    sums = _invoice_sums(lines)
    added = sums["amount_minor"].abs().sum()
    if int(added or 0) + max(totals_minor.values(), default=0) <= _INT64_MAX:
        return []
    running = Counter(totals_minor)
    held = []
    for contract_id, day, total, currencies in sums.iter_rows():
        currency = currencies[0]
        if running[currency] + int(total) <= _INT64_MAX:
            running[currency] += int(total)
            continue
        held.append(
            Held(
                contract_id,
                day,
                "total_too_large",
                f"the lines come to {total} minor units of {currency}, and a run can add up to {_INT64_MAX}. "
                "Correct the events or the price; if the amount is right, bill again in a new run.",
            )
        )
    return held


def _invoice_sums(lines: pa.Table) -> pl.DataFrame:
    """(contract_id, billing_date, amount_minor, currency): the exact total and the currencies of each."""
    frame = pl.DataFrame(lines.select(["contract_id", "billing_date", "currency", "amount_minor"]))
    return frame.group_by("contract_id", "billing_date", maintain_order=True).agg(
        pl.col("amount_minor").cast(pl.Int128).sum(), pl.col("currency").cast(pl.String).unique().sort()
    )


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
