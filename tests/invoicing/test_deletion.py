"""Goal: a customer or billing entity that was saved by mistake goes, whole in the audit trail; one that
anything refers to stays, and the refusal names what does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select

from ingest.document import canonical_json
from ingest.errors import Conflict, InvalidDocument, InvalidInput, NotFound
from invoicing import customer_delete, entity_delete, payment_store, quote_store
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.audit_verify import verify_books
from invoicing.billing_entity import get_entity, load_entities, save_entity
from invoicing.credit_store import grant_credit
from invoicing.customer_credit import applies_credit, set_applies_credit
from invoicing.customer_delete import delete_customer
from invoicing.customer_store import get_customer, save_customer
from invoicing.customer_sync import forget_record, sync_records
from invoicing.deletion import DeletedRecord
from invoicing.entity_delete import delete_entity
from invoicing.payer_rules import contract_issues
from invoicing.payment_store import record_payment
from invoicing.quote_store import save_quote
from invoicing.review.rules import load_review_rules, save_review_rules
from invoicing.tables import SAVED_DOCUMENTS
from invoicing.template_store import choose_template, save_template
from rating import contract_store
from rating.catalogue import save_contract, save_price_plan
from tests.invoicing.support import MONTHLY_FEE
from tests.invoicing.test_quotes import quote
from tests.invoicing.test_special_invoices import site
from tests.invoicing.test_tax_billing import CUSTOMER, ENTITY
from tests.invoicing.world import LONG_AGO, World, at

MAY = at("2026-05-01")
PLAN = {"plan_id": "gold", "name": "Gold", "currency": "EUR", "effective_from": date(2020, 1, 1)}


def no_keys(_connection: Connection, _customer_id: str) -> tuple[()]:
    return ()


def delete(ledger: Engine, customer_id: str = "acme", reason: str = "saved twice") -> DeletedRecord:
    return delete_customer(ledger, customer_id, reason=reason, actor="anna", now=MAY, further=no_keys)


def delete_seller(ledger: Engine, entity_id: str = "northwind") -> DeletedRecord:
    return delete_entity(ledger, entity_id, reason="saved twice", actor="anna", now=MAY)


def save_plan(ledger: Engine) -> None:
    save_price_plan(ledger, PLAN | {"charges": [MONTHLY_FEE]}, now=LONG_AGO)


def contract(ledger: Engine, contract_id: str = "c1", **changes: Any) -> None:
    document = {
        "contract_id": contract_id,
        "customer_id": "acme",
        "plan_id": "gold",
        "start_date": date(2025, 1, 15),
        "time_zone": "UTC",
    }
    save_contract(ledger, document | changes, now=LONG_AGO, further_rules=contract_issues)


def refused(act: Callable[[], object], code: str) -> str:
    with pytest.raises(Conflict) as caught:
        act()
    assert caught.value.reason_code == code
    return str(caught.value)


def last_entry(ledger: Engine) -> dict[str, Any]:
    return list_entries(ledger, chosen=AuditFilter(), limit=1)[0].to_dict()


def test_a_customer_saved_by_mistake_goes_and_stays_in_the_audit_trail(any_ledger: Engine) -> None:
    document = CUSTOMER | {"external_ids": {"crm": "4711"}, "ap_terms_days": 30}
    save_customer(any_ledger, document, now=LONG_AGO)
    save_customer(any_ledger, document | {"email": "ap@acme.example"}, now=LONG_AGO)
    set_applies_credit(any_ledger, "acme", applies_credit=True, actor="ben", now=LONG_AGO)
    stored = get_customer(any_ledger, "acme")
    assert delete(any_ledger, reason="  saved twice ") == DeletedRecord("acme", 2)
    for call in (lambda: get_customer(any_ledger, "acme"), lambda: delete(any_ledger)):
        with pytest.raises(NotFound):
            call()
    entry = last_entry(any_ledger)
    named = ("actor", "action", "object_kind", "object_id", "after", "reason")
    assert [entry[name] for name in named] == ["anna", "deleted", "customer", "acme", None, "saved twice"]
    assert entry["before"] == {
        "version": 2,
        "document": stored.customer.model_dump(mode="json"),
        "payment_settings": {"applies_credit": True},
    }
    assert verify_books(any_ledger).broken == ()
    # The external id is free, and the same id is a new customer that inherits nothing.
    save_customer(
        any_ledger, {"customer_id": "acme-2", "name": "A", "external_ids": {"crm": "4711"}}, now=MAY
    )
    assert save_customer(any_ledger, CUSTOMER, now=MAY).version == 1
    assert not applies_credit(any_ledger, "acme")


def test_what_refers_to_a_customer_is_named_by_kind_and_count(world: World) -> None:
    ledger = site(world).ledger
    world.contract("c2")
    save_quote(ledger, quote(), actor="a", now=at("2025-05-01"))
    world.bill("2025-04-15")
    grant = {"grant_id": "g1", "customer_id": "acme", "currency": "EUR", "amount": "5"}
    grant_credit(
        ledger,
        grant | {"effective_from": date(2025, 1, 1), "kind": "promotional", "name": "G", "cost_basis": "0"},
        now=MAY,
    )
    paid = {"payment_id": "p1", "customer_id": "acme", "currency": "EUR", "amount": "1"}
    record_payment(ledger, paid | {"value_date": date(2026, 1, 1)}, source="api", actor="a", now=MAY)
    save_customer(ledger, {"customer_id": "ab", "name": "Child", "parent_id": "acme"}, now=MAY)
    save_customer(ledger, {"customer_id": "x", "name": "No child", "parent_id": "Acme"}, now=MAY)
    sync_records(ledger, "crm", [{"external_id": "4711", "customer_id": "acme"}], now=MAY)
    before = get_customer(ledger, "acme")
    said = refused(lambda: delete(ledger), "customer_in_use")
    assert "contracts: 2 (c1, c2)" in said
    assert "quotes: 1 (" in said
    assert "invoices: 8 (" in said
    assert said.count("...") == 1
    assert "credit grants: 1 (g1)" in said
    assert "payments: 1 (p1)" in said
    assert "records of other systems: 1 (crm 4711)" in said
    assert "customers that belong to it: 1 (ab)" in said
    assert "end its contracts" in said
    assert "customer forget" in said
    assert get_customer(ledger, "acme") == before


def test_records_of_systems_are_forgotten_first(any_ledger: Engine) -> None:
    save_customer(any_ledger, CUSTOMER, now=LONG_AGO)
    sync_records(any_ledger, "crm", [{"external_id": "4711", "customer_id": "acme", "name": "AG"}], now=MAY)
    assert "crm 4711" in refused(lambda: delete(any_ledger), "customer_in_use")
    forget_record(any_ledger, "crm", "4711", now=MAY)
    version = get_customer(any_ledger, "acme").version
    assert delete(any_ledger).version == version
    before = last_entry(any_ledger)["before"]
    assert before["entered_directly"] == before["document"]


def test_a_contract_names_no_customer_and_no_entity_that_was_deleted(ledger: Engine) -> None:
    save_plan(ledger)
    save_customer(ledger, CUSTOMER, now=LONG_AGO)
    save_entity(ledger, ENTITY, now=LONG_AGO)
    delete(ledger)
    delete_seller(ledger, ENTITY["entity_id"])
    with pytest.raises(InvalidDocument) as caught:
        contract(ledger, billing_entity=ENTITY["entity_id"])
    assert [one.reason_code for one in caught.value.issues] == ["customer_deleted", "entity_deleted"]
    contract(ledger, "c2", customer_id="comes-later")  # never was on record, so it may
    save_customer(ledger, CUSTOMER, now=MAY)
    contract(ledger)


def test_an_entity_saved_by_mistake_goes_with_what_is_said_of_it_alone(any_ledger: Engine) -> None:
    save_entity(any_ledger, ENTITY, now=LONG_AGO)
    mistaken = ENTITY | {"entity_id": "northwind", "default": False}
    save_entity(any_ledger, mistaken, now=LONG_AGO)
    save_entity(any_ledger, mistaken | {"phone": "1"}, now=LONG_AGO)
    save_review_rules(any_ledger, {"rules_id": "northwind", "policy": "none"}, now=LONG_AGO)
    save_template(any_ledger, {"template_id": "t", "name": "T"}, now=LONG_AGO)
    choose_template(any_ledger, used_for="entity", key="northwind", template_id="t", now=LONG_AGO)
    stored = get_entity(any_ledger, "northwind")
    assert delete_seller(any_ledger) == DeletedRecord("northwind", 2)
    with pytest.raises(NotFound):
        delete_seller(any_ledger)
    before = last_entry(any_ledger)["before"]
    assert before["document"] == stored.document.model_dump(mode="json")
    assert [one["phone"] for one in before["earlier_versions"]] == [ENTITY.get("phone", "")]
    assert (before["review_rules"]["policy"], before["template_id"]) == ("none", "t")
    with any_ledger.connect() as connection:
        assert list(load_entities(connection)) == [ENTITY["entity_id"]]
        assert load_review_rules(connection) == {}
        left = connection.execute(select(SAVED_DOCUMENTS.c.key).where(SAVED_DOCUMENTS.c.key == "northwind"))
        assert left.all() == []
    assert verify_books(any_ledger).broken == ()
    assert save_entity(any_ledger, mistaken, now=MAY).version == 1


def test_what_refers_to_an_entity_is_named(world: World) -> None:
    ledger = site(world).ledger
    entity_id = ENTITY["entity_id"]
    for other in ("second", "third"):
        save_entity(ledger, ENTITY | {"entity_id": other, "default": False}, now=LONG_AGO)
    save_entity(ledger, ENTITY | {"default": True}, now=LONG_AGO)
    said = refused(lambda: delete_seller(ledger, entity_id), "entity_in_use")
    assert "contracts by default: 1 (c1)" in said
    assert "`default: true`" in said
    save_customer(ledger, CUSTOMER | {"billing_entity": entity_id}, now=MAY)
    said = refused(lambda: delete_seller(ledger, entity_id), "entity_in_use")
    assert "by default" not in said
    assert "customers: 1 (acme)" in said
    world.bill("2025-02-15")
    contract(ledger, "c3", billing_entity="second")
    said = refused(lambda: delete_seller(ledger, entity_id), "entity_in_use")
    assert "invoices: 2 (" in said
    assert "kept for the books" in said
    assert "contracts: 1 (c3)" in refused(lambda: delete_seller(ledger, "second"), "entity_in_use")
    offered = quote()
    offered["contract"] |= {"billing_entity": "third"}
    save_quote(ledger, offered, actor="a", now=at("2025-05-01"))
    assert "quotes: 1 (" in refused(lambda: delete_seller(ledger, "third"), "entity_in_use")


def test_nothing_is_deleted_without_a_reason(ledger: Engine) -> None:
    save_customer(ledger, CUSTOMER, now=LONG_AGO)
    for reason, code in ((" ", "reason_missing"), ("x" * 1025, "reason_too_long")):
        with pytest.raises(InvalidInput) as caught:
            delete(ledger, reason=reason)
        assert caught.value.reason_code == code
    assert canonical_json(get_customer(ledger, "acme").customer)


def outcomes(*calls: Callable[[], object]) -> list[bool]:
    """Whether each of them was done, all begun at one moment."""

    def done(call: Callable[[], object]) -> bool:
        try:
            call()
        except (Conflict, InvalidDocument, NotFound):
            return False
        return True

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(done, call) for call in calls]]


def meeting(monkeypatch: pytest.MonkeyPatch, *places: tuple[object, str]) -> None:
    """Let two transactions that have looked, and have not written, meet, if nothing keeps one of them out."""
    barrier = Barrier(2)

    def meets(real: Callable[..., Any]) -> Callable[..., Any]:
        def met(*arguments: Any, **named: Any) -> Any:
            with suppress(BrokenBarrierError):
                barrier.wait(timeout=0.4)
            return real(*arguments, **named)

        return met

    for module, name in places:
        monkeypatch.setattr(module, name, meets(getattr(module, name)))


def test_a_contract_and_the_deletion_of_its_customer_are_never_both_done(
    any_ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_plan(any_ledger)
    save_customer(any_ledger, CUSTOMER, now=LONG_AGO)
    meeting(monkeypatch, (customer_delete, "refuse_in_use"), (contract_store, "_write"))
    assert sorted(outcomes(lambda: contract(any_ledger), lambda: delete(any_ledger))) == [False, True]


def test_a_contract_and_the_deletion_of_its_entity_are_never_both_done(
    any_ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_plan(any_ledger)
    save_entity(any_ledger, ENTITY, now=LONG_AGO)
    entity_id = ENTITY["entity_id"]
    meeting(monkeypatch, (entity_delete, "refuse_in_use"), (contract_store, "_write"))
    done = outcomes(
        lambda: contract(any_ledger, billing_entity=entity_id), lambda: delete_seller(any_ledger, entity_id)
    )
    assert sorted(done) == [False, True]


def test_a_quote_and_the_deletion_of_its_customer_are_never_both_done(
    any_ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_plan(any_ledger)
    save_customer(any_ledger, CUSTOMER, now=LONG_AGO)
    meeting(monkeypatch, (customer_delete, "refuse_in_use"), (quote_store, "canonical_json"))
    offer = lambda: save_quote(any_ledger, quote(), actor="a", now=at("2025-05-01"))  # noqa: E731
    assert sorted(outcomes(offer, lambda: delete(any_ledger))) == [False, True]


def test_a_payment_and_the_deletion_of_its_payer_are_never_both_done(
    any_ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_customer(any_ledger, CUSTOMER, now=LONG_AGO)
    meeting(monkeypatch, (customer_delete, "refuse_in_use"), (payment_store, "enter_payment"))
    paid = {"customer_id": "acme", "currency": "EUR", "amount": "1", "value_date": date(2026, 1, 1)}
    pay = lambda: record_payment(any_ledger, paid, source="api", actor="a", now=MAY)  # noqa: E731
    assert sorted(outcomes(pay, lambda: delete(any_ledger))) == [False, True]
