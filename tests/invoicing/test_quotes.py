"""Goal: a quote that is accepted is the contract, and who accepted what, when and from where is kept."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ingest.errors import Conflict, InvalidDocument, InvalidInput, NotFound
from ingest.ledger import ledger_transaction
from invoicing.audit_trail import AuditFilter, list_entries
from invoicing.audit_verify import verify_books
from invoicing.payer_rules import contract_issues
from invoicing.quote import Acceptance
from invoicing.quote_accept import accept_quote
from invoicing.quote_store import StoredQuote, get_quote, list_quotes, save_quote
from invoicing.special_invoice_store import SpecialFilter, list_special_invoices
from rating.contract_store import contract_history, get_contract, save_contract
from tests.invoicing.test_credit_note_store import credit
from tests.invoicing.test_special_invoices import issue, proved, site
from tests.invoicing.world import World, at

MAY = "2025-05-02T10:00"


def quote(**changes: Any) -> dict[str, Any]:
    contract = {
        "contract_id": "plant",
        "customer_id": "acme",
        "plan_id": "gold",
        "start_date": "2025-05-01",
        "time_zone": "UTC",
        **changes.pop("contract", {}),
    }
    return {
        "quote_id": "q1",
        "customer_id": "acme",
        "title": "Plant in Hamburg",
        "contract": contract,
        "lines": [{"description": "Plant", "amount": "1000.00"}],
        "terms_version": "2025-01",
        "valid_until": "2025-05-31",
        **changes,
    }


def save(world: World, **changes: Any) -> StoredQuote:
    save_quote(world.ledger, quote(**changes), actor="sales", now=at("2025-05-01"))
    return get_quote(world.ledger, "q1", now=at(MAY))


def accept(world: World, digest: str, now: str = MAY, **changes: Any) -> StoredQuote:
    acceptance = Acceptance.model_validate(
        {
            "name": "Ada Miller",
            "document_hash": digest,
            "terms_version": "2025-01",
            "ip_address": "203.0.113.7",
            **changes,
        }
    )
    return accept_quote(world.ledger, "q1", acceptance, seller=None, actor="portal", now=at(now))


@pytest.mark.requirement("CON-11")
@pytest.mark.requirement("CON-21")
@pytest.mark.requirement("CON-17")
@pytest.mark.requirement("POR-05")
def test_an_accepted_quote_is_the_contract_and_asks_for_its_deposit(any_world: World) -> None:
    world = site(any_world)
    offered = save(world, deposit_percent="30")
    assert (offered.state, offered.version) == ("open", 1)
    with pytest.raises(NotFound):
        get_contract(world.ledger, "plant")
    stored = accept(world, offered.document_hash)
    accepted = stored.accepted
    assert stored.state == "accepted"
    assert accepted is not None
    assert (accepted.name, accepted.ip_address, accepted.document_hash, accepted.terms_version) == (
        "Ada Miller",
        "203.0.113.7",
        offered.document_hash,
        "2025-01",
    )
    assert accepted.accepted_at.startswith("2025-05-02T10:00:00")
    contract = get_contract(world.ledger, "plant")
    assert (contract.signed_by, contract.signed_on) == ("Ada Miller", date(2025, 5, 2))
    [deposit] = list_special_invoices(world.ledger, SpecialFilter(), limit=10)
    assert (deposit.kind, deposit.project, deposit.net_minor, deposit.tax_minor) == (
        "deposit",
        "q1",
        30000,
        5700,
    )
    assert accept(world, offered.document_hash, now="2025-05-03") == stored  # again: nothing more
    final = issue(world, "final", "1000.00", contract_id="plant", project="q1", on="2025-06-30")
    assert (final.summary.net_minor, final.summary.tax_minor) == (70000, 13300)
    entries = list_entries(world.ledger, chosen=AuditFilter(object_kind="quote"), limit=10)
    assert {(entry.action, entry.actor) for entry in entries} == {("saved", "sales"), ("accepted", "portal")}
    proved(world)
    assert verify_books(world.ledger).broken == ()
    for table in ("quotes", "quote_acceptances"):
        with pytest.raises(DBAPIError, match="never changes"), ledger_transaction(world.ledger) as writing:
            writing.execute(text(f"DELETE FROM {table}"))


@pytest.mark.requirement("CON-11")
def test_a_later_edit_is_a_new_version_that_is_accepted_again(world: World) -> None:
    site(world)
    first = save(world)
    accept(world, first.document_hash)
    edited = save(world, contract={"note": "with a second crane"})
    assert (edited.version, edited.state, edited.accepted) == (2, "open", None)
    assert get_contract(world.ledger, "plant").note == ""
    with pytest.raises(Conflict) as caught:
        accept(world, first.document_hash)
    assert caught.value.reason_code == "quote_changed"
    accept(world, edited.document_hash)
    assert get_contract(world.ledger, "plant").note == "with a second crane"
    assert [version.version for version in contract_history(world.ledger, "plant")] == [1, 2]
    assert not save_quote(
        world.ledger, quote(contract={"note": "with a second crane"}), actor="sales", now=at(MAY)
    ).created
    assert [one.version for one in list_quotes(world.ledger, customer_id="acme", now=at(MAY), limit=10)] == [
        2
    ]


@pytest.mark.requirement("CON-11")
def test_an_edit_of_something_else_does_not_ask_for_the_deposit_again(world: World) -> None:
    """A voided deposit and another deposit are asked for; the same one is not, whatever else was changed."""
    site(world)

    def deposits() -> list[int]:
        found = list_special_invoices(world.ledger, SpecialFilter(), limit=10)
        return [one.net_minor for one in reversed(found)]

    accept(world, save(world, deposit_percent="30").document_hash)
    accept(world, save(world, deposit_percent="30", title="Plant, Hamburg").document_hash)
    assert deposits() == [30000]
    credit(world, "DEP-2025-000001", now=at("2025-05-03"))
    again = save(world, deposit_percent="30", title="Plant").document_hash
    accept(world, again, now="2025-05-04")
    assert deposits() == [30000, 30000]
    accept(world, again, now="2025-05-05")
    accept(world, save(world, deposit_percent="50").document_hash, now="2025-05-05")
    assert deposits() == [30000, 30000, 50000]
    proved(world)


@pytest.mark.requirement("CON-21")
def test_without_the_acknowledgement_there_is_no_contract(world: World) -> None:
    site(world, require_acknowledged_terms=True)
    offered = save(world)
    for terms in ("", "2024-01"):
        with pytest.raises(InvalidInput) as refused:
            accept(world, offered.document_hash, terms_version=terms)
        assert refused.value.reason_code == "terms_not_acknowledged"
    directly = quote()["contract"]
    with pytest.raises(InvalidDocument) as caught:
        save_contract(world.ledger, directly, now=at(MAY), further_rules=contract_issues)
    assert [one.reason_code for one in caught.value.issues] == ["terms_not_acknowledged"]
    accept(world, offered.document_hash)
    save_contract(world.ledger, {**directly, "note": "new"}, now=at(MAY), further_rules=contract_issues)
    bare = save(world, terms_version="", contract={"contract_id": "other"})
    with pytest.raises(InvalidDocument):
        accept(world, bare.document_hash, terms_version="")
    assert get_quote(world.ledger, "q1", now=at(MAY)).accepted is None  # nothing was accepted


def test_what_cannot_be_accepted_is_refused(world: World) -> None:
    site(world)
    offered = save(world)
    with pytest.raises(Conflict) as caught:
        accept(world, offered.document_hash, now="2025-06-01")
    assert caught.value.reason_code == "quote_expired"
    assert get_quote(world.ledger, "q1", now=at("2025-06-01")).state == "expired"
    accept(world, offered.document_hash)
    with pytest.raises(Conflict) as other:
        accept(world, offered.document_hash, name="Bob")
    assert other.value.reason_code == "quote_accepted"
    with pytest.raises(InvalidDocument):
        save(world, contract={"customer_id": "globex"})
    with pytest.raises(InvalidDocument):
        save(world, deposit_percent="0")
    with pytest.raises(NotFound):
        get_quote(world.ledger, "q2", now=at(MAY))
