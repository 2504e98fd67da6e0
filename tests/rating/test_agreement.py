"""Goal: a contract's own price replaces exactly what it names, from its day, or is refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, select

from ingest.errors import InvalidDocument, NotFound
from ingest.meter_store import save_meter
from rating.agreement import NO_AGREEMENT, Agreement, agreed_plan
from rating.agreement_dates import agreements_by_day
from rating.agreement_store import get_agreement, load_agreements, load_segments
from rating.catalogue import contract_history, save_contract, save_contracts, save_price_plan
from rating.contract import Contract
from rating.tables import AGREEMENTS, CONTRACT_VERSIONS
from tests.rating.plans import METERS, plan, usage_charge

NOW = datetime(2026, 1, 1, 9, tzinfo=UTC)
PRICE = {"model": "per_unit", "unit_price": "0.12"}
CHEAP = {"model": "per_unit", "unit_price": "0.10"}
FEE = {"charge_id": "fee", "name": "Fee", "kind": "recurring", "price": {"model": "flat", "amount": "31"}}


def contract(**changes: Any) -> dict[str, Any]:
    return {
        "contract_id": "acme-1",
        "customer_id": "acme",
        "plan_id": "gold",
        "subjects": ["acme"],
        "start_date": "2026-01-01",
        "time_zone": "UTC",
        **changes,
    }


def override(charge_id: str = "calls", **changes: Any) -> dict[str, Any]:
    return {"charge_id": charge_id, **(changes or {"price": CHEAP})}


@pytest.fixture
def catalogue(ledger: Engine) -> Engine:
    for meter in METERS.values():
        save_meter(ledger, meter, now=NOW)
    save_price_plan(ledger, plan(usage_charge("calls", PRICE, maximum_amount="50"), FEE), now=NOW)
    return ledger


def issues(catalogue: Engine, **changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidDocument) as caught:
        save_contract(catalogue, contract(**changes), now=NOW)
    return [(issue.reason_code, issue.pointer) for issue in caught.value.issues]


@pytest.mark.requirement("CON-08")
def test_an_override_replaces_what_it_names_and_nothing_else() -> None:
    gold = plan(usage_charge("calls", PRICE, maximum_amount="50"), FEE)
    laid_over = agreed_plan(gold, Agreement.model_validate({"overrides": [override(free_units="10")]}))
    calls, fee = laid_over.charges
    assert (calls.price, calls.free_units, calls.maximum_amount) == (
        gold.charges[0].price,
        Decimal(10),
        Decimal(50),
    )
    assert fee == gold.charges[1]
    assert agreed_plan(gold, Agreement.model_validate({"overrides": [override("fax")]})) == gold


def test_what_is_agreed_changes_on_its_days() -> None:
    document = contract(
        overrides=[
            override(effective_from="2026-02-01", effective_until="2026-03-01", free_units="5"),
            override("fee", price={"model": "flat", "amount": "20"}, effective_until="2026-02-01"),
        ]
    )
    shown = [
        (day.isoformat(), [entry.charge_id for entry in agreement.overrides])
        for day, agreement in agreements_by_day(Contract.model_validate(document))
    ]
    assert shown == [("2026-01-01", ["fee"]), ("2026-02-01", ["calls"]), ("2026-03-01", [])]


def test_equal_agreements_are_kept_once(catalogue: Engine) -> None:
    documents = [contract(contract_id=f"c{number}", subjects=[], overrides=[override()]) for number in (1, 2)]
    save_contracts(catalogue, documents, now=NOW)
    save_contract(catalogue, contract(contract_id="plain", subjects=[]), now=NOW)
    with catalogue.connect() as connection:
        segments = load_segments(connection)
        assert list(segments) == ["c1", "c2"]
        (key,) = {segment.agreement_key for track in segments.values() for segment in track}
        assert list(load_agreements(connection, [key, NO_AGREEMENT])) == [key]
    assert get_agreement(catalogue, key).overrides[0].charge_id == "calls"
    assert get_agreement(catalogue, NO_AGREEMENT) == Agreement()
    with pytest.raises(NotFound, match="restore the ledger"):
        get_agreement(catalogue, "0" * 32)


def test_an_agreement_that_ended_is_still_there_for_its_lines(catalogue: Engine) -> None:
    save_contract(catalogue, contract(overrides=[override()]), now=NOW)
    save_contract(catalogue, contract(), now=NOW)
    with catalogue.connect() as connection:
        assert load_segments(connection) == {}
        assert len(connection.execute(select(AGREEMENTS)).all()) == 1


REFUSED: dict[str, tuple[Mapping[str, Any], tuple[str, str]]] = {
    "no such charge": (override("fax"), ("unknown_charge", "overrides[0].charge_id")),
    "nothing replaced": ({"charge_id": "calls"}, ("override_of_nothing", "overrides[0]")),
    "below zero": (
        override(price={"model": "per_unit", "unit_price": "-1"}),
        ("negative_number", "overrides[0].price.unit_price"),
    ),
    "tiers for a fee": (
        override("fee", price={"model": "volume", "tiers": [{"unit_price": "1"}]}),
        ("model_not_for_kind", "overrides[0].price.model"),
    ),
    "above the plan's maximum": (
        override(minimum_amount="60"),
        ("minimum_above_maximum", "overrides[0].minimum_amount"),
    ),
    "ends before it begins": (
        override(free_units="1", effective_from="2026-03-01", effective_until="2026-03-01"),
        ("end_not_after_start", "overrides[0].effective_until"),
    ),
    "before the contract": (
        override(free_units="1", effective_from="2025-12-31"),
        ("before_contract", "overrides[0].effective_from"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_override_that_cannot_be_is_refused_with_its_path(catalogue: Engine, name: str) -> None:
    given, expected = REFUSED[name]
    assert issues(catalogue, overrides=[given]) == [expected]
    with pytest.raises(NotFound):
        contract_history(catalogue, "acme-1")


def test_one_charge_is_overridden_once_a_day(catalogue: Engine) -> None:
    first = override(free_units="1", effective_until="2026-03-01")
    second = override(free_units="2", effective_from="2026-02-28")
    assert issues(catalogue, overrides=[first, second]) == [("override_overlaps", "overrides[1]")]
    second["effective_from"] = "2026-03-01"
    assert save_contract(catalogue, contract(overrides=[first, second]), now=NOW).created


def test_a_plan_version_that_breaks_an_override_is_refused(catalogue: Engine) -> None:
    volume = {"model": "volume", "tiers": [{"unit_price": "0.1"}]}
    save_contract(catalogue, contract(overrides=[override(price=volume)]), now=NOW)
    fee = {**FEE, "charge_id": "calls"}
    with pytest.raises(InvalidDocument) as caught:
        save_price_plan(catalogue, plan(FEE, fee, effective_from="2026-02-01"), now=NOW)
    (issue,) = caught.value.issues
    assert (issue.reason_code, issue.pointer) == ("override_broken", "charges[1]")
    assert "'acme-1'" in issue.message
    # A version that no longer has the charge at all leaves the override without effect.
    assert save_price_plan(catalogue, plan(FEE, effective_from="2026-02-01"), now=NOW).created


def test_a_contract_kept_before_overrides_existed_is_not_new_when_sent_again(catalogue: Engine) -> None:
    save_contract(catalogue, contract(), now=NOW)
    text = Contract.model_validate(contract()).model_dump_json(exclude={"overrides"})
    with catalogue.begin() as connection:
        connection.execute(
            CONTRACT_VERSIONS.update().values(document=text, document_hash="as it was hashed then")
        )
    assert contract_history(catalogue, "acme-1")[0].contract == Contract.model_validate(contract())
    saved = save_contract(catalogue, contract(), now=NOW)
    assert (saved.version, saved.created) == (1, False)
    assert save_contract(catalogue, contract(overrides=[override()]), now=NOW).version == 2


def test_the_dates_of_an_override_are_days_that_can_be_billed(catalogue: Engine) -> None:
    far = override(free_units="1", effective_until=date(9999, 1, 1))
    assert issues(catalogue, overrides=[far]) == [("date_out_of_range", "overrides[0].effective_until")]


def test_units_off_a_charge_do_not_go_with_a_matrix_of_the_contract(catalogue: Engine) -> None:
    """Each combination would get the units again, whether the contract or its plan gives them."""
    matrix = {
        "model": "matrix",
        "dimensions": ["region"],
        "cells": [{"match": {"region": "eu"}, "price": CHEAP}],
        "default": PRICE,
    }
    units = {"discount_id": "gift", "name": "Gift", "units": "100", "charge_ids": ["by-region"]}
    listed = plan(usage_charge("storage", PRICE, charge_id="by-region"), plan_id="regional")
    save_price_plan(catalogue, listed, now=NOW)
    changes = {"plan_id": "regional", "overrides": [override("by-region", price=matrix)]}
    assert save_contract(catalogue, contract(contract_id="fits", **changes), now=NOW)
    refused = issues(catalogue, **changes, discounts=[units])
    assert ("discount_of_units", "overrides[0].price") in refused
    giving = plan(usage_charge("storage", PRICE, charge_id="by-region"), plan_id="giving", discounts=[units])
    save_price_plan(catalogue, giving, now=NOW)
    assert ("discount_of_units", "overrides[0].price") in issues(
        catalogue, **{**changes, "plan_id": "giving"}
    )
