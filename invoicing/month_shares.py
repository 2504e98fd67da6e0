"""In which months the usage of a line was consumed, where its period lies in several.

What is consumed is revenue on the day it is consumed. A period inside one month needs no more than that; of
another, what adds up over days is counted month by month, by the time zone of the contract:

| meter | adds up over days |
|---|---|
| count, sum | yes |
| time_weighted: unit_days | yes |
| time_weighted: any other reading; max, min, avg, latest, unique_count | no |
| highest_sum, highest_count, sum_of_highest | no |
| a formula that adds or subtracts such meters, each times or by a number | yes |
| any other formula | no |

The amount follows these quantities, whatever the price made of their sum (tiers, free units, a minimum of the
charge). Where usage does not add up, comes to nothing in all, or lies below zero in some months and above in
others, there are no shares, and the line is revenue straight line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from ingest.event import QUANTITY_SCALE
from ingest.meter import Meter
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.earlier_periods import calendar_of_rows
from invoicing.recognition import MonthShares
from invoicing.wider_periods import RollUp
from rating.formula import MeterValue, evaluate, formula_meters, is_sum_of_meters, parse_formula
from rating.usage_rows import Usage, usage_of
from rating.wide_columns import scaled_integer
from rollup.banded_meter import BandedMeter
from rollup.level_part import LevelPart
from rollup.period import find_time_zone, local_midnight

USAGE_KIND: Final = "usage"
_A_DAY: Final = timedelta(days=1)
_CHARGE: Final = ("meter_id", "plan_id", "plan_version", "agreement", "charge_id")
_SPAN: Final = ("contract_id", "billing_date", "period_start", "period_end")
_Month = tuple[datetime, datetime, date]
"""A calendar month of a period, or a day: [start, end), and its last local day."""
Cut = Callable[[datetime, datetime, str], Sequence[_Month]]
"""Cuts a period, from instant to instant in a time zone, into calendar months or days."""


def adds_up(meter: Meter) -> bool:
    """Whether what the meter counts in two spans of time is the sum of both."""
    if isinstance(meter, BandedMeter | LevelPart):
        return False  # no line names one
    return meter.aggregation in {"count", "sum"} or meter.reading == "unit_days"


def month_shares(
    lines: pa.Table, *, catalogue: BillingCatalogue, ledger: Engine, roll_up: RollUp
) -> dict[str, MonthShares]:
    """The shares of those lines that have some, by line id in hex; usage is counted only for these.

    lines: RATED_LINE_SCHEMA, of contracts of the catalogue. roll_up: counts as the lines were counted.
    """
    consumed = consumed_by(_cached_months, lines, catalogue=catalogue, ledger=ledger, roll_up=roll_up)
    return {line_id: shares for line_id, parts in consumed.items() if (shares := of_one_sign(parts))}


def consumed_by(
    cut: Cut, lines: pa.Table, *, catalogue: BillingCatalogue, ledger: Engine, roll_up: RollUp
) -> dict[str, list[tuple[date, int]]]:
    """What was consumed in each piece that ``cut`` makes of a period, by its last day, of those lines that
    have several and that add up over days. The rest as ``month_shares``."""
    found = _over_several(cut, lines, catalogue)
    if not len(found):
        return {}
    meters = {meter.meter_id: meter for meter in catalogue.meters if adds_up(meter)}
    counted = _counted_by(found, catalogue, meters)
    if not counted:
        return {}
    spans = found.select(*_SPAN, "zone").unique(maintain_order=True).with_row_index("span")
    found = found.join(spans, on=_SPAN, maintain_order="left")
    months = _cut_spans(cut, spans)
    calendar = calendar_of_rows(months, catalogue, ledger)
    wanted = {meter_id for formula in counted.values() for meter_id in formula_meters(formula)}
    rolled = roll_up(calendar, [meter for key, meter in meters.items() if key in wanted])
    spoiled = set(rolled.unusable["period_key"].to_pylist())
    used = _used_by_span(months, usage_of(rolled.usage, wanted), spoiled)
    dimensions = lines["dimensions"].take(found["row"].to_arrow()).to_pylist()
    consumed = {}
    rows = found.select("line_id", "span", *_CHARGE).iter_rows()
    for named, (line_id, span, *charge) in zip(dimensions, rows, strict=True):
        formula = counted.get(tuple(charge))
        if formula is not None:
            consumed[line_id] = _consumed(used.get((span, *sorted(named)), {}), formula)
    return consumed


def _consumed(pieces: Mapping[date, Mapping[str, Decimal]], formula: str) -> list[tuple[date, int]]:
    """pieces: what each meter counted in each month, or day."""
    tree = parse_formula(formula)
    if isinstance(tree, MeterValue):  # nearly always
        only = tree.meter_id
        return [
            (day, scaled_integer(quantities[only]))
            for day, quantities in pieces.items()
            if only in quantities
        ]
    return [(day, int(evaluate(tree, quantities) * 10**QUANTITY_SCALE)) for day, quantities in pieces.items()]


def of_one_sign(months: Iterable[tuple[date, int]]) -> MonthShares:
    """Those that are not 0, by day; none at all where some lie above and some below it."""
    shares = sorted([month for month in months if month[1]])
    below = [share < 0 for _, share in shares]
    return () if any(below) and not all(below) else tuple(shares)


def months_between(period_start: datetime, period_end: datetime, time_zone: str) -> Sequence[_Month]:
    """The calendar months of a period, both instants at the start of a local day."""
    zone = find_time_zone(time_zone)
    day, last = period_start.astimezone(zone).date(), period_end.astimezone(zone).date() - _A_DAY
    found: list[_Month] = []
    start = period_start
    while day <= last:
        following = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
        end = period_end if following > last else local_midnight(following, time_zone)
        if start < end:
            found.append((start, end, min(following - _A_DAY, last)))
        day, start = following, end
    return found


_cached_months = lru_cache(maxsize=4096)(months_between)


def zones_of(catalogue: BillingCatalogue) -> dict[str, str]:
    """The time zone of each contract."""
    columns = (catalogue.contracts[name].to_pylist() for name in ("contract_id", "time_zone"))
    return dict(zip(*columns, strict=True))


def _over_several(cut: Cut, lines: pa.Table, catalogue: BillingCatalogue) -> pl.DataFrame:
    """row, line_id (hex), the charge, the span and the time zone of each line of usage over several pieces.

    Nearly all periods are a month, so first the few different spans are looked at, in all zones there are.
    """
    spans = pl.DataFrame(lines.select(["period_start", "period_end"])).unique()
    zones = pc.unique(catalogue.contracts["time_zone"]).to_pylist()
    several = [
        (start, end)
        for start, end in spans.iter_rows()
        if any(len(cut(start, end, zone)) > 1 for zone in zones)
    ]
    if not several:
        return pl.DataFrame()
    chosen = pl.DataFrame(several, schema=spans.schema, orient="row")
    frame = pl.DataFrame(lines.select(["charge_kind", *_CHARGE, *_SPAN])).with_columns(
        line_id=pl.Series(lines["line_id"].cast(pa.binary()))
    )
    found = (
        frame.with_row_index("row")
        .join(chosen, on=chosen.columns, how="semi", maintain_order="left")
        .with_columns(
            pl.col("charge_kind", *_CHARGE).cast(pl.String),
            pl.col("line_id").bin.encode("hex"),
            zone=pl.col("contract_id").replace_strict(zones_of(catalogue), return_dtype=pl.String),
        )
        .filter(charge_kind=USAGE_KIND)
    )
    over = [len(cut(*row)) > 1 for row in found.select("period_start", "period_end", "zone").iter_rows()]
    return found.filter(pl.Series(over, dtype=pl.Boolean))


def _counted_by(
    found: pl.DataFrame, catalogue: BillingCatalogue, meters: Mapping[str, Meter]
) -> dict[tuple[Any, ...], str]:
    """By charge: what counts it, as a formula; of charges whose usage adds up. meters: those that do."""
    formulas: dict[tuple[Any, ...], str] = {}
    own = found.select(_CHARGE).unique()
    if (own["meter_id"] == "").any():
        formulas = {
            (entry.plan.plan_id, str(entry.version), entry.agreement, charge.charge_id): charge.formula
            for entry in catalogue.agreed_versions
            for charge in entry.plan.charges
            if charge.formula is not None
        }
    counted = {}
    for meter_id, *charge in own.iter_rows():
        formula = f'"{meter_id}"' if meter_id else formulas.get(tuple(charge))
        if formula is None or not meters.keys() >= set(formula_meters(formula)):
            continue
        if is_sum_of_meters(parse_formula(formula)):
            counted[meter_id, *charge] = formula
    return counted


def _cut_spans(cut: Cut, spans: pl.DataFrame) -> pl.DataFrame:
    """A row a piece of each span: period_key, contract_id, billing_date, period_start and period_end of the
    piece, its last day, and the number of the span."""
    same = ["period_start", "period_end", "zone"]
    rows = [(*span, *piece) for span in spans.select(same).unique().iter_rows() for piece in cut(*span)]
    instant = pl.Datetime("us", "UTC")
    types = (instant, instant, pl.String, instant, instant, pl.Date)
    names = (*same, "piece_start", "piece_end", "month_end")
    pieces = pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")
    frame = spans.join(pieces, on=same, maintain_order="left_right").select(
        "contract_id",
        "billing_date",
        pl.col("piece_start").alias("period_start"),
        pl.col("piece_end").alias("period_end"),
        "month_end",
        "span",
    )
    return frame.with_row_index("period_key").cast({"period_key": pl.UInt32})


def _used_by_span(
    months: pl.DataFrame, usage: Usage, spoiled: set[int]
) -> dict[tuple[Any, ...], dict[date, dict[str, Decimal]]]:
    """By span and dimensions: what each meter counted in each month; spans with an event that cannot be
    counted are left out."""
    keys = list(months.select("span", "month_end").iter_rows())
    left_out = {keys[key][0] for key in spoiled}
    found: dict[tuple[Any, ...], dict[date, dict[str, Decimal]]] = {}
    for (period_key, meter_id, dimensions), (quantity, _) in usage.items():
        span, month_end = keys[period_key]
        if span not in left_out:
            by_month = found.setdefault((span, *sorted(dimensions)), defaultdict(dict))
            by_month[month_end][meter_id] = quantity
    return found
