"""Goal: systems send what they know of a customer; each record is kept, one customer comes of them, and a
disagreement is a list entry, never a silent overwrite."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine

from ingest.document import canonical_json
from ingest.errors import Conflict, InvalidDocument, InvalidInput, NotFound
from ingest.ledger import MIGRATIONS, default_ledger_url, open_ledger
from invoicing.customer import Customer
from invoicing.customer_store import get_customer, save_customer, save_customers
from invoicing.customer_sync import SyncedRecord, forget_record, get_record, save_sources, sync_records
from invoicing.customer_view import get_sources, list_conflicts, records_of_customer
from tests.invoicing.world import at

ACME = {"customer_id": "acme", "name": "Acme", "email": "billing@acme.example", "country": "DE"}
DAY = [at(f"2026-01-0{day}") for day in range(1, 9)]


def sync(ledger: Engine, system: str, day: int, **record: Any) -> SyncedRecord:
    return sync_records(ledger, system, [record], now=DAY[day])[0]


def codes(error: pytest.ExceptionInfo[InvalidDocument]) -> list[tuple[str, str]]:
    return [(issue.reason_code, issue.pointer) for issue in error.value.issues]


@pytest.mark.requirement("AUD-04")
def test_systems_disagree_and_the_source_of_truth_decides_by_field(any_ledger: Engine) -> None:
    save_customer(any_ledger, ACME, now=DAY[0])
    made = sync(any_ledger, "crm", 1, external_id="4711", customer_id="acme", name="ACME GmbH", country="DE")
    assert (made.outcome, made.customer_id, made.version, made.conflicts) == ("created", "acme", 2, ("name",))
    sync(any_ledger, "accounting", 2, external_id="D-9", customer_id="acme", email="ap@acme.example")
    stored = get_customer(any_ledger, "acme")
    assert (stored.customer.name, stored.customer.email) == ("Acme", "billing@acme.example")
    assert stored.customer.external_ids == {"crm": "4711", "accounting": "D-9"}

    saved = save_sources(any_ledger, {"fields": {"email": ["accounting", "crm"]}}, now=DAY[3])
    assert (saved.version, saved.created) == (1, True)
    assert get_customer(any_ledger, "acme").customer.email == "ap@acme.example"
    found = list_conflicts(any_ledger, limit=10)
    shown = [(one.customer_id, one.in_force.field, one.in_force.system, one.in_force.why) for one in found]
    assert shown == [
        ("acme", "email", "accounting", "source_of_truth"),
        ("acme", "name", "direct", "entered_directly"),
    ]
    assert [(one.system, one.value, one.since[:10]) for one in found[0].in_force.claims] == [
        ("accounting", "ap@acme.example", "2026-01-03"),
        ("direct", "billing@acme.example", "2026-01-01"),
    ]
    assert list_conflicts(any_ledger, limit=1) == found[:1]
    assert list_conflicts(any_ledger, limit=9, after=("acme", "email")) == found[1:]
    assert list_conflicts(any_ledger, limit=9, customer_id="globex") == []

    # The accounting system comes round: the conflict ends by itself.
    sync(any_ledger, "accounting", 4, external_id="D-9", email="billing@acme.example")
    assert [one.in_force.field for one in list_conflicts(any_ledger, limit=9)] == ["name"]


def test_what_is_sent_again_changes_nothing(ledger: Engine) -> None:
    first = sync(ledger, "crm", 1, external_id="4711", customer_id="acme", name="Acme")
    again = sync(ledger, "crm", 2, external_id="4711", customer_id="acme", name="Acme")
    brief = sync(ledger, "crm", 3, external_id="4711", name="Acme")
    assert [one.outcome for one in (first, again, brief)] == ["created", "unchanged", "unchanged"]
    assert brief.version == 1
    record = get_record(ledger, "crm", "4711")
    assert (record.changed_at[:10], record.claim.told_at[:10]) == ("2026-01-02", "2026-01-02")
    assert save_sources(ledger, {"default": ["crm"]}, now=DAY[2]).created
    assert save_sources(ledger, {"default": ["crm"]}, now=DAY[3]).created is False
    assert (get_sources(ledger).version, get_sources(ledger).sources.default) == (1, ("crm",))


def test_a_record_is_kept_as_it_was_sent(ledger: Engine) -> None:
    sync(ledger, "crm", 1, external_id="4711", customer_id="acme", name="Acme", more={"owner": "Jo"})
    kept = json.loads(get_record(ledger, "crm", "4711").document)
    assert (kept["name"], kept["more"], kept["email"]) == ("Acme", {"owner": "Jo"}, "")
    with pytest.raises(NotFound, match="sent nothing"):
        get_record(ledger, "psa", "4711")


def test_what_is_entered_directly_is_one_record_beside_the_others(ledger: Engine) -> None:
    save_sources(ledger, {"fields": {"email": ["crm"]}}, now=DAY[0])
    sync(ledger, "crm", 1, external_id="4711", customer_id="acme", name="Acme", email="crm@acme.example")
    saved = save_customer(ledger, ACME, now=DAY[2])
    assert (saved.created, [issue.pointer for issue in saved.warnings]) == (True, ["email"])
    customer = get_customer(ledger, "acme").customer
    assert (customer.email, customer.country) == ("crm@acme.example", "DE")
    assert customer.external_ids == {"crm": "4711"}
    assert save_customer(ledger, ACME, now=DAY[3]).created is False
    records = records_of_customer(ledger, "acme")
    assert [(one.claim.system, one.claim.external_id) for one in records.records] == [
        ("crm", "4711"),
        ("direct", "acme"),
    ]


def test_one_external_id_of_a_system_belongs_to_one_customer(any_ledger: Engine) -> None:
    save_customers(
        any_ledger,
        [ACME | {"external_ids": {"psa": "P1"}}, ACME | {"customer_id": "globex", "name": "Globex"}],
        now=DAY[0],
    )
    sync(any_ledger, "crm", 1, external_id="4711", customer_id="acme", name="Acme")
    with pytest.raises(Conflict, match="belongs to customer 'acme'") as caught:
        sync(any_ledger, "crm", 2, external_id="4711", customer_id="globex")
    assert caught.value.reason_code == "external_id_taken"
    with pytest.raises(Conflict, match="belongs to customer 'acme'"):
        save_customer(
            any_ledger,
            ACME | {"customer_id": "globex", "name": "Globex", "external_ids": {"crm": "4711"}},
            now=DAY[2],
        )
    assert get_customer(any_ledger, "globex").customer.external_ids == {}
    # And a customer has one key in a system, whoever says so.
    for system, external_id in (("crm", "4712"), ("psa", "P2")):
        with pytest.raises(InvalidDocument) as refused:
            sync(any_ledger, system, 3, external_id=external_id, customer_id="acme")
        assert codes(refused) == [("system_has_other_id", "[0].external_id")]
    with pytest.raises(InvalidDocument) as refused:
        save_customer(any_ledger, ACME | {"external_ids": {"crm": "4712"}}, now=DAY[3])
    assert codes(refused) == [("system_has_other_id", "external_ids.crm")]
    # Whose the key is was entered directly: the system need not say it.
    assert sync(any_ledger, "psa", 4, external_id="P1", tax_id="DE123").customer_id == "acme"


def test_an_external_id_moves_when_it_is_taken_off(ledger: Engine) -> None:
    save_customers(ledger, [ACME, ACME | {"customer_id": "globex"}], now=DAY[0])
    sync(ledger, "crm", 1, external_id="4711", customer_id="acme", tax_id="DE1")
    assert get_customer(ledger, "acme").customer.tax_id == "DE1"
    assert forget_record(ledger, "crm", "4711", now=DAY[2]).version == 3
    acme = get_customer(ledger, "acme").customer
    assert (acme.tax_id, acme.external_ids) == ("", {})
    assert sync(ledger, "crm", 3, external_id="4711", customer_id="globex").customer_id == "globex"
    with pytest.raises(NotFound):
        forget_record(ledger, "direct", "acme", now=DAY[4])


def test_a_customer_keeps_a_name(ledger: Engine) -> None:
    with pytest.raises(InvalidDocument) as refused:
        sync(ledger, "crm", 0, external_id="4711", customer_id="new", country="DE")
    assert codes(refused) == [("name_missing", "[0].name")]
    sync(ledger, "crm", 1, external_id="4711", customer_id="new", name="New")
    with pytest.raises(InvalidDocument):
        sync(ledger, "crm", 2, external_id="4711", country="DE")
    with pytest.raises(Conflict, match="without a name"):
        forget_record(ledger, "crm", "4711", now=DAY[3])
    assert get_customer(ledger, "new").version == 1


def test_all_records_of_a_request_or_none(ledger: Engine) -> None:
    good = {"external_id": "1", "customer_id": "one", "name": "One"}
    cases: list[tuple[list[dict[str, Any]], list[tuple[str, str]]]] = [
        ([good, {"external_id": "2"}], [("customer_not_named", "[1].customer_id")]),
        ([good, good], [("external_id_twice", "[1].external_id")]),
        ([good, {**good, "external_id": "2"}], [("system_has_other_id", "[1].external_id")]),
        (
            [good, {"external_id": "2", "country": "XX"}, {"external_id": "3", "phone": "1"}],
            [("unknown_country", "[1].country"), ("extra_forbidden", "[2].phone")],
        ),
    ]
    for documents, expected in cases:
        with pytest.raises(InvalidDocument) as refused:
            sync_records(ledger, "crm", documents, now=DAY[0])
        assert codes(refused) == expected
        with pytest.raises(NotFound):
            get_customer(ledger, "one")
    with pytest.raises(InvalidInput, match="cannot be the name of a system"):
        sync_records(ledger, "direct", [good], now=DAY[0])


def test_many_customers_follow_new_sources(any_ledger: Engine) -> None:
    save_customers(any_ledger, [ACME | {"customer_id": f"c{n}"} for n in range(30)], now=DAY[0])
    records = [
        {"external_id": str(n), "customer_id": f"c{n}", "email": f"crm{n}@x.example"} for n in range(0, 30, 2)
    ]
    assert {one.outcome for one in sync_records(any_ledger, "crm", records, now=DAY[1])} == {"created"}
    save_sources(any_ledger, {"default": ["crm"]}, now=DAY[2])
    emails = [get_customer(any_ledger, f"c{n}").customer.email for n in range(30)]
    expected = ["billing@acme.example" if n % 2 else f"crm{n}@x.example" for n in range(30)]
    assert emails == expected
    assert len(list_conflicts(any_ledger, limit=100)) == 15


@pytest.mark.requirement("AUD-04")
@pytest.mark.parametrize("seed", range(3))
def test_any_history_of_records_gives_what_a_plain_model_gives(ledger: Engine, seed: int) -> None:
    """Entered, sent, sent again, forgotten and re-ranked in any order, refusals included: the customer in
    force and the list of conflicts are those of a dictionary that knows only the last word of each system."""
    dice = Random(seed)
    model = Model()
    for number in range(60):
        system = dice.choice(["direct", "crm", "psa", "erp"])
        said = {"name": dice.choice("AB"), "tax_id": dice.choice(["", "1", "2"])}
        step, now = dice.choice(["say", "say", "say", "forget", "rank"]), DAY[0] + timedelta(minutes=number)
        try:
            if step == "rank":
                order = dice.sample(["direct", "crm", "psa", "erp"], dice.randrange(4))
                save_sources(ledger, {"fields": {"tax_id": order}}, now=now)
                model.order = order
            elif step == "forget":
                forget_record(ledger, system, f"{system}-1", now=now)
                del model.said[system]
            elif system == "direct":
                save_customer(ledger, {"customer_id": "acme", **said}, now=now)
                model.say(system, said)
            else:
                record = {"external_id": f"{system}-1", "customer_id": "acme", **said}
                sync_records(ledger, system, [record], now=now)
                model.say(system, said)
        except (NotFound, Conflict):
            assert step == "forget"
            assert system == "direct" or system not in model.said or len(model.said) == 1
        if model.said:
            customer = get_customer(ledger, "acme").customer
            assert (customer.name, customer.tax_id) == (model.in_force("name"), model.in_force("tax_id"))
            assert set(customer.external_ids) == set(model.said) - {"direct"}
            found = list_conflicts(ledger, limit=10)
            assert [one.in_force.field for one in found] == model.conflicts()


class Model:
    """What each system said last, in the order in which they first spoke."""

    def __init__(self) -> None:
        self.said: dict[str, dict[str, str]] = {}
        self.order: list[str] = []

    def say(self, system: str, said: dict[str, str]) -> None:
        self.said[system] = said

    def in_force(self, field: str) -> str:
        order = self.order if field == "tax_id" else []
        for system in [*order, "direct", *self.said]:
            value = self.said.get(system, {}).get(field)
            if value:
                return value
        return ""

    def conflicts(self) -> list[str]:
        values = {
            field: {said[field] for said in self.said.values() if said[field]} for field in ("name", "tax_id")
        }
        return sorted(field for field, different in values.items() if len(different) > 1)


def test_a_ledger_from_before_keeps_its_external_ids(data_folder: Path) -> None:
    """Of two customers that named the same id, which was allowed, the first has it; the other hears of it
    when it is saved next."""
    url = default_ledger_url(data_folder)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    old = create_engine(url)
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0090")
        for customer_id in ("acme", "globex"):
            document = canonical_json(Customer(customer_id=customer_id, name="X", external_ids={"crm": "7"}))
            row = (customer_id, 1, document, "hash", "2026-01-01", "2026-01-01")
            connection.exec_driver_sql("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)", row)
    old.dispose()
    ledger = open_ledger(url)
    assert (
        sync_records(ledger, "crm", [{"external_id": "7", "tax_id": "1"}], now=DAY[0])[0].customer_id
        == "acme"
    )
    with pytest.raises(Conflict, match="belongs to customer 'acme'"):
        save_customer(
            ledger, {"customer_id": "globex", "name": "X", "external_ids": {"crm": "7"}}, now=DAY[1]
        )
    ledger.dispose()
