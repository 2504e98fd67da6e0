"""Goal: an accepted quote bills what it sold, and a report says where what is ordered is something else."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ingest.errors import Conflict, InvalidDocument
from invoicing.audit_verify import verify_books
from invoicing.billable_item import item_id_of
from invoicing.billable_read import get_item
from invoicing.billable_store import import_items, settle_items
from invoicing.quote import Quote
from invoicing.quote_store import StoredQuote, get_quote, save_quote
from invoicing.sales.catalogue import PRODUCTS, PROMOTIONS
from invoicing.sales.sold_ordered import sold_ordered
from rating.contract_store import get_contract, save_contract
from tests.invoicing.test_outcomes import PRODUCTS as CATALOGUE
from tests.invoicing.test_quotes import accept, quote
from tests.invoicing.test_tax_billing import pdf_text
from tests.invoicing.world import World, at, readable

MAY = "2025-05-01T10:00"
SPRING = {"promotion_id": "spring", "name": "Spring", "percent": "10", "first_periods": 1}
SAFE = {
    "outcome_id": "safe",
    "description": "No data is ever lost",
    "product_id": "backup",
    "recurring_amount": "33.34",
}
CALM = {"outcome_id": "calm", "description": "Somebody answers", "product_id": "support", "quantity": "2"}


def shop(world: World) -> World:
    world.plan()
    for product in CATALOGUE:
        PRODUCTS.save(world.ledger, {**product, "tax_class": "standard"}, now=at("2025-01-01"))
    PROMOTIONS.save(world.ledger, SPRING, now=at("2025-01-01"))
    return world


def offer(world: World, *outcomes: dict[str, Any], now: str = MAY, **changes: Any) -> StoredQuote:
    document = quote(lines=[], outcomes=list(outcomes), promotion_ids=["spring"], **changes)
    save_quote(world.ledger, document, actor="sales", now=at(now))
    return get_quote(world.ledger, "q1", now=at(now))


def table(world: World, on: str = "2025-05-10") -> list[str]:
    rows, _ = sold_ordered(world.ledger, on=date.fromisoformat(on), customer_id="acme", now=at(on), limit=100)
    return [
        f"{row.outcome_id or '-'} {row.name}: {row.quoted_amount} -> {row.ordered_amount} {row.state}"
        for row in rows
    ]


@pytest.mark.requirement("CON-10")
@pytest.mark.requirement("CON-07")
def test_a_bundle_becomes_fees_and_items_and_is_billed_as_sold(any_world: World) -> None:
    world = shop(any_world)
    offered = offer(world, SAFE, CALM)
    assert {row.rpartition(" ")[2] for row in table(world)} == {"offered"}
    accept(world, offered.document_hash)
    assert table(world) == [
        "safe Storage: 20 -> 20 as_quoted",
        "safe Support: 13.34 -> 13.34 as_quoted",
        "safe Setup: 89.1 -> 89.1 as_quoted",
        "calm Support: 40 -> 40 as_quoted",
    ]
    world.bill("2025-06-01")
    billed = [line for stored in world.invoices(contract_id="plant") for line in readable(stored)]
    sold = sorted(line.split(" ", 1)[1] for line in billed if " fee " not in line and " calls " not in line)
    setup = "No data is ever lost: Setup (Spring: -9.90)"
    assert sold == [
        # The promotion of 10 % goes off the first period of what is at list price, and off the setup.
        "calm.support 2025-05-01..2025-06-01 2 unit 36.00",
        "calm.support 2025-06-01..2025-07-01 2 unit 40.00",
        "safe.storage 2025-05-01..2025-06-01 1 unit 20.00",
        "safe.storage 2025-06-01..2025-07-01 1 unit 20.00",
        "safe.support 2025-05-01..2025-06-01 1 unit 13.34",
        "safe.support 2025-06-01..2025-07-01 1 unit 13.34",
        f"stated-price {setup} q1 89.1 2025-05-02..2025-05-03 1 unit 89.10",
    ]
    first, *later = world.invoices(contract_id="plant")  # by billing date
    named = [
        [
            (line.charge_id, each.name, str(each.amount))
            for line in stored.invoice.lines
            for each in line.discounts
        ]
        for stored in (first, *later)
    ]
    # Attached to the quote, named with its amount on each line it lowers, and over after its one period.
    assert named == [[("calm.support", "Spring", "4")], []]
    shown = " ".join(pdf_text(first).split())
    assert "Spring" in shown
    assert "-4.00" in shown
    assert "Setup (Spring: -9.90)" in " ".join(pdf_text(later[0]).split())
    assert verify_books(world.ledger).broken == ()


@pytest.mark.requirement("CON-10")
def test_the_report_shows_what_was_changed_ended_and_never_quoted(world: World) -> None:
    shop(world)
    accept(world, offer(world, SAFE, CALM).document_hash)
    contract = get_contract(world.ledger, "plant").model_dump(mode="json")
    additions = contract["additions"]
    for addition in additions:
        if addition["charge"]["charge_id"] == "safe.support":
            addition["effective_until"] = "2025-06-01"
    extra = {
        "charge_id": "desk",
        "name": "Desk",
        "kind": "recurring",
        "price": {"model": "flat", "amount": 5},
    }
    contract["quantities"] = [{"charge_id": "calm.support", "quantity": "3", "effective_from": "2025-06-01"}]
    save_contract(
        world.ledger, {**contract, "additions": [*additions, {"charge": extra}]}, now=at("2025-05-03")
    )
    setup = item_id_of("quote", "q1/safe.setup")
    settle_items(world.ledger, [setup], state="closed", reason="a favour", actor="ann", now=at("2025-05-03"))
    order = {
        "source_system": "shop",
        "external_id": "4711",
        "source": "order",
        "contract_id": "plant",
        "date": "2025-05-04",
        "quantity": "2",
        "unit_price": "7.50",
        "currency": "EUR",
        "description": "Cable",
    }
    import_items(world.ledger, [order], amend=False, actor="shop", now=at("2025-05-04"))
    assert table(world, on="2025-06-10") == [
        "safe Storage: 20 -> 20 as_quoted",
        "safe Support: 13.34 -> 0 not_ordered",
        "safe Setup: 89.1 -> 0 not_ordered",
        "calm Support: 40 -> 60 changed",
        "- Desk: 0 -> 5 not_quoted",
        "- Cable: 0 -> 15 not_quoted",
    ]


def test_a_quote_keeps_its_prices_and_a_new_day_makes_new_ones(world: World) -> None:
    shop(world)
    first = offer(world, CALM)
    support = {**CATALOGUE[1], "prices": {"EUR": "25.00"}, "tax_class": "standard"}
    PRODUCTS.save(world.ledger, support, now=at("2025-05-02"))
    again = offer(world, CALM, now="2025-05-03T10:00")
    assert (again.version, again.document_hash) == (1, first.document_hash)
    sent_back = again.quote.model_dump(mode="json")
    assert not save_quote(world.ledger, sent_back, actor="sales", now=at("2025-05-03")).created
    later = offer(world, CALM, now="2025-05-03T10:00", priced_on="2025-05-03")
    assert (later.version, later.quote.outcomes[0].parts[0].amount) == (2, Decimal(50))
    forged = later.quote.model_dump(mode="json")
    forged["title"] = "Plant"
    forged["outcomes"][0]["parts"][0]["amount"] = "1.00"
    with pytest.raises(InvalidDocument) as caught:
        save_quote(world.ledger, forged, actor="sales", now=at("2025-05-03"))
    assert [issue.reason_code for issue in caught.value.issues] == ["outcome_parts"]
    with pytest.raises(InvalidDocument) as twice:
        offer(world, CALM, CALM)
    assert [issue.reason_code for issue in twice.value.issues] == ["outcome_twice"]


def test_quotes_without_outcomes_are_the_text_they_were() -> None:
    text = Quote.model_validate(quote()).model_dump(mode="json")
    assert {"outcomes", "price_list_id", "promotion_ids", "priced_on", "promotions"} & text.keys() == set()


def test_a_later_version_changes_what_is_not_billed_and_nothing_else(world: World) -> None:
    shop(world)
    setup = {"outcome_id": "start", "description": "Start", "product_id": "setup"}
    accept(world, offer(world, SAFE, setup).document_hash)
    second = offer(world, {**setup, "once_amount": "50.00"}, contract={"note": "two"})
    accept(world, second.document_hash, now="2025-05-05")
    rows = table(world)
    assert rows == ["start Setup: 50 -> 50 as_quoted"]  # what is no longer sold was cancelled
    world.bill("2025-06-01")
    third = offer(world, {**setup, "once_amount": "40.00"}, contract={"note": "three"}, now="2025-05-30")
    with pytest.raises(Conflict) as caught:
        accept(world, third.document_hash, now="2025-05-31")
    assert caught.value.reason_code == "quote_item_settled"
    same = offer(world, {**setup, "once_amount": "50.00"}, contract={"note": "four"}, now="2025-05-30")
    assert accept(world, same.document_hash, now="2025-05-31").state == "accepted"
    assert verify_books(world.ledger).broken == ()


def test_items_billed_before_promotions_were_named_stay_as_they_are(world: World) -> None:
    shop(world)
    start = {"outcome_id": "start", "description": "Start", "product_id": "setup"}
    accept(world, offer(world, start).document_hash)
    setup = get_item(world.ledger, item_id_of("quote", "q1/start.setup")).item
    assert setup.description == "Start: Setup (Spring: -9.90)"
    plain = {**setup.model_dump(mode="json"), "description": "Start: Setup"}
    [amended] = import_items(world.ledger, [plain], amend=True, actor="test", now=at("2025-05-03"))
    assert amended.outcome == "amended"
    world.bill("2025-06-01")
    accept(world, offer(world, start, title="Other words").document_hash, now="2025-05-30T10:00")
    with pytest.raises(Conflict) as refused:
        accept(world, offer(world, {**start, "description": "Begin"}).document_hash, now="2025-05-31T10:00")
    assert refused.value.reason_code == "quote_item_settled"
