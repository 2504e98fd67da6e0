"""Goal: a counter in memory says what counting events says, whatever they are and in whatever order
they come, also when a part was counted elsewhere."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.clock import to_micros
from ingest.meter import Meter
from rollup.live_counter import LIVE_AGGREGATIONS, LiveCounter, LiveEvent
from rollup.reference import reference_roll_up
from tests.rollup.support import Event, at, calendar, meter, stored_events

START, END = "2025-01-10", "2025-01-20"
FAR = 2**62

values = st.one_of(st.none(), st.decimals(min_value=-9, max_value=99, places=2))
properties = st.dictionaries(
    st.sampled_from(["region", "seats", "operation", "user"]),
    st.sampled_from(["eu", "us", "2", "0.5", "add", "set", "remove", "x", ""]),
    max_size=4,
)
events = st.lists(
    st.builds(
        Event,
        type=st.sampled_from(["call", "call", "other"]),
        subject=st.sampled_from(["a", "b"]),
        time=st.integers(0, 30 * 24).map(
            lambda hours: at("2025-01-01").replace(day=1 + hours // 24, hour=hours % 24)
        ),
        value=values,
        properties=properties,
    ),
    max_size=14,
)
filters = st.sampled_from(
    [
        [],
        [{"property": "region", "values": ["eu", ""]}],
        [{"property": "region", "values": ["eu"], "negate": True}],
        [{"property": "user", "present": True}],
        [{"property": "user", "present": False}],
    ]
)


@st.composite
def meters(draw: Any) -> Meter:
    aggregation = draw(st.sampled_from(LIVE_AGGREGATIONS))
    more: dict[str, Any] = {"filters": draw(filters)}
    if aggregation == "time_weighted":
        more |= {"reading": "end", "group_by": draw(st.sampled_from([[], ["region"]]))}
    elif aggregation == "unique_count":
        more["unique_property"] = "user"
    elif aggregation != "count":
        more["factors"] = draw(
            st.sampled_from([["value"], ["value", "properties.seats"], ["properties.seats"]])
        )
    return meter("m", "call", aggregation, **more)


@settings(max_examples=150)
@given(meters(), events, st.data())
def test_it_counts_what_the_plain_roll_up_counts(
    counted: Meter, sent: list[Event], data: st.DataObject
) -> None:
    table = stored_events(sent)
    rows = table.to_pylist()
    here = data.draw(st.permutations(rows)) if rows else []
    cut = data.draw(st.integers(0, len(here)))
    level = counted.aggregation == "time_weighted"
    bounds = (0, FAR) if level else (to_micros(at(START)), to_micros(at(END)))
    whole, part = LiveCounter(counted, *bounds), LiveCounter(counted, *bounds)
    for number, row in enumerate(here):
        if row["type"] == counted.event_type:
            (part if number < cut else whole).add(_live(row))
    whole.merge(part)
    asked = at(END)
    found = whole.reading(at_micros=to_micros(asked) - 1)
    expected = reference_roll_up(
        events=table,
        calendar=calendar((0, "a", START, END), (0, "b", START, END)),
        meters=[_together(counted)],
    )
    assert (found.quantity, found.unusable_events > 0) == _plain(
        counted, expected.usage, expected.unusable, found
    )


def _together(one: Meter) -> Meter:
    return one if one.aggregation == "time_weighted" else one.model_copy(update={"group_by": ()})


def _plain(one: Meter, usage: pa.Table, unusable: pa.Table, found: Any) -> tuple[Decimal, bool]:
    """Quantity and whether anything is unusable. To a bill a level is spoiled when it was so at any time
    of the period; the counter looks at its end alone, where a ``set`` may have mended it."""
    quantity = sum(usage["quantity"].to_pylist(), Decimal(0))
    if one.aggregation == "time_weighted":
        return quantity, found.unusable_events > 0
    assert found.event_count == sum(usage["event_count"].to_pylist())
    assert found.unusable_events == sum(unusable["event_count"].to_pylist())
    return quantity, unusable.num_rows > 0


def _live(row: dict[str, Any]) -> LiveEvent:
    scaled = None if row["value"] is None else int(row["value"] * 10**12)
    return LiveEvent(row["subject"], to_micros(row["time"]), row["sequence"], scaled, dict(row["properties"]))


def test_a_level_is_read_at_an_instant_and_spoiled_until_the_next_set() -> None:
    seats = meter("seats", "call", "time_weighted", reading="end")
    counter = LiveCounter(seats, 0, FAR)
    changes = [("set", 10), ("add", 4), ("remove", 99), ("set", 7), ("remove", 2)]
    for number, (operation, value) in enumerate(changes, 1):
        counter.add(LiveEvent("a", number, number, value * 10**12, {"operation": operation}))
    read = [counter.reading(at_micros=instant) for instant in range(6)]
    assert [(int(one.quantity), one.unusable_events) for one in read] == [
        (0, 0),
        (10, 0),
        (14, 0),
        (14, 1),
        (7, 0),
        (5, 0),
    ]
