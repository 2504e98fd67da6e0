"""What other products do differently with the same words, as one setting of a plan: ``profile``.

A profile fills in settings that the plan leaves out, and nothing else; what the plan says itself comes
first. Only what changes an amount here is part of a profile. Sources, read in November 2026:

    stripe  docs.stripe.com/billing/subscriptions/prorations: prorates to the second; discounts in the order
            given, each a whole number of cents on a line
    orb     docs.withorb.com/invoicing/invoice-calculation-examples: units, amounts, percentages, minimum,
            maximum, in this order
    zuora   docs.zuora.com, "Stacked discounts" and "Process discounts": percentages before amounts, one
            after the other, each rounded; 100.00 less 5, 10 and 15 % is 72.67
    lago    docs.getlago.com/guide/plans/plan-model: by the day; coupons by when they were given, a percentage
            rounded to the cent (getlago/lago-api, services/credits)
    aws     docs.aws.amazon.com/cur, "Recurring monthly RI fee": a fee is an hourly rate times the hours of
            the month, so a part is counted in time and not in days
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

ProfileName = Literal["stripe", "orb", "zuora", "lago", "aws"]
PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "stripe": {"proration": "by_second", "discounting": {"order": "as_written", "rounding": "each_step"}},
    "orb": {"proration": "by_day", "discounting": {"order": "amount_first"}},
    "zuora": {"proration": "by_day", "discounting": {"order": "percentage_first", "rounding": "each_step"}},
    "lago": {"proration": "by_day", "discounting": {"order": "as_written", "rounding": "each_step"}},
    "aws": {"proration": "by_second", "discounting": {}},
}


def with_profile(document: Mapping[str, Any]) -> dict[str, Any]:
    """A plan document with what its profile says of the settings it leaves out."""
    name = document.get("profile")
    profile = PROFILES.get(name) if isinstance(name, str) else None
    if profile is None:
        return dict(document)
    given = document.get("discounting", {})
    filled = {**profile, **document}
    if isinstance(given, Mapping):
        filled["discounting"] = {**profile["discounting"], **given}
    return filled
