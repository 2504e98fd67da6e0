"""The lines that true up commitments over a term, from the lines of the term. Pure, tables in and out.

A true-up belongs to the arrears period whose end is the term's (or the contract's, if that comes
first): a commitment is part of the agreement, and periods are cut where an agreement changes. What
counts are lines whose period lies in the term: those priced now, and those billed before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ingest.event import QUANTITY_SCALE, QUANTITY_TYPE, TIMESTAMP
from rating.adjustment_line import ADJUSTED_FEE, BILLED_QUANTITY
from rating.agreement import Agreement
from rating.line_hash import hash_all
from rating.line_item import RATED_LINE_SCHEMA
from rating.line_table import UNRATED_SCHEMA
from rating.money import minor_digits, minor_to_decimal
from rating.plan_version import PlanVersion
from rating.price_plan import PricePlan
from rating.reference import cut_decimal
from rating.steps import FEE_ADJUSTMENT
from rating.term_commitment import (
    COMMITMENT,
    TRUE_UP_CHARGE_ID,
    TRUE_UP_KIND,
    TermCommitment,
    true_up,
    unit_true_up,
)
from rollup.period import find_time_zone, local_midnight

BILLED_SPEND_SCHEMA: Final = pa.schema(
    [
        pa.field("contract_id", pa.string(), nullable=False),
        pa.field("billing_date", pa.date32(), nullable=False),
        pa.field("charge_id", pa.string(), nullable=False),
        pa.field("charge_kind", pa.string(), nullable=False),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("period_start", TIMESTAMP, nullable=False),
        pa.field("period_end", TIMESTAMP, nullable=False),
        pa.field("amount_minor", pa.decimal128(38, 0), nullable=False),
        pa.field("units", QUANTITY_TYPE, nullable=False),
    ]
)
"""What charges came to on billed dates: sums of rated lines, in minor units, and in units as metered (of an
adjustment those that it adds). charge_kind: of the line; FEE_ADJUSTMENT of the adjustment of a fee."""
SPENT: Final = ("amount_minor", "units")
_LINE_KEYS: Final = [name for name in BILLED_SPEND_SCHEMA.names if name not in SPENT]


@dataclass(frozen=True, slots=True)
class DueTrueUp:
    """A commitment whose term ends with a period. period: its row of SERVICE_PERIOD_SCHEMA as Python
    values. term_start, term_end: UTC, of the term as agreed; a contract may end before it, and what was paid
    in advance for the days after its end counts with what is given back for them. end: the first local
    day not counted."""

    commitment: TermCommitment
    period: Mapping[str, Any]
    term_start: datetime
    term_end: datetime
    end: date


@dataclass(frozen=True, slots=True)
class TruedUp:
    """lines: RATED_LINE_SCHEMA, each billing date's true-ups after its other lines. unrated:
    UNRATED_SCHEMA, terms whose lines are of several currencies."""

    lines: pa.Table
    unrated: pa.Table


def due_true_ups(
    periods: pa.Table, *, agreements: Mapping[str, Agreement], contracts: pa.Table
) -> list[DueTrueUp]:
    """The commitments whose term ends with one of the periods, in their order.

    periods: SERVICE_PERIOD_SCHEMA. contracts: (contract_id, end_date, time_zone) of at least theirs.
    """
    keys = [key for key, agreement in agreements.items() if agreement.term_commitments]
    if not keys or not periods.num_rows:
        return []
    agreed = pc.is_in(pc.cast(periods["agreement"], pa.string()), value_set=pa.array(keys, pa.string()))
    arrears = pc.equal(pc.cast(periods["timing"], pa.string()), "arrears")
    chosen = periods.filter(pc.and_(agreed, arrears))
    facts = _facts(contracts, chosen["contract_id"])
    found = []
    for row in chosen.to_pylist():
        contract_end, zone = facts[row["contract_id"]]
        period_end = row["period_end"].astimezone(find_time_zone(zone)).date()
        for commitment in agreements[row["agreement"]].term_commitments:
            if commitment.end(contract_end) == period_end:
                term_start = local_midnight(commitment.effective_from, zone)
                term_end = local_midnight(commitment.effective_until, zone)
                found.append(DueTrueUp(commitment, row, term_start, term_end, period_end))
    return found


def with_true_up_lines(
    lines: pa.Table,
    *,
    due: Sequence[DueTrueUp],
    billed: pa.Table,
    plan_versions: Sequence[PlanVersion],
    run_id: str,
) -> TruedUp:
    """The lines with the true-ups that are due.

    lines: RATED_LINE_SCHEMA of the periods priced now. billed: BILLED_SPEND_SCHEMA of the contracts'
    other billing dates. plan_versions: at least those the periods name.
    """
    plans = {(entry.plan.plan_id, entry.version): entry.plan for entry in plan_versions}
    spend = _spend(lines, billed, due)
    added, unrated = [], []
    for entry in due:
        plan = plans[entry.period["plan_id"], entry.period["plan_version"]]
        counted = [row for row in spend.get(entry.period["contract_id"], ()) if _counts(row, entry)]
        if entry.commitment.units is not None:
            used = sum((row["units"] for row in counted), Decimal(0))
            line = _unit_line(entry, plan, used, run_id)
            added += [] if line is None else [line]
            continue
        spent = sum(int(row["amount_minor"]) for row in counted)
        if {row["currency"] for row in counted} - {plan.currency}:
            unrated.append(_unrated(entry, spent))
            continue
        line = _line(entry, plan, spent, run_id)
        if line is not None:
            added.append(line)
    new = pa.Table.from_pylist(added, schema=RATED_LINE_SCHEMA)
    return TruedUp(_merged(lines, new), pa.Table.from_pylist(unrated, schema=UNRATED_SCHEMA))


def spend_of_lines(lines: pa.Table) -> pa.Table:
    """Lines of RATED_LINE_SCHEMA as BILLED_SPEND_SCHEMA, a row each."""
    columns = [lines[name].cast(BILLED_SPEND_SCHEMA.field(name).type) for name in _LINE_KEYS]
    of_fee = pc.is_valid(pc.map_lookup(lines["inputs"], ADJUSTED_FEE, "first"))
    place = _LINE_KEYS.index("charge_kind")
    columns[place] = pc.if_else(of_fee, FEE_ADJUSTMENT, columns[place])
    amounts = lines["amount_minor"].cast(BILLED_SPEND_SCHEMA.field("amount_minor").type)
    before = pc.map_lookup(lines["inputs"], BILLED_QUANTITY, "first")
    wide = pa.decimal256(50, QUANTITY_SCALE)  # a difference of two quantities has a digit more
    metered, less = lines["quantity"].cast(wide), pc.fill_null(before, Decimal(0)).cast(wide)
    units = pc.subtract(metered, less).cast(QUANTITY_TYPE)
    return pa.Table.from_arrays([*columns, amounts, units], schema=BILLED_SPEND_SCHEMA)


def _facts(contracts: pa.Table, wanted: pa.ChunkedArray) -> dict[str, tuple[date | None, str]]:
    ids = pc.unique(wanted)
    chosen = contracts.filter(pc.is_in(contracts["contract_id"], value_set=ids))
    columns = (chosen[name].to_pylist() for name in ("contract_id", "end_date", "time_zone"))
    return {key: (_as_date(end), zone) for key, end, zone in zip(*columns, strict=True)}


def _as_date(value: date | str | None) -> date | None:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _spend(lines: pa.Table, billed: pa.Table, due: Sequence[DueTrueUp]) -> dict[str, list[dict[str, Any]]]:
    """What the contracts of ``due`` were and are billed, by contract."""
    ids = pa.array(sorted({entry.period["contract_id"] for entry in due}), pa.string())
    now = spend_of_lines(lines.filter(pc.is_in(lines["contract_id"], value_set=ids)))
    found: dict[str, list[dict[str, Any]]] = {}
    for row in pa.concat_tables([billed, now]).to_pylist():
        found.setdefault(row["contract_id"], []).append(row)
    return found


def _counts(row: Mapping[str, Any], entry: DueTrueUp) -> bool:
    inside = entry.term_start <= row["period_start"] and row["period_end"] <= entry.term_end
    return inside and entry.commitment.covers(charge_id=row["charge_id"], charge_kind=row["charge_kind"])


def _line(entry: DueTrueUp, plan: PricePlan, spent_minor: int, run_id: str) -> dict[str, Any] | None:
    commitment = entry.commitment
    digits = minor_digits(plan.currency)
    days, full_days = commitment.share(entry.end)
    found = true_up(
        commitment.amount or Decimal(0),
        spent_minor=spent_minor,
        days=days,
        full_days=full_days,
        digits=digits,
        rounding=plan.rounding,
    )
    if not found.amount_minor:
        return None
    spent = minor_to_decimal(spent_minor, plan.currency)
    said = (commitment.amount, spent_minor, days, full_days, plan.currency, plan.rounding)
    return {
        **_blank_line(entry, plan, said, run_id),
        "price_model": "flat",
        "unit": plan.currency,
        "quantity": spent,
        "rated_quantity": cut_decimal(found.required),
        "amount": cut_decimal(found.required - Fraction(spent)),
        "amount_minor": found.amount_minor,
    }


def _unit_line(entry: DueTrueUp, plan: PricePlan, used: Decimal, run_id: str) -> dict[str, Any] | None:
    commitment = entry.commitment
    days, full_days = commitment.share(entry.end)
    found = unit_true_up(
        commitment,
        used=used,
        days=days,
        full_days=full_days,
        digits=minor_digits(plan.currency),
        rounding=plan.rounding,
    )
    if not found.amount_minor:
        return None
    said = (commitment.units, commitment.unit_price, used, days, full_days, plan.currency, plan.rounding)
    return {
        **_blank_line(entry, plan, said, run_id),
        "price_model": "per_unit",
        "unit": commitment.unit or "unit",
        "quantity": used,
        "rated_quantity": cut_decimal(found.required),
        "amount": cut_decimal(found.amount),
        "amount_minor": found.amount_minor,
    }


def _blank_line(entry: DueTrueUp, plan: PricePlan, said: Sequence[object], run_id: str) -> dict[str, Any]:
    """The columns that do not depend on how much is missing. said: all that does decide the amount."""
    commitment, period = entry.commitment, entry.period
    days, full_days = commitment.share(entry.end)
    question = (period["contract_id"], period["billing_date"], TRUE_UP_CHARGE_ID, commitment.commitment_id)
    return {
        "line_id": _hash(question),
        "run_id": run_id,
        "contract_id": period["contract_id"],
        "plan_id": period["plan_id"],
        "plan_version": period["plan_version"],
        "charge_id": TRUE_UP_CHARGE_ID,
        "charge_kind": TRUE_UP_KIND,
        "meter_id": "",
        "billing_date": period["billing_date"],
        "period_start": entry.term_start,
        "period_end": period["period_end"],
        "days": days,
        "full_days": full_days,
        "dimensions": [(COMMITMENT, commitment.commitment_id)],
        "event_count": 0,
        "tier_number": [],
        "tier_units": [],
        "tier_amount": [],
        "currency": plan.currency,
        "input_hash": _hash((*question, *said)),
        "agreement": period["agreement"],
        "discount_number": [],
        "discount_amount": [],
        "inputs": [],
    }


def _hash(parts: Sequence[object]) -> bytes:
    return bytes(hash_all(["\n".join(str(part) for part in parts)])[0].tobytes())


def _unrated(entry: DueTrueUp, spent_minor: int) -> dict[str, Any]:
    return {
        "period_key": entry.period["period_key"],
        "contract_id": entry.period["contract_id"],
        "charge_id": TRUE_UP_CHARGE_ID,
        "meter_id": "",
        "dimensions": [(COMMITMENT, entry.commitment.commitment_id)],
        "quantity": Decimal(spent_minor),
        "reason_code": "currency_mixed",
    }


def _merged(lines: pa.Table, added: pa.Table) -> pa.Table:
    """Each added line behind the lines of its contract up to its billing date; the order of others stays.

    lines: by contract, and billing dates of a contract in order.
    """
    if not added.num_rows:
        return lines
    both = pa.concat_tables([lines, added]).unify_dictionaries().combine_chunks()
    keys = pl.DataFrame(both.select(["contract_id", "billing_date"])).with_columns(
        added=pl.Series(np.arange(both.num_rows) >= lines.num_rows)
    )
    order = keys.with_row_index().sort(["contract_id", "billing_date", "added", "index"])["index"]
    return both.take(order.to_arrow()).combine_chunks()
