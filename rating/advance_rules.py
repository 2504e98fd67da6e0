"""What a licence charge in advance must keep: its level is known at one instant, where the period begins."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.errors import Issue
from rating.price_plan import Charge, counts_before


def advance_rules(charge: Charge, pointer: str) -> Iterator[Issue]:
    """Every rule a metered charge in advance breaks, with paths below ``pointer``."""
    if charge.kind != "licence":
        yield Issue(
            "usage_in_advance",
            f"{pointer}.timing",
            f"A {charge.kind} charge is known only when the period is over.",
            "timing: arrears; only the level of a licence charge can be billed in advance.",
        )
        return
    unfit = {
        "tiers_count": counts_before(charge),
        "pooled_over": charge.pooled_over != "contract",
        "zero_usage": charge.zero_usage == "charge",
    }
    for name, given in unfit.items():
        if given:
            yield Issue(
                "licence_in_advance",
                f"{pointer}.{name}",
                "What is billed in advance is the level at the beginning of each contract's own period.",
                f"no {name}, or timing: arrears.",
            )
