"""Goal: a catalogue that did not change is compiled once, and one that did is never mistaken for it."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.meter import Meter
from ingest.meter_store import save_meter
from invoicing import billing_catalogue
from invoicing.billing_catalogue import BillingCatalogue, load_billing_catalogue
from rating.price_plan import PerUnitPrice
from tests.invoicing.support import CALLS
from tests.invoicing.world import LONG_AGO, World


def prices(world: World, *contract_ids: str) -> list[tuple[str, str]]:
    """(agreement or plan, price of a call) of every version there is for these contracts."""
    book = load_billing_catalogue(world.ledger, contract_ids).price_book
    return [
        ("agreed" if entry.agreement else entry.plan.plan_id, str(charge.price.unit_price))
        for entry in book.versions
        for charge in entry.plan.charges
        if isinstance(charge.price, PerUnitPrice)
    ]


def test_prices_are_compiled_again_when_they_changed_and_only_then(world: World) -> None:
    world.plan(CALLS)
    first = load_billing_catalogue(world.ledger)
    assert load_billing_catalogue(world.ledger, []).price_book is first.price_book
    assert prices(world) == [("gold", "0.01")]
    world.plan(_at("0.99"), start="2025-03-01")
    assert prices(world) == [("gold", "0.01"), ("gold", "0.99")]
    for contract_id, price in (("c2", "0.5"), ("c3", "0.7")):
        override = {"charge_id": "calls", "price": _at(price)["price"]}
        world.contract(contract_id, overrides=[override])
        agreed = ("agreed", price)
        assert prices(world, contract_id) == [("gold", "0.01"), ("gold", "0.99"), agreed, agreed]
    save_meter(world.ledger, Meter(meter_id="more", event_type="more", aggregation="sum"), now=LONG_AGO)
    assert load_billing_catalogue(world.ledger, []).price_book is not first.price_book


def _at(price: str) -> dict[str, Any]:
    return CALLS | {"price": {"model": "per_unit", "unit_price": price}}


@pytest.mark.parametrize("meanwhile", ["load_plan_versions", "load_segments", "load_contract_subjects"])
def test_a_contract_changed_while_it_is_read_is_read_as_before_in_all_its_parts(
    any_world: World, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    world = any_world
    world.plan(CALLS)
    world.contract("c1")
    before = load_billing_catalogue(world.ledger)
    read = getattr(billing_catalogue, meanwhile)

    def change_and_read(*arguments: Any) -> Any:
        override = {"charge_id": "calls", "price": _at("0.5")["price"]}
        world.contract("c1", subjects=["c1-subject", "c1-further"], overrides=[override])
        return read(*arguments)

    monkeypatch.setattr(billing_catalogue, meanwhile, change_and_read)
    assert parts(load_billing_catalogue(world.ledger, ["c1"])) == parts(before) == (1, ["c1-subject"], 0)
    monkeypatch.undo()
    assert parts(load_billing_catalogue(world.ledger)) == (2, ["c1-further", "c1-subject"], 1)


def parts(catalogue: BillingCatalogue) -> tuple[int, list[str], int]:
    """The version of the one contract, its subjects, and how many agreements it has."""
    (version,) = catalogue.contracts["version"].to_pylist()
    return version, catalogue.subjects["subject"].to_pylist(), len(catalogue.agreements)
