"""Why a rated line says what it says: its derivation, checked to come to the same amount.

An explanation is never shown for an amount the plan version does not give: that is BrokenState.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, tzinfo
from decimal import Decimal
from typing import Any

from ingest.document import decimal_text
from ingest.errors import BrokenState
from rating.adjustment_line import BILLED_AMOUNT, BILLED_QUANTITY, adjustment_follows, rated_again
from rating.agreement import NO_AGREEMENT, Agreement, agreed_plan, is_overridden
from rating.bill_rounding import ROUNDED_SUM
from rating.credit_line import credit_follows, units_billed
from rating.event_bounds import FREE
from rating.explanation import Explanation, ExplanationStep
from rating.item_line import ITEM_KIND
from rating.line_discounts import discounts_of
from rating.line_inputs import (
    credit_inputs,
    line_inputs,
    minimum_spend_inputs,
    nothing_due_inputs,
    quantity_source,
    true_up_inputs,
)
from rating.money import exact_money, format_minor, minor_digits
from rating.price_plan import Charge, PercentagePrice, PricePlan, SimplePrice, counts_before
from rating.reference import Priced, cut_decimal, minimum_spend_terms, terms_of
from rating.reprice import (
    charge_of_line,
    commitment_of_line,
    minimum_required,
    price_of_line,
    reprice_line,
    repriced,
    share_of,
    true_up_follows,
)
from rating.retainer import sells_credit
from rating.special_price import (
    BEFORE_QUANTITY,
    POOL_CONTRACTS,
    POOL_PART,
    POOL_QUANTITY,
    added_exactly,
)
from rating.spend_ids import MINIMUM_SPEND_CHARGE_ID, STATED_CHARGE_ID
from rating.steps import ADJUSTMENT_KIND, FEE_CREDIT_KIND, MINIMUM_SPEND_KIND
from rating.term_commitment import TRUE_UP_CHARGE_ID, TRUE_UP_KIND, TermCommitment
from rating.tier_rows import TierRow, tier_rows
from rating.true_up_steps import true_up_steps

__all__ = ["Explanation", "ExplanationStep", "explain_line", "reprice_line"]


def explain_line(
    line: Mapping[str, Any],
    plan: PricePlan,
    *,
    agreement: Agreement | None = None,
    time_zone: tzinfo = UTC,
    spent: Sequence[tuple[date, Decimal]] = (),
) -> Explanation:
    """The derivation of a rated line.

    line: one row of RATED_LINE_SCHEMA as Python values. plan: the version the line names. agreement: the
    one the line names, None when it names none. time_zone: in which the period is told; the contract's,
    so that it begins and ends at midnight. spent: of a true-up, what each invoice counted towards the
    term, (billing date, amount). Raises BrokenState when the plan under the agreement does not
    give the line's amount: then line and catalogue disagree and neither may be shown as right.
    """
    if line["charge_kind"] == ADJUSTMENT_KIND:
        return _explain_adjustment(line, plan, agreement=agreement, time_zone=time_zone, spent=spent)
    agreed = agreement or Agreement()
    _check_agreement(line, agreement)
    plan = agreed_plan(plan, agreed)
    line = {
        **line,
        **{name: line[name].astimezone(time_zone) for name in ("period_start", "period_end")},
    }
    if line["charge_kind"] == TRUE_UP_KIND:
        return _explain_true_up(line, plan, commitment_of_line(line, agreed), spent)
    if line["charge_kind"] == MINIMUM_SPEND_KIND:
        return _explain_minimum(line, plan, own_price=is_overridden(line["charge_id"], agreed))
    own_price = is_overridden(line["charge_id"], agreed)
    charge = charge_of_line(line, plan)
    if line["charge_kind"] == FEE_CREDIT_KIND:
        return _explain_credit(line, plan, charge, own_price=own_price)
    price = price_of_line(line, charge)
    found = repriced(line, plan, charge, price)
    if found is None:
        raise _disagreement(line, plan)
    priced, prorated = found
    digits = minor_digits(plan.currency)
    terms = terms_of(charge, price, prorated=prorated, minor_digits=digits, rounding=plan.rounding)
    return _explanation(
        line,
        plan,
        charge.name,
        own_price=own_price,
        inputs=line_inputs(line, terms, currency=plan.currency, formula=charge.formula),
        steps=tuple(_steps(line, plan, charge, price, priced, prorated)),
        tiers=tuple(tier_rows(price, priced, digits=digits, goes_on=counts_before(charge))),
    )


def _explain_adjustment(
    line: Mapping[str, Any],
    plan: PricePlan,
    *,
    agreement: Agreement | None,
    time_zone: tzinfo,
    spent: Sequence[tuple[date, Decimal]],
) -> Explanation:
    """The line as rated again, and what was billed before taken off it."""
    agreed = agreed_plan(plan, agreement or Agreement())
    if not adjustment_follows(line):
        raise _disagreement(line, agreed)
    again = rated_again(line, agreed)
    if again is None:
        _check_agreement(line, agreement)
        now = _explain_nothing_due(line, agreed, agreement or Agreement(), time_zone)
    else:
        now = explain_line(again, plan, agreement=agreement, time_zone=time_zone, spent=spent)
    before, quantity = line["inputs"][BILLED_AMOUNT], decimal_text(line["inputs"][BILLED_QUANTITY])
    text = f"{_money(before, agreed.currency)} billed before, for a quantity of {quantity}"
    return replace(
        now,
        charge=f"{now.charge}, adjustment",
        steps=(*now.steps, ExplanationStep("adjustment", text, _money(line["amount"], agreed.currency))),
        amount=decimal_text(line["amount"]),
        amount_minor=line["amount_minor"],
        billed=f"{format_minor(line['amount_minor'], agreed.currency)} {agreed.currency}",
        input_hash=_hex(line["input_hash"]),
        inputs={**now.inputs, BILLED_AMOUNT: decimal_text(before)},
    )


def _explain_nothing_due(
    line: Mapping[str, Any], plan: PricePlan, agreed: Agreement, time_zone: tzinfo
) -> Explanation:
    """A line that was billed and is not due any more."""
    names = {charge.charge_id: charge.name for charge in plan.charges}
    names |= {group.charge_id: group.name for group in plan.group_minimums}
    names |= {MINIMUM_SPEND_CHARGE_ID: "Minimum spend", TRUE_UP_CHARGE_ID: "True-up"}
    local = {name: line[name].astimezone(time_zone) for name in ("period_start", "period_end")}
    inputs = nothing_due_inputs(
        line, currency=plan.currency, minor_digits=minor_digits(plan.currency), rounding=plan.rounding
    )
    return _explanation(
        {**line, **local},
        plan,
        names.get(line["charge_id"], line["charge_id"]),
        own_price=is_overridden(line["charge_id"], agreed),
        steps=(ExplanationStep("quantity", "nothing is due any more", "0"),),
        tiers=(),
        inputs=inputs,
    )


def _explain_minimum(line: Mapping[str, Any], plan: PricePlan, *, own_price: bool) -> Explanation:
    spend, reached, currency = plan.minimum_of(line["charge_id"]), line["quantity"], plan.currency
    group = next((entry for entry in plan.group_minimums if entry.charge_id == line["charge_id"]), None)
    counted = "usage and licence lines" if group is None else f"lines of {', '.join(group.charge_ids)}"
    if spend is None or minimum_required(line, plan) is None:
        raise _disagreement(line, plan)
    steps = (
        ExplanationStep("quantity", f"{counted} of the period come to", _money(reached, currency)),
        ExplanationStep(
            "minimum_maximum",
            f"minimum{'' if group else ' spend'} {_money(spend, currency)}, for the days of the period",
            _money(line["rated_quantity"], currency),
        ),
        _rounding_step(line, plan),
    )
    terms = minimum_spend_terms(spend, plan)
    inputs = minimum_spend_inputs(line, terms, currency=currency)
    return _explanation(
        line,
        plan,
        "Minimum spend" if group is None else group.name,
        own_price=own_price,
        steps=steps,
        tiers=(),
        inputs=inputs,
    )


def _explain_credit(
    line: Mapping[str, Any], plan: PricePlan, charge: Charge, *, own_price: bool
) -> Explanation:
    if not credit_follows(line, plan, charge):
        raise _disagreement(line, plan)
    units, currency = units_billed(charge), plan.currency
    steps = (
        ExplanationStep("quantity", "the fee was billed at", _money(line["quantity"], currency)),
        ExplanationStep(
            "proration",
            f"x {decimal_text(line['rated_quantity'])}/{decimal_text(units)} units x "
            f"{line['days']}/{line['full_days']} of its days, given back",
            _money(line["amount"], currency),
        ),
        _rounding_step(line, plan),
    )
    inputs = credit_inputs(
        line, units=units, currency=currency, minor_digits=minor_digits(currency), rounding=plan.rounding
    )
    name = f"{charge.name}, credit"
    return _explanation(line, plan, name, own_price=own_price, steps=steps, tiers=(), inputs=inputs)


def _explain_true_up(
    line: Mapping[str, Any],
    plan: PricePlan,
    commitment: TermCommitment | None,
    spent: Sequence[tuple[date, Decimal]],
) -> Explanation:
    if commitment is None or not true_up_follows(line, plan, commitment):
        raise _disagreement(line, plan)
    currency = plan.currency
    inputs = true_up_inputs(
        line,
        commitment,
        currency=currency,
        minor_digits=minor_digits(currency),
        rounding=plan.rounding,
    )
    steps = (*true_up_steps(line, commitment, spent, currency=currency), _rounding_step(line, plan))
    return _explanation(line, plan, commitment.name, own_price=True, steps=steps, tiers=(), inputs=inputs)


def _steps(
    line: Mapping[str, Any],
    plan: PricePlan,
    charge: Charge,
    price: SimplePrice,
    priced: Priced,
    prorated: bool,
) -> Iterator[ExplanationStep]:
    unit, currency, share = line["unit"], plan.currency, share_of(line)
    yield ExplanationStep("quantity", quantity_source(line, charge), decimal_text(line["quantity"]))
    yield from _wider_steps(line, charge, currency)
    conversion = charge.unit_conversion
    if conversion is not None:
        text = (
            f"{conversion.operation} by {decimal_text(conversion.factor)}, "
            f"{conversion.fraction_digits} digits, {conversion.round}"
        )
        yield ExplanationStep(
            "unit_conversion", text, f"{decimal_text(cut_decimal(priced.converted_quantity))} {unit}"
        )
    yield from _beside_steps(line, price, charge)
    if charge.free_units is not None:
        yield ExplanationStep(
            "free_units",
            f"{decimal_text(charge.free_units)} free",
            f"{decimal_text(cut_decimal(priced.rated_quantity))} {unit}",
        )
    yield ExplanationStep("price_model", price.model, _money(cut_decimal(priced.model_amount), currency))
    if share != 1 and prorated:
        yield ExplanationStep(
            "proration", f"x {share.numerator}/{share.denominator} of the period (in the price above)",
            _money(cut_decimal(priced.model_amount), currency),
        )  # fmt: skip
    if priced.bounded_amount != priced.model_amount:
        raised = priced.bounded_amount > priced.model_amount
        bound = charge.minimum_amount if raised else charge.maximum_amount
        text = f"{'raised to the minimum' if raised else 'cut to the maximum'} {_money(bound, currency)}"
        if share != 1:
            text += f" x {share.numerator}/{share.denominator}"
        yield ExplanationStep("minimum_maximum", text, _money(cut_decimal(priced.bounded_amount), currency))
    for entry in discounts_of(line, plan):
        text = f"{entry.discount.name}, {entry.discount.words()}: -{_money(entry.amount, currency)}"
        yield ExplanationStep("discounts", text, _money(entry.left, currency))
    yield _rounding_step(line, plan)


def _beside_steps(line: Mapping[str, Any], price: SimplePrice, charge: Charge) -> Iterator[ExplanationStep]:
    """What the price needs beside the quantity."""
    if charge.tiers_count == "event" or (isinstance(price, PercentagePrice) and price.is_by_event):
        free = int(line["inputs"].get(f"events_{FREE}", 0))
        charged = line["event_count"] - free
        said = f"each of {charged} events priced by itself" + (f", {free} free" if free else "")
        yield ExplanationStep("quantity", said, decimal_text(line["rated_quantity"]))


def _wider_steps(line: Mapping[str, Any], charge: Charge, currency: str) -> Iterator[ExplanationStep]:
    """What was counted beyond the period and the contract."""
    inputs, unit = line["inputs"], line["unit"]
    if charge.tiers_count == "moment":
        yield ExplanationStep("quantity", "tiers hold at each moment", decimal_text(line["rated_quantity"]))
    if BEFORE_QUANTITY in inputs:
        before = inputs[BEFORE_QUANTITY]
        through = decimal_text(added_exactly(inputs.get(POOL_QUANTITY, line["quantity"]), before))
        span = charge.tiers_count.replace("_", " ")
        said = f"tiers count over the {span}: {decimal_text(before)} {unit} came before"
        yield ExplanationStep("quantity", said, f"up to {through} {unit}")
    if POOL_QUANTITY in inputs:
        total, count = decimal_text(inputs[POOL_QUANTITY]), decimal_text(inputs[POOL_CONTRACTS])
        said = f"{decimal_text(line['quantity'])} of the {total} {unit} of {count} contracts, priced as one"
        yield ExplanationStep("quantity", said, f"a part of {_money(inputs[POOL_PART], currency)}")


def _rounding_step(line: Mapping[str, Any], plan: PricePlan) -> ExplanationStep:
    said = f"{plan.rounding} to {minor_digits(plan.currency)} digits"
    if ROUNDED_SUM in line["inputs"]:
        total = _money(line["inputs"][ROUNDED_SUM], plan.currency)
        said += f", as a part of the {total} that the bill's lines come to"
    return ExplanationStep("rounding", said, format_minor(line["amount_minor"], plan.currency))


def _explanation(
    line: Mapping[str, Any],
    plan: PricePlan,
    name: str,
    *,
    own_price: bool = False,
    steps: tuple[ExplanationStep, ...],
    tiers: tuple[TierRow, ...],
    inputs: Mapping[str, Any],
) -> Explanation:
    return Explanation(
        line_id=_hex(line["line_id"]),
        contract_id=line["contract_id"],
        plan=_price_words(line, plan, own_price=own_price),
        charge=f"{name} ({line['charge_id']})",
        period=f"{line['period_start'].isoformat()} to {line['period_end'].isoformat()}",
        dimensions=_dimensions(line),
        event_count=line["event_count"],
        steps=steps,
        tiers=tiers,
        amount=decimal_text(line["amount"]),
        amount_minor=line["amount_minor"],
        billed=f"{format_minor(line['amount_minor'], plan.currency)} {plan.currency}",
        input_hash=_hex(line["input_hash"]),
        inputs=inputs,
        currency_digits=minor_digits(plan.currency),
        counted="items" if line["charge_kind"] == ITEM_KIND else "events",
    )


def _price_words(line: Mapping[str, Any], plan: PricePlan, *, own_price: bool) -> str:
    listed = f"{plan.name} ({plan.plan_id} version {line['plan_version']}, from {plan.effective_from})"
    if line["charge_id"] == STATED_CHARGE_ID:
        return f"as its items state, beside {listed}"
    if not own_price:
        return listed
    if line["charge_kind"] == TRUE_UP_KIND or sells_credit(line["charge_id"]):
        return f"agreed in contract {line['contract_id']} (agreement {line['agreement']}), beside {listed}"
    return f"agreed in contract {line['contract_id']} (agreement {line['agreement']}), instead of {listed}"


def _check_agreement(line: Mapping[str, Any], agreement: Agreement | None) -> None:
    if (line["agreement"] == NO_AGREEMENT) != (agreement is None or agreement == Agreement()):
        raise BrokenState(
            f"line {_hex(line['line_id'])} names agreement {line['agreement']!r}; explain it with that one."
        )


def _disagreement(line: Mapping[str, Any], plan: PricePlan) -> BrokenState:
    return BrokenState(
        f"line {_hex(line['line_id'])} says {decimal_text(line['amount'])} {line['currency']} for charge "
        f"{line['charge_id']!r}, and plan {plan.plan_id!r} version {line['plan_version']} does not come to "
        "that. Check that the plan given is that version; if it is, the line was altered."
    )


def _dimensions(line: Mapping[str, Any]) -> dict[str, str]:
    return dict(line["dimensions"])


def _money(number: Decimal | None, currency: str) -> str:
    return f"{exact_money(number or Decimal(0), digits=minor_digits(currency))} {currency}"


def _hex(value: bytes | str) -> str:
    return value.hex() if isinstance(value, bytes) else value
