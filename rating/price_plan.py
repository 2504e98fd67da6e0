"""A price plan as people write it: charges, each with one price model.

The document is validated here and compiled to flat arrays in ``rating/compile.py``. Prices are
exact decimals of the plan's currency (major units, up to 12 fraction digits). A plan is versioned
by ``effective_from``: saving it again with a later date changes prices from that day, at local
midnight of each contract, for every contract on the plan, and for no day before.

Upper bounds of tiers are inclusive: ``up_to: 100`` holds the 100th unit. Usage past a bounded last
tier is refused here: the last tier has no ``up_to``.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from ingest.document import Document, ExactDecimal
from ingest.meter import Key
from rating.discount import MAXIMUM_SPEND, Discount, Discounting, MaximumSpend

ChargeKind = Literal["usage", "licence", "recurring", "one_time"]
Timing = Literal["advance", "arrears"]
RoundingMode = Literal["half_up", "half_even"]
Direction = Literal["up", "down"]

CurrencyCode = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Tier(Document):
    """Units up to and including ``up_to`` (None: all the rest). ``flat_amount`` is due once when the
    tier is reached; ``unit_price`` for each unit in it (graduated) or for all units (volume)."""

    up_to: ExactDecimal | None = None
    unit_price: ExactDecimal | None = None
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


class PackagePrice(Document):
    """Whole packages of ``package_size`` units; a started package counts whole (``round: up``) or
    not at all (``round: down``)."""

    model: Literal["package"]
    package_size: ExactDecimal
    package_price: ExactDecimal
    round: Direction = "up"


class PercentagePrice(Document):
    """``percent`` of the metered value, plus ``fixed_per_event`` for each event."""

    model: Literal["percentage"]
    percent: ExactDecimal
    fixed_per_event: ExactDecimal | None = None


SimplePrice = Annotated[
    FlatPrice | PerUnitPrice | GraduatedPrice | VolumePrice | StairstepPrice | PackagePrice | PercentagePrice,
    Field(discriminator="model"),
]


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
    FlatPrice
    | PerUnitPrice
    | GraduatedPrice
    | VolumePrice
    | StairstepPrice
    | PackagePrice
    | PercentagePrice
    | MatrixPrice,
    Field(discriminator="model"),
]


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
    time_weighted meter), always in arrears, because the quantity is known only then. ``recurring``
    charges are due every billing period, in ``advance`` or in ``arrears``, prorated by calendar
    days when the contract starts or ends inside a period. ``one_time`` charges are due once, at
    the contract's start. Recurring and one-time charges use the ``flat`` model, or ``per_unit``
    with a fixed ``quantity``.
    """

    charge_id: Key
    name: str = Field(min_length=1)
    kind: ChargeKind
    timing: Timing = "arrears"
    meter_id: Key | None = None
    quantity: ExactDecimal | None = None
    unit: str = "unit"
    unit_conversion: UnitConversion | None = None
    free_units: ExactDecimal | None = None
    price: Price
    minimum_amount: ExactDecimal | None = None
    maximum_amount: ExactDecimal | None = None


class PricePlan(Document):
    """See the module. ``minimum_spend``: when the arrears lines of a period (usage and licence
    charges) come to less, one more line raises them to it, prorated by days in a partial period.
    ``maximum_spend``: when they come to more, they are lowered to it, prorated alike."""

    plan_id: Key
    name: str = Field(min_length=1)
    currency: CurrencyCode
    effective_from: date
    rounding: RoundingMode = "half_up"
    charges: tuple[Charge, ...]
    minimum_spend: ExactDecimal | None = None
    maximum_spend: ExactDecimal | None = None
    discounts: tuple[Discount, ...] = ()
    discounting: Discounting = Discounting()

    def reductions(self) -> tuple[Discount, ...]:
        """All that can lower a line, as lines number it: the discounts, then the maximum spend."""
        if self.maximum_spend is None:
            return self.discounts
        most = MaximumSpend(discount_id=MAXIMUM_SPEND, name="Maximum spend", amount=self.maximum_spend)
        return (*self.discounts, most)
