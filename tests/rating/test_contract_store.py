"""Goal: contracts keep every version, answer flat tables quickly, and refuse to bill usage twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Engine

from ingest.errors import InvalidDocument, Issue, NotFound
from ingest.meter_store import save_meter
from rating import contract_columns
from rating.catalogue import (
    contract_history,
    get_contract,
    load_contract_subjects,
    load_contracts,
    save_contract,
    save_contracts,
    save_price_plan,
)
from rating.contract import Contract
from rating.tables import CONTRACT_SUBJECTS, CONTRACTS
from tests.rating.plans import METERS, plan, rows_of, usage_charge

NOW = datetime(2026, 1, 1, 9, tzinfo=UTC)
PRICE = {"model": "per_unit", "unit_price": "1"}


@pytest.fixture
def catalogue(ledger: Engine) -> Engine:
    for meter in METERS.values():
        save_meter(ledger, meter, now=NOW)
    save_price_plan(ledger, plan(usage_charge("calls", PRICE), plan_id="phone"), now=NOW)
    save_price_plan(ledger, plan(usage_charge("calls", PRICE), plan_id="phone-plus"), now=NOW)
    save_price_plan(ledger, plan(usage_charge("hours", PRICE), plan_id="work"), now=NOW)
    return ledger


def document(**changes: Any) -> dict[str, Any]:
    return {
        "contract_id": "acme-1",
        "customer_id": "acme",
        "plan_id": "phone",
        "subjects": ["acme-eu", "acme-us"],
        "start_date": "2026-01-15",
        "time_zone": "Europe/Berlin",
        **changes,
    }


@pytest.mark.requirement("CON-01")
def test_a_contract_holds_the_whole_agreement(catalogue: Engine) -> None:
    agreed = document(
        end_date="2027-01-15",
        billing={"cadence": "quarterly", "anchor_date": "2026-01-01"},
        terms={"payment_days": 14, "late_payment": "8 % a year", "purchase_order": "PO 77"},
        signed_by="A. Person",
        signed_on="2026-01-10",
        note="renews by hand",
    )
    assert save_contract(catalogue, agreed, now=NOW).created
    kept = get_contract(catalogue, "acme-1")
    assert kept == Contract.model_validate(agreed)
    assert (kept.terms.payment_days, kept.terms.purchase_order, kept.signed_by) == (14, "PO 77", "A. Person")


def test_flat_tables_hold_the_newest_version(catalogue: Engine) -> None:
    save_contract(catalogue, document(), now=NOW)
    save_contract(catalogue, document(contract_id="b", subjects=["b"], plan_id="work"), now=NOW)
    save_contract(catalogue, document(end_date="2026-07-01", subjects=["acme-eu"]), now=NOW)
    first = load_contracts(catalogue).to_pylist()[0]
    assert first == {
        "contract_id": "acme-1",
        "version": 2,
        "customer_id": "acme",
        "plan_id": "phone",
        "start_date": date(2026, 1, 15),
        "end_date": date(2026, 7, 1),
        "time_zone": "Europe/Berlin",
        "cadence": "monthly",
        "anchor_date": date(2026, 1, 15),
    }
    assert load_contract_subjects(catalogue).to_pylist() == [
        {"contract_id": "acme-1", "subject": "acme-eu"},
        {"contract_id": "b", "subject": "b"},
    ]
    assert load_contracts(catalogue, ["b", "nobody"])["contract_id"].to_pylist() == ["b"]
    assert load_contract_subjects(catalogue, ["b"])["subject"].to_pylist() == ["b"]


def test_an_empty_ledger_gives_empty_tables(catalogue: Engine) -> None:
    assert load_contracts(catalogue).num_rows == 0
    assert load_contract_subjects(catalogue, ["x"]).num_rows == 0
    with pytest.raises(NotFound, match="'x'"):
        get_contract(catalogue, "x")


def test_saving_again_makes_a_version_only_for_a_change(catalogue: Engine) -> None:
    outcomes = [save_contract(catalogue, document(note=note), now=NOW) for note in ("", "", "new")]
    assert [(saved.version, saved.created) for saved in outcomes] == [(1, True), (1, False), (2, True)]
    assert [entry.contract.note for entry in contract_history(catalogue, "acme-1")] == ["", "new"]


@pytest.mark.parametrize(
    ("changes", "reason_code", "pointer"),
    [
        ({"end_date": "2026-01-15"}, "end_not_after_start", "end_date"),
        ({"time_zone": "Europe/Atlantis"}, "unknown_time_zone", "time_zone"),
        ({"plan_id": "silver"}, "unknown_plan", "plan_id"),
        ({"start_date": "2025-12-31"}, "plan_not_effective", "start_date"),
        ({"subjects": ["a", "b", "a"]}, "subject_twice", "subjects[2]"),
        ({"subjects": [""]}, "empty_subject", "subjects[0]"),
        ({"start_date": "9999-12-31"}, "date_out_of_range", "start_date"),
        ({"end_date": "2200-01-01"}, "date_out_of_range", "end_date"),
        ({"billing": {"anchor_date": "1969-12-31"}}, "date_out_of_range", "billing.anchor_date"),
    ],
)
def test_rules_name_the_path(
    catalogue: Engine, changes: dict[str, Any], reason_code: str, pointer: str
) -> None:
    with pytest.raises(InvalidDocument) as refused:
        save_contract(catalogue, document(**changes), now=NOW)
    assert [(issue.reason_code, issue.pointer) for issue in refused.value.issues] == [(reason_code, pointer)]
    assert load_contracts(catalogue).num_rows == 0


@pytest.mark.parametrize(
    ("other", "refused"),
    [
        ({"plan_id": "phone"}, True),
        ({"plan_id": "phone-plus"}, True),
        ({"plan_id": "work"}, False),
        ({"plan_id": "work", "phases": [{"plan_id": "phone", "effective_from": "2027-01-01"}]}, False),
        ({"plan_id": "work", "phases": [{"plan_id": "phone", "effective_from": "2026-12-31"}]}, True),
        ({"start_date": "2027-01-01"}, False),
        ({"start_date": "2026-12-31"}, True),
        ({"start_date": "2026-01-02", "end_date": "2026-01-15"}, False),
        ({"start_date": "2026-01-02", "end_date": "2026-01-16"}, True),
        # the same local day starts earlier in the east: Tokyo is 8 hours ahead of Berlin
        ({"start_date": "2027-01-01", "time_zone": "Asia/Tokyo"}, True),
        ({"start_date": "2027-01-01", "time_zone": "America/New_York"}, False),
        ({"start_date": "2026-01-02", "end_date": "2026-01-15", "time_zone": "Asia/Tokyo"}, False),
        ({"start_date": "2026-01-02", "end_date": "2026-01-15", "time_zone": "America/New_York"}, True),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_subject_is_never_billed_twice(
    catalogue: Engine, other: dict[str, Any], refused: bool, together: bool
) -> None:
    first = document(end_date="2027-01-01")
    second = document(contract_id="acme-2", subjects=["acme-us"], **other)
    calls = [[first, second]] if together else [[first], [second]]
    if not refused:
        for call in calls:
            save_contracts(catalogue, call, now=NOW)
        assert load_contracts(catalogue).num_rows == 2
        return
    for call in calls[:-1]:
        save_contracts(catalogue, call, now=NOW)
    with pytest.raises(InvalidDocument, match="subject_billed_twice"):
        save_contracts(catalogue, calls[-1], now=NOW)
    assert load_contracts(catalogue).num_rows == (0 if together else 1)


def test_any_text_is_loaded_as_it_was_saved(catalogue: Engine) -> None:
    """Separators, quotes, control characters and every plane of Unicode; sorted by bytes."""
    subjects = [
        'a","b',
        "a\\",
        "a\x00b",
        "a\x1fb\x7f",
        "tab\tline\n.",
        "\u2028",
        "żółw",
        "\U0001f41f",
        "\ufeffx",
    ]
    save_contract(catalogue, document(contract_id="z", subjects=["z"]), now=NOW)
    save_contract(catalogue, document(subjects=subjects), now=NOW)
    want = [("acme-1", text) for text in sorted(subjects, key=str.encode)] + [("z", "z")]
    assert rows_of(load_contract_subjects(catalogue), ["contract_id", "subject"]) == want
    assert load_contract_subjects(catalogue).equals(load_contract_subjects(catalogue, ["z", "acme-1"]))


def test_the_whole_table_equals_the_named_rows(catalogue: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in windows, with gaps where contracts were replaced; and by rows, as other databases do."""
    monkeypatch.setattr(contract_columns, "_ROWS_PER_WINDOW", 4)
    documents = [document(contract_id=f"c{i * 7 % 30:02}", subjects=[f"s{i}"]) for i in range(30)]
    documents[3]["end_date"] = "2026-07-01"
    save_contracts(catalogue, documents, now=NOW)
    for i in (0, 9, 11):
        save_contract(catalogue, {**documents[i], "plan_id": "work"}, now=NOW)
    ids = [str(entry["contract_id"]) for entry in documents]
    for load, stored in ((load_contracts, CONTRACTS), (load_contract_subjects, CONTRACT_SUBJECTS)):
        named = load(catalogue, ids)
        assert named.num_rows == 30
        assert load(catalogue).equals(named)
        with catalogue.connect() as connection:
            by_rows = contract_columns._row_columns(connection, stored)
        whole = contract_columns._sorted(contract_columns.columns_table(by_rows, named.schema), stored)
        assert whole.equals(named)


@given(
    st.lists(st.one_of(st.text(st.sampled_from('",[]\\ an\x00\u2028ł'), max_size=4), st.none()), max_size=6)
)
@example(["null", None])
@example(["", "", ","])
@example([None, "a"])
def test_texts_are_cut_as_a_parser_reads_them(values: list[str | None]) -> None:
    written = orjson.dumps(values).decode()
    assert contract_columns.json_array(written, pa.string()).equals(pa.array(values, pa.string()))


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, True),
        ({"plan_id": "phone"}, False),  # its own plan keeps its meters
        ({"start_date": "2027-01-01"}, False),
        ({"subjects": ["nobody-else"]}, False),
    ],
)
def test_a_plan_version_may_not_add_a_meter_its_subjects_pay_elsewhere(
    catalogue: Engine, changes: dict[str, Any], refused: bool
) -> None:
    """Plan work priced hours; acme-us pays for calls on plan phone already."""
    save_contract(catalogue, document(end_date="2027-01-01"), now=NOW)
    working = {"contract_id": "acme-2", "plan_id": "work", "subjects": ["acme-us"], **changes}
    if working["plan_id"] == "work":
        save_contract(catalogue, document(**working), now=NOW)
    both = plan(
        usage_charge("hours", PRICE),
        usage_charge("calls", PRICE),
        plan_id="work",
        effective_from="2026-06-01",
    )
    if not refused:
        assert save_price_plan(catalogue, both, now=NOW).created
        return
    with pytest.raises(InvalidDocument) as caught:
        save_price_plan(catalogue, both, now=NOW)
    assert [(issue.reason_code, issue.pointer) for issue in caught.value.issues] == [
        ("subject_billed_twice", "charges[1].meter_id")
    ]


def test_further_rules_are_asked_about_what_would_change_only(catalogue: Engine) -> None:
    save_contract(catalogue, document(), now=NOW)
    asked: list[str] = []

    def refuse(_: object, contracts: Sequence[Contract]) -> dict[str, list[Issue]]:
        asked.extend(contract.contract_id for contract in contracts)
        return {contract.contract_id: [Issue("no", "note", "No.", "yes.")] for contract in contracts}

    assert not save_contract(catalogue, document(), now=NOW, further_rules=refuse).created
    with pytest.raises(InvalidDocument, match="note: No"):
        save_contract(catalogue, document(note="new"), now=NOW, further_rules=refuse)
    assert asked == ["acme-1"]
    assert len(contract_history(catalogue, "acme-1")) == 1


def test_many_contracts_are_saved_in_one_call(catalogue: Engine) -> None:
    documents = [document(contract_id=f"c{i:05}", subjects=[f"s{i}"]) for i in range(3000)]
    assert all(saved.created for saved in save_contracts(catalogue, documents, now=NOW))
    assert not any(saved.created for saved in save_contracts(catalogue, documents, now=NOW))
    assert load_contracts(catalogue)["contract_id"].to_pylist() == [f"c{i:05}" for i in range(3000)]
