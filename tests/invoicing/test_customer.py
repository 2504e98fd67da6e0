"""Customers: checked, versioned, saved once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from ingest.document import validate_document
from ingest.errors import InvalidDocument, NotFound
from invoicing.customer import Customer, customer_rules
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


@pytest.mark.parametrize(
    ("changes", "reason_code", "pointer"),
    [
        ({"name": " "}, "blank_text", "name"),
        ({"name": "Acme\r\nBcc: spy@x.example"}, "bad_text", "name"),
        ({"legal_name": "Acme\x01"}, "bad_text", "legal_name"),
        ({"address_lines": ["Long Quay 1\n10115 Berlin"]}, "bad_text", "address_lines[0]"),
        ({"bill_to": {"name": "Payer\u2028"}}, "bad_text", "bill_to.name"),
        ({"email": "a@b@c.example"}, "bad_email", "email"),
        ({"email": "a@x.example;b@x.example"}, "bad_email", "email"),
        ({"email": "j\N{LATIN SMALL LETTER O WITH DIAERESIS}rg@x.example"}, "bad_email", "email"),
        ({"country": "001"}, "unknown_country", "country"),
        ({"country": "EU"}, "unknown_country", "country"),
        ({"country": "ZZ"}, "unknown_country", "country"),
        ({"country": "UK"}, "unknown_country", "country"),
    ],
)
def test_what_cannot_stand_on_a_document_or_be_sent_to_is_not_saved(
    changes: dict[str, Any], reason_code: str, pointer: str
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        validate_document(Customer, ACME | changes, what="a customer", rules=customer_rules)
    assert [(issue.reason_code, issue.pointer) for issue in caught.value.issues] == [(reason_code, pointer)]


def test_texts_of_any_script_are_saved() -> None:
    name = "\N{CJK UNIFIED IDEOGRAPH-682A}\N{IDEOGRAPHIC SPACE}Soci\u00e9t\u00e9\u00a0\N{ROCKET}\u200d"
    document = ACME | {"name": name, "email": "o'neil+x@b.example", "country": "XK"}
    assert validate_document(Customer, document, what="a customer", rules=customer_rules).name == name


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
