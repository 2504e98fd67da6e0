"""Recomputes explained lines with plain fractions.

    ratemill explain LINE --json | python -m rating.verify -

It stands alone with ``rating/verify_rounding.py``: nothing comes from the rest of Ratemill, so that it can
be read in ten minutes, run anywhere there is a Python, and does not share a mistake with the engine it
checks. It reads one JSON object, a list of them, or one object a line, each with the ``inputs`` and the
results of a line, and says for each whether the results follow from the inputs; of a bill that was rounded
as a whole also whether its lines sum to it. Exit status: 0 all agree, 1 one does not, 2 the file cannot be
read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from rating.verify_rounding import (
    KEPT,
    bill_differences,
    billed_part,
    cut,
    decimal_words,
    rounded,
    rounded_to,
)

ZERO = Fraction(0)

Tier = tuple[int, Fraction, Fraction]  # number, units, amount
Numbers = Mapping[str, Fraction]  # what a line was computed from beside its quantity, by name


@dataclass(frozen=True)
class Recomputed:
    """tiers: (number, units, amount), of which the amounts sum to the price before its bounds; amount: cut to
    12 digits; amount_minor: rounded."""

    tiers: tuple[Tier, ...]
    amount: Fraction
    amount_minor: int


def differences(line: Mapping[str, Any]) -> list[str]:
    """What the line says and its inputs do not give; empty when it is right."""
    inputs = line["inputs"]
    found = recompute(inputs)
    said = [(tier["number"], Fraction(tier["units"]), Fraction(tier["amount"])) for tier in line["tiers"]]
    wrong = []
    if "formula" in inputs:
        counted = {name: Fraction(number) for name, number in inputs["beside"].items()}
        quantity = rounded_to(formula_value(inputs["formula"], counted), 12, "half_up")
        if quantity != Fraction(inputs["quantity"]):
            wrong.append(f"quantity says {inputs['quantity']}, the formula gives {decimal_words(quantity)}")
    wrong += _wrong_events(inputs)
    if said != list(found.tiers):
        wrong.append(f"tiers say {_tier_words(said)}, the inputs give {_tier_words(found.tiers)}")
    if Fraction(line["amount"]) != found.amount:
        wrong.append(f"amount says {line['amount']}, the inputs give {decimal_words(found.amount)}")
    if line["amount_minor"] != found.amount_minor:
        wrong.append(f"amount_minor says {line['amount_minor']}, the inputs give {found.amount_minor}")
    digits = inputs["minor_digits"]
    billed = f"{decimal_words(Fraction(found.amount_minor, 10**digits), digits)} {inputs['currency']}"
    if line["billed"] != billed:
        wrong.append(f"billed says {line['billed']!r}, the inputs give {billed!r}")
    return wrong


def _wrong_events(inputs: Mapping[str, Any]) -> Iterator[str]:
    """Of events or levels that are priced by their parts: whether the parts are all there is."""
    events, values, levels, packages = (
        [Fraction(number) for name, number in inputs.get("beside", {}).items() if name.startswith(word)]
        for word in ("events_", "value_", "level_tier_", "packages_")
    )
    bounded = is_by_event(inputs.get("price", {}))
    if (events or bounded) and sum(events) != inputs["event_count"]:
        yield f"event_count says {inputs['event_count']}, its parts give {sum(events)}"
    # Free units take from a level, and from the event that reaches them; of packages values are not known.
    partly = packages or ((bounded or levels) and inputs["free_units"])
    off = abs(Fraction(inputs["quantity"]) - sum(values) - sum(levels))
    if (values or levels) and not partly and off * KEPT > len(levels):  # each level was rounded by itself
        said, found = inputs["quantity"], decimal_words(sum(values + levels, ZERO))
        yield f"quantity says {said}, its parts give {found}"


def recompute(inputs: Mapping[str, Any]) -> Recomputed:
    """The line that the inputs give. Raises KeyError or ValueError for inputs that are not whole."""
    if "billed_amount" in inputs:  # an adjustment: what is due now less what was billed before
        rest = {name: value for name, value in inputs.items() if name != "billed_amount"}
        now = Recomputed((), ZERO, 0) if "nothing_due" in inputs else recompute(rest)
        minor = now.amount_minor - int(Fraction(inputs["billed_amount"]) * 10 ** inputs["minor_digits"])
        return Recomputed(now.tiers, Fraction(minor, 10 ** inputs["minor_digits"]), minor)
    quantity = Fraction(inputs["quantity"])
    share = Fraction(inputs["days"], inputs["full_days"])
    least = inputs.get("minimum_spend", inputs.get("committed_amount"))
    if least is not None:  # of a period or of a term: what is missing to the part of it that is due
        required = Fraction(least) * share
        minor = rounded(required, inputs) - quantity * 10 ** inputs["minor_digits"]
        return Recomputed((), cut(required) - quantity, int(minor))
    if "committed_units" in inputs:  # of a term: what the units cost that are missing to the part that is due
        missing = max(ZERO, Fraction(inputs["committed_units"]) * share - quantity)
        amount = missing * Fraction(inputs["unit_price"])
        return Recomputed((), cut(amount), rounded(amount, inputs))
    if "credited_units" in inputs:
        given_back = quantity * share * Fraction(inputs["credited_units"]) / Fraction(inputs["units"])
        return Recomputed((), -cut(given_back), -rounded(given_back, inputs))
    beside = {name: Fraction(number) for name, number in inputs.get("beside", {}).items()}
    if "pool_quantity" in beside:
        return part_of_pool(inputs, beside)
    tiers = list(line_tiers(inputs, quantity, beside))
    if inputs["prorated"]:
        tiers = [(number, part, amount * share) for number, part, amount in tiers]
    amount = sum((amount for _, _, amount in tiers), ZERO)
    if inputs["minimum_amount"] is not None:
        amount = max(amount, Fraction(inputs["minimum_amount"]) * share)
    if inputs["maximum_amount"] is not None:
        amount = min(amount, Fraction(inputs["maximum_amount"]) * share)
    return discounted(tuple(cut_tiers(tiers)), amount, inputs)


def line_tiers(inputs: Mapping[str, Any], quantity: Fraction, beside: Numbers) -> Iterator[Tier]:
    """The tiers of the line, at the price of a whole period, before its bounds."""
    if is_by_event(inputs["price"]):
        yield from event_tiers(inputs, beside)
    elif any(name.startswith("level_tier_") for name in beside):
        yield from tiers_of_level(inputs, beside)
    elif any(name.startswith("events_") for name in beside):
        yield from tiers_of_events(inputs, beside)
    elif "before_quantity" in beside:
        yield from added_tiers(inputs, quantity, beside)
    else:
        yield from reached_tiers(inputs, quantity, inputs["event_count"])


def discounted(tiers: tuple[Tier, ...], amount: Fraction, inputs: Mapping[str, Any]) -> Recomputed:
    """The last two steps: discounts are taken off the kept amount, and what is left is rounded."""
    if inputs["discounts"]:
        amount = cut(amount) - sum(Fraction(discount) for discount in inputs["discounts"])
    return Recomputed(tiers, cut(amount), billed_part(amount, inputs))


def reached_tiers(inputs: Mapping[str, Any], quantity: Fraction, event_count: int) -> Iterator[Tier]:
    """The tiers that a metered quantity reaches, after unit conversion and free units."""
    units = converted(quantity, inputs["unit_conversion"])
    if inputs["free_units"] is not None and units > 0:
        units = max(ZERO, units - Fraction(inputs["free_units"]))
    yield from priced_tiers(inputs["price"], units, event_count, inputs["zero_usage"] == "charge")


def added_tiers(inputs: Mapping[str, Any], quantity: Fraction, beside: Numbers) -> list[Tier]:
    """What the period adds to each tier: the price up to its end minus the price before it, both cut."""
    before, events = beside["before_quantity"], int(beside["before_events"])
    found: dict[int, tuple[Fraction, Fraction]] = {}
    sides = ((before + quantity, events + inputs["event_count"], 1), (before, events, -1))
    for counted, count, sign in sides:
        for number, units, amount in cut_tiers(list(reached_tiers(inputs, counted, count))):
            known = found.get(number, (ZERO, ZERO))
            found[number] = (known[0] + sign * units, known[1] + sign * amount)
    return [(number, *change) for number, change in sorted(found.items()) if any(change)]


def part_of_pool(inputs: Mapping[str, Any], beside: Numbers) -> Recomputed:
    """The line's part of what all contracts of the pool come to: within a minor unit of its share."""
    whole = {**inputs, "quantity": beside["pool_quantity"], "event_count": int(beside["pool_events"])}
    before = {name: number for name, number in beside.items() if name.startswith("before_")}
    pool = recompute({**whole, "beside": before, "discounts": []})
    total, minor = beside["pool_quantity"], 10 ** inputs["minor_digits"]
    weight = Fraction(inputs["quantity"]) / total if total else 1 / beside["pool_contracts"]
    part, share = beside["pool_part"], pool.amount_minor * weight / minor
    if abs(part - share) * minor >= 1 or (part * minor) % 1:
        part = share  # the line's own figures will not agree with this
    factor = part / pool.amount if pool.amount else ZERO
    scaled = [(number, units * weight, amount * factor) for number, units, amount in pool.tiers]
    kept = zip(cut_tiers(scaled), cut_tiers([(0, ZERO, units) for _, units, _ in scaled]), strict=True)
    tiers = tuple((number, units, amount) for (number, _, amount), (*_, units) in kept)
    return discounted(tiers, part, inputs)


def formula_value(tree: Any, counted: Numbers) -> Fraction:
    """What a formula of meters comes to: a number as text, a meter, or an operation with its arguments."""
    if isinstance(tree, str):
        return Fraction(tree)
    if isinstance(tree, dict):
        return counted.get(tree["meter"], ZERO)
    name, *arguments = tree
    if name in {"round", "divide"}:
        *arguments, digits, rounding = arguments
    values = [formula_value(argument, counted) for argument in arguments]
    if name in {"min", "max"}:
        return min(values) if name == "min" else max(values)
    if name == "tier":  # which tier holds it: 0 for nothing, bounds belong to the tier below
        return Fraction(0 if values[0] <= 0 else 1 + sum(values[0] > bound for bound in values[1:]))
    if name in {"round", "divide"}:
        return rounded_to(values[0] / (1 if name == "round" else values[1]), digits, rounding)
    left, right = values
    found: Fraction = left + right if name == "+" else left - right if name == "-" else left * right
    return found


def converted(quantity: Fraction, conversion: Mapping[str, Any] | None) -> Fraction:
    """Metered to priced units; a credit is rounded like the debit it cancels."""
    exact = unrounded(quantity, conversion)
    return (
        exact if conversion is None else rounded_to(exact, conversion["fraction_digits"], conversion["round"])
    )


def unrounded(quantity: Fraction, conversion: Mapping[str, Any] | None) -> Fraction:
    """The same before it is rounded: what events that are priced each by itself come to."""
    factor = Fraction(1 if conversion is None else conversion["factor"])
    return quantity / factor if conversion and conversion["operation"] == "divide" else quantity * factor


def priced_tiers(price: Mapping[str, Any], units: Fraction, event_count: int, zero: bool) -> Iterator[Tier]:
    """Every tier that was reached, of a whole period. zero: nothing used reaches the first."""
    model = price["model"]
    if "tiers" not in price:
        yield 1, units, single_amount(price, units, event_count)
        return
    if units < 0:
        raise ValueError(f"a quantity below zero has no price under {model}")
    if units == 0 and not zero:
        return
    below = ZERO
    for number, tier in enumerate(price["tiers"], start=1):
        holds_rest = tier["up_to"] is None or units <= Fraction(tier["up_to"])
        if model in {"graduated", "graduated_percentage"}:
            upper = units if holds_rest else Fraction(tier["up_to"])
            yield number, upper - below, tier_amount(tier, upper - below)
            below = upper
        elif holds_rest:
            yield number, units, tier_amount(tier, units)
        if holds_rest:
            return
    raise ValueError(f"{units} lies past the last tier")


def is_by_event(price: Mapping[str, Any]) -> bool:
    """Whether each event has a least or a most that it costs."""
    return any(price.get(name) is not None for name in ("minimum_per_event", "maximum_per_event"))


def event_tiers(inputs: Mapping[str, Any], beside: Numbers) -> Iterator[Tier]:
    """The events at the minimum, between both bounds, and at the maximum: their value and what they cost."""
    price = inputs["price"]
    each = (price["minimum_per_event"], price["fixed_per_event"], price["maximum_per_event"])
    for number, (word, amount) in enumerate(
        zip(("minimum", "between", "maximum"), each, strict=True), start=1
    ):
        events = beside.get(f"events_{word}", ZERO)
        if not events:
            continue
        value = unrounded(beside[f"value_{word}"], inputs["unit_conversion"])
        share = value * Fraction(price["percent"]) / 100 if word == "between" else ZERO
        yield number, cut(value), events * Fraction(amount or 0) + share


def tiers_of_events(inputs: Mapping[str, Any], beside: Numbers) -> Iterator[Tier]:
    """Each event priced by itself in tiers: of every tier what the events that end there and the events that
    go past it have in it."""
    price, free = inputs["price"], Fraction(inputs["free_units"] or 0)
    tiers = price.get("tiers") or [{**dict.fromkeys(("up_to", "flat_amount", "package_size")), **price}]
    graduated = price["model"] in {"graduated", "graduated_percentage"}
    counts = [beside.get(f"events_tier_{number}", ZERO) for number in range(1, len(tiers) + 1)]
    below = ZERO
    for number, tier in enumerate(tiers, start=1):
        events, past = counts[number - 1], sum(counts[number:], ZERO) if graduated else ZERO
        amount = events * Fraction(tier["flat_amount"] or 0)
        if tier.get("package_size") is not None:
            sold = beside.get(f"packages_tier_{number}", ZERO)
            units = sold * Fraction(tier["package_size"])
            amount += sold * Fraction(tier["package_price"])
        else:
            value = unrounded(beside.get(f"value_tier_{number}", ZERO), inputs["unit_conversion"])
            units = value - events * (free + below)
            amount += tier_amount({**tier, "flat_amount": None, "package_size": None}, units)
        if past:
            width = Fraction(tier["up_to"]) - below
            units, amount = units + past * width, amount + past * tier_amount(tier, width)
        if units or amount:
            yield number, cut(units), amount
        below = Fraction(tier["up_to"] or 0) if graduated else ZERO


def tiers_of_level(inputs: Mapping[str, Any], beside: Numbers) -> Iterator[Tier]:
    """The part of a level that stood in each tier, at its price."""
    for number, tier in enumerate(inputs["price"]["tiers"], start=1):
        units = beside[f"level_tier_{number}"]
        if units or (number == 1 and inputs["zero_usage"] == "charge"):
            yield number, units, tier_amount(tier, units)


def single_amount(price: Mapping[str, Any], units: Fraction, event_count: int) -> Fraction:
    """The amount of a price without tiers."""
    model = price["model"]
    if model == "per_unit":
        return units * Fraction(price["unit_price"])
    if model == "dynamic":
        return units * Fraction(price["multiplier"])
    if model == "percentage":
        charged = max(0, event_count - int(price["free_events"]))
        return units * Fraction(price["percent"]) / 100 + charged * Fraction(price["fixed_per_event"] or 0)
    if units < 0:
        raise ValueError(f"a quantity below zero has no price under {model}")
    if model == "flat":
        return Fraction(price["amount"])
    if model == "package":
        return packages(units, price) * Fraction(price["package_price"])
    raise ValueError(f"{model!r} is a price model this verifier does not know")


def tier_amount(tier: Mapping[str, Any], units: Fraction) -> Fraction:
    """So many units of one tier, and its flat amount."""
    flat = Fraction(tier["flat_amount"] or 0)
    if "percent" in tier:
        return units * Fraction(tier["percent"] or 0) / 100 + flat
    if tier["package_size"] is not None:
        return packages(units, tier) * Fraction(tier["package_price"]) + flat
    return units * Fraction(tier["unit_price"] or 0) + flat


def packages(units: Fraction, price: Mapping[str, Any]) -> int:
    """Whole packages; a started one counts, or does not."""
    whole, rest = divmod(units, Fraction(price["package_size"]))
    return whole + (1 if rest and price["round"] == "up" else 0)


def cut_tiers(tiers: Sequence[Tier]) -> Iterator[Tier]:
    """Amounts cut as differences of the cut running total, so that they sum to the cut total."""
    running, before = ZERO, ZERO
    for number, units, amount in tiers:
        running += amount
        yield number, units, cut(running) - before
        before = cut(running)


def _tier_words(tiers: Sequence[Tier]) -> str:
    rows = (f"{number}: {decimal_words(units)} = {decimal_words(amount)}" for number, units, amount in tiers)
    return "; ".join(rows) or "none"


def read_lines(text: str) -> list[dict[str, Any]]:
    """The explained lines of a file: an object, a list of them, or one object a line."""
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(row) for row in text.splitlines() if row.strip()]
    return parsed if isinstance(parsed, list) else [parsed]


def main(arguments: Sequence[str]) -> int:
    """Verify the file named (``-``: standard input); one sentence a line, the exit status as above."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m rating.verify FILE   (- reads standard input)\n")
        return 2
    try:
        name = arguments[0]
        lines = read_lines(sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8"))
        verdicts = [(line["line_id"], differences(line)) for line in lines]
        bills = list(bill_differences(lines))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        sys.stderr.write(f"cannot verify: {error!r}. A line is what `ratemill explain LINE --json` writes.\n")
        return 2
    for line_id, wrong in verdicts:
        sys.stdout.write(f"line {line_id}: {'agrees' if not wrong else 'DIFFERS: ' + '; '.join(wrong)}\n")
    for bill, difference in bills:
        sys.stdout.write(f"bill {bill}: {f'DIFFERS: {difference}' if difference else 'agrees'}\n")
    unequal = any(wrong for _, wrong in (*verdicts, *bills))
    return 1 if not verdicts or unequal else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
