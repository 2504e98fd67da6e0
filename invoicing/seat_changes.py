"""What a change of a contract does to licences that were billed in advance. Pure, a contract at a time.

Changes of the level are events, and adjust the line that was billed (``seats_in_advance.py``). When the
contract itself changes inside the billed days (it ends, moves to another plan, agrees another price), the
period as it was billed is cut there: the line is rated again for the days before, and from that day on
licences are charged as they are agreed now. Under ``unused: none`` nothing is cut: what replaces something
paid for begins with the next period, and a licence that is new is charged at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from typing import Any

from invoicing.amendment import DueTerms, FeeCharge, reductions_of
from rating.contract_life import Unused
from rating.price_plan import Charge, is_licence_in_advance
from rating.proration import is_unprorated

RowKey = tuple[str, date, datetime, str]
"""(contract_id, billing date, period start, agreement) of a period in advance."""


@dataclass(frozen=True, slots=True)
class SeatCut:
    """Licences of a billed period that end at ``at``. terms: the period as it was billed."""

    terms: DueTerms
    at: datetime
    charge_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CutRow:
    """key: the period as it was billed, whose licences count no more. row: what stands instead, a row of
    SERVICE_PERIOD_SCHEMA without number; None when nothing of it is left."""

    key: RowKey
    row: Mapping[str, Any] | None


def row_key(row: Mapping[str, Any]) -> RowKey:
    """The name of a row of SERVICE_PERIOD_SCHEMA."""
    return row["contract_id"], row["billing_date"], row["period_start"], row["agreement"]


def change_seats(
    before: Sequence[DueTerms], now: Sequence[DueTerms], *, unused: Unused
) -> tuple[list[SeatCut], list[FeeCharge]]:
    """(cuts, charges): which billed periods are cut, and what is due instead or more.

    before, now: the periods in advance of one billing date, as they were billed and as they are agreed now;
    each in order of time, without overlap.
    """
    edges = sorted({edge for part in (*before, *now) for edge in (part.start, part.end)})
    cuts: dict[datetime, SeatCut] = {}
    due: list[FeeCharge] = []
    for start, end in pairwise(edges):
        old, new = (_holding(parts, start, end) for parts in (before, now))
        were, are = _licences(old), _licences(new)
        if old is not None and old.start not in cuts:
            if _alike(old, new, were, are):
                continue
            if unused == "credit" and were:
                cuts[old.start] = SeatCut(old, start, tuple(sorted(were)))
            elif unused == "none":
                stays = new is None or old.plan.plan_id != new.plan.plan_id
                are = {} if stays else {key: one for key, one in are.items() if key not in were}
        if new is not None and are:
            due.append(FeeCharge(new, start, end, tuple(sorted(are)), ()))
    return list(cuts.values()), list(_joined(due))


def _holding(parts: Sequence[DueTerms], start: datetime, end: datetime) -> DueTerms | None:
    return next((part for part in parts if part.start <= start and end <= part.end), None)


def _licences(terms: DueTerms | None) -> dict[str, Charge]:
    """The licences whose price for a part of the period is a part of its price; others stay as billed."""
    charges = () if terms is None else terms.plan.charges
    return {
        charge.charge_id: charge.model_copy(update={"name": ""})
        for charge in charges
        if terms is not None and is_licence_in_advance(charge) and not is_unprorated(charge, terms.plan)
    }


def _alike(
    old: DueTerms, new: DueTerms | None, were: Mapping[str, Charge], are: Mapping[str, Charge]
) -> bool:
    if new is None or were != are:
        return not were and not are
    return all(
        reductions_of(old.plan, charge, new.row) == reductions_of(new.plan, charge, new.row)
        for charge in were.values()
    )


def _joined(due: Sequence[FeeCharge]) -> Iterator[FeeCharge]:
    """Stretches next to each other under the same terms are one."""
    standing: FeeCharge | None = None
    for entry in due:
        if standing is None or not _goes_on(standing, entry):
            if standing is not None:
                yield standing
            standing = entry
        else:
            standing = replace(standing, end=entry.end)
    if standing is not None:
        yield standing


def _goes_on(standing: FeeCharge, entry: FeeCharge) -> bool:
    same = standing.terms is entry.terms and standing.charge_ids == entry.charge_ids
    return same and standing.end == entry.start
