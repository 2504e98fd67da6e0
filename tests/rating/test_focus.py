"""Goal: real cloud bills of four providers come out as the providers billed them.

1,000 rows of the FinOps Foundation's FOCUS sample (CC BY 4.0), which lies beside the repository and
not in it. The sample itself was rounded at the source: quantity x list price equals the list cost
exactly on 540 rows and to 10**-10 on 999.
"""

from __future__ import annotations

import csv
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import pytest

from rating.price_plan import PerUnitPrice
from rating.reference import PriceTerms, price_quantity

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "focus_sample.csv"


@pytest.mark.requirement("RAT-01")
def test_list_cost_is_consumed_quantity_times_list_price() -> None:
    if not SAMPLE.exists():
        pytest.skip("the FOCUS sample is not beside this repository (../shared/data/focus_sample.csv)")
    exact = close = priced_rows = 0
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            quantity, unit_price = (_at_scale(row[name]) for name in ("ConsumedQuantity", "ListUnitPrice"))
            priced = price_quantity(
                PriceTerms(
                    price=PerUnitPrice(model="per_unit", unit_price=unit_price),
                    unit_conversion=None,
                    free_units=None,
                    minimum_amount=None,
                    maximum_amount=None,
                    prorated=False,
                    minor_digits=2,
                    rounding="half_up",
                ),
                quantity=quantity,
                event_count=1,
                share=Fraction(1),
            )
            difference = abs(priced.model_amount - Fraction(_number(row["ListCost"])))
            priced_rows += 1
            exact += difference == 0
            close += difference <= Fraction(1, 10**10)
    assert (priced_rows, exact, close) == (1000, 540, 999)


def _number(text: str) -> Decimal:
    return Decimal(0) if text == "NULL" else Decimal(text)


def _at_scale(text: str) -> Decimal:
    with localcontext() as context:
        context.prec = 60
        return _number(text).quantize(Decimal("1E-12"), rounding=ROUND_HALF_EVEN)
