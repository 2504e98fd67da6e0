"""Prices that need more than the quantity of a period: what the kernels do not know.

A line keeps what it was priced from beside its quantity, by name, in ``inputs``, so that it can be priced,
explained and verified again by itself. This file gives every price the one way in.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

from rating.event_bounds import measure_events
from rating.price_plan import PercentagePrice
from rating.reference import Priced, PriceTerms, finish, price_quantity

Inputs = Mapping[str, Decimal]
NO_INPUTS: Final[Inputs] = {}


def price_line(
    terms: PriceTerms, *, quantity: Decimal, event_count: int, share: Fraction, inputs: Inputs
) -> Priced:
    """``price_quantity`` for every price. inputs: what the amount is computed from beside the quantity; of
    an ordinary price nothing. Raises Unrateable."""
    if isinstance(terms.price, PercentagePrice) and terms.price.is_by_event:
        measured = measure_events(terms.price, terms, quantity=quantity, inputs=inputs)
        return finish(terms, measured, share=share)
    return price_quantity(terms, quantity=quantity, event_count=event_count, share=share)
