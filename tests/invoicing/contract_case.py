"""A contract, its plan and its usage as one document, billed without stores: for tables people can read.

plan: {charges: [...]}             plan: or plans: [...], currency and ids filled in
contract: {start_date: ..., ...}   as in a contract file, keys and zone filled in
usage: [{day: ..., meter_id: ..., quantity: ...}]
as_of: ...
billed: ...                        optional: the last billing date when the contract was changed to
amended: {...}                     what stands here instead
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from invoicing.amendment_rows import (
    AmendmentRows,
    ChangedContract,
    amendment_rows,
    next_date,
    with_credits,
    with_rows,
)
from invoicing.billed_time import Billed as BilledContract
from invoicing.due import due_service_periods
from rating.agreement import Agreement, agreed_versions
from rating.agreement_dates import agreed_segments, agreements_by_day
from rating.compile import compile_price_book
from rating.contract import Contract
from rating.line_item import RATED_LINE_SCHEMA
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan
from rating.rate import RatedLines, rate_usage
from rating.store import line_to_python
from rating.true_up import BILLED_SPEND_SCHEMA, due_true_ups, spend_of_lines, with_true_up_lines
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
    numbered = _plan_versions(case.get("plans", [case.get("plan")]))
    as_of = date.fromisoformat(str(case["as_of"]))
    before = _contract(case["contract"])
    plans = {entry.version: entry.plan for entry in numbered}
    if "amended" not in case:
        rated, agreements = _rate(before, numbered, case, as_of)
        return Billed(rated, plans, agreements, before)
    settled = date.fromisoformat(str(case["billed"]))
    past, _ = _rate(before, numbered, case, settled)
    now = _contract({**case["contract"], **case["amended"]})
    coming, agreements = _rate(now, numbered, case, as_of, BilledContract(before, settled), past.lines)
    lines = pa.concat_tables([past.lines, coming.lines]).unify_dictionaries()
    return Billed(RatedLines(lines, coming.unrated), plans, agreements, now)


def _plan_versions(documents: Sequence[Mapping[str, Any]]) -> list[PlanVersion]:
    """Versions count from 1 for each plan."""
    by_plan: dict[str, list[PricePlan]] = {}
    for entry in documents:
        found = plan(*entry["charges"], **{name: value for name, value in entry.items() if name != "charges"})
        by_plan.setdefault(found.plan_id, []).append(found)
    return [version for plans in by_plan.values() for version in versions(*plans)]


def _contract(document: Mapping[str, Any]) -> Contract:
    return Contract.model_validate(
        {
            "contract_id": "c",
            "customer_id": "acme",
            "plan_id": "gold",
            "subjects": ["acme"],
            "time_zone": "UTC",
            **document,
        }
    )


def _rate(
    contract: Contract,
    numbered: Sequence[PlanVersion],
    case: Mapping[str, Any],
    as_of: date,
    billed: BilledContract | None = None,
    past: pa.Table | None = None,
) -> tuple[RatedLines, dict[str, Agreement]]:
    """What is due up to ``as_of``; behind ``billed``, with its amendments, when the contract changed."""
    segments = agreed_segments(contract)
    by_contract = {contract.contract_id: tuple(segments)} if segments else {}
    known = [contract] if billed is None else [contract, billed.contract]
    agreements = {agreement.key(): agreement for each in known for _, agreement in agreements_by_day(each)}
    rows = contracts_table(_row_of(contract))
    settled = [] if billed is None else [(contract.contract_id, billed.settled.isoformat())]
    periods = due_service_periods(
        contracts=rows,
        plan_versions=numbered,
        agreements=agreements,
        segments=by_contract,
        settled=settled_table(*settled),
        as_of=as_of,
    )
    priced = list(agreed_versions(numbered, segments, agreements))
    made = AmendmentRows()
    if billed is not None and past is not None:
        fees = _fees(past, billed.settled)
        made = amendment_rows(
            {contract.contract_id: ChangedContract(contract, billed, next_date(contract, billed.settled))},
            {contract.contract_id: fees},
            left_minor={fee["line_id"]: fee["amount_minor"] for fee in fees},
            contracts=rows,
            plan_versions=numbered,
            segments=by_contract,
            agreements=agreements,
            run_id="case",
        )
        priced += made.versions.values()
        agreements |= made.agreements
    periods = with_rows(periods, made.rows) if made.rows else periods
    rated = rate_usage(
        periods=periods,
        usage=_usage(periods, case.get("usage", [])),
        price_book=compile_price_book(priced, METERS),
        run_id="case",
        threads=1,
    )
    given_back = pa.Table.from_pylist(made.credits, schema=RATED_LINE_SCHEMA)
    trued = with_true_up_lines(
        with_credits(rated.lines, given_back),
        due=due_true_ups(periods, agreements=agreements, contracts=rows),
        billed=BILLED_SPEND_SCHEMA.empty_table() if past is None else spend_of_lines(past),
        plan_versions=numbered,
        run_id="case",
    )
    return RatedLines(trued.lines, pa.concat_tables([rated.unrated, trued.unrated])), agreements


def _row_of(contract: Contract) -> dict[str, Any]:
    return contract_row(
        contract.contract_id,
        plan_id=contract.plan_id,
        start_date=contract.start_date,
        end_date=contract.end_date,
        cadence=contract.billing.interval,
        anchor_date=contract.billing.anchor_date,
    )


def _fees(past: pa.Table, settled: date) -> list[dict[str, Any]]:
    lines = [line_to_python(past, row) for row in range(past.num_rows)]
    return [
        line
        for line in lines
        if line["charge_kind"] in ("recurring", "one_time")
        and line["billing_date"] == settled
        and line["period_start"].date() >= settled
    ]


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
