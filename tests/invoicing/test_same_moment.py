"""Goal: two requests at the same moment are two answers that people understand, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from ingest.errors import Conflict
from ingest.ledger import ledger_transaction
from invoicing import quote_accept, quote_store, saved_document, special_invoice_store
from invoicing.audit_verify import verify_books
from invoicing.quote_store import get_quote, list_quotes, save_quote
from invoicing.sales.catalogue import PRODUCTS
from invoicing.special_invoice_store import SpecialFilter, list_special_invoices
from tests.invoicing.test_quotes import MAY, accept, quote, save
from tests.invoicing.test_special_invoices import issue, site
from tests.invoicing.world import World, at

ON_POSTGRES = pytest.mark.parametrize("any_ledger", ["postgresql"], indirect=True)
"""On SQLite the second transaction begins when the first has ended."""


def meeting(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    """Let two calls of a function meet in it, if nothing keeps the second one out for so long."""
    barrier, real = Barrier(2), getattr(module, name)

    def met(*arguments: Any, **named: Any) -> Any:
        with suppress(BrokenBarrierError):
            barrier.wait(timeout=0.5)
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, met)


def together(*calls: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@ON_POSTGRES
@pytest.mark.parametrize("standing", [0, 1])
def test_two_edits_of_a_quote_are_two_versions(
    any_world: World, standing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = site(any_world)
    for _ in range(standing):
        save(world)
    meeting(monkeypatch, quote_store, "priced_quote")

    def edit(title: str) -> int:
        return save_quote(world.ledger, quote(title=title), actor=title, now=at(MAY)).version

    found = together(lambda: edit("Ada's"), lambda: edit("Ben's"))
    assert sorted(found) == [1 + standing, 2 + standing]
    [newest] = list_quotes(world.ledger, customer_id=None, now=at(MAY), limit=10)
    assert newest.version == 2 + standing


@ON_POSTGRES
def test_two_saves_of_a_catalogue_item_are_two_versions(
    any_ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = {"product_id": "p", "kind": "product", "billed": "once", "prices": {"EUR": "1"}}
    meeting(monkeypatch, saved_document, "canonical_json")

    def put(name: str) -> int:
        return PRODUCTS.save(any_ledger, {**item, "name": name}, now=at(MAY)).version

    assert sorted(together(lambda: put("A"), lambda: put("B"))) == [1, 2]


@ON_POSTGRES
def test_the_same_acceptance_twice_asks_for_one_deposit(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = site(any_world)
    digest = save(world, deposit_percent="30").document_hash
    meeting(monkeypatch, special_invoice_store, "draft_of")
    together(lambda: accept(world, digest), lambda: accept(world, digest))
    [deposit] = list_special_invoices(world.ledger, SpecialFilter(), limit=10)
    assert deposit.net_minor == 30000
    assert verify_books(world.ledger).broken == ()


def test_an_edit_right_after_an_acceptance_does_not_lose_its_deposit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    site(world)
    digest = save(world, deposit_percent="30").document_hash

    @contextmanager
    def edited_behind(ledger: Engine) -> Iterator[Connection]:
        with ledger_transaction(ledger) as connection:
            yield connection
        save(world, deposit_percent="30", title="Edited")

    monkeypatch.setattr(quote_accept, "ledger_transaction", edited_behind)
    assert accept(world, digest).version == 1
    assert get_quote(world.ledger, "q1", now=at(MAY)).version == 2
    [deposit] = list_special_invoices(world.ledger, SpecialFilter(), limit=10)
    assert deposit.net_minor == 30000


def test_the_same_special_invoice_at_the_same_moment_is_a_conflict(any_world: World) -> None:
    world = site(any_world)
    issue(world, "deposit", "100.00", percent="100")
    with pytest.raises(Conflict, match="DEP-2025-000001") as caught:
        issue(world, "deposit", "100.00", percent="100")
    assert caught.value.reason_code == "same_moment"
    issue(world, "deposit", "100.00", percent="100", now="2025-12-31T00:00:01")
    assert len(list_special_invoices(world.ledger, SpecialFilter(), limit=10)) == 2


@ON_POSTGRES
@pytest.mark.parametrize("key", [None, "a key"])
def test_two_requests_for_a_special_invoice_at_once_are_one(
    any_world: World, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = site(any_world)
    meeting(monkeypatch, special_invoice_store, "draft_of")

    def ask() -> str:
        try:
            return issue(world, "deposit", "100.00", percent="100", key=key).summary.number
        except Conflict as error:
            return error.reason_code

    expected = {"DEP-2025-000001"} if key else {"DEP-2025-000001", "same_moment"}
    assert set(together(ask, ask)) == expected
    assert verify_books(world.ledger).broken == ()
