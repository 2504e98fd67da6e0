"""What an accepted quote orders: fees and promotions of its contract, and items of what is billed once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import Connection, select

from ingest.errors import BrokenState, Conflict
from invoicing.billable_item import NOT_BILLABLE, OPEN, BillableItem, item_id_of
from invoicing.billable_read import stored_item
from invoicing.billable_store import import_items_in, settle_items_in
from invoicing.billable_tables import BILLABLE_ITEMS
from invoicing.bulk import select_by_ids
from invoicing.quote import Quote
from invoicing.sales.ordered import (
    QUOTE_SYSTEM,
    fees_of,
    items_of,
    promotions_of,
    words_without_promotions,
)
from rating.contract import Contract
from rating.price_plan import CurrencyCode


def ordered_contract(quote: Quote) -> Contract:
    """The contract of the quote with a fee for each recurring part, and the promotions that go off them."""
    found = {promotion.promotion_id: promotion for promotion in quote.promotions}
    return quote.contract.model_copy(
        update={
            "additions": (*quote.contract.additions, *fees_of(quote.outcomes)),
            "discounts": (*quote.contract.discounts, *promotions_of(quote.outcomes, found)),
        }
    )


def order_items(
    connection: Connection,
    quote: Quote,
    *,
    accepted_before: Sequence[Quote],
    currency: CurrencyCode,
    today: date,
    actor: str,
    now: datetime,
) -> None:
    """Make the items of the quote, in the transaction of its acceptance. Of versions accepted before, what is
    still asked for keeps its item and its day; what no longer is gets cancelled unless it is billed.

    Raises Conflict when what is billed or settled would change.
    """
    day = max(quote.contract.start_date, today)
    items = [BillableItem.model_validate(each) for each in _items(quote, currency, day)]
    wanted = {item.item_id: item for item in items}
    before = {
        item_id_of(QUOTE_SYSTEM, str(each["external_id"]))
        for earlier in accepted_before
        for each in _items(earlier, currency, day)
    }
    table = BILLABLE_ITEMS
    rows = select_by_ids(connection, select(table), table.c.item_id, sorted(before | set(wanted)))
    known = {row.item_id: stored_item(row) for row in rows}
    for item_id, stored in known.items():
        if item_id not in wanted:
            continue
        wanted[item_id] = wanted[item_id].model_copy(update={"date": stored.item.date})
        if stored.state not in (OPEN, NOT_BILLABLE):
            if stored.item not in _written_as(wanted[item_id], quote):
                raise Conflict(
                    f"{stored.item.external_id!r} of the version accepted before is {stored.state} and "
                    "cannot become another one. Give the outcome another outcome_id; a credit note corrects "
                    "what is billed.",
                    reason_code="quote_item_settled",
                )
            del wanted[item_id]
    documents = [item.model_dump(mode="json") for item in wanted.values()]
    taken = import_items_in(connection, documents, amend=True, actor=actor, now=now)
    wrong = [one for one in taken if one.outcome in ("rejected", "conflict")]
    if wrong:
        raise BrokenState(f"an item of quote {quote.quote_id!r} was refused: {wrong[0].issues}")
    dropped = [
        item_id
        for item_id in sorted(before)
        if item_id not in {item.item_id for item in items} and known[item_id].state == OPEN
    ]
    reason = f"quote {quote.quote_id} was accepted without it"
    settle_items_in(connection, dropped, state="cancelled", reason=reason, actor=actor, now=now)


def _written_as(item: BillableItem, quote: Quote) -> tuple[BillableItem, BillableItem]:
    """As it is made now, and as it was when its words did not name promotions."""
    promotions = {promotion.promotion_id: promotion for promotion in quote.promotions}
    plain = words_without_promotions(item.description, promotions)
    return item, item.model_copy(update={"description": plain})


def _items(quote: Quote, currency: CurrencyCode, day: date) -> list[dict[str, object]]:
    return items_of(
        quote.outcomes,
        {promotion.promotion_id: promotion for promotion in quote.promotions},
        quote_id=quote.quote_id,
        contract_id=quote.contract.contract_id,
        currency=currency,
        on=day,
    )
