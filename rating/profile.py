"""What other products do differently with the same words, as one setting of a plan: ``profile``.

A profile fills in settings that the plan leaves out, and nothing else; what the plan says itself comes
first. Only what changes an amount here is part of a profile. Sources, read in November 2026:

    stripe  docs.stripe.com/billing/subscriptions/prorations: prorates to the second; discounts in the order
            given, each a whole number of cents on a line; .../decimal-amounts: rounds line items;
            .../billing-credits/implementation-guide: credit grants are applied under the subtotal
    orb     docs.withorb.com/invoicing/invoice-calculation-examples: units, amounts, percentages, minimum,
            maximum, in this order; then prepaid credits, and tax last; totals are sums of lines
    zuora   docs.zuora.com, "Stacked discounts" and "Process discounts": percentages before amounts, one
            after the other, each rounded; 100.00 less 5, 10 and 15 % is 72.67; "Invoice-level rounding":
            by default every item is rounded; "Service billing": prepaid credit does not reduce the tax
    lago    docs.getlago.com/guide/plans/plan-model: by the day; coupons by when they were given, a percentage
            rounded to the cent (getlago/lago-api, services/credits), before tax, as discounts are here;
            getlago.com/changelog/nvoice-calculation-method: credits off the amount with tax
    aws     docs.aws.amazon.com/cur, "Recurring monthly RI fee": a fee is an hourly rate times the hours of
            the month, so a part is counted in time and not in days; lines are summed after rounding; "AWS
            credits": applied to the charges of services, which are before tax
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

ProfileName = Literal["stripe", "orb", "zuora", "lago", "aws"]
PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "stripe": {
        "proration": "by_second",
        "discounting": {"order": "as_written", "rounding": "each_step"},
        "rounding_place": "line",
        "credits": "before_tax",
    },
    "orb": {
        "proration": "by_day",
        "discounting": {"order": "amount_first"},
        "rounding_place": "line",
        "credits": "before_tax",
    },
    "zuora": {
        "proration": "by_day",
        "discounting": {"order": "percentage_first", "rounding": "each_step"},
        "rounding_place": "line",
        "credits": "after_tax",
    },
    "lago": {
        "proration": "by_day",
        "discounting": {"order": "as_written", "rounding": "each_step"},
        "rounding_place": "line",
        "credits": "after_tax",
    },
    "aws": {
        "proration": "by_second",
        "discounting": {},
        "rounding_place": "line",
        "credits": "before_tax",
    },
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
