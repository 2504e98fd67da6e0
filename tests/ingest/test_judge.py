"""Goal: every rule an event must keep is shown with one record that breaks it and its reason code,
and the bulk kernels agree with the plain rule on random and hostile texts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.arrow_buffers import decimals_from_words, text_buffers
from ingest.clock import to_micros
from ingest.event import QUANTITY_SCALE, VALUE_INTEGER_DIGITS_MAX
from ingest.judge import judge_row, read_decimal, read_time
from ingest.meter import Meter
from ingest.meter_needs import meter_needs
from ingest.parse_kernels import parse_decimals, parse_times
from ingest.raw import Properties, RawRow
from ingest.refusal import REASON_CODES, Problem

NO_NEEDS = meter_needs(())


def row(
    source: str | None = "gateway",
    event_id: str | None = "1",
    kind: str | None = "call",
    subject: str | None = "acme",
    time: str | None = "2026-02-03T04:05:06Z",
    value: str | None = "1",
    properties: Properties = (),
) -> RawRow:
    return source, event_id, kind, subject, time, value, properties


def test_a_good_record() -> None:
    judged = judge_row(row(properties=[("b", "2"), ("a", "1")]), received_micros=None, needs=NO_NEEDS)
    assert not isinstance(judged, Problem)
    assert judged.scaled_value == 10**12
    assert judged.properties == (("a", "1"), ("b", "2"))


@pytest.mark.parametrize(
    ("record", "reason_code", "field"),
    [
        (row(source=None), "field_missing", "source"),
        (row(event_id=""), "text_empty", "id"),
        (row(subject="x" * 513), "text_too_long", "subject"),
        (row(subject="é" * 257), "text_too_long", "subject"),
        (row(kind="\ud800"), "not_utf8", "type"),
        (row(time=None), "field_missing", "time"),
        (row(time="yesterday"), "time_unreadable", "time"),
        (row(time="2026-02-30T00:00:00Z"), "time_unreadable", "time"),
        (row(time="2026-02-03T24:00:00Z"), "time_unreadable", "time"),
        (row(time="2026-02-03T23:59:60Z"), "time_unreadable", "time"),
        (row(time="2026-02-03T04:05:06+25:00"), "time_unreadable", "time"),
        (row(time="2026-02-03"), "time_unreadable", "time"),
        (row(time="1770091506"), "time_unreadable", "time"),
        (row(time="2026-02-03T04:05:06"), "time_without_zone", "time"),
        (row(time="0000-01-01T00:00:00Z"), "time_out_of_range", "time"),
        (row(time="1969-12-31T23:59:59Z"), "time_out_of_range", "time"),
        (row(time="2200-01-01T00:00:00Z"), "time_out_of_range", "time"),
        (row(time="9999-12-31T23:59:59Z"), "time_out_of_range", "time"),
        (row(value=""), "value_not_a_number", "value"),
        (row(value="twelve"), "value_not_a_number", "value"),
        (row(value="1_000"), "value_not_a_number", "value"),
        (row(value="1,5"), "value_not_a_number", "value"),
        (row(value=" 1"), "value_not_a_number", "value"),
        (row(value="\u0661"), "value_not_a_number", "value"),
        (row(value="NaN"), "value_not_finite", "value"),
        (row(value="-Infinity"), "value_not_finite", "value"),
        (row(value="1e400"), "value_out_of_range", "value"),
        (row(value="1e999999999999"), "value_out_of_range", "value"),
        (row(value="9" * 39), "value_out_of_range", "value"),
        (row(value="1000000000000000"), "value_out_of_range", "value"),
        (row(value="0.0000000000001"), "value_too_precise", "value"),
        (row(value="1e-999999999999"), "value_too_precise", "value"),
        (row(properties=[("a", "1"), ("a", "1")]), "property_name_twice", "properties.a"),
        (row(properties=[("a", None)]), "property_not_text", "properties.a"),
        (row(properties=[("", "1")]), "text_empty", "property name"),
        (row(properties=[("a", "x" * 4097)]), "text_too_long", "properties.a"),
        (row(properties=[(f"p{n}", "1") for n in range(65)]), "too_many_properties", "properties"),
    ],
)
def test_every_rule_has_a_reason(record: RawRow, reason_code: str, field: str) -> None:
    problem = judge_row(record, received_micros=None, needs=NO_NEEDS)
    assert isinstance(problem, Problem)
    assert (problem.reason_code, problem.field) == (reason_code, field)
    assert reason_code in REASON_CODES
    assert problem.message.endswith(".")
    assert problem.expected.endswith(".")
    assert len(problem.message) < 300


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", "12"),
        ("12.50", "12.5"),
        ("1e3", "1000"),
        ("1E+3", "1000"),
        ("1.5e-11", "0.000000000015"),
        ("-0", "0"),
        ("0e999999999999", "0"),
        ("+007.10", "7.1"),
        ("999999999999999.999999999999", "999999999999999.999999999999"),
        ("0.1234567890120000000", "0.123456789012"),
        ("100000000000000000000e-10", "10000000000"),
    ],
)
def test_values_are_read_exactly(text: str, value: str) -> None:
    assert read_decimal("value", text) == int(Decimal(value).scaleb(12))


def test_finer_than_a_microsecond_is_cut() -> None:
    assert read_time("2026-02-03T04:05:06.123456999Z") == read_time("2026-02-03T04:05:06.123456Z")


def test_the_instant_of_receipt_stands_in_only_where_allowed() -> None:
    judged = judge_row(row(time=None), received_micros=77, needs=NO_NEEDS)
    assert not isinstance(judged, Problem)
    assert judged.micros == 77


SEATS = Meter(meter_id="seats", event_type="seat", aggregation="time_weighted", reading="peak")
MILES = Meter(
    meter_id="seat-miles", event_type="landing", aggregation="sum", factors=("value", "properties.seats")
)


@pytest.mark.parametrize(
    ("record", "reason_code"),
    [
        (row(kind="seat", value=None), "value_missing"),
        (row(kind="seat", properties=[("operation", "grow")]), "operation_unknown"),
        (row(kind="landing", properties=[("seats", "many")]), "property_not_a_number"),
        (row(kind="landing", properties=[("seats", "1e3")]), "property_not_a_number"),
        (row(kind="landing", value=None), "value_missing"),
    ],
)
def test_what_meters_need_is_asked_for(record: RawRow, reason_code: str) -> None:
    problem = judge_row(record, received_micros=None, needs=meter_needs([SEATS, MILES]))
    assert isinstance(problem, Problem)
    assert problem.reason_code == reason_code


def test_a_meter_with_a_filter_asks_for_nothing() -> None:
    filtered = SEATS.model_validate(
        {**SEATS.model_dump(), "filters": [{"property": "region", "values": ["eu"]}]}
    )
    judged = judge_row(row(kind="seat", value=None), received_micros=None, needs=meter_needs([filtered]))
    assert not isinstance(judged, Problem)


def kernel_decimal(text: str) -> int | None:
    offsets, data = text_buffers(pa.array([text], pa.string()))
    low, high, read = np.zeros(1, np.uint64), np.zeros(1, np.uint64), np.zeros(1, np.bool_)
    parse_decimals(offsets, data, VALUE_INTEGER_DIGITS_MAX, QUANTITY_SCALE, low, high, read)
    if not read[0]:
        return None
    return int(decimals_from_words(low, high, read)[0].as_py().scaleb(12))


def kernel_time(text: str) -> int | None:
    offsets, data = text_buffers(pa.array([text], pa.string()))
    micros, read = np.zeros(1, np.int64), np.zeros(1, np.bool_)
    parse_times(offsets, data, micros, read)
    return int(micros[0]) if read[0] else None


DECIMALS = st.one_of(
    st.from_regex(r"\A-?[0-9]{1,16}(\.[0-9]{1,13})?\Z"),
    st.from_regex(r"\A[+-]?[0-9]{0,3}\.?[0-9]{0,3}([eE][+-]?[0-9]{0,3})?\Z"),
    st.text("-+.0123456789eE_ nai", max_size=12),
)


@settings(max_examples=250, deadline=None)
@given(DECIMALS)
@example("-0.000000000001")
@example("-999999999999999.999999999999")
@example("-18446744.073709551616")
@example("18446744.073709551615")
def test_the_decimal_kernel_is_never_laxer_than_the_rule(text: str) -> None:
    read = kernel_decimal(text)
    if read is not None:
        assert read == read_decimal("value", text)


@settings(max_examples=300, deadline=None)
@given(st.decimals(-(10**15) + 1, 10**15 - 1, places=12))
def test_the_decimal_kernel_reads_plain_numbers(number: Decimal) -> None:
    assert kernel_decimal(f"{number:f}") == int(number.scaleb(12))


@settings(max_examples=150, deadline=None)
@given(
    st.datetimes(datetime(1972, 1, 1), datetime(2199, 12, 30)),
    st.integers(-23 * 60, 23 * 60),
)
@example(datetime(2000, 2, 29, 23, 59, 59, 999999), 0)
@example(datetime(2100, 2, 28, 0, 0), -60)
def test_the_time_kernel_reads_rfc_3339(local: datetime, minutes_ahead: int) -> None:
    instant = local.replace(tzinfo=timezone(timedelta(minutes=minutes_ahead)))
    expected = to_micros(instant.astimezone(UTC))
    assert kernel_time(instant.isoformat()) == expected
    assert read_time(instant.isoformat()) == expected


@settings(max_examples=250, deadline=None)
@given(
    st.from_regex(
        r"\A[0-9]{4}-[0-2][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]"
        r"(\.[0-9]{0,8})?([Zz]|[+-][0-2][0-9]:[0-6][0-9])?\Z"
    )
)
@example("2023-02-29T00:00:00Z")
@example("2024-02-29T00:00:00Z")
@example("2100-02-29T00:00:00Z")
@example("2026-01-01T00:00:00.Z")
@example("2026-04-31T00:00:00Z")
def test_the_time_kernel_is_never_laxer_than_the_rule(text: str) -> None:
    read = kernel_time(text)
    plain = read_time(text)
    if read is not None and not (isinstance(plain, Problem) and plain.reason_code == "time_out_of_range"):
        assert read == plain
