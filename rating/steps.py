"""The order of price steps, each with the reason it follows the one before.

The order is fixed for every charge and printed on every explanation. The kernels and the
reference carry it out; this file is where it is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ingest.meter import Aggregation, Meter
from rating.price_plan import Charge

MINIMUM_SPEND_KIND: Final = "minimum_spend"
FEE_CREDIT_KIND: Final = "fee_credit"
ADJUSTMENT_KIND: Final = "adjustment"
FEE_ADJUSTMENT: Final = "fee_adjustment"
"""What a commitment over a term calls the adjustment of a fee."""

STEPS: Final = (
    ("quantity", "Everything starts from what the meter counted, or the fixed quantity of the charge."),
    ("unit_conversion", "The price speaks of priced units, so conversion comes before anything priced."),
    ("free_units", "An allowance is granted in priced units and must not use up the first tier."),
    ("price_model", "What is left is priced; nothing before this step is money."),
    (
        "proration",
        "A fee for a whole period is cut to the part covered, once its full price is known.",
    ),
    (
        "minimum_maximum",
        "Bounds hold for the charge's whole price; in a partial period they are cut to its days too.",
    ),
    (
        "discounts",
        (
            "A discount lowers what the charge comes to, so it needs that in full; units, then percentages, "
            "then amounts, unless the plan says otherwise."
        ),
    ),
    (
        "commitment",
        "A term is compared with what all of its periods came to, so it comes after them.",
    ),
    (
        "rounding",
        (
            "Money is rounded once, last, so that no error of an earlier rounding can grow: a line, or where "
            "the plan says so a bill, whose lines then share what it comes to."
        ),
    ),
    (
        "adjustment",
        "What was billed before comes off the rounded amount: bills and adjustments sum to one bill.",
    ),
)

_LEVELS: Final[frozenset[Aggregation]] = frozenset({"max", "min", "avg", "latest", "time_weighted"})
_HIGHEST: Final[frozenset[Aggregation]] = frozenset({"highest_sum", "highest_count"})


def is_prorated(charge: Charge, meters: Sequence[Meter]) -> bool:
    """Whether the price itself is multiplied by days / full days of a partial period.

    Recurring fees are prices for a whole period. So is the price of a level, whatever the kind of
    its charge: ten seats, or ten gigabytes at the peak, for half a month cost half. Otherwise a
    period that a new plan version splits would pay for one level twice. A formula is a level when
    all of its meters are.

    meters: those of the charge.
    """
    if not charge.meter_ids():
        return charge.kind == "recurring"
    return bool(meters) and all(reads_level(meter) for meter in meters)


def reads_level(meter: Meter) -> bool:
    """Whether the quantity is a level that stands through the period, not an amount that adds up.

    ``count``, ``sum`` and ``unit_days`` add up over the parts of a period. ``unique_count`` does not
    quite, but counts what was active in the part: it is usage, and nobody is active by the day.
    The busiest day or hour is a level, and what the peaks of days sum to is not; of groups it is the
    other way round: what the largest one used adds up, the peaks of all stand beside each other.
    """
    if meter.parts is not None:
        return (meter.aggregation in _HIGHEST) == meter.parts.are_times
    return meter.aggregation in _LEVELS and meter.reading != "unit_days"
