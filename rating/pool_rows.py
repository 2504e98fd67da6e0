"""Rows of charges that are pooled over the contracts of a customer: priced as one, shared out.

Rows are counted together when they are of one pool (same customer, plan version and period), one charge with
equal terms, and equal dimensions. A quantity below zero takes no part: it is priced by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest.arrow_buffers import one_array
from ingest.errors import BrokenState
from ingest.event import QUANTITY_SCALE
from rating.compile import PriceBook
from rating.due_charges import DueCharges
from rating.period_columns import PeriodColumns
from rating.reference import PriceTerms
from rating.special_price import (
    BEFORE_EVENTS,
    BEFORE_QUANTITY,
    NO_INPUTS,
    Inputs,
    added_exactly,
    pool_inputs,
)
from rating.wide_columns import integer_of
from rating.wider_usage import WiderUsage

_WIDE: Final = Context(prec=60)


def pooled_rows(
    rows: NDArray[np.int64],
    periods: PeriodColumns,
    due: DueCharges,
    price_book: PriceBook,
    wider: WiderUsage | None,
    known: Mapping[int, Inputs],
) -> Iterator[tuple[int, Inputs]]:
    """The inputs of the pooled rows among ``rows``; a row alone in its pool has none. known: by row, what
    each goes on from itself. Raises BrokenState when the pools were not given."""
    pools: dict[tuple[Any, ...], list[int]] = {}
    for row in rows.tolist():
        price_row = int(due.rows.price_row[row])
        if not price_book.terms[price_row].pooled:
            continue
        if wider is None:
            raise BrokenState(
                "a charge is pooled over the contracts of a customer, and the pools were not given; gather "
                "them with invoicing.wider_periods."
            )
        pool = int(wider.pool[due.period[row]])
        if pool < 0 or integer_of(due.rows.quantity[row]) < 0:
            continue
        source = int(due.source[row])
        key = (
            pool,
            price_book.charges[int(due.charge[row])].charge.charge_id,
            price_book.price_hash[price_row].tobytes(),
            tuple(due.dimensions[source].as_py()) if source >= 0 else (),
        )
        pools.setdefault(key, []).append(row)
    contracts = one_array(periods.table["contract_id"])
    for members in pools.values():
        if len(members) > 1:
            ordered = sorted(members, key=lambda row: contracts[int(due.period[row])].as_py())
            terms = price_book.terms[int(due.rows.price_row[ordered[0]])]
            yield from _shared(ordered, due, terms, _before(ordered, terms, known))


def _before(members: Sequence[int], terms: PriceTerms, known: Mapping[int, Inputs]) -> Inputs:
    """What the tiers of the pool go on from: what its contracts counted before, together."""
    if terms.tiers_count == "period":
        return NO_INPUTS
    own = [known.get(row, NO_INPUTS) for row in members]
    total = Decimal(0)
    for found in own:
        total = added_exactly(total, found.get(BEFORE_QUANTITY, Decimal(0)))
    events = sum(int(found.get(BEFORE_EVENTS, 0)) for found in own)
    return {BEFORE_QUANTITY: total, BEFORE_EVENTS: Decimal(events)}


def _shared(
    members: Sequence[int], due: DueCharges, terms: PriceTerms, before: Inputs
) -> Iterator[tuple[int, Inputs]]:
    """The part of each member, by contract."""
    quantities = [
        Decimal(integer_of(due.rows.quantity[row])).scaleb(-QUANTITY_SCALE, context=_WIDE) for row in members
    ]
    events = sum(int(due.rows.event_count[row]) for row in members)
    first = members[0]
    share = Fraction(int(due.rows.days[first]), int(due.rows.full_days[first]))
    shared = pool_inputs(terms, quantities, event_count=events, share=share, before=before)
    yield from zip(members, shared, strict=True)
