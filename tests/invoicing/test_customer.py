"""Customers: checked, versioned, saved once."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from ingest.errors import InvalidDocument, NotFound
from invoicing.customer_store import get_customer, list_customers, save_customer, save_customers
from tests.invoicing.world import at

ACME = {"customer_id": "acme", "name": "Acme", "email": "billing@acme.example", "country": "DE"}


def test_a_customer_is_saved_and_read_back(any_ledger: Engine) -> None:
    saved = save_customer(any_ledger, ACME, now=at("2025-01-01"))
    assert (saved.key, saved.version, saved.created) == ("acme", 1, True)
    stored = get_customer(any_ledger, "acme")
    assert (stored.customer.country, stored.version) == ("DE", 1)


def test_the_same_document_again_changes_nothing_and_another_is_a_new_version(any_ledger: Engine) -> None:
    save_customer(any_ledger, ACME, now=at("2025-01-01"))
    assert save_customer(any_ledger, ACME, now=at("2025-01-02")).created is False
    changed = save_customer(any_ledger, ACME | {"country": "FR"}, now=at("2025-01-03"))
    assert (changed.version, changed.created) == (2, True)
    assert get_customer(any_ledger, "acme").customer.country == "FR"


def test_every_broken_rule_is_named_and_nothing_of_the_list_is_saved(any_ledger: Engine) -> None:
    bad = {
        "customer_id": "bad",
        "name": "Bad",
        "country": "XX",
        "email": "nobody",
        "address_lines": ["x"] * 9,
    }
    with pytest.raises(InvalidDocument) as caught:
        save_customers(any_ledger, [ACME, bad], now=at("2025-01-01"))
    assert [issue.reason_code for issue in caught.value.issues] == [
        "unknown_country",
        "bad_email",
        "address_too_long",
    ]
    assert list_customers(any_ledger, limit=10) == []


def test_one_list_may_hold_a_customer_twice(any_ledger: Engine) -> None:
    saved = save_customers(
        any_ledger, [ACME, ACME | {"name": "Acme 2"}, ACME | {"name": "Acme 2"}], now=at("2025-01-01")
    )
    assert [(entry.version, entry.created) for entry in saved] == [(1, True), (2, True), (2, False)]
    assert get_customer(any_ledger, "acme").customer.name == "Acme 2"


def test_lists_go_on_after_a_key(any_ledger: Engine) -> None:
    save_customers(any_ledger, [ACME | {"customer_id": f"c{n}"} for n in range(5)], now=at("2025-01-01"))
    page = list_customers(any_ledger, limit=2, after="c1")
    assert [entry.customer.customer_id for entry in page] == ["c2", "c3"]


def test_an_unknown_customer_is_not_found(any_ledger: Engine) -> None:
    with pytest.raises(NotFound, match="'ghost'"):
        get_customer(any_ledger, "ghost")
