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
from rating.reference import cut_decimal
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
    if (entry.amount is None) == (entry.units is None) or (entry.units is None) != (entry.unit_price is None):
        yield Issue(
            "commitment_amount_or_units",
            pointer,
            "A commitment is a sum of money, or a number of units with the price of a missing one.",
            "amount, or units and unit_price.",
        )
        return
    if entry.worth() <= 0:
        of_money = entry.units is None
        yield Issue(
            "commitment_of_nothing",
            f"{pointer}.{'amount' if of_money else 'units'}",
            f"The commitment is for {decimal_text(cut_decimal(entry.worth()))}.",
            "an amount above 0." if of_money else "units and unit_price above 0.",
        )
    for plan in plans[-1:]:
        digits = MINOR_DIGITS.get(plan.currency)
        if digits is None or round_to_minor(entry.worth(), digits=digits, mode=plan.rounding) < MINOR_LIMIT:
            continue
        yield Issue(
            "amount_too_large",
            f"{pointer}.{'amount' if entry.units is None else 'units'}",
            f"{decimal_text(cut_decimal(entry.worth()))} {plan.currency} is more than a line can hold.",
            f"an amount below {Decimal(MINOR_LIMIT).scaleb(-digits):f}.",
        )


def _charge_rules(
    entry: TermCommitment, contract: Contract, plans: Sequence[PricePlan], pointer: str
) -> Iterator[Issue]:
    known = {charge.charge_id for plan in plans for charge in plan.charges}
    metered = {charge.charge_id for plan in plans for charge in plan.charges if charge.kind == "usage"}
    unfit = [charge_id for charge_id in entry.charge_ids if charge_id in known - metered]
    if entry.units is not None and (unfit or not entry.charge_ids):
        yield Issue(
            "commitment_units_charges",
            f"{pointer}.charge_ids",
            "Units are counted by usage charges, and "
            + (f"{unfit[0]!r} is none." if unfit else "no charge is named."),
            "the charge_ids of the usage charges whose units count.",
        )
    for place, charge_id in enumerate(entry.charge_ids):
        if plans and charge_id not in known:
            yield Issue(
                "unknown_charge",
                f"{pointer}.charge_ids[{place}]",
                f"No version of plan {contract.plan_id!r} has a charge {charge_id!r}.",
                f"a charge_id of the plan, like {plans[-1].charges[0].charge_id!r}.",
            )
