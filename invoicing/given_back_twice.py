"""Contracts of which late usage would give back what credit notes gave back already: held, with a way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy import Engine

from invoicing.hold import Held
from invoicing.left_to_give_back import credited_of_lines
from invoicing.line_differences import LineDifference, stands_instead
from rating.agreement import Agreement
from rating.spend_ids import is_minimum
from rating.steps import MINIMUM_SPEND_KIND
from rating.term_commitment import COMMITMENT, TRUE_UP_KIND

_COVERED: Final = frozenset({"usage", "licence", MINIMUM_SPEND_KIND})
"""What a minimum spend counts, and itself."""


def given_back_twice(
    differences: Sequence[LineDifference],
    next_dates: Mapping[str, date],
    ledger: Engine,
    agreements: Mapping[str, Agreement],
) -> list[Held]:
    """Contracts whose late usage would give back of a line what credit notes gave back before, credit that
    was taken off it before tax included. A period of
    licences that is cut is taken back whole and billed for the days before: that counts as one. So do a
    minimum, or the true-up of a commitment, and what counts towards it: one falls as the other rises."""
    lowered = [one for one in differences if one.was is not None and one.difference_minor < 0]
    with ledger.connect() as connection:
        credited = credited_of_lines(connection, [one.line["line_id"] for one in lowered])
    found: dict[str, Held] = {}
    for one in lowered:
        taken = credited.get(one.line["line_id"], 0)
        left = max(0, one.charged_minor + one.allowed_minor - taken)
        instead = sum(other.difference_minor for other in differences if stands_instead(other.line, one.line))
        off = min(
            -one.difference_minor - instead,
            _off_with_minimum(one, differences),
            _off_with_true_up(one, differences, agreements),
        )
        if taken <= 0 or off <= left:
            continue
        line = one.line
        found[line["contract_id"]] = Held(
            line["contract_id"],
            next_dates[line["contract_id"]],
            "adjustment_refused",
            f"what is known now lowers what charge {line['charge_id']!r} was billed on "
            f"{line['billing_date']} by {off} minor units, and credit notes left {left} of it: what was "
            "credited would be given back twice. Credit what is left, if it is owed (`ratemill credit-note "
            "create`), and save the contract with `late_usage: ignore` (`ratemill contract show`, then "
            "`contract put`): the next run bills it without that difference.",
        )
    return list(found.values())


def _off_with_minimum(one: LineDifference, differences: Sequence[LineDifference]) -> int:
    """What is given back of the line, or less where a minimum of its period and what counts towards it take
    each other's place."""
    period = _period(one.line)
    counted = [
        other
        for other in differences
        if other.line["charge_kind"] in _COVERED and _period(other.line) == period
    ]
    of_minimum = any(is_minimum(other.line["charge_id"]) for other in counted)
    if not of_minimum or one.line["charge_kind"] not in _COVERED:
        return -one.difference_minor
    return -sum(other.difference_minor for other in counted)


def _off_with_true_up(
    one: LineDifference, differences: Sequence[LineDifference], agreements: Mapping[str, Agreement]
) -> int:
    """What is given back of the line, or less where the true-up of a commitment and what counts towards it
    take each other's place."""
    off = -one.difference_minor
    for other in differences:
        if other.line["charge_kind"] != TRUE_UP_KIND or other.line["contract_id"] != one.line["contract_id"]:
            continue
        together = [other, *_counted_by(other.line, differences, agreements)]
        if one in together:
            off = min(off, -sum(each.difference_minor for each in together))
    return off


def _counted_by(
    true_up: Mapping[str, Any], differences: Sequence[LineDifference], agreements: Mapping[str, Agreement]
) -> list[LineDifference]:
    """The differences of lines that count towards the commitment of a true-up."""
    named = true_up["dimensions"][COMMITMENT]
    agreement = agreements.get(true_up["agreement"], Agreement())
    return [
        one
        for commitment in agreement.term_commitments
        if commitment.commitment_id == named
        for one in differences
        if one.line["contract_id"] == true_up["contract_id"]
        and true_up["period_start"] <= one.line["period_start"] < true_up["period_end"]
        and commitment.covers(charge_id=one.line["charge_id"], charge_kind=one.line["charge_kind"])
    ]


def _period(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(line[name] for name in ("contract_id", "billing_date", "period_start", "period_end"))
