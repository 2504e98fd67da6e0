"""How much of a meter a contract may use, and the answer to "may it use n more?".

    limit                  a number, or the licences provisioned: level of ``provisioned_meter_id`` now
                           x ``per_provisioned``
    used                   by all subjects of the contract together, over all group keys: on the period that
                           holds the instant asked; of a time_weighted meter, the level at that instant
    allowed                used + n <= limit; where a contract limits a meter more than once, by each of them
    mode                   hard: more is not allowed. soft: more is allowed, and the answer says that it is
                           beyond the limit (``over_soft_limit``), for somebody to approve

An entitlement prices nothing: what was used is billed by the plan, also beyond a limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import Final, Literal

from ingest.document import Document, ExactDecimal
from ingest.meter import Key

EntitlementPeriod = Literal["billing_period", "day", "month", "contract"]
Mode = Literal["hard", "soft"]
Reason = Literal[
    "within_limit",
    "over_soft_limit",
    "over_limit",
    "not_limited",
    "not_in_contract",
    "contract_not_running",
    "no_contract",
]
_WIDE: Final = Context(prec=80)


class Entitlement(Document):
    """See the module. period: ``day`` and ``month`` are those of the contract's time zone, ``contract`` is
    its whole life."""

    meter_id: Key
    period: EntitlementPeriod
    mode: Mode
    limit: ExactDecimal | None = None
    provisioned_meter_id: Key | None = None
    per_provisioned: ExactDecimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit and what stands against it at an instant; period in UTC, half-open."""

    contract_id: str
    meter_id: str
    period: EntitlementPeriod
    period_start: datetime
    period_end: datetime | None
    mode: Mode
    limit: Decimal
    used: Decimal
    event_count: int
    unusable_events: int

    @property
    def remaining(self) -> Decimal:
        """What may still be used; below zero when more was used than allowed."""
        return _WIDE.subtract(self.limit, self.used)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer. contract_id: of the contract that decided, None without one. limit, remaining, standing:
    None where nothing limits."""

    allowed: bool
    reason: Reason
    contract_id: str | None
    used: Decimal | None
    limit: Decimal | None
    remaining: Decimal | None
    standing: Standing | None


def judge(standings: Sequence[Standing], quantity: Decimal) -> Verdict:
    """Whether ``quantity`` more may be used under all of these limits of one contract; at least one.

    The limit that decides is the one that refuses with the least left, else the one with the least left.
    """
    refusing = [one for one in standings if _over(one, quantity) and one.mode == "hard"]
    over = [one for one in standings if _over(one, quantity)]
    deciding = min(refusing or over or standings, key=lambda one: one.remaining)
    reason: Reason = "over_limit" if refusing else "over_soft_limit" if over else "within_limit"
    return Verdict(
        allowed=not refusing,
        reason=reason,
        contract_id=deciding.contract_id,
        used=deciding.used,
        limit=deciding.limit,
        remaining=deciding.remaining,
        standing=deciding,
    )


def without_limit(reason: Reason, contract_id: str | None) -> Verdict:
    """The answer where no limit stands: allowed only when the contract's plan prices the meter."""
    return Verdict(reason == "not_limited", reason, contract_id, None, None, None, None)


_BEST_FIRST: Final = (
    "within_limit",
    "not_limited",
    "over_soft_limit",
    "over_limit",
    "not_in_contract",
    "contract_not_running",
    "no_contract",
)


def best(verdicts: Sequence[Verdict]) -> Verdict:
    """Of several contracts of a customer, the one under which most may be used."""
    if not verdicts:
        return without_limit("no_contract", None)
    return min(verdicts, key=lambda one: (_BEST_FIRST.index(one.reason), -(one.remaining or 0)))


def strictest(verdicts: Sequence[Verdict]) -> Verdict:
    """Of several contracts that one subject's usage counts for, the one that allows least. Contracts that
    do not name the meter, or do not run, have no say while another has."""
    speaking = [one for one in verdicts if _BEST_FIRST.index(one.reason) <= _BEST_FIRST.index("over_limit")]
    if not speaking:
        return best(verdicts)
    order = {"over_limit": 0, "over_soft_limit": 1, "within_limit": 2, "not_limited": 3}
    return min(speaking, key=lambda one: (order[one.reason], one.remaining or 0))


def _over(one: Standing, quantity: Decimal) -> bool:
    return _WIDE.add(one.used, quantity) > one.limit
