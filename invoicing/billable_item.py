"""A billable item: an hour worked, an expense, a ticket, an order; what is billed one by one, not metered.

Its identity is (source_system, external_id), as the system that knows it names it. It is priced by a rate
card of the contract's plan (a charge of kind ``item``), or states its own price. Not billable ones are kept
too, with the reason, so that everything that came in is accounted for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

from pydantic import Field

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.errors import Issue
from ingest.event import VALUE_INTEGER_DIGITS_MAX
from ingest.meter import Key
from rating.money import MINOR_DIGITS
from rating.price_plan import CurrencyCode

ItemSource = Literal[
    "timesheet", "expense", "ticket", "order", "product", "project", "transaction", "one_off"
]
ItemState = Literal["open", "not_billable", "invoiced", "closed", "cancelled"]
OPEN: Final = "open"
NOT_BILLABLE: Final = "not_billable"
INVOICED: Final = "invoiced"
CLOSED: Final = "closed"
CANCELLED: Final = "cancelled"
STATES: Final = (OPEN, NOT_BILLABLE, INVOICED, CLOSED, CANCELLED)
FIELDS_THAT_GROUP: Final = (
    "source",
    "project",
    "list",
    "role",
    "person",
    "service",
    "description",
    "date",
    "external_id",
)
"""What a rate card can group and price by, beside the names in ``fields``."""
_ITEM_ID_LENGTH: Final = 32
_QUANTITY_END: Final = 10**VALUE_INTEGER_DIGITS_MAX
_ONE: Final = Decimal(1)


class BillableItem(Document):
    """One item. date: the local day of the contract on which it was had; it is billed on a later billing
    date.

    contract_id may be left out where the customer has one contract that day. charge_id: the rate card that
    prices it; left out, the only one of the plan. Instead of being priced it may state ``unit_price`` (for
    each of ``quantity``) or ``amount`` (for all of it), in ``currency``. list: a part of a project. fields:
    anything else to price or group by. tax_class: how it is taxed, in the seller's words. billable: false
    keeps it off invoices, with ``not_billable_reason``.
    """

    source_system: Key
    external_id: str = Field(min_length=1, max_length=256)
    source: ItemSource
    customer_id: Key | None = None
    contract_id: Key | None = None
    date: date
    quantity: ExactDecimal = _ONE
    unit: str = Field(default="", max_length=64)
    description: str = Field(default="", max_length=512)
    project: str = Field(default="", max_length=256)
    list: str = Field(default="", max_length=256)
    role: str = Field(default="", max_length=256)
    person: str = Field(default="", max_length=256)
    service: str = Field(default="", max_length=256)
    fields: dict[str, str] = Field(default_factory=dict)
    charge_id: Key | None = None
    unit_price: ExactDecimal | None = None
    amount: ExactDecimal | None = None
    currency: CurrencyCode | None = None
    tax_class: str = Field(default="", max_length=64)
    billable: bool = True
    not_billable_reason: str = Field(default="", max_length=512)

    @property
    def item_id(self) -> str:
        """The same item has the same id for ever (32 hex digits)."""
        return item_id_of(self.source_system, self.external_id)

    @property
    def is_stated(self) -> bool:
        """Whether it brings its own price."""
        return self.unit_price is not None or self.amount is not None

    @property
    def stated(self) -> tuple[Decimal, Decimal]:
        """Quantity and unit price of an item that states its price; an amount is one unit of it."""
        if self.unit_price is not None:
            return self.quantity, self.unit_price
        return _ONE, self.amount or Decimal(0)

    def value_of(self, name: str) -> str:
        """The value of a field that groups or prices; empty where there is none."""
        if name in self.fields:
            return self.fields[name]
        if name == "date":
            return self.date.isoformat()
        return str(getattr(self, name)) if name in FIELDS_THAT_GROUP else ""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as the ledger keeps it. line_id, invoice_id: where it is billed. item_invoice_id: the invoice
    of its own that it waits for. reason: why it is closed or cancelled."""

    item: BillableItem
    item_id: str
    version: int
    state: ItemState
    line_id: str | None
    invoice_id: str | None
    item_invoice_id: str | None
    reason: str
    created_at: str
    updated_at: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "item_id": self.item_id,
            "version": self.version,
            "state": self.state,
            "line_id": self.line_id,
            "invoice_id": self.invoice_id,
            "item_invoice_id": self.item_invoice_id,
            "reason": self.reason,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "item": self.item.model_dump(mode="json"),
        }


def item_id_of(source_system: str, external_id: str) -> str:
    """32 hex digits."""
    question = f"ratemill item\n{source_system}\n{external_id}"
    return hashlib.sha256(question.encode()).hexdigest()[:_ITEM_ID_LENGTH]


def item_rules(item: BillableItem) -> Iterator[Issue]:
    """What an item must keep beyond its field types."""
    if item.customer_id is None and item.contract_id is None:
        yield Issue(
            "item_owner",
            "contract_id",
            "Nothing says whose item this is.",
            "a contract_id, or a customer_id with one contract.",
        )
    if item.quantity == 0 or abs(item.quantity) >= _QUANTITY_END:
        yield Issue(
            "item_quantity",
            "quantity",
            f"The quantity is {decimal_text(item.quantity)}.",
            "a number that is not 0, below 10^15; below 0 takes back.",
        )
    yield from _price_rules(item)
    if item.billable == bool(item.not_billable_reason):
        yield Issue(
            "item_billable",
            "not_billable_reason",
            "A reason goes with billable: false, and only with it.",
            "billable: false with a reason, or billable: true without.",
        )
    yield from _field_rules(item.fields)


def _price_rules(item: BillableItem) -> Iterator[Issue]:
    given = [name for name in ("unit_price", "amount", "charge_id") if getattr(item, name) is not None]
    if len(given) > 1:
        yield Issue(
            "item_price",
            given[0],
            f"The item has {' and '.join(given)}.",
            "one of unit_price, amount and charge_id, or none for the plan's only rate card.",
        )
    if item.is_stated != (item.currency is not None):
        yield Issue(
            "item_currency",
            "currency",
            "A stated price has a currency, and nothing else has.",
            "currency with unit_price or amount.",
        )
    if item.currency is not None and item.currency not in MINOR_DIGITS:
        yield Issue(
            "unknown_currency",
            "currency",
            f"{item.currency!r} is not a current ISO 4217 currency code.",
            "a code like EUR or USD.",
        )
    if item.unit_price is not None and item.unit_price < 0:
        yield Issue(
            "negative_number",
            "unit_price",
            f"The unit price is {decimal_text(item.unit_price)}.",
            "0 or more; a quantity below 0 takes back.",
        )
    if item.amount is not None and item.quantity < 0:
        yield Issue(
            "item_quantity",
            "quantity",
            "An amount is for all of the quantity and has the sign itself.",
            "a quantity above 0.",
        )


def _field_rules(fields: Mapping[str, str]) -> Iterator[Issue]:
    for name, value in fields.items():
        if name in BillableItem.model_fields or not name or len(name) > 64 or len(value) > 256:
            yield Issue(
                "item_field",
                f"fields.{name}",
                "The name is one of the item's own, or name or value is too long.",
                "another name, of up to 64 characters, with a value of up to 256.",
            )
