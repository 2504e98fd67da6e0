"""Goal: price plans are saved as versions that never change, all of a document or nothing of it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from hashlib import sha256

import pytest
from sqlalchemy import Engine, select, update

from ingest.errors import InvalidDocument, NotFound
from ingest.ledger import ledger_transaction
from ingest.meter_store import save_meter
from rating.catalogue import (
    get_plan_in_force,
    get_plan_version,
    list_plan_versions,
    load_plan_versions,
    save_price_plan,
)
from rating.tables import PRICE_PLAN_VERSIONS
from tests.rating.plans import METERS, plan, usage_charge

NOW = datetime(2026, 1, 1, 9, tzinfo=UTC)


@pytest.fixture
def catalogue(ledger: Engine) -> Engine:
    for meter in METERS.values():
        save_meter(ledger, meter, now=NOW)
    return ledger


def per_call(price: str) -> dict[str, object]:
    return usage_charge("calls", {"model": "per_unit", "unit_price": price})


def test_a_plan_is_saved_and_read_back(catalogue: Engine) -> None:
    saved = save_price_plan(catalogue, plan(per_call("0.12")), now=NOW)
    assert (saved.key, saved.version, saved.created) == ("gold", 1, True)
    assert get_plan_version(catalogue, "gold").plan == plan(per_call("0.12"))


def test_the_same_document_again_makes_no_version(catalogue: Engine) -> None:
    first = save_price_plan(catalogue, plan(per_call("0.12")), now=NOW)
    later = save_price_plan(catalogue, plan(per_call("0.15"), effective_from="2026-02-01"), now=NOW)
    again = save_price_plan(catalogue, plan(per_call("0.120")), now=NOW)
    assert [first.version, later.version, again.version] == [1, 2, 1]
    assert not again.created
    assert len(list_plan_versions(catalogue, "gold")) == 2


def test_going_back_to_an_earlier_price_for_the_same_date_is_a_new_version(catalogue: Engine) -> None:
    for price in ("0.12", "0.15", "0.12"):
        saved = save_price_plan(catalogue, plan(per_call(price)), now=NOW)
    assert (saved.version, saved.created) == (3, True)


@pytest.mark.requirement("CON-05")
def test_the_version_in_force_changes_on_its_date(catalogue: Engine) -> None:
    save_price_plan(catalogue, plan(per_call("0.12")), now=NOW)
    save_price_plan(catalogue, plan(per_call("0.15"), effective_from="2026-02-16"), now=NOW)
    save_price_plan(catalogue, plan(per_call("0.16"), effective_from="2026-02-16"), now=NOW)
    table = {"2026-01-01": 1, "2026-02-15": 1, "2026-02-16": 3, "2027-01-01": 3}
    for day, version in table.items():
        assert get_plan_in_force(catalogue, "gold", on=date.fromisoformat(day)).version == version
    with pytest.raises(NotFound, match="no version in force on 2025-12-31"):
        get_plan_in_force(catalogue, "gold", on=date(2025, 12, 31))


def test_a_broken_document_reports_everything_and_saves_nothing(catalogue: Engine) -> None:
    broken = plan(usage_charge("fax", {"model": "per_unit", "unit_price": "-1"}), currency="XYZ")
    with pytest.raises(InvalidDocument) as refused:
        save_price_plan(catalogue, broken, now=NOW)
    assert {issue.pointer for issue in refused.value.issues} == {
        "currency",
        "charges[0].meter_id",
        "charges[0].price.unit_price",
    }
    assert load_plan_versions(catalogue) == ()


def test_a_mapping_is_read_like_a_model(catalogue: Engine) -> None:
    with pytest.raises(InvalidDocument, match="unit_price"):
        save_price_plan(catalogue, {"plan_id": "x", "charges": [{"price": {"model": "per_unit"}}]}, now=NOW)
    document = plan(per_call("0.12")).model_dump(mode="json")
    assert save_price_plan(catalogue, document, now=NOW).created


def test_a_plan_keeps_its_currency(catalogue: Engine) -> None:
    save_price_plan(catalogue, plan(per_call("0.12")), now=NOW)
    with pytest.raises(InvalidDocument, match="currency_changed"):
        save_price_plan(catalogue, plan(per_call("0.12"), currency="USD"), now=NOW)


def test_a_plan_kept_by_an_earlier_release_is_still_the_same_document(catalogue: Engine) -> None:
    """It has no word of the fields that came later: what they default to is what it always meant."""
    document = plan(per_call("0.12"))
    save_price_plan(catalogue, document, now=NOW)
    table = PRICE_PLAN_VERSIONS
    with ledger_transaction(catalogue) as connection:
        (text,) = connection.execute(select(table.c.document)).scalars()
        older = json.loads(text)
        for charge in older["charges"]:
            del charge["zero_usage"]
        connection.execute(
            update(table).values(document=json.dumps(older), document_hash=sha256(b"older").hexdigest())
        )
    assert get_plan_version(catalogue, "gold").plan.charges[0].zero_usage == "skip"
    assert not save_price_plan(catalogue, document, now=NOW).created
    assert save_price_plan(catalogue, plan(per_call("0.13")), now=NOW).created
