"""Sold, bought, provisioned, consumed: four quantities a customer and product, and where they part.

    sold          what contracts agree at the end of the time: the fixed quantity of the product's charges (1
    for a
                  fee without one; a one-time charge when its contract starts in that time), or else, of a
                  product that is metered, the fixed limits of entitlements on its meter. Empty where nothing
                  is agreed
    bought        what was billed: quantity, as metered, of the product's lines on issued invoices whose
    service
                  period begins in that time
    provisioned   the level of licences at the end of the time
    consumed      what was used in that time, by all subjects of the customer together

A difference is the column before less the column after, empty where one of them is. A product is a set of
charges with a meter of licences and a meter of use; without a choice, every charge is a product of its own:
licences are counted by its ``time_weighted`` meter, use by its other meter or, for licences, by the meter of
the entitlement that they provision. The end of the time is its last instant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from itertools import pairwise
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Engine, select

from ingest.archives import TIME_IS_ARCHIVED, read_archived
from ingest.clickhouse import EventStore
from ingest.event import QUANTITY_TYPE
from ingest.meter import Meter
from ingest.meter_store import list_meters
from invoicing.bulk import select_by_ids
from invoicing.tables import INVOICE_LINES, INVOICES
from rating.adjustment_line import BILLED_QUANTITY
from rating.agreement import AgreedSegment, Agreement, agreed_plan
from rating.agreement_store import load_agreements, load_segments
from rating.catalogue import load_contract_subjects, load_contracts, load_plan_versions
from rating.contract import Contract
from rating.entitlement import Entitlement
from rating.entitlement_store import limited_contracts
from rating.plan_version import PlanVersion, version_in_force
from rating.price_plan import Charge, PricePlan
from rating.retainer import sells_credit
from rating.steps import FEE_CREDIT_KIND
from rollup.archived_time import is_level
from rollup.period import find_time_zone, local_midnight
from rollup.roll_up import roll_up_usage
from rollup.schema import CALENDAR_SCHEMA
from rollup.stored_usage import StoredUsage

_WIDE: Final = Context(prec=60)
COLUMNS: Final = ("sold", "bought", "provisioned", "consumed")
FOUR_QUANTITIES_SCHEMA: Final = pa.schema(
    [
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("product", pa.string(), nullable=False),
        *(pa.field(name, QUANTITY_TYPE) for name in COLUMNS),
        *(
            pa.field(name, QUANTITY_TYPE)
            for name in ("sold_less_bought", "bought_less_provisioned", "provisioned_less_consumed")
        ),
        pa.field("unusable_events", pa.uint64(), nullable=False),
    ]
)
"""One row a customer and product, sorted. unusable_events: events that should be in provisioned or consumed
and cannot be counted; while there are any, those are not whole."""


@dataclass(frozen=True, slots=True)
class Product:
    """What is compared. charge_ids: of any plan."""

    product: str
    charge_ids: frozenset[str]
    provisioned_meter_id: str | None
    consumed_meter_id: str | None


@dataclass(frozen=True, slots=True)
class _Holding:
    """A contract in force as the report reads it; start, end: local days."""

    contract_id: str
    customer_id: str
    plan_id: str
    start: date
    end: date | None
    time_zone: str
    subjects: tuple[str, ...]

    def span(self, time_from: datetime, time_to: datetime) -> tuple[datetime, datetime] | None:
        """What of the time it covers."""
        first = max(time_from, local_midnight(self.start, self.time_zone))
        last = time_to if self.end is None else min(time_to, local_midnight(self.end, self.time_zone))
        return (first, last) if first < last else None


def four_quantities(
    event_store: EventStore,
    *,
    ledger: Engine,
    time_from: datetime,
    time_to: datetime,
    customer_ids: Sequence[str] | None,
    product: Product | None,
    stored: StoredUsage | None = None,
) -> pa.Table:
    """FOUR_QUANTITIES_SCHEMA of [time_from, time_to), a time that is not empty.

    customer_ids: only these; None for all who have contracts in that time. product: this one; None for every
    charge of the plans those contracts are on at the end of it. stored: usage added up before, for time whose
    events are archived. Raises Conflict for archived time that is not added up.
    """
    holdings = [
        one
        for one in _holdings(ledger)
        if one.span(time_from, time_to) and (customer_ids is None or one.customer_id in customer_ids)
    ]
    plans = _load_plans(ledger, [one.contract_id for one in holdings])
    meters = {meter.meter_id: meter for meter in list_meters(ledger)}
    limits = {contract.contract_id: contract for contract in limited_contracts(ledger)}
    last = time_to - timedelta(microseconds=1)
    found: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(dict)
    unusable: defaultdict[tuple[str, str], int] = defaultdict(int)
    products: dict[tuple[str, str], Product] = {}
    for holding in holdings:
        day = last.astimezone(find_time_zone(holding.time_zone)).date()
        charges = plans.charges(holding, on=min(day, _last_day(holding, day)))
        entitlements = _entitlements(limits.get(holding.contract_id))
        derived = [product] if product else [_product_of(one, meters, entitlements) for one in charges]
        for one in derived:
            key = holding.customer_id, one.product
            row = found[key]
            # Of several contracts the first that says what consumes the product.
            if key not in products or products[key].consumed_meter_id is None:
                products[key] = one
            agreed = _agreed(holding, one, charges, entitlements, day, time_from)
            if agreed is not None:
                row["sold"] = _WIDE.add(row.get("sold", Decimal(0)), agreed)
    _add_bought(found, event_store, ledger, products, time_from, time_to)
    for name, at_end in (("provisioned", True), ("consumed", False)):
        wanted = {
            key: one.provisioned_meter_id if at_end else one.consumed_meter_id
            for key, one in products.items()
        }
        _add_usage(found, unusable, event_store, stored, holdings, wanted, meters, name, time_from, time_to)
    return _table(found, unusable)


class _PlansInForce:
    """The charges contracts agree by day; looked up once for each plan and agreement. segments: by
    contract_id, of those that agree something."""

    def __init__(
        self,
        versions: Sequence[PlanVersion],
        segments: Mapping[str, Sequence[AgreedSegment]],
        agreements: Mapping[str, Agreement],
    ) -> None:
        self._versions = versions
        self._segments = segments
        self._agreements = agreements
        self._known: dict[tuple[str, str, date], tuple[Charge, ...]] = {}

    def charges(self, holding: _Holding, *, on: date) -> tuple[Charge, ...]:
        """Of the plan and version in force on that day, with the contract's own quantities and fees, without
        the prices of credit; none before the first."""
        begun = [one for one in self._segments.get(holding.contract_id, ()) if one.effective_from <= on]
        plan_id, agreed = (begun[-1].plan_id, begun[-1].agreement_key) if begun else (holding.plan_id, "")
        known = self._known.get((plan_id, agreed, on))
        if known is None:
            found = version_in_force(self._versions, plan_id=plan_id, on=on)
            known = self._known[plan_id, agreed, on] = () if found is None else self._of(found.plan, agreed)
        return known

    def _of(self, plan: PricePlan, agreed: str) -> tuple[Charge, ...]:
        under = agreed_plan(plan, self._agreements[agreed]) if agreed else plan
        return tuple(charge for charge in under.charges if not sells_credit(charge.charge_id))


def _load_plans(ledger: Engine, contract_ids: Sequence[str]) -> _PlansInForce:
    with ledger.connect() as connection:
        segments = load_segments(connection, contract_ids)
        keys = {segment.agreement_key for track in segments.values() for segment in track}
        agreements = load_agreements(connection, keys)
    return _PlansInForce(load_plan_versions(ledger), segments, agreements)


def _holdings(ledger: Engine) -> list[_Holding]:
    subjects: defaultdict[str, list[str]] = defaultdict(list)
    for row in load_contract_subjects(ledger).to_pylist():
        subjects[row["contract_id"]].append(row["subject"])
    return [
        _Holding(
            row["contract_id"],
            row["customer_id"],
            row["plan_id"],
            row["start_date"],
            row["end_date"],
            row["time_zone"],
            tuple(subjects[row["contract_id"]]),
        )
        for row in load_contracts(ledger).to_pylist()
    ]


def _last_day(holding: _Holding, day: date) -> date:
    return day if holding.end is None else holding.end - timedelta(days=1)


def _entitlements(contract: Contract | None) -> tuple[Entitlement, ...]:
    return () if contract is None else contract.entitlements


def _product_of(charge: Charge, meters: Mapping[str, Meter], entitlements: Iterable[Entitlement]) -> Product:
    meter = meters.get(charge.meter_id or "")
    if meter is None or not is_level(meter):
        return Product(charge.charge_id, frozenset([charge.charge_id]), None, charge.meter_id)
    used = next((one.meter_id for one in entitlements if one.provisioned_meter_id == meter.meter_id), None)
    return Product(charge.charge_id, frozenset([charge.charge_id]), meter.meter_id, used)


def _agreed(
    holding: _Holding,
    product: Product,
    charges: Iterable[Charge],
    entitlements: Iterable[Entitlement],
    day: date,
    time_from: datetime,
) -> Decimal | None:
    """What the contract agrees of the product on the last day; None for nothing."""
    if day < holding.start or (holding.end is not None and day >= holding.end):
        return None
    fixed = []
    for charge in charges:
        if charge.charge_id not in product.charge_ids or charge.kind not in ("recurring", "one_time"):
            continue
        starts = local_midnight(holding.start, holding.time_zone) >= time_from
        if charge.kind == "recurring" or starts:
            fixed.append(Decimal(1) if charge.quantity is None else charge.quantity)
    if not fixed:
        counted = {product.consumed_meter_id, product.provisioned_meter_id} - {None}
        fixed = [one.limit for one in entitlements if one.meter_id in counted and one.limit is not None]
    return _sum(fixed) if fixed else None


def _add_bought(
    found: dict[tuple[str, str], dict[str, Decimal]],
    event_store: EventStore,
    ledger: Engine,
    products: Mapping[tuple[str, str], Product],
    time_from: datetime,
    time_to: datetime,
) -> None:
    names: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for (customer_id, name), one in products.items():
        for charge_id in one.charge_ids:
            names[customer_id, charge_id].append(name)
    statement = (
        select(INVOICE_LINES.c.line_id, INVOICE_LINES.c.charge_id, INVOICES.c.customer_id)
        .join(INVOICES, INVOICES.c.invoice_id == INVOICE_LINES.c.invoice_id)
        .where(INVOICES.c.state == "issued")
    )
    charge_ids = sorted({charge_id for _, charge_id in names})
    with ledger.connect() as connection:
        rows = [
            row
            for row in select_by_ids(connection, statement, INVOICE_LINES.c.charge_id, charge_ids)
            if (row.customer_id, row.charge_id) in names
        ]
    quantities = _line_quantities(event_store, [row.line_id for row in rows], time_from, time_to)
    for row in rows:
        quantity = quantities.get(row.line_id)
        for name in names[row.customer_id, row.charge_id] if quantity is not None else ():
            here = found[row.customer_id, name]
            here["bought"] = _WIDE.add(here.get("bought", Decimal(0)), quantity or Decimal(0))


def _line_quantities(
    event_store: EventStore, line_ids: Sequence[str], time_from: datetime, time_to: datetime
) -> dict[str, Decimal]:
    """Quantity of those lines whose service period begins in the time, by line id in hex. What is given back
    of a fee is units less; the quantity of such a line is money."""
    wanted = pa.table({"line_id": pa.array([bytes.fromhex(one) for one in line_ids], pa.binary(16))})
    with event_store.scratch_table("line_id FixedString(16)", wanted) as name:
        rows = event_store.query(
            "SELECT lower(hex(line_id)) AS hex_id, period_start,\n"
            f"if(charge_kind = '{FEE_CREDIT_KIND}', -rated_quantity, quantity)\n"
            # an adjustment has the quantity of now, and changes it by what it adds
            f"    - toDecimal128(inputs['{BILLED_QUANTITY}'], 12) AS units FROM rated_lines FINAL "
            f"WHERE line_id IN (SELECT line_id FROM {name})"
        ).to_pylist()
    return {row["hex_id"]: row["units"] for row in rows if time_from <= row["period_start"] < time_to}


def _add_usage(
    found: dict[tuple[str, str], dict[str, Decimal]],
    unusable: defaultdict[tuple[str, str], int],
    event_store: EventStore,
    stored: StoredUsage | None,
    holdings: Sequence[_Holding],
    wanted: Mapping[tuple[str, str], str | None],
    meters: Mapping[str, Meter],
    column: str,
    time_from: datetime,
    time_to: datetime,
) -> None:
    """Read each meter once for all customers; the products that it counts get the figure."""
    customers = sorted({one.customer_id for one in holdings})
    calendar = _calendar(holdings, customers, time_from, time_to)
    named = {meter_id for meter_id in wanted.values() if meter_id is not None} & meters.keys()
    chosen = {meter_id: _read_as(meters[meter_id], column) for meter_id in sorted(named)}
    rolled = roll_up_usage(event_store, calendar=calendar, meters=list(chosen.values()), stored=stored)
    for row in rolled.unusable.to_pylist():
        if row["reason_code"] == TIME_IS_ARCHIVED:
            read_archived(event_store).refuse(chosen[row["meter_id"]].event_type, 0)
    sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rolled.usage.to_pylist():
        key = customers[row["period_key"]], row["meter_id"]
        sums[key] = _WIDE.add(sums[key], row["quantity"])
    short: defaultdict[tuple[str, str], int] = defaultdict(int)
    for row in rolled.unusable.to_pylist():
        short[customers[row["period_key"]], row["meter_id"]] += max(row["event_count"], 1)
    for (customer_id, product), row in found.items():
        meter_id = wanted[customer_id, product]
        if meter_id in chosen and meter_id is not None:
            row[column] = sums[customer_id, meter_id]
            unusable[customer_id, product] += short[customer_id, meter_id]


def _read_as(meter: Meter, column: str) -> Meter:
    """A level at the end of the time; use over all group keys."""
    if is_level(meter):
        return meter.model_copy(update={"reading": "end"}) if column == "provisioned" else meter
    return meter.model_copy(update={"group_by": ()})


def _calendar(
    holdings: Sequence[_Holding], customers: Sequence[str], time_from: datetime, time_to: datetime
) -> pa.Table:
    """CALENDAR_SCHEMA with a period_key a customer: the time of each subject once, whatever contracts hold
    it."""
    spans: defaultdict[tuple[int, str], list[tuple[datetime, datetime]]] = defaultdict(list)
    places = {customer_id: place for place, customer_id in enumerate(customers)}
    for holding in holdings:
        span = holding.span(time_from, time_to)
        for subject in holding.subjects if span else ():
            if span is not None:
                spans[places[holding.customer_id], subject].append(span)
    rows = [
        {"period_key": place, "subject": subject, "period_start": start, "period_end": end}
        for (place, subject), several in sorted(spans.items())
        for start, end in _united(several)
    ]
    return pa.Table.from_pylist(rows, schema=CALENDAR_SCHEMA)


def _united(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    united: list[tuple[datetime, datetime]] = []
    for start, end in sorted(spans):
        if united and start <= united[-1][1]:
            united[-1] = united[-1][0], max(end, united[-1][1])
        else:
            united.append((start, end))
    return united


def _table(
    found: Mapping[tuple[str, str], Mapping[str, Decimal]], unusable: Mapping[tuple[str, str], int]
) -> pa.Table:
    rows = []
    for customer_id, product in sorted(found):
        row: dict[str, Any] = {name: found[customer_id, product].get(name) for name in COLUMNS}
        for before, after in pairwise(COLUMNS):
            one, other = row[before], row[after]
            less = None if one is None or other is None else _WIDE.subtract(one, other)
            row[f"{before}_less_{after}"] = less
        row["unusable_events"] = unusable.get((customer_id, product), 0)
        rows.append({"customer_id": customer_id, "product": product, **row})
    return pa.Table.from_pylist(rows, schema=FOUR_QUANTITIES_SCHEMA)


def _sum(numbers: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for number in numbers:
        total = _WIDE.add(total, number)
    return total
