"""A contract, its plan and its usage as one document, billed without stores: for tables people can read.

plan: {charges: [...]}             plan: or plans: [...], currency and ids filled in
contract: {start_date: ..., ...}   as in a contract file, keys and zone filled in
usage: [{day: ..., meter_id: ..., quantity: ...}]
as_of: ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from invoicing.due import due_service_periods
from rating.agreement import Agreement, agreed_versions
from rating.agreement_dates import agreed_segments, agreements_by_day
from rating.compile import compile_price_book
from rating.contract import Contract
from rating.price_plan import PricePlan
from rating.rate import RatedLines, rate_usage
from rating.store import line_to_python
from rating.true_up import BILLED_SPEND_SCHEMA, due_true_ups, with_true_up_lines
from rollup.schema import USAGE_SCHEMA
from tests.invoicing.support import contract_row, contracts_table, settled_table
from tests.rating.plans import METERS, plan, versions


@dataclass(frozen=True, slots=True)
class Billed:
    """What came of a case; ``agreements`` by key."""

    rated: RatedLines
    plans: Mapping[int, PricePlan]
    agreements: Mapping[str, Agreement]
    contract: Contract

    def lines(self) -> list[dict[str, Any]]:
        return [line_to_python(self.rated.lines, row) for row in range(self.rated.lines.num_rows)]

    def table(self) -> list[str]:
        """``2026-02-01 calls 2026-01-01..2026-02-01 100 = 12.00`` a line (UTC)."""
        return [_row(line) for line in self.lines()]

    def total_minor(self) -> int:
        return sum(self.rated.lines["amount_minor"].to_pylist())


def bill(case: Mapping[str, Any]) -> Billed:
    """All lines of the billing dates up to ``as_of``, by billing date."""
    plans = [
        plan(*entry["charges"], **{name: value for name, value in entry.items() if name != "charges"})
        for entry in case.get("plans", [case.get("plan")])
    ]
    contract = Contract.model_validate(
        {
            "contract_id": "c",
            "customer_id": "acme",
            "plan_id": "gold",
            "subjects": ["acme"],
            "time_zone": "UTC",
            **case["contract"],
        }
    )
    numbered = versions(*plans)
    segments = agreed_segments(contract)
    agreements = {agreement.key(): agreement for _, agreement in agreements_by_day(contract)}
    row = contract_row(
        contract.contract_id,
        plan_id=contract.plan_id,
        start_date=contract.start_date,
        end_date=contract.end_date,
        cadence=contract.billing.cadence,
        anchor_date=contract.billing.anchor_date,
    )
    periods = due_service_periods(
        contracts=contracts_table(row),
        plan_versions=numbered,
        agreements=agreements,
        segments={contract.contract_id: tuple(segments)} if segments else {},
        settled=settled_table(),
        as_of=date.fromisoformat(str(case["as_of"])),
    )
    book = compile_price_book(agreed_versions(numbered, segments, agreements), METERS)
    used = _usage(periods, case.get("usage", []))
    rated = rate_usage(periods=periods, usage=used, price_book=book, run_id="case", threads=1)
    trued = with_true_up_lines(
        rated.lines,
        due=due_true_ups(periods, agreements=agreements, contracts=contracts_table(row)),
        billed=BILLED_SPEND_SCHEMA.empty_table(),
        plan_versions=numbered,
        run_id="case",
    )
    rated = RatedLines(trued.lines, pa.concat_tables([rated.unrated, trued.unrated]))
    return Billed(rated, {entry.version: entry.plan for entry in numbered}, agreements, contract)


def _usage(periods: pa.Table, used: list[dict[str, Any]]) -> pa.Table:
    sums: dict[tuple[int, str], list[Decimal]] = {}
    for period in periods.to_pylist():
        for entry in used if period["timing"] == "arrears" else ():
            day = date.fromisoformat(str(entry["day"]))
            if period["period_start"].date() <= day < period["period_end"].date():
                key = (period["period_key"], entry["meter_id"])
                sums.setdefault(key, []).append(Decimal(str(entry["quantity"])))
    rows = [
        {
            "period_key": key,
            "meter_id": meter_id,
            "dimensions": [],
            "quantity": sum(parts, Decimal(0)),
            "event_count": len(parts),
        }
        for (key, meter_id), parts in sums.items()
    ]
    return pa.Table.from_pylist(rows, schema=USAGE_SCHEMA)


def _row(line: Mapping[str, Any]) -> str:
    start, end = line["period_start"].date(), line["period_end"].date()
    return (
        f"{line['billing_date']} {line['charge_id']} {start}..{end} "
        f"{_plain(line['quantity'])} = {Decimal(line['amount_minor']).scaleb(-2):.2f}"
    )


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


def a_month_after(day: date) -> date:
    """The first of the month after ``day``."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
