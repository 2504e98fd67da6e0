"""The tax that a credit note takes back, group by group. Pure.

Tax is counted on all that is credited of a group so far, rounded once, less what earlier credit notes took:
so all of a group takes back all of its tax, however it was cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from invoicing.invoice_tax import TAX_NOTE
from invoicing.tax_amounts import shares_of
from rating.money import round_to_minor


def credited_tax(
    invoice: Mapping[str, Any], before: Sequence[Mapping[str, Any]], taken: Sequence[int], *, voids: bool
) -> list[dict[str, Any]]:
    """The invoice's tax groups with what is taken back of each, above zero where the invoice's are. Groups
    of which no line is on the credit note are left out, as EN 16931 wants it (BR-S-08)."""
    groups: list[dict[str, Any]] = [] if invoice["tax"] == TAX_NOTE else invoice["tax"]
    found = []
    touched = groups_of_lines(
        [line for line, part in zip(invoice["lines"], taken, strict=True) if part or (voids and not before)]
    )
    for group, now in zip(groups, _by_group(invoice, groups, taken), strict=True):
        net_before, tax_before = _credited_of_group(group, before)
        if voids:
            tax = group["tax_minor"] - tax_before
        else:
            share = Fraction(net_before + now, group["taxable_minor"]) if group["taxable_minor"] else 0
            tax = round_to_minor(group["tax_minor"] * share, digits=0, mode="half_up") - tax_before
        if now or tax or len(groups) == 1 or group_key(group) in touched:
            found.append({**group, "taxable_minor": now, "tax_minor": tax})
    return found


def _by_group(
    invoice: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], taken: Sequence[int]
) -> list[int]:
    """What is taken of the lines of each tax group."""
    sums = [0] * len(groups)
    places = {group_key(group): place for place, group in enumerate(groups)}
    unplaced = 0
    for line, amount in zip(invoice["lines"], taken, strict=True):
        place = 0 if len(groups) == 1 else places.get(group_key(line.get("tax") or {}))
        if place is None:
            unplaced += amount
        else:
            sums[place] += amount
    if unplaced and groups:  # lines that do not say their group: in proportion
        shared = shares_of(unplaced, [group["taxable_minor"] for group in groups])
        sums = [known + part for known, part in zip(sums, shared, strict=True)]
    return sums


def _credited_of_group(group: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Net and tax that earlier credit notes took of a group."""
    earlier = [
        known
        for note in before
        if note["tax"] != TAX_NOTE
        for known in note["tax"]
        if group_key(known) == group_key(group)
    ]
    return -sum(known["taxable_minor"] for known in earlier), -sum(known["tax_minor"] for known in earlier)


def groups_of_lines(lines: Sequence[Mapping[str, Any]]) -> set[tuple[str | None, str | None]]:
    """The keys of the groups that lines are taxed in."""
    return {group_key(line.get("tax") or {}) for line in lines}


def group_key(taxed: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """What lines of a tax group have in common."""
    return taxed.get("category"), taxed.get("rate_percent")
