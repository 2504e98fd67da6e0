"""What a contract agrees beyond its plan, and the plan that comes of it.

A contract overrides single charges of its plan from a day to a day, and has discounts
and spend limits of its own. What
is in force on one day is an ``Agreement``; laid over a version of the plan it gives a plan again
(``agreed_plan``), so whatever prices, explains or prints a plan does the same for what was agreed.
Order: contract, then plan. A new plan version still reaches every charge the contract does not
override, from its day. What a contract adds (fees, quantities) is laid over in the same way.

Equal agreements have equal keys, whoever made them: a hundred thousand contracts with the same special
price share one compiled price, and a line names the key it was priced by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

import orjson

from ingest.document import Document, ExactDecimal
from ingest.meter import Key
from rating.contract_life import ChargeQuantity
from rating.discount import Discount
from rating.plan_version import PlanVersion
from rating.price_plan import STANDARD_TAX_CLASS, Charge, PerUnitPrice, Price, PricePlan
from rating.retainer import Retainer, sells_credit
from rating.spend_ids import MINIMUM_SPEND_CHARGE_ID
from rating.term_commitment import TRUE_UP_CHARGE_ID, TermCommitment

NO_AGREEMENT: Final = ""
"""The key of a contract that takes its plan as it is."""
_KEY_LENGTH: Final = 32
_ADDED_FIELDS: Final[Mapping[str, object]] = {
    "additions": (),
    "quantities": (),
    "only_charges": None,
    "keeps_amounts": False,
    "term_commitments": (),
    "retainers": (),
}
"""Fields of an agreement that came later, and what they are when nothing is said."""
_ADDED_TO_TERMS: Final = ("units", "unit_price", "unit")
"""The same of a commitment over a term; nothing said is None."""


class ChargeOverride(Document):
    """What replaces parts of one charge; what is left out stays as the plan has it."""

    charge_id: Key
    price: Price | None = None
    free_units: ExactDecimal | None = None
    minimum_amount: ExactDecimal | None = None
    maximum_amount: ExactDecimal | None = None


class DatedOverride(ChargeOverride):
    """An override as a contract writes it: for the days of [effective_from, effective_until), local to
    the contract. Left out: from its first day, to its last."""

    effective_from: date | None = None
    effective_until: date | None = None

    def holds_on(self, day: date) -> bool:
        """Whether the override prices that day."""
        begun = self.effective_from is None or self.effective_from <= day
        return begun and (self.effective_until is None or day < self.effective_until)


class SpendLimits(Document):
    """The least and the most that usage and licences of a billing period come to, instead of the plan's."""

    minimum_spend: ExactDecimal | None = None
    maximum_spend: ExactDecimal | None = None


class Commitment(SpendLimits):
    """Spend limits for the days of [effective_from, effective_until), as a contract writes them."""

    effective_from: date | None = None
    effective_until: date | None = None

    def holds_on(self, day: date) -> bool:
        """Whether it is agreed for that day."""
        begun = self.effective_from is None or self.effective_from <= day
        return begun and (self.effective_until is None or day < self.effective_until)


class Agreement(Document):
    """All that is agreed on one day. overrides: at most one a charge. discounts: all of the contract; when
    each applies is its own matter. additions: fees on no plan. quantities: of fees, at most one a charge.
    term_commitments: those whose term the day is in. retainers: credit sold each period.

    only_charges: of an amendment in the middle of a period, the fees it makes due
    (``invoicing/amendment.py``): no others are, and no promised amount is taken off a second time. None: all.
    keeps_amounts: it stands for a period that was billed, and takes the promised amounts in its place.
    """

    overrides: tuple[ChargeOverride, ...] = ()
    discounts: tuple[Discount, ...] = ()
    limits: SpendLimits = SpendLimits()
    additions: tuple[Charge, ...] = ()
    quantities: tuple[ChargeQuantity, ...] = ()
    only_charges: tuple[Key, ...] | None = None
    keeps_amounts: bool = False
    term_commitments: tuple[TermCommitment, ...] = ()
    retainers: tuple[Retainer, ...] = ()

    def key(self) -> str:
        """32 hex digits of the content's hash; NO_AGREEMENT when nothing is agreed. What came later than the
        first agreements counts only where it is agreed, so that older keys stay what they are."""
        if self == Agreement():
            return NO_AGREEMENT
        later = {name for name, nothing in _ADDED_FIELDS.items() if getattr(self, name) == nothing}
        said = self.model_dump(mode="json", exclude=later)
        for term in said.get("term_commitments", ()):
            for name in _ADDED_TO_TERMS:
                if term[name] is None:
                    del term[name]
        for charge in said.get("additions", ()):
            if charge["tax_class"] == STANDARD_TAX_CLASS:
                del charge["tax_class"]
        text = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()[:_KEY_LENGTH]


@dataclass(frozen=True, slots=True)
class AgreedSegment:
    """From ``effective_from`` (local date) on, up to the next segment: this plan under this agreement."""

    effective_from: date
    plan_id: str
    agreement_key: str


def agreed_plan(plan: PricePlan, agreement: Agreement) -> PricePlan:
    """The plan with what the agreement replaces and adds. An override or a quantity of a charge that this
    version of the plan does not have replaces nothing; a discount with the id of one of the plan takes its
    place; a retainer is one more fee."""
    overrides = {override.charge_id: override for override in agreement.overrides}
    quantities = {entry.charge_id: entry.quantity for entry in agreement.quantities}
    taken = {charge.charge_id for charge in plan.charges}
    added = (charge for charge in agreement.additions if charge.charge_id not in taken)
    charges = tuple(
        _with_quantity(_overridden(charge, overrides.get(charge.charge_id)), quantities)
        for charge in (*plan.charges, *added)
    )
    charges += tuple(retainer.charge() for retainer in agreement.retainers)
    own = {discount.discount_id for discount in agreement.discounts}
    kept = (*(entry for entry in plan.discounts if entry.discount_id not in own), *agreement.discounts)
    if agreement.only_charges is not None:
        charges = tuple(charge for charge in charges if charge.charge_id in agreement.only_charges)
        if not agreement.keeps_amounts:
            kept = tuple(discount for discount in kept if discount.kind != "amount")
    limits = {
        name: getattr(agreement.limits, name)
        for name in SpendLimits.model_fields
        if getattr(agreement.limits, name) is not None
    }
    if agreement.limits.minimum_spend == 0:  # as in a trial: nothing is committed, for groups neither
        limits["group_minimums"] = ()
    return plan.model_copy(update={"charges": charges, "discounts": kept, **limits})


def _overridden(charge: Charge, override: ChargeOverride | None) -> Charge:
    if override is None:
        return charge
    replaced = {name: getattr(override, name) for name in ChargeOverride.model_fields if name != "charge_id"}
    return charge.model_copy(update={name: value for name, value in replaced.items() if value is not None})


def _with_quantity(charge: Charge, quantities: Mapping[str, Decimal]) -> Charge:
    quantity = quantities.get(charge.charge_id)
    if quantity is None or charge.kind != "recurring" or not isinstance(charge.price, PerUnitPrice):
        return charge
    return charge.model_copy(update={"quantity": quantity})


def is_overridden(charge_id: str, agreement: Agreement) -> bool:
    """Whether the price of the charge (or the minimum spend) is the contract's own."""
    if charge_id == TRUE_UP_CHARGE_ID or sells_credit(charge_id):
        return True
    if charge_id == MINIMUM_SPEND_CHARGE_ID:
        return agreement.limits.minimum_spend is not None
    added = any(charge.charge_id == charge_id for charge in agreement.additions)
    return added or any(override.charge_id == charge_id for override in agreement.overrides)


def agreed_versions(
    versions: Sequence[PlanVersion],
    segments: Iterable[AgreedSegment],
    agreements: Mapping[str, Agreement],
) -> tuple[PlanVersion, ...]:
    """Every plan version, and after them each version of a plan under each agreement made on it.

    agreements: by key, all that the segments name.
    """
    pairs = sorted({(entry.plan_id, entry.agreement_key) for entry in segments if entry.agreement_key})
    made = [
        PlanVersion(agreed_plan(entry.plan, agreements[key]), entry.version, key)
        for plan_id, key in pairs
        for entry in versions
        if entry.plan.plan_id == plan_id
    ]
    return (*versions, *made)
