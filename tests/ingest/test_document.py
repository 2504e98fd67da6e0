"""Documents are read exactly and refused with every broken rule named at its path."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.document import (
    Document,
    ExactDecimal,
    canonical_json,
    decimal_text,
    document_hash,
    read_document,
    read_documents,
    validate_document,
)
from ingest.errors import InvalidDocument, UnreadableBody
from ingest.meter import Meter, meter_rules


class Price(Document):
    amount: ExactDecimal


def test_numbers_are_exact_in_yaml_and_json() -> None:
    assert read_document("amount: 0.1") == {"amount": Decimal("0.1")}
    assert read_document('{"amount": 0.10000000000000000001}') == {
        "amount": Decimal("0.10000000000000000001")
    }
    assert validate_document(Price, read_document("amount: 0.10"), what="price").amount == Decimal("0.1")


@pytest.mark.parametrize("text", ["010", "0x1F", "0b11", "1:30", "1_000", "-010", "1_0.5", "00"])
def test_numbers_that_yaml_readers_disagree_on_are_refused(text: str) -> None:
    with pytest.raises(UnreadableBody, match=f"{text} means different numbers") as caught:
        read_document(f"name: gold\namount: {text}\n")
    assert "line 2" in str(caught.value)
    assert read_document(f"amount: '{text}'") == {"amount": text}


@pytest.mark.parametrize("text", ["0o10", "1:30:20.5", "'0x1F'", "'1:30'", "'1_000'"])
def test_such_a_text_is_no_price(text: str) -> None:
    with pytest.raises(InvalidDocument, match="is not a decimal number") as caught:
        validate_document(Price, read_document(f"amount: {text}"), what="price")
    assert [issue.pointer for issue in caught.value.issues] == ["amount"]


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("-12", -12), ("+7", 7), ("1000", 1000)])
def test_plain_decimal_integers_are_integers(text: str, number: int) -> None:
    read = read_document(f"amount: {text}")
    assert read == {"amount": number}
    assert type(read["amount"]) is int
    assert validate_document(Price, read, what="price").amount == number


def test_texts_are_kept_with_every_space() -> None:
    """They are compared with those of events, of which no character is changed either."""
    data = {
        "meter_id": "calls",
        "event_type": "call ",
        "aggregation": "count",
        "filters": [{"property": " region", "values": ["eu ", "eu"]}],
    }
    meter = validate_document(Meter, data, what="meter 'calls'", rules=meter_rules)
    assert meter.event_type == "call "
    assert meter.filters[0].property == " region"


def test_yaml_dates_stay_text_and_streams_split() -> None:
    assert read_documents("day: 2013-01-01\n---\nday: 2013-02-01\n") == [
        {"day": "2013-01-01"},
        {"day": "2013-02-01"},
    ]


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("{amount: 0.10, names: [gold, 'no']}", [{"amount": Decimal("0.10"), "names": ["gold", "no"]}]),
        ("{amount: 1, # of the plan\n name: gold,\n}", [{"amount": 1, "name": "gold"}]),
        ("{'name': \"gold\"}\n---\n{name: silver}", [{"name": "gold"}, {"name": "silver"}]),
        ("\n [{name: gold}, {name: silver}]", [{"name": "gold"}, {"name": "silver"}]),
        ('{"name": "gold", "day": 2026-01-01}', [{"name": "gold", "day": "2026-01-01"}]),
    ],
)
def test_flow_style_is_yaml_where_it_is_not_json(text: str, documents: list[Any]) -> None:
    assert read_documents(text) == documents


_FLAT = st.text(max_size=6) | st.integers(-(10**12), 10**12) | st.booleans() | st.none()


@given(st.dictionaries(st.text(max_size=6), _FLAT | st.lists(_FLAT, max_size=3), max_size=4))
@settings(max_examples=150)
def test_json_and_flow_style_say_the_same(data: dict[str, Any]) -> None:
    assert read_document(json.dumps(data)) == data
    assert read_document(yaml.safe_dump(data, default_flow_style=True)) == data


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{name: gold,\n amount: 010}", ["010 means different numbers", "line 2, column 10"]),
        ("{name: gold,\n name: silver}", ["'name' is given twice", "line 2, column 2"]),
        ("name: gold\nname: silver", ["'name' is given twice", "line 2, column 1"]),
        ("{name: gold\n amount: 5}", ["expected ',' or '}'", "line 2, column 8"]),
        ('{"name": "gold",\n "amount" 5}', ["expected ',' or '}'", "line 2, column 11"]),
        ('{"name": "gold",\n\t"amount": \'5\'}', ["Expecting value", "line 2 column 12"]),
        ('{"amount": 1,5}', ["5 is no name of a field", "(1.5)", "line 1, column 14"]),
        ("{name: {{gold}}}", ["is no name of a field", "in quotes", "line 1, column 9"]),
        ("no: gold", ["False is no name of a field", "in quotes", "line 1, column 1"]),
        ('{"a": "' + 100_000 * "x" + '" 1}', ["Expecting ',' delimiter", "line 1 column 100010"]),
    ],
)
def test_a_refusal_names_the_place_and_what_would_be_right(text: str, words: list[str]) -> None:
    with pytest.raises(UnreadableBody) as caught:
        read_document(text)
    for part in words:
        assert part in str(caught.value)


def test_a_number_of_json_that_is_none_is_refused_as_a_text() -> None:
    assert read_document('{"amount": NaN}') == {"amount": "NaN"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty_body"),
        ("a: 1\na: 2", "unreadable_body"),
        ('{"a": 1, "a": 2}', "unreadable_body"),
        ("- 1\n- 2", "unreadable_body"),
        ("a: [1", "unreadable_body"),
        ("a: 1\n---\na: 2", "not_one_document"),
        (b"\xff\xfea: 1", "unreadable_body"),
    ],
)
def test_unreadable_documents_say_so(text: str | bytes, reason: str) -> None:
    with pytest.raises(UnreadableBody) as caught:
        read_document(text)
    assert caught.value.reason_code == reason


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        True,
        None,
        "abc",
        "NaN",
        "Infinity",
        "1e400",
        "1" * 39,
        "0.1234567890123",
        "1" * 27,
    ],
)
def test_inexact_numbers_are_refused_at_their_path(value: object) -> None:
    with pytest.raises(InvalidDocument) as caught:
        validate_document(Price, {"amount": value}, what="price")
    assert [issue.pointer for issue in caught.value.issues] == ["amount"]


def test_every_issue_is_reported_at_once() -> None:
    with pytest.raises(InvalidDocument) as caught:
        validate_document(Meter, {"meter_id": "x x", "filters": [{"property": "a"}], "zz": 1}, what="meter")
    assert {issue.pointer for issue in caught.value.issues} == {
        "meter_id",
        "event_type",
        "aggregation",
        "filters[0]",
        "zz",
    }


def test_meter_rules_name_the_field() -> None:
    data = {"meter_id": "m", "event_type": "t", "aggregation": "time_weighted", "factors": ["value", "size"]}
    with pytest.raises(InvalidDocument) as caught:
        validate_document(Meter, data, what="meter 'm'", rules=meter_rules)
    assert [issue.reason_code for issue in caught.value.issues] == [
        "reading_mismatch",
        "unknown_factor",
        "factors_unused",
    ]


@given(st.decimals(min_value=-(10**15), max_value=10**15, places=12))
def test_decimals_survive_the_canonical_text(number: Decimal) -> None:
    price = Price(amount=number)
    again = validate_document(Price, read_document(canonical_json(price)), what="price")
    assert again.amount == number
    assert document_hash(again) == document_hash(price)
    assert Decimal(decimal_text(number)) == number
    assert "E" not in decimal_text(number).upper()
