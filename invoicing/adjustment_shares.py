"""What of an adjustment is of which month, when late usage changes a line over several months.

A line and its adjustments together are revenue by the usage as it is known now:

    line of 1,000 for 15 January to 14 February, 50 calls in each month      500    500
    70 calls came late for February: 1,700 in all, 50 of 170 in January      500  1,200
    so the adjustment of 700 is                                                0    700

So an adjustment is, month by month, what the sum gets less what the line and its earlier adjustments got. Of
a price with tiers that may be less than nothing in one month and more than the adjustment in another.

All amounts are net, after credit taken off before tax. What an adjustment comes to net is known only when it
is about to be written, so its shares are worked out then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from ingest.event import QUANTITY_SCALE
from invoicing.billed_lines import load_lines_billed
from invoicing.billing_catalogue import BillingCatalogue
from invoicing.line_differences import LineDifference
from invoicing.month_share_store import load_month_shares
from invoicing.month_shares import USAGE_KIND, month_shares, months_between, zones_of
from invoicing.recognition import MonthShares, line_parts
from invoicing.wider_periods import RollUp
from rollup.period import find_time_zone

_SHARE_OF_ONE = 10**QUANTITY_SCALE


@dataclass(frozen=True, slots=True)
class BilledPart:
    """A line, or an adjustment of it, in minor units net; shares None: straight line."""

    amount_minor: int
    shares: MonthShares | None


@dataclass(frozen=True, slots=True)
class AdjustedMonths:
    """What an adjustment of a period over several months is shared out by. The period is half-open, in days
    of the contract. before: all that was billed of the line. shares: of the line as it is rated now."""

    period_start: date
    period_end: date
    before: tuple[BilledPart, ...]
    shares: MonthShares | None

    def shares_of(self, amount_minor: int) -> MonthShares:
        """The shares of the adjustment, which comes to so much net."""
        after = BilledPart(amount_minor + sum(part.amount_minor for part in self.before), self.shares)
        return difference_shares(self.period_start, self.period_end, after, self.before)


def adjusted_months(
    differences: Sequence[LineDifference],
    lines: pa.Table,
    *,
    catalogue: BillingCatalogue,
    ledger: Engine,
    roll_up: RollUp,
) -> dict[bytes, AdjustedMonths]:
    """By the id of the line adjusted, of those adjustments that do not go straight line. lines:
    RATED_LINE_SCHEMA, rated again. roll_up: counts as they were counted."""
    zones = zones_of(catalogue)
    chosen = [
        one
        for one in differences
        if one.line["charge_kind"] == USAGE_KIND
        and len(months_between(*_instants(one), zones[one.line["contract_id"]])) > 1
    ]
    if not chosen:
        return {}
    ids = pa.array([one.now["line_id"] for one in chosen if one.now], lines["line_id"].type)
    now = lines.filter(pc.is_in(lines["line_id"], value_set=ids))
    consumed = month_shares(now, catalogue=catalogue, ledger=ledger, roll_up=roll_up)
    before = _billed(ledger, [one.line["line_id"].hex() for one in chosen])
    found = {}
    for one in chosen:
        zone = find_time_zone(zones[one.line["contract_id"]])
        first, end = (instant.astimezone(zone).date() for instant in _instants(one))
        now = None if one.now is None else consumed.get(one.now["line_id"].hex())
        billed = tuple(before.get(one.line["line_id"].hex(), ()))
        if now or any(part.shares for part in billed):
            found[one.line["line_id"]] = AdjustedMonths(first, end, billed, now)
    return found


def difference_shares(
    period_start: date, period_end: date, after: BilledPart, before: Iterable[BilledPart]
) -> MonthShares:
    """The shares of an adjustment. after: the line as it is rated now; before: all that was billed of it.

    Empty where neither knows its usage by month: it is then straight line as they are. Where both come to the
    same (what is charged differs, because not all could be given back), it follows the usage.
    """
    before = list(before)
    if not after.shares and not any(part.shares for part in before):
        return ()
    months: dict[date, int] = defaultdict(int)
    for sign, part in ((1, after), *((-1, part) for part in before)):
        for day, amount in line_parts(USAGE_KIND, period_start, period_end, part.amount_minor, part.shares):
            months[day] += sign * amount
    if not sum(months.values()):
        return after.shares or ()
    return tuple((day, amount * _SHARE_OF_ONE) for day, amount in sorted(months.items()) if amount)


def _instants(one: LineDifference) -> tuple[datetime, datetime]:
    return one.line["period_start"], one.line["period_end"]


def _billed(ledger: Engine, line_ids: Sequence[str]) -> Mapping[str, list[BilledPart]]:
    """What was billed of each line: itself and every adjustment of it."""
    found: dict[str, list[BilledPart]] = defaultdict(list)
    with ledger.connect() as connection:
        rows = list(load_lines_billed(connection, line_ids))
        shares = load_month_shares(connection, [line_id for _, line_id, _ in rows])
    for adjusted, line_id, amount_minor in rows:
        found[adjusted].append(BilledPart(amount_minor, shares.get(line_id)))
    return found
