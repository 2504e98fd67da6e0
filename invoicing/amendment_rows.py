"""Amendments as what a run prices: periods, agreements that name the fees due, and credit lines. Pure.

A charge of an amendment is an ordinary line of a period with an agreement of its own, which names the fees
it is for; a credit is part of a line that was billed (``rating/credit_line.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from invoicing.amendment import (
    ONCE,
    Amendment,
    BilledFee,
    DueTerms,
    FeeCharge,
    amend,
    due_once,
    once_given_back,
)
from invoicing.billed_time import Billed, next_billing_date
from invoicing.due import due_service_periods
from invoicing.fee_return import FeeReturn, fee_credits
from invoicing.plan_schedule import ADVANCE
from invoicing.seat_changes import CutRow, SeatCut, change_seats, row_key
from invoicing.seats_in_advance import prices_seats
from rating.agreement import AgreedSegment, Agreement, agreed_plan
from rating.agreement_dates import agreed_segments, terms_by_day
from rating.contract import Contract
from rating.contract_store import contracts_table
from rating.credit_line import UnusedTime
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan
from rating.proration import method_of, units_between
from rating.service_period import SERVICE_PERIOD_SCHEMA
from rollup.period import find_time_zone, local_midnight

_ORDER: Final = ["contract_id", "billing_date", "timing", "period_start", "agreement"]


@dataclass(frozen=True, slots=True)
class ChangedContract:
    """A contract whose terms are not those of its last bill. billing_date: its next one."""

    contract: Contract
    billed: Billed
    billing_date: date


def next_date(contract: Contract, settled: date) -> date:
    """The billing date after ``settled``, which lies before the contract's end."""
    following = next_billing_date(
        cadence=contract.billing.interval,
        anchor_date=contract.billing.anchor_date or contract.start_date,
        after=settled,
    )
    return following if contract.end_date is None else min(following, contract.end_date)


def amendment_rows(
    changed: Mapping[str, ChangedContract],
    billed_lines: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    left_minor: Mapping[bytes, int],
    contracts: pa.Table,
    plan_versions: Sequence[PlanVersion],
    segments: Mapping[str, tuple[AgreedSegment, ...]],
    agreements: Mapping[str, Agreement],
    run_id: str,
) -> AmendmentRows:
    """What the changes add to their next bills.

    changed, billed_lines: by contract_id; the lines are the recurring fees and what was due once, in
    advance, of its last bill, as Python values. left_minor: by line_id, what corrections and credit notes
    left of each of them. contracts, segments: as for ``due_service_periods``.
    agreements: by key, all that the segments and the lines name.
    """
    terms = _terms_now(changed, contracts, plan_versions, segments, agreements)
    seated = prices_seats(plan_versions)
    plans = {(entry.plan.plan_id, entry.version): entry for entry in plan_versions}
    made = AmendmentRows()
    for contract_id, entry in changed.items():
        lines = billed_lines.get(contract_id, ())
        fees = [_fee(line, plans, agreements) for line in lines if line["charge_kind"] != ONCE]
        begins = local_midnight(entry.billed.settled, entry.contract.time_zone)
        once = [
            _fee(line, plans, agreements)
            for line in lines
            if line["charge_kind"] == ONCE and line["period_start"] > begins
        ]
        paid_once = {(fee.plan.plan_id, fee.charge.charge_id) for fee in once}
        due = _due_terms(terms.get(contract_id, ()), entry, plans, agreements)
        found = amend(fees, due, unused=entry.contract.unused)
        given_back = once_given_back(once, due, unused=entry.contract.unused)
        found = replace(found, credits=(*found.credits, *given_back))
        made.add_credits(found, entry, left_minor=left_minor, run_id=run_id)
        made.add_charges([*found.charges, *due_once(due, paid_once)], entry, agreements)
        made.add_empty(found, entry)
        if seated:
            billed_terms, agreed = _terms_billed(entry, plan_versions, plans)
            cuts, instead = change_seats(billed_terms, due, unused=entry.contract.unused)
            made.add_cuts(cuts, entry, agreed)
            made.add_charges(instead, entry, agreements)
        for line in lines if made.rows else ():
            made.name(plans[line["plan_id"], line["plan_version"]], line["agreement"], agreements)
    return made


@dataclass(slots=True)
class AmendmentRows:
    """What amendments add: rows of SERVICE_PERIOD_SCHEMA (without numbers), credit lines as rows of
    RATED_LINE_SCHEMA, the new agreements by key, and all plan versions that they name. returns: what the
    credits are made of, and what would be of fees that were free. cuts: of billed periods whose licences end
    earlier."""

    agreements: dict[str, Agreement] = field(default_factory=dict)
    versions: dict[tuple[str, int, str], PlanVersion] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    credits: list[dict[str, Any]] = field(default_factory=list)
    returns: list[FeeReturn] = field(default_factory=list)
    cuts: list[CutRow] = field(default_factory=list)

    def name(self, entry: PlanVersion, key: str, agreements: Mapping[str, Agreement]) -> None:
        """Have the plan version under the agreement compiled: a line names it."""
        plan = agreed_plan(entry.plan, agreements[key]) if key else entry.plan
        self.versions[entry.plan.plan_id, entry.version, key] = PlanVersion(plan, entry.version, key)

    def join(self, other: AmendmentRows) -> None:
        """Add what other amendments add."""
        self.agreements |= other.agreements
        self.versions |= other.versions
        self.rows += other.rows
        self.credits += other.credits
        self.returns += other.returns
        self.cuts += other.cuts

    def add_credits(
        self, found: Amendment, entry: ChangedContract, *, left_minor: Mapping[bytes, int], run_id: str
    ) -> None:
        returns = []
        for given_back in found.credits:
            fee = given_back.fee
            days = fee.line["days"]
            if fee.charge.kind != ONCE:  # what is due once is given back whole
                days = _part(given_back.start, given_back.end, entry.contract, fee.plan, days)
            unused = UnusedTime(given_back.start, given_back.end, given_back.units, days)
            left = left_minor[fee.line["line_id"]]
            returns.append(FeeReturn(fee.line, unused, fee.plan, entry.billing_date, left))
        made = fee_credits(returns, {}, run_id=run_id)
        self.credits += [line for line in made if line is not None]
        self.returns += returns

    def add_charges(
        self, charges: Iterable[FeeCharge], entry: ChangedContract, agreements: Mapping[str, Agreement]
    ) -> None:
        for due in charges:
            row = due.terms.row
            base = agreements[row["agreement"]] if row["agreement"] else Agreement()
            differing = {quantity.charge_id for quantity in due.quantities}
            kept = [quantity for quantity in base.quantities if quantity.charge_id not in differing]
            agreement = base.model_copy(
                update={"only_charges": due.charge_ids, "quantities": (*kept, *due.quantities)}
            )
            self.agreements[agreement.key()] = agreement
            listed = PlanVersion(due.terms.listed, row["plan_version"])
            self.name(listed, agreement.key(), self.agreements)
            self.rows.append(
                {
                    **row,
                    "agreement": agreement.key(),
                    "billing_date": entry.billing_date,
                    "period_start": due.start,
                    "period_end": due.end,
                    "days": _part(due.start, due.end, entry.contract, due.terms.plan, row["full_days"]),
                    "first": due.terms.begins and due.start == due.terms.start,
                }
            )

    def add_cuts(
        self, cuts: Iterable[SeatCut], entry: ChangedContract, agreements: Mapping[str, Agreement]
    ) -> None:
        for cut in cuts:
            row = cut.terms.row
            if cut.at == cut.terms.start:
                self.cuts.append(CutRow(row_key(row), None))
                continue
            base = agreements[row["agreement"]] if row["agreement"] else Agreement()
            agreement = base.model_copy(update={"only_charges": cut.charge_ids, "keeps_amounts": True})
            self.agreements[agreement.key()] = agreement
            self.name(PlanVersion(cut.terms.listed, row["plan_version"]), agreement.key(), self.agreements)
            days = _part(cut.terms.start, cut.at, entry.contract, cut.terms.plan, row["full_days"])
            instead = {**row, "agreement": agreement.key(), "period_end": cut.at, "days": days}
            self.cuts.append(CutRow(row_key(row), instead))

    def add_empty(self, found: Amendment, entry: ChangedContract) -> None:
        """A period without fees for the credits, so that their date is billed whatever else is due on it."""
        paid = [given_back for given_back in found.credits if given_back.fee.line["amount"] > 0]
        if not paid:
            return
        fee = paid[0].fee
        agreement = Agreement(only_charges=())
        line = fee.line
        self.agreements[agreement.key()] = agreement
        self.versions[line["plan_id"], line["plan_version"], agreement.key()] = PlanVersion(
            fee.plan.model_copy(update={"charges": ()}), line["plan_version"], agreement.key()
        )
        self.rows.append(
            {
                "contract_id": line["contract_id"],
                "plan_id": line["plan_id"],
                "plan_version": line["plan_version"],
                "agreement": agreement.key(),
                "timing": ADVANCE,
                "billing_date": entry.billing_date,
                "period_start": paid[0].start,
                "period_end": paid[0].end,
                "days": line["days"],
                "full_days": line["full_days"],
                "first": False,
                "period_number": 0,
                "period_first_day": entry.billed.settled,
            }
        )


def with_rows(periods: pa.Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The periods and the rows, in the order of ``due_service_periods``, counted again."""
    numbered = [{**row, "period_key": 0} for row in rows]
    both = pa.concat_tables([periods, pa.Table.from_pylist(numbered, schema=SERVICE_PERIOD_SCHEMA)])
    both = both.unify_dictionaries().combine_chunks()
    keys = pl.DataFrame(both.select(_ORDER)).with_columns(
        pl.col("timing").cast(pl.String), pl.col("agreement").cast(pl.String)
    )
    # "arrears" is the later word and the earlier row.
    order = keys.with_row_index().sort(_ORDER, descending=[False, False, True, False, False])["index"]
    sorted_rows = both.take(order.to_arrow())
    count = pa.array(range(sorted_rows.num_rows), pa.uint32())
    return sorted_rows.set_column(0, SERVICE_PERIOD_SCHEMA.field(0), count).combine_chunks()


def with_credits(lines: pa.Table, *added: pa.Table) -> pa.Table:
    """Rated lines with credit lines, and whatever else is added, at the end of their invoices in this order.
    All RATED_LINE_SCHEMA; lines: by contract and billing date."""
    some = [table for table in added if table.num_rows]
    if not some:
        return lines
    both = pa.concat_tables([lines, *some]).unify_dictionaries().combine_chunks()
    keys = pl.DataFrame(both.select(["contract_id", "billing_date"])).with_row_index()
    order = keys.sort(["contract_id", "billing_date"], maintain_order=True)["index"]
    return both.take(order.to_arrow()).combine_chunks()


def _terms_now(
    changed: Mapping[str, ChangedContract],
    contracts: pa.Table,
    plan_versions: Sequence[PlanVersion],
    segments: Mapping[str, tuple[AgreedSegment, ...]],
    agreements: Mapping[str, Agreement],
) -> dict[str, list[Mapping[str, Any]]]:
    """The periods in advance of each contract's last billing date as they would be billed now."""
    moved = pc.is_in(contracts["contract_id"], value_set=pa.array(list(changed), pa.string()))
    before = pa.table(
        {
            "contract_id": pa.array(list(changed), pa.string()),
            "billing_date": pa.array(
                [entry.billed.settled - timedelta(days=1) for entry in changed.values()], pa.date32()
            ),
        }
    )
    periods = due_service_periods(
        contracts=contracts.filter(moved),
        plan_versions=plan_versions,
        segments={key: segments[key] for key in changed if key in segments},
        agreements=agreements,
        settled=before,
        as_of=max(entry.billed.settled for entry in changed.values()),
    )
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in periods.filter(pc.equal(periods["timing"].cast(pa.string()), ADVANCE)).to_pylist():
        if row["billing_date"] == changed[row["contract_id"]].billed.settled:
            found.setdefault(row["contract_id"], []).append(row)
    return found


def _terms_billed(
    entry: ChangedContract,
    plan_versions: Sequence[PlanVersion],
    plans: Mapping[tuple[str, int], PlanVersion],
) -> tuple[list[DueTerms], dict[str, Agreement]]:
    """The periods in advance of the last billing date as they were billed, and the agreements they name."""
    before = replace(entry, contract=entry.billed.contract)
    contract_id = before.contract.contract_id
    track = tuple(agreed_segments(before.contract))
    agreements = {agreement.key(): agreement for _, _, agreement in terms_by_day(before.contract)}
    rows = _terms_now(
        {contract_id: before},
        contracts_table([(before.contract, 1)]),
        plan_versions,
        {contract_id: track} if track else {},
        agreements,
    )
    return _due_terms(rows.get(contract_id, ()), before, plans, agreements), agreements


def _due_terms(
    rows: Sequence[Mapping[str, Any]],
    entry: ChangedContract,
    plans: Mapping[tuple[str, int], PlanVersion],
    agreements: Mapping[str, Agreement],
) -> list[DueTerms]:
    begins = local_midnight(entry.billed.settled, entry.contract.time_zone)
    found = []
    for row in rows:
        listed = plans[row["plan_id"], row["plan_version"]].plan
        plan = agreed_plan(listed, agreements[row["agreement"]]) if row["agreement"] else listed
        first = row["first"] and row["period_start"] > begins
        found.append(DueTerms(row["period_start"], row["period_end"], plan, listed, row, first))
    return found


def _fee(
    line: Mapping[str, Any],
    plans: Mapping[tuple[str, int], PlanVersion],
    agreements: Mapping[str, Agreement],
) -> BilledFee:
    listed = plans[line["plan_id"], line["plan_version"]].plan
    plan = agreed_plan(listed, agreements[line["agreement"]]) if line["agreement"] else listed
    charge = next(charge for charge in plan.charges if charge.charge_id == line["charge_id"])
    return BilledFee(line, plan, charge)


def _part(start: datetime, end: datetime, contract: Contract, plan: PricePlan, whole: int) -> int:
    """How much of a whole the local days are, counted as the plan prorates."""
    zone = find_time_zone(contract.time_zone)
    first, past = (instant.astimezone(zone).date() for instant in (start, end))
    seconds = int((end - start).total_seconds())
    return units_between(method_of(plan), first, past, seconds=seconds, at_most=whole)
