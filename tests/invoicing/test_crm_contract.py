"""Goal: whatever CRM tells of customers, catalogue, deals and quotes, in whatever order and however often,
the same comes of it, once. Every adapter must pass these tests as they stand."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from ingest.errors import Forbidden, InvalidDocument, NotFound
from invoicing.audit_verify import verify_books
from invoicing.billable_read import ItemFilter, list_items
from invoicing.crm.adapter import crm_secret
from invoicing.crm.inbox import apply_waiting, list_crm_conflicts, list_objects
from invoicing.customer_store import get_customer
from invoicing.quote_store import get_quote
from invoicing.sales.catalogue import PRODUCTS
from rating.catalogue import save_price_plan
from tests.invoicing.crm_case import (
    ACCEPTED,
    APPLYING,
    CONTRACT,
    CRM,
    NOW,
    PLAIN_OFFER,
    SECRET,
    STORY,
    in_force,
    item,
    offer,
    outcomes,
    tell,
    versions,
    with_plan,
)
from tests.invoicing.fake_crms import FakeCrm
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.world import LONG_AGO


@pytest.fixture
def books(ledger: Engine) -> Engine:
    return with_plan(ledger)


@CRM
@pytest.mark.requirement("CRM-01")
@pytest.mark.requirement("CRM-03")
def test_a_deal_that_is_won_is_a_contract_and_once_is_enough(crm: FakeCrm, any_ledger: Engine) -> None:
    ledger = with_plan(any_ledger)
    assert outcomes(tell(ledger, crm, *STORY[:8])) == ["applied"] * 8
    offered = get_quote(ledger, "crm-q-9", now=NOW)
    assert (offered.state, offered.quote.external_ids) == (
        "open",
        {"crm": "q-9", "crm.opportunity": "006-1"},
    )
    assert [(part.product_id, part.amount) for part in offered.quote.outcomes[0].parts] == [
        ("crm-p-1", 27),
        ("crm-p-2", offered.quote.outcomes[0].parts[1].amount),
    ]
    assert f"{offered.quote.outcomes[0].parts[1].amount:.2f}" == "89.10"
    assert outcomes(tell(ledger, crm, *STORY[8:])) == ["applied"] * 3
    found = in_force(ledger)
    assert (found["customer"].name, found["quote"][0]) == ("Acme GmbH", "accepted")
    assert found["contract"].signed_by == "Ada Miller"
    assert [addition.charge.charge_id for addition in found["contract"].additions] == ["safe.crm-p-1"]
    before = versions(ledger)
    assert outcomes(tell(ledger, crm, *STORY[8:])) == ["unchanged"] * 3
    assert set(outcomes(tell(ledger, crm, *STORY))) == {"unchanged", "stale"}
    assert (in_force(ledger), versions(ledger)) == (found, before)
    assert verify_books(ledger).broken == ()


@CRM
@pytest.mark.requirement("CRM-01")
@pytest.mark.parametrize("seed", range(3))
def test_the_same_comes_of_any_order_and_of_repeats(crm: FakeCrm, seed: int, books: Engine) -> None:
    dice = random.Random(seed)
    said = [*STORY, *dice.choices(STORY, k=6)]
    dice.shuffle(said)
    while said:
        count = dice.randint(1, 4)
        tell(books, crm, *said[:count])
        said = said[count:]
    found = in_force(books)
    assert {state for _, _, state, _, _ in found["objects"]} == {"applied"}
    assert (found["customer"].name, found["quote"][0]) == ("Acme GmbH", "accepted")
    assert [addition.charge.charge_id for addition in found["contract"].additions] == ["safe.crm-p-1"]
    assert [f"{one.external_id} {one.unit_price:.2f}" for one in found["items"]] == [
        "crm-q-9/safe.crm-p-2 89.10"
    ]
    assert verify_books(books).broken == ()


@CRM
@pytest.mark.requirement("CRM-01")
def test_who_does_not_sign_says_nothing(crm: FakeCrm, books: Engine) -> None:
    secret = crm_secret(SECRET, "crm")
    headers, body = crm.delivery(STORY[:1], secret=secret, now=NOW)
    crm.adapter.verify(headers, body, secret=secret, now=NOW)
    late = timedelta(minutes=6)
    for bad_headers, bad_body, bad_secret, moment in (
        (headers, body + b" ", secret, NOW),
        (headers, body, crm_secret(SECRET, "other"), NOW),
        (headers, body, secret, NOW + late),
        (headers, body, secret, NOW - late),
        ({}, body, secret, NOW),
    ):
        with pytest.raises(Forbidden) as caught:
            crm.adapter.verify(bad_headers, bad_body, secret=bad_secret, now=moment)
        assert caught.value.reason_code == "crm_signature"


@CRM
@pytest.mark.requirement("CRM-01")
def test_what_is_refused_leaves_nothing_half_saved(crm: FakeCrm, books: Engine) -> None:
    no_terms = ("quote", "q-9", "2026-05-01T10:00:00+00:00", offer(acceptance={"name": "Ada"}))
    [*_, refused] = tell(books, crm, *STORY[:7], no_terms)
    assert (refused.outcome, refused.key) == ("refused", None)
    assert [issue.reason_code for issue in refused.issues] == ["terms_not_acknowledged"]
    with pytest.raises(NotFound):
        get_quote(books, "crm-q-9", now=NOW)
    assert list_items(books, chosen=ItemFilter(), limit=10) == []
    late = {**CONTRACT, "plan_id": "silver"}
    later = ("quote", "q-9", "2026-05-01T11:00:00+00:00", offer(contract=late, **ACCEPTED))
    assert outcomes(tell(books, crm, later)) == ["refused"]
    assert apply_waiting(books, "crm", applying=APPLYING, states=["refused"]) == 0
    silver = {"plan_id": "silver", "name": "Silver", "currency": "EUR", "effective_from": "2020-01-01"}
    save_price_plan(books, {**silver, "charges": [MONTHLY_FEE]}, now=LONG_AGO)
    assert apply_waiting(books, "crm", applying=APPLYING, states=["refused"]) == 1
    assert get_quote(books, "crm-q-9", now=NOW).state == "accepted"
    # One change that is none keeps the whole delivery out.
    with pytest.raises(InvalidDocument):
        tell(books, crm, STORY[8], ("invoice", "i-1", "2026-05-01T10:00:00+00:00", {}))
    assert get_customer(books, "crm-001-7").customer.name == "Acme"


@CRM
@pytest.mark.requirement("CRM-01")
def test_two_changes_of_one_instant_are_a_conflict_that_is_listed(crm: FakeCrm, books: Engine) -> None:
    tell(books, crm, STORY[0])
    other = ("customer", "001-7", STORY[0][2], {"name": "Acme Ltd", "country": "GB"})
    for _ in range(2):
        [taken] = tell(books, crm, other)
        assert (taken.outcome, taken.issues[0].reason_code) == ("conflict", "crm_conflict")
    assert get_customer(books, "crm-001-7").customer.name == "Acme"
    [listed] = list_crm_conflicts(books, system="crm", limit=10)
    assert listed["document"]["name"] == "Acme Ltd"
    assert (
        list_crm_conflicts(
            books, system="crm", limit=10, after=["crm", "customer", "001-7", listed["document_hash"]]
        )
        == []
    )


@CRM
def test_a_key_belongs_to_one_object(crm: FakeCrm, books: Engine) -> None:
    PRODUCTS.save(books, {"product_id": "crm-p-1", **item("Ours", "1.00")}, now=LONG_AGO)
    [refused] = tell(books, crm, STORY[1])
    assert refused.issues[0].reason_code == "crm_key_taken"
    named = ("product", "p-1", "2026-05-02T08:00:00+00:00", {**STORY[1][3], "product_id": "crm-p-1"})
    assert outcomes(tell(books, crm, named)) == ["applied"]  # said to be the same
    moved = ("product", "p-1", "2026-05-03T08:00:00+00:00", {**STORY[1][3], "product_id": "x"})
    assert [one.issues[0].reason_code for one in tell(books, crm, moved)] == ["crm_key_changed"]
    again = ("product", "p-8", "2026-05-03T08:00:00+00:00", {**STORY[1][3], "product_id": "crm-p-1"})
    assert [one.issues[0].reason_code for one in tell(books, crm, again)] == ["crm_key_taken"]


@CRM
@pytest.mark.requirement("CRM-01")
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("product", {**item("Storage", "1.00"), "external_ids": ["x"]}),
        ("price_list", {"name": "P", "currency": "EUR", "prices": ["x"], "entries": []}),
        ("price_list", {"name": "P", "currency": "EUR", "entries": "x"}),
        (
            "price_list",
            {
                "name": "P",
                "currency": "EUR",
                "entries": [{"product_id": "a", "price": "1"}, {"product_id": "a", "price": "2"}],
            },
        ),
        ("quote", {**PLAIN_OFFER, "acceptance": "yes"}),
        ("quote", {**PLAIN_OFFER, "acceptance": ["Ada"]}),
        ("quote", {**PLAIN_OFFER, "contract": "x"}),
        ("quote", {**PLAIN_OFFER, "external_ids": "x"}),
    ],
)
def test_a_field_of_the_wrong_shape_is_refused_and_keeps_nothing_else_out(
    crm: FakeCrm, kind: str, data: dict[str, Any], books: Engine
) -> None:
    """Raised instead, it would stay ``received``, and every later delivery would fail on it."""
    tell(books, crm, *STORY[:4])
    [bad, good] = tell(books, crm, (kind, "bad", STORY[4][2], data), STORY[6])
    assert (bad.outcome, good.outcome) == ("refused", "applied")
    assert bad.issues
    assert [one["external_id"] for one in _in_state(books, "refused")] == ["bad"]


def _in_state(ledger: Engine, state: str) -> list[dict[str, Any]]:
    return list_objects(ledger, system="crm", kind=None, state=state, limit=10)
