"""A price plan as people write it: charges, each with one price model.

The document is validated here and compiled to flat arrays in ``rating/compile.py``. Prices are
exact decimals of the plan's currency (major units, up to 12 fraction digits). A plan is versioned
by ``effective_from``: saving it again with a later date changes prices from that day, at local
midnight of each contract, for every contract on the plan, and for no day before.

Upper bounds of tiers are inclusive: ``up_to: 100`` holds the 100th unit. Usage past a bounded last
tier is refused here: the last tier has no ``up_to``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from ingest.document import Document, ExactDecimal
from ingest.meter import Key
from rating.discount import MAXIMUM_SPEND, Discount, Discounting, MaximumSpend
from rating.formula import formula_meters
from rating.profile import ProfileName, with_profile
from rating.spend_ids import GROUP_MINIMUM_PREFIX, MINIMUM_SPEND_CHARGE_ID

ChargeKind = Literal["usage", "licence", "recurring", "one_time", "item"]
Timing = Literal["advance", "arrears"]
RoundingMode = Literal["half_up", "half_even"]
RoundingPlace = Literal["line", "invoice"]
CreditsPlace = Literal["before_tax", "after_tax"]
Direction = Literal["up", "down"]
ZeroUsage = Literal["skip", "charge"]
TiersCount = Literal["event", "moment", "period", "whole_period", "year", "contract"]
WIDER_SPANS: Final[tuple[str, ...]] = ("whole_period", "year", "contract")
"""What tiers go on over beyond the part of a period that is priced."""
PooledOver = Literal["contract", "customer", "pool"]
Proration = Literal["by_day", "by_second", "thirty_360", "none"]
ProrationDivisor = Literal["billing_period", "thirty_days"]

STANDARD_TAX_CLASS: Final = "standard"

CurrencyCode = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Tier(Document):
    """Units up to and including ``up_to`` (None: all the rest). ``flat_amount`` is due once when the
    tier is reached; ``unit_price`` for each unit in it (graduated) or for all units (volume).

    Instead of by the unit a tier may be sold in packages: ``package_price`` for each
    ``package_size`` units, a started one whole (``round: up``) or not at all (``round: down``)."""

    up_to: ExactDecimal | None = None
    unit_price: ExactDecimal | None = None
    flat_amount: ExactDecimal | None = None
    package_size: ExactDecimal | None = None
    package_price: ExactDecimal | None = None
    round: Direction = "up"


class PercentTier(Document):
    """Metered value up to and including ``up_to`` (None: all the rest): ``percent`` of it, and
    ``flat_amount`` once when the tier is reached."""

    up_to: ExactDecimal | None = None
    percent: ExactDecimal | None = None
    flat_amount: ExactDecimal | None = None


class FlatPrice(Document):
    """One amount a period, whatever the quantity. For usage charges: only when there was usage."""

    model: Literal["flat"]
    amount: ExactDecimal


class PerUnitPrice(Document):
    """The same price for every unit."""

    model: Literal["per_unit"]
    unit_price: ExactDecimal


class GraduatedPrice(Document):
    """Each unit at the price of the tier it falls in."""

    model: Literal["graduated"]
    tiers: tuple[Tier, ...]


class VolumePrice(Document):
    """All units at the price of the tier that holds the total."""

    model: Literal["volume"]
    tiers: tuple[Tier, ...]


class StairstepPrice(Document):
    """The flat amount of the tier that holds the total, nothing per unit."""

    model: Literal["stairstep"]
    tiers: tuple[Tier, ...]


class CapacityPrice(Document):
    """The highest level of the period (a ``max`` meter, or one that reads ``peak``) decides the
    tier; all of it is priced there."""

    model: Literal["capacity"]
    tiers: tuple[Tier, ...]


class PackagePrice(Document):
    """Whole packages of ``package_size`` units; a started package counts whole (``round: up``) or
    not at all (``round: down``)."""

    model: Literal["package"]
    package_size: ExactDecimal
    package_price: ExactDecimal
    round: Direction = "up"


class PercentagePrice(Document):
    """``percent`` of the metered value, plus ``fixed_per_event`` for each event but the first
    ``free_events`` of the period.

    With ``minimum_per_event`` or ``maximum_per_event`` each event is priced by itself: its percentage and
    fixed amount come to at least and at most that (see ``rating/event_bounds.py``)."""

    model: Literal["percentage"]
    percent: ExactDecimal
    fixed_per_event: ExactDecimal | None = None
    free_events: int = Field(default=0, ge=0, lt=2**63)
    minimum_per_event: ExactDecimal | None = None
    maximum_per_event: ExactDecimal | None = None

    @property
    def is_by_event(self) -> bool:
        """Whether each event is priced by itself."""
        return self.minimum_per_event is not None or self.maximum_per_event is not None


class GraduatedPercentagePrice(Document):
    """Each part of the metered value at the percentage of the tier it falls in."""

    model: Literal["graduated_percentage"]
    tiers: tuple[PercentTier, ...]


class DynamicPrice(Document):
    """The events carry the amount: the metered quantity is money in major units of ``currency``,
    which must be the plan's, and is charged ``multiplier`` times (1.2: a markup of 20 percent)."""

    model: Literal["dynamic"]
    currency: CurrencyCode
    multiplier: ExactDecimal = Decimal(1)


TieredPrice = GraduatedPrice | VolumePrice | StairstepPrice | CapacityPrice | GraduatedPercentagePrice
"""The models with a list of tiers."""
GRADUATED_MODELS: Final = (GraduatedPrice, GraduatedPercentagePrice)
"""Those that price each unit in its own tier, not all of them in one."""
NEGATIVE_MODELS: Final = (PerUnitPrice, PercentagePrice, DynamicPrice)
"""The models that have a meaning for usage taken back."""

SimplePrice = Annotated[
    FlatPrice | PerUnitPrice | TieredPrice | PackagePrice | PercentagePrice | DynamicPrice,
    Field(discriminator="model"),
]


def tiers_of(price: TieredPrice) -> tuple[Tier | PercentTier, ...]:
    """The tiers of any of the models that have some."""
    return price.tiers


class MatrixCell(Document):
    """The price for the combinations of dimension values that ``match`` names; a dimension left
    out of ``match`` stands for any value. The first cell that matches wins."""

    match: dict[str, str]
    price: SimplePrice


class MatrixPrice(Document):
    """A price per combination of the meter's group keys. ``default`` is for the combinations no
    cell matches; without it such usage is an unrated line, never given away."""

    model: Literal["matrix"]
    dimensions: tuple[str, ...]
    cells: tuple[MatrixCell, ...]
    default: SimplePrice | None = None


Price = Annotated[
    FlatPrice | PerUnitPrice | TieredPrice | PackagePrice | PercentagePrice | DynamicPrice | MatrixPrice,
    Field(discriminator="model"),
]


def simple_prices(price: Price) -> tuple[SimplePrice, ...]:
    """The price itself, or of a matrix all of its prices, the default last."""
    if not isinstance(price, MatrixPrice):
        return (price,)
    cells = tuple(cell.price for cell in price.cells)
    return cells if price.default is None else (*cells, price.default)


class UnitConversion(Document):
    """Metered quantity to priced quantity: ``multiply`` or ``divide`` by ``factor``, then round
    to ``fraction_digits`` (``round``: half_up, up or down)."""

    operation: Literal["multiply", "divide"]
    factor: ExactDecimal
    fraction_digits: int = Field(default=12, ge=0, le=12)
    round: Literal["half_up", "up", "down"] = "half_up"


class Charge(Document):
    """One thing a contract is charged for.

    ``usage`` and ``licence`` charges price what ``meter_id`` counts (a licence charge: a
    time_weighted meter), in arrears, because the quantity is known only then. A licence charge may be billed
    in ``advance``: for the level at the beginning of the period, and what changes in it is adjusted on the
    next invoice (``invoicing/seats_in_advance.py``). ``recurring``
    charges are due every billing period, in ``advance`` or in ``arrears``, prorated as the plan says when the
    contract starts or ends inside a period. ``one_time`` charges are due once, at the contract's start, or
    with the phase that brings the plan. Recurring and one-time charges use the ``flat`` model, or
    ``per_unit`` with a fixed ``quantity``.

    formula: instead of one meter, a formula of several (``rating/formula.py``).

    tiers_count: what the price counts from: the billing ``period`` or its part, the ``whole_period`` where a
    new price or agreement splits it, the contract's ``year`` or all of the ``contract`` (the line is for what
    the period adds), each ``event`` by itself
    (``rating/event_tiers.py``), or a level at each ``moment`` (``rating/level_tiers.py``).

    pooled_over: ``customer`` counts the usage of all contracts of one customer together, ``pool`` that of all
    with the same ``pool_id``, and shares the amount out (``rating/special_price.py``).

    zero_usage: what a usage or licence charge costs when nothing was used. ``skip``: no tier is
    reached, and without a single event there is no line. ``charge``: there is a line in every
    period, and nothing used reaches the first tier, so that its flat amount is due, and the minimum.
    prorated: of a recurring charge; false: a part of a period costs as much as all of it.

    An ``item`` charge is a rate card: it prices billable items (hours, expenses, orders) in arrears by
    the unit, or by a matrix of their fields. group_by: the fields whose values make a line of their own
    (``rating/item_line.py``). tax_class: what it is to the tax office, as the tax rates of the seller's
    country name it.
    """

    charge_id: Key
    name: str = Field(min_length=1)
    kind: ChargeKind
    timing: Timing = "arrears"
    meter_id: Key | None = None
    formula: str | None = None
    quantity: ExactDecimal | None = None
    unit: str = "unit"
    unit_conversion: UnitConversion | None = None
    free_units: ExactDecimal | None = None
    price: Price
    zero_usage: ZeroUsage = "skip"
    tiers_count: TiersCount = "period"
    pooled_over: PooledOver = "contract"
    prorated: bool = True
    minimum_amount: ExactDecimal | None = None
    maximum_amount: ExactDecimal | None = None
    # Left out of the text where it says nothing, so that keys of agreements made before stay what they are.
    group_by: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    tax_class: Key = STANDARD_TAX_CLASS

    def meter_ids(self) -> tuple[str, ...]:
        """The meters that give its quantity; none for a fixed one."""
        return formula_meters(self.formula) if self.meter_id is None else (self.meter_id,)


class GroupMinimum(Document):
    """The least that the usage and licence charges named come to together in a billing period: one more line
    raises them to it, prorated by days in a partial period."""

    minimum_id: Key
    name: str = Field(default="Minimum", min_length=1, max_length=256)
    amount: ExactDecimal
    charge_ids: tuple[Key, ...]

    @property
    def charge_id(self) -> str:
        """The id of its line."""
        return f"{GROUP_MINIMUM_PREFIX}{self.minimum_id}"


ITEM_GROUP_DEFAULT: Final = ("project", "role")
"""What items make lines by where their charge does not say."""


def item_fields(charge: Charge) -> tuple[str, ...]:
    """The fields of billable items whose values make a line of their own, or price it: what the lines of an
    ``item`` charge have as dimensions."""
    priced_by = charge.price.dimensions if isinstance(charge.price, MatrixPrice) else ()
    return tuple(dict.fromkeys((*(charge.group_by or ITEM_GROUP_DEFAULT), *priced_by)))


def is_licence_in_advance(charge: Charge) -> bool:
    """Whether it bills a level for time to come."""
    return charge.kind == "licence" and charge.timing == "advance"


def counts_before(charge: Charge) -> bool:
    """Whether its tiers go on from what was counted before the period."""
    return charge.tiers_count in WIDER_SPANS


def is_special(charge: Charge) -> bool:
    """Whether more than the quantity of the period decides what the charge comes to."""
    if charge.tiers_count != "period" or charge.pooled_over != "contract":
        return True
    return any(
        isinstance(price, PercentagePrice) and price.is_by_event for price in simple_prices(charge.price)
    )


class PricePlan(Document):
    """See the module. ``minimum_spend``: when the arrears lines of a period (usage and licence
    charges) come to less, one more line raises them to it, prorated by days in a partial period.
    ``maximum_spend``: when they come to more, they are lowered to it, prorated alike. ``group_minimums``: the
    same as a minimum spend for some of the charges, before it. ``proration`` and
    ``proration_divisor`` say how a part of a period is counted (``rating/proration.py``). ``profile`` fills
    in settings that are left out, as another product has them (``rating/profile.py``). ``rounding_place``:
    each line is rounded by itself, or the sum of a bill's lines (``rating/bill_rounding.py``).
    ``prices_include_tax``: whether tax is in the prices (and in all else that is an amount here) already.
    ``credits``: whether promotional credit lowers what is taxed, or pays what is due with tax."""

    plan_id: Key
    name: str = Field(min_length=1)
    currency: CurrencyCode
    effective_from: date
    rounding: RoundingMode = "half_up"
    rounding_place: RoundingPlace = "line"
    profile: ProfileName | None = None
    proration: Proration = "by_day"
    proration_divisor: ProrationDivisor = "billing_period"
    charges: tuple[Charge, ...]
    minimum_spend: ExactDecimal | None = None
    maximum_spend: ExactDecimal | None = None
    group_minimums: tuple[GroupMinimum, ...] = ()
    discounts: tuple[Discount, ...] = ()
    discounting: Discounting = Discounting()
    prices_include_tax: bool = False
    credits: CreditsPlace = "after_tax"

    @model_validator(mode="before")
    @classmethod
    def _fill_in_profile(cls, document: Any) -> Any:
        return with_profile(document) if isinstance(document, Mapping) else document

    def minimum_of(self, charge_id: str) -> Decimal | None:
        """The minimum whose line has this id: of a group, or the minimum spend. None: the plan has none."""
        for group in self.group_minimums:
            if group.charge_id == charge_id:
                return group.amount
        return self.minimum_spend if charge_id == MINIMUM_SPEND_CHARGE_ID else None

    def reductions(self) -> tuple[Discount, ...]:
        """All that can lower a line, as lines number it: the discounts, then the maximum spend."""
        if self.maximum_spend is None:
            return self.discounts
        most = MaximumSpend(discount_id=MAXIMUM_SPEND, name="Maximum spend", amount=self.maximum_spend)
        return (*self.discounts, most)
