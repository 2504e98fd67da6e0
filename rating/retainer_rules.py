"""What a contract's retainers must keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from ingest.document import decimal_text
from ingest.errors import Issue
from ingest.meter import Meter
from rating.amount_rules import MINOR_LIMIT
from rating.contract import Contract
from rating.dated_rules import overlap, window_rules
from rating.money import MINOR_DIGITS
from rating.price_plan import PricePlan, item_fields
from rating.retainer import DatedRetainer, unit_price_of

RETAINERS_MAX: Final = 20
_LARGEST: Final = Decimal(10**15)
"""In minor units; the largest grant of credit (``invoicing/credit.py``)."""
_MOST: Final = Decimal(10**11)
"""In major units, of a currency with as many as four digits."""


def retainer_rules(
    contract: Contract, *, plans: Sequence[PricePlan], meters: Mapping[str, Meter]
) -> Iterator[Issue]:
    """Every rule the retainers break, with paths below ``retainers``. plans: all versions of the contract's
    plan. meters: all on record, by id."""
    entries = contract.retainers
    if len(entries) > RETAINERS_MAX:
        yield Issue(
            "retainer_count",
            "retainers",
            f"There are {len(entries)} retainers.",
            f"at most {RETAINERS_MAX}.",
        )
    for position, entry in enumerate(entries):
        pointer = f"retainers[{position}]"
        if any(_clash(earlier, entry) for earlier in entries[:position]):
            yield Issue(
                "retainer_overlaps",
                pointer,
                f"{entry.retainer_id!r} is agreed twice on one day.",
                "one retainer of an id a day; end the one where the other begins.",
            )
        yield from window_rules(entry, contract, pointer)
        yield from _amount_rules(entry, plans, pointer)
        yield from _scope_rules(entry, contract, plans, meters, pointer)


def _clash(one: DatedRetainer, other: DatedRetainer) -> bool:
    return one.retainer_id == other.retainer_id and overlap(one, other)


def _amount_rules(entry: DatedRetainer, plans: Sequence[PricePlan], pointer: str) -> Iterator[Issue]:
    maximum = entry.carry_over.maximum if entry.carry_over else None
    amounts = {"amount": entry.amount, "credit": entry.credit, "carry_over.maximum": maximum}
    for plan in plans[-1:]:
        digits = MINOR_DIGITS.get(plan.currency, 0)
        for name, amount in amounts.items():
            if amount is None:
                continue
            minor = amount.scaleb(digits)
            if minor != minor.to_integral_value() or not 0 <= minor < min(_LARGEST, Decimal(MINOR_LIMIT)):
                yield Issue(
                    "credit_amount",
                    f"{pointer}.{name}",
                    f"{decimal_text(amount)} {plan.currency} cannot be credited.",
                    f"an amount from 0 in whole minor units ({digits} digits).",
                )
    if entry.credit is not None and entry.units is not None:
        yield Issue(
            "retainer_worth",
            pointer,
            "The retainer names both credit and units.",
            "one of them, or none for as much as it costs.",
        )


def _scope_rules(
    entry: DatedRetainer,
    contract: Contract,
    plans: Sequence[PricePlan],
    meters: Mapping[str, Meter],
    pointer: str,
) -> Iterator[Issue]:
    known = {charge.charge_id: charge for plan in plans for charge in plan.charges}
    for place, charge_id in enumerate(entry.charge_ids):
        if plans and charge_id not in known:
            yield Issue(
                "unknown_charge",
                f"{pointer}.charge_ids[{place}]",
                f"No version of plan {contract.plan_id!r} has a charge {charge_id!r}.",
                f"a charge_id of the plan, like {plans[-1].charges[0].charge_id!r}.",
            )
    if entry.units is not None:
        own = {override.charge_id for override in contract.overrides if override.price is not None}
        priced = len(entry.charge_ids) == 1 and all(unit_price_of(entry, plan) is not None for plan in plans)
        worth = [entry.units * (unit_price_of(entry, plan) or 0) for plan in plans]
        if entry.units <= 0 or not priced or own & set(entry.charge_ids) or max(worth, default=0) >= _MOST:
            yield Issue(
                "retainer_worth",
                f"{pointer}.units",
                "Units can be retained of one charge with one price a unit.",
                "units above 0 and one charge in charge_ids, per_unit in every version of the plan and not "
                f"overridden, worth less than {_MOST:,} in all; or credit in money.",
            )
    keys = {
        key
        for charge in known.values()
        if charge.meter_id is not None and charge.meter_id in meters
        for key in meters[charge.meter_id].group_by
    }
    keys |= {key for charge in known.values() if charge.kind == "item" for key in item_fields(charge)}
    if entry.statement_by and entry.statement_by not in keys:
        yield Issue(
            "unknown_group_key",
            f"{pointer}.statement_by",
            f"No meter and no charge for items of the plan has the group key {entry.statement_by!r}.",
            f"one of {', '.join(sorted(keys)) or 'none: there are no group keys'}.",
        )
