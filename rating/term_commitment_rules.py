"""What a contract's commitments over a term must keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from ingest.document import decimal_text
from ingest.errors import Issue
from rating.amount_rules import MINOR_LIMIT
from rating.contract import Contract
from rating.money import MINOR_DIGITS, round_to_minor
from rating.price_plan import PricePlan
from rating.term_commitment import TermCommitment

TERM_COMMITMENTS_MAX: Final = 100


def term_commitment_rules(contract: Contract, *, plans: Sequence[PricePlan]) -> Iterator[Issue]:
    """Every rule the commitments break, with paths below ``term_commitments``. plans: all versions of
    the contract's plan, in the order saved."""
    entries = contract.term_commitments
    if len(entries) > TERM_COMMITMENTS_MAX:
        yield Issue(
            "term_commitment_count",
            "term_commitments",
            f"There are {len(entries)} commitments over terms.",
            f"at most {TERM_COMMITMENTS_MAX}.",
        )
    for position, entry in enumerate(entries):
        pointer = f"term_commitments[{position}]"
        earlier = entries[:position]
        if entry.commitment_id in {other.commitment_id for other in earlier}:
            yield Issue(
                "commitment_id_taken",
                f"{pointer}.commitment_id",
                f"{entry.commitment_id!r} is used by another commitment of the contract.",
                "a commitment_id of its own for every commitment.",
            )
        clash = next((other for other in earlier if other.overlaps(entry)), None)
        if clash is not None:
            yield Issue(
                "commitment_overlaps",
                pointer,
                f"The same charges on the same day would count towards {clash.commitment_id!r} as well.",
                "terms that follow each other, or charge_ids of their own for each.",
            )
        yield from _term_rules(entry, contract, pointer)
        yield from _amount_rules(entry, plans, pointer)
        yield from _charge_rules(entry, contract, plans, pointer)


def _term_rules(entry: TermCommitment, contract: Contract, pointer: str) -> Iterator[Issue]:
    if entry.effective_until <= entry.effective_from:
        yield Issue(
            "end_not_after_start",
            f"{pointer}.effective_until",
            f"The term begins on {entry.effective_from} and ends on {entry.effective_until}.",
            "a day after effective_from; it is the first day no longer covered.",
        )
    if entry.effective_from < contract.start_date:
        yield Issue(
            "before_contract",
            f"{pointer}.effective_from",
            f"The term begins on {entry.effective_from}, the contract on {contract.start_date}.",
            f"a day from {contract.start_date} on.",
        )


def _amount_rules(entry: TermCommitment, plans: Sequence[PricePlan], pointer: str) -> Iterator[Issue]:
    if entry.amount <= 0:
        yield Issue(
            "commitment_of_nothing",
            f"{pointer}.amount",
            f"The commitment is for {decimal_text(entry.amount)}.",
            "an amount above 0.",
        )
    for plan in plans[-1:]:
        digits = MINOR_DIGITS.get(plan.currency)
        if digits is None or round_to_minor(entry.amount, digits=digits, mode=plan.rounding) < MINOR_LIMIT:
            continue
        yield Issue(
            "amount_too_large",
            f"{pointer}.amount",
            f"{decimal_text(entry.amount)} {plan.currency} is more than an invoice line can hold.",
            f"an amount below {Decimal(MINOR_LIMIT).scaleb(-digits):f}.",
        )


def _charge_rules(
    entry: TermCommitment, contract: Contract, plans: Sequence[PricePlan], pointer: str
) -> Iterator[Issue]:
    known = {charge.charge_id for plan in plans for charge in plan.charges}
    for place, charge_id in enumerate(entry.charge_ids):
        if plans and charge_id not in known:
            yield Issue(
                "unknown_charge",
                f"{pointer}.charge_ids[{place}]",
                f"No version of plan {contract.plan_id!r} has a charge {charge_id!r}.",
                f"a charge_id of the plan, like {plans[-1].charges[0].charge_id!r}.",
            )
