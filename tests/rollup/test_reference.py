"""Goal: the store's SQL and the level kernels agree with the plain reference on whatever is sent.

Times are few, so that many are equal and arrival decides; names and values hold quotes, backslashes
and line breaks; values sit at the limits. Each example has event types of its own in one store.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count
from random import Random

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from ingest.meter import Meter
from rollup.reference import reference_roll_up, rounded
from rollup.roll_up import roll_up_usage
from rollup.schema import CALENDAR_SCHEMA

from .support import Event, add_events, at, meter, stored_events

START = at("2025-01-01")
STEP = timedelta(hours=7, microseconds=1)
SUBJECTS = ("a", "b'c\\", "")
ODD_NAME = 'it\'s \\ "odd"\n{p0:String} %s é'
ODD_VALUES = ("", "x", "it's \\n", "\t{}", "é")

exact_values = st.one_of(
    st.none(),
    st.sampled_from([Decimal("999999999999999.999999999999"), Decimal("-999999999999999.999999999999")]),
    st.decimals(min_value=-5, max_value=5, places=1),
    st.decimals(min_value=-1000, max_value=1000, places=12),
)
factor_texts = st.sampled_from(
    ["2", "0.5", "-3", "+4.25", "0.000000000001", "999999999999999", "1e3", "", " 1", "1.", "NaN", "1,5", "٣"]
)
properties = st.fixed_dictionaries(
    {},
    optional={
        ODD_NAME: st.sampled_from(ODD_VALUES),
        "plan": st.sampled_from(("gold", "silver")),
        "factor": factor_texts,
        "operation": st.sampled_from(("set", "add", "remove", "SET", "")),
    },
)
events = st.lists(
    st.builds(
        Event,
        type=st.just("t"),
        subject=st.sampled_from((SUBJECTS[0], *SUBJECTS)),
        time=st.integers(0, 8).map(lambda tick: START + tick * STEP),
        value=exact_values,
        properties=properties,
    ),
    min_size=2,
    max_size=14,
)


@st.composite
def calendars(draw: st.DrawFn) -> list[tuple[int, str, int, int]]:
    """Rows (period_key, subject, first tick, last tick), made disjoint per key and subject."""
    rows: list[tuple[int, str, int, int]] = []
    for _ in range(draw(st.integers(1, 5))):
        key, subject = draw(st.sampled_from((0, 3, 4_294_967_295))), draw(st.sampled_from(SUBJECTS))
        first = draw(st.integers(-1, 8))
        last = draw(st.integers(first + 1, 10))
        if all(last <= r[2] or first >= r[3] for r in rows if r[:2] == (key, subject)):
            rows.append((key, subject, first, last))
    return rows


def as_calendar(rows: list[tuple[int, str, int, int]]) -> pa.Table:
    named = [(key, subject, START + first * STEP, START + last * STEP) for key, subject, first, last in rows]
    columns = [
        pa.array(column, field.type)
        for column, field in zip(zip(*named, strict=True), CALENDAR_SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=CALENDAR_SCHEMA)


filters = st.lists(
    st.one_of(
        st.builds(
            lambda name, values, negate: {"property": name, "values": values, "negate": negate},
            st.sampled_from((ODD_NAME, "plan")),
            st.lists(st.sampled_from((*ODD_VALUES, "gold")), min_size=1, max_size=2),
            st.booleans(),
        ),
        st.builds(
            lambda name, present, negate: {"property": name, "present": present, "negate": negate},
            st.sampled_from((ODD_NAME, "plan")),
            st.booleans(),
            st.booleans(),
        ),
    ),
    max_size=2,
)
group_keys = st.lists(st.sampled_from((ODD_NAME, "plan", "factor")), unique=True, max_size=2)
fraction_digits = st.sampled_from((0, 1, 11, 12))
READINGS = ("average", "peak", "end", "unit_days")
PLAIN = ("count", "sum", "max", "min", "avg", "latest")


@st.composite
def counting_meters(draw: st.DrawFn) -> list[Callable[[str], Meter]]:
    """Up to four meters of any aggregation but levels, as functions of the event type."""
    made: list[Callable[[str], Meter]] = []
    for number in range(draw(st.integers(1, 4))):
        aggregation = draw(st.sampled_from((*PLAIN, "unique_count")))
        more: dict[str, object] = {"fraction_digits": draw(fraction_digits)}
        if aggregation == "unique_count":
            more["unique_property"] = draw(st.sampled_from((ODD_NAME, "plan")))
        if draw(st.booleans()):
            more |= {"filters": draw(filters), "group_by": draw(group_keys)}
            more["factors"] = draw(
                st.lists(st.sampled_from(("value", "properties.factor")), min_size=1, max_size=3)
            )
        made.append(lambda type_, n=number, a=aggregation, m=more: meter(f"m{n}", type_, a, **m))  # type: ignore[misc]
    return made


@st.composite
def level_meters(draw: st.DrawFn) -> list[Callable[[str], Meter]]:
    more = {"filters": draw(filters), "group_by": draw(group_keys), "fraction_digits": draw(fraction_digits)}
    return [
        lambda type_, r=reading: meter(f"m-{r}", type_, "time_weighted", reading=r, **more)  # type: ignore[misc]
        for reading in READINGS
    ]


example_numbers = count()


def check(
    store: EventStore, sent: list[Event], rows: list[tuple[int, str, int, int]], meters: list[Meter]
) -> None:
    first = next(example_numbers) * 1000 + 1
    calendar = as_calendar(rows)
    add_events(store, sent, first_sequence=first)
    expected = reference_roll_up(
        events=stored_events(sent, first_sequence=first), calendar=calendar, meters=meters
    )
    found = roll_up_usage(store, calendar=calendar, meters=meters)
    assert found.usage.to_pylist() == expected.usage.to_pylist()
    assert found.unusable.to_pylist() == expected.unusable.to_pylist()


def thick_case(seed: int) -> tuple[list[Event], list[tuple[int, str, int, int]]]:
    """120 events, nearly all usable, into eight periods: where sums, ties and carried levels meet."""
    random = Random(seed)
    sent = []
    for _ in range(120):
        named = {
            ODD_NAME: random.choice(ODD_VALUES),
            "plan": random.choice(("gold", "silver")),
            "factor": random.choice(("2", "0.5", "3.25", "0.001")),
            "operation": random.choice(("set", "add", "add", "remove")),
        }
        kept = {name: text for name, text in named.items() if random.random() < 0.9}
        value = None if random.random() < 0.01 else Decimal(random.randrange(1, 99_999)) / 1000
        sent.append(Event("t", random.choice(SUBJECTS), START + random.randrange(9) * STEP, value, kept))
    rows = [
        (key, subject, 2 + 2 * key, 4 + 2 * key + random.randrange(2) * (key % 2))
        for key in range(4)
        for subject in random.sample(SUBJECTS, 2)
    ]
    return sent, rows


@pytest.mark.parametrize(("seed", "subjects_named"), [(0, 10_000), (1, 10_000), (2, 0)])
def test_every_aggregation_agrees_on_a_thick_case(
    event_store: EventStore, monkeypatch: pytest.MonkeyPatch, seed: int, subjects_named: int
) -> None:
    """With 0 subjects named the store is asked as for a calendar of very many subjects."""
    monkeypatch.setattr("rollup.query.SUBJECTS_NAMED_MAX", subjects_named)
    sent, rows = thick_case(seed)
    shapes: list[dict[str, object]] = [
        {},
        {"group_by": ["plan"]},
        {"group_by": ["plan", ODD_NAME], "filters": [{"property": "plan", "values": ["gold", ""]}]},
        {"factors": ["value", "properties.factor"], "fraction_digits": 2},
        {"fraction_digits": 1},
    ]
    meters = [
        meter(f"{aggregation}-{number}", "t", aggregation, **shape)
        for number, shape in enumerate(shapes)
        for aggregation in PLAIN
    ]
    meters += [
        meter(f"unique-{number}", "t", "unique_count", unique_property=ODD_NAME, **shape)
        for number, shape in enumerate(shapes[:3])
    ]
    meters += [
        meter(f"{reading}-{number}", "t", "time_weighted", reading=reading, **shape)
        for number, shape in enumerate([*shapes[:3], shapes[4]])
        for reading in READINGS
    ]
    check(event_store, sent, rows, meters)


def own_type(sent: list[Event], type_: str) -> list[Event]:
    return [Event(type_, one.subject, one.time, one.value, one.properties) for one in sent]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=events, rows=calendars(), makers=counting_meters())
def test_counting_agrees(
    event_store: EventStore,
    sent: list[Event],
    rows: list[tuple[int, str, int, int]],
    makers: list[Callable[[str], Meter]],
) -> None:
    type_ = f"it's type {next(example_numbers)}"
    check(event_store, own_type(sent, type_), rows, [make(type_) for make in makers])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=events, rows=calendars(), makers=level_meters())
def test_levels_agree(
    event_store: EventStore,
    sent: list[Event],
    rows: list[tuple[int, str, int, int]],
    makers: list[Callable[[str], Meter]],
) -> None:
    type_ = f"it's type {next(example_numbers)}"
    check(event_store, own_type(sent, type_), rows, [make(type_) for make in makers])


def test_rounded_is_half_up_away_from_zero() -> None:
    texts = ("0.5", "1.5", "-0.5", "0.49", "-0.49")
    assert [int(rounded(Fraction(text), 0)) for text in texts] == [1, 2, -1, 0, 0]
