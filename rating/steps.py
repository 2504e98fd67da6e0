"""The order of price steps, each with the reason it follows the one before.

The order is fixed for every charge and printed on every explanation. The kernels and the
reference carry it out; this file is where it is said.
"""

from __future__ import annotations

from typing import Final

from ingest.meter import Meter
from rating.price_plan import Charge

MINIMUM_SPEND_CHARGE_ID: Final = "minimum-spend"
MINIMUM_SPEND_KIND: Final = "minimum_spend"

STEPS: Final = (
    ("quantity", "Everything starts from what the meter counted, or the fixed quantity of the charge."),
    ("unit_conversion", "The price speaks of priced units, so conversion comes before anything priced."),
    ("free_units", "An allowance is granted in priced units and must not use up the first tier."),
    ("price_model", "What is left is priced; nothing before this step is money."),
    ("proration", "A fee for a whole period is cut to the days covered, once its full price is known."),
    (
        "minimum_maximum",
        "Bounds hold for the charge's whole price; in a partial period they are cut to its days too.",
    ),
    ("rounding", "Money is rounded once, last, so that no error of an earlier rounding can grow."),
)


def is_prorated(charge: Charge, meter: Meter | None) -> bool:
    """Whether the price itself is multiplied by days / full days of a partial period.

    Recurring fees are prices for a whole period. So is a seat price on a licence meter that
    reads a level (average, peak, end): ten seats for half a month cost half. A meter that reads
    ``unit_days`` has the time in its quantity already, like all usage.
    """
    if charge.kind == "licence":
        return meter is not None and meter.reading != "unit_days"
    return charge.kind == "recurring"
