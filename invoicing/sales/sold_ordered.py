"""What was sold beside what was ordered: the outcomes of quotes, part by part, and what stands for them now.

Ordered is what will be billed: the fee of the contract in force on a day, or the billable item. So a fee
that was changed or ended after the signature shows, as does one that nobody quoted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select

from ingest.document import plain
from invoicing.billable_item import CANCELLED, CLOSED, BillableItem, StoredItem, item_id_of
from invoicing.billable_read import stored_item
from invoicing.billable_tables import BILLABLE_ITEMS
from invoicing.bulk import select_by_ids
from invoicing.quote import Quote, QuoteState
from invoicing.quote_store import StoredQuote, list_quotes
from invoicing.quote_tables import QUOTE_ACCEPTANCES, QUOTES
from invoicing.sales.ordered import QUOTE_SYSTEM
from invoicing.sales.outcome import Outcome, SoldPart, charge_id_of, cut_amount
from rating.agreement import agreed_plan
from rating.agreement_dates import agreement_on, plan_on
from rating.catalogue import get_plan_in_force
from rating.contract import Contract
from rating.contract_period import runs_on
from rating.contract_store import get_contract
from rating.price_plan import Charge, FlatPrice, PerUnitPrice

_BOUGHT: Final = ("order", "product")
_NONE: Final = Decimal(0)
_Q, _A = QUOTES.c, QUOTE_ACCEPTANCES.c


@dataclass(frozen=True, slots=True)
class SoldOrdered:
    """One part of an outcome, or something ordered that no outcome has (outcome_id and product_id empty).

    Amounts are net, in major units; of what is recurring for a whole billing period. None: there is no such
    figure (a fee without units). state: ``offered`` (not accepted), ``as_quoted``, ``changed``,
    ``not_ordered`` or ``not_quoted``.
    """

    quote_id: str
    version: int
    quote_state: QuoteState
    customer_id: str
    contract_id: str
    outcome_id: str
    outcome: str
    product_id: str
    name: str
    billed: str
    currency: str
    quoted_quantity: Decimal | None
    ordered_quantity: Decimal | None
    quoted_amount: Decimal
    ordered_amount: Decimal
    difference: Decimal
    state: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Ordered:
    quantity: Decimal | None
    amount: Decimal


def sold_ordered(
    ledger: Engine,
    *,
    on: date,
    customer_id: str | None,
    now: datetime,
    limit: int,
    after: str | None = None,
) -> tuple[list[SoldOrdered], str | None]:
    """The rows of up to ``limit`` quotes by id, those after an id, and the last of these ids when there may
    be more. Of a quote the version accepted last counts, else its newest. on: the day whose fees are ordered;
    a contract that begins later is looked at on its first day.
    """
    stored = list_quotes(ledger, customer_id=customer_id, now=now, limit=limit, after=after)
    rows: list[SoldOrdered] = []
    for quote in stored:
        with ledger.connect() as connection:
            counted = _counted(connection, quote)
        if counted.quote.outcomes:
            rows += _rows(ledger, counted, on=on)
    return rows, stored[-1].quote.quote_id if len(stored) == limit else None


@dataclass(frozen=True, slots=True)
class _Counted:
    quote: Quote
    version: int
    state: QuoteState


def _counted(connection: Connection, stored: StoredQuote) -> _Counted:
    newest = select(func.max(_A.version)).where(_A.quote_id == stored.quote.quote_id).scalar_subquery()
    statement = select(_Q.document, _Q.version)
    statement = statement.where(_Q.quote_id == stored.quote.quote_id, _Q.version == newest)
    row = connection.execute(statement).one_or_none()
    if row is None:
        return _Counted(stored.quote, stored.version, stored.state)
    return _Counted(Quote.model_validate_json(row.document), row.version, "accepted")


def _rows(ledger: Engine, counted: _Counted, *, on: date) -> Iterator[SoldOrdered]:
    quote = counted.quote
    contract = quote.contract if counted.state != "accepted" else get_contract(ledger, _key(quote))
    day = max(on, contract.start_date)
    plan = get_plan_in_force(ledger, plan_on(contract, day), on=day).plan
    accepted = counted.state == "accepted"
    fees = {charge.charge_id: charge for charge in _fees(ledger, contract, day)} if accepted else {}
    with ledger.connect() as connection:
        items = _items(connection, quote) if accepted else {}
        bought = _bought(connection, contract.contract_id) if accepted else []
    head = (quote.quote_id, counted.version, counted.state, quote.customer_id, contract.contract_id)
    own: set[str] = set()
    for outcome in quote.outcomes:
        for part in outcome.parts:
            key = charge_id_of(outcome.outcome_id, part.product_id)
            own.add(key)
            ordered = _of_fee(fees.get(key)) if part.billed == "recurring" else _of_item(items.get(key))
            yield _row(head, plan.currency, outcome, part, ordered, accepted=accepted)
    added = {addition.charge.charge_id for addition in contract.additions}
    for charge_id in sorted(added & set(fees) - own):
        found = _of_fee(fees[charge_id])
        if found is not None:
            yield _unquoted(head, fees[charge_id].name, "recurring", plan.currency, found)
    for item in bought:
        found = _of_item(item)
        if found is not None:
            name = item.item.description or item.item.external_id
            yield _unquoted(head, name, "once", item.item.currency or plan.currency, found)


def _key(quote: Quote) -> str:
    return quote.contract.contract_id


def _fees(ledger: Engine, contract: Contract, day: date) -> Sequence[Charge]:
    """The charges of the contract on that day as it stands now; none when it does not run then."""
    if not runs_on(contract, day):
        return ()
    plan = get_plan_in_force(ledger, plan_on(contract, day), on=day).plan
    return agreed_plan(plan, agreement_on(contract, day)).charges


def _items(connection: Connection, quote: Quote) -> Mapping[str, StoredItem]:
    """The items of the quote, by the key of their part."""
    keys = {
        item_id_of(QUOTE_SYSTEM, f"{quote.quote_id}/{key}"): key
        for outcome in quote.outcomes
        for part in outcome.parts
        if part.billed == "once"
        for key in [charge_id_of(outcome.outcome_id, part.product_id)]
    }
    rows = select_by_ids(connection, select(BILLABLE_ITEMS), BILLABLE_ITEMS.c.item_id, sorted(keys))
    return {keys[row.item_id]: stored_item(row) for row in rows}


def _bought(connection: Connection, contract_id: str) -> list[StoredItem]:
    """What came in as an order or a product of the contract, and not by a quote."""
    table = BILLABLE_ITEMS.c
    statement = select(BILLABLE_ITEMS).where(
        table.contract_id == contract_id, table.source.in_(_BOUGHT), table.source_system != QUOTE_SYSTEM
    )
    rows = connection.execute(statement.order_by(table.item_date, table.item_id))
    return [stored_item(row) for row in rows]


def _of_fee(charge: Charge | None) -> _Ordered | None:
    if charge is None:
        return None
    match charge.price:
        case FlatPrice(amount=amount):
            return _Ordered(None, amount)
        case PerUnitPrice(unit_price=unit_price):
            quantity = charge.quantity or _NONE
            return _Ordered(quantity, _product(quantity, unit_price)) if quantity else None
    return None


def _of_item(stored: StoredItem | None) -> _Ordered | None:
    if stored is None or stored.state in (CLOSED, CANCELLED):
        return None
    item: BillableItem = stored.item
    quantity, price = item.stated
    return _Ordered(item.quantity, _product(quantity, price))


def _product(quantity: Decimal, price: Decimal) -> Decimal:
    """The exact product cut at 12 fraction digits."""
    return plain(cut_amount(Fraction(quantity) * Fraction(price)))


def _row(
    head: tuple[str, int, QuoteState, str, str],
    currency: str,
    outcome: Outcome,
    part: SoldPart,
    ordered: _Ordered | None,
    *,
    accepted: bool,
) -> SoldOrdered:
    amount = _NONE if ordered is None else ordered.amount
    quantity = None if ordered is None else ordered.quantity
    same = amount == part.amount and quantity in (None, part.quantity)
    state = "offered"
    if accepted:
        state = "not_ordered" if ordered is None else "as_quoted" if same else "changed"
    names = (outcome.outcome_id, outcome.description, part.product_id, part.name, part.billed, currency)
    figures = (part.quantity, quantity, part.amount, amount, amount - part.amount)
    return SoldOrdered(*head, *names, *figures, state)


def _unquoted(
    head: tuple[str, int, QuoteState, str, str], name: str, billed: str, currency: str, ordered: _Ordered
) -> SoldOrdered:
    amounts = (None, ordered.quantity, _NONE, ordered.amount, ordered.amount)
    return SoldOrdered(*head, "", "", "", name, billed, currency, *amounts, "not_quoted")
