"""Goal: the SQL is reviewed as text. Each meter shape has a golden file; RATEMILL_UPDATE_GOLDEN=1
writes them anew, and the change is read as a diff.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.in_force import EventCut
from ingest.meter import Meter
from rollup.calendar import CalendarFacts
from rollup.parts_query import parts_query
from rollup.query import (
    Query,
    aggregate_of,
    event_names_query,
    is_plain,
    level_events_query,
    meter_usage_query,
    plain_usage_query,
    source_query,
    subjects_query,
    unusable_query,
)

from .support import meter

GOLDEN = Path(__file__).parent.parent / "golden" / "rollup"
NO_CORRECTIONS = EventCut(correction_sequence=0, corrected_types=frozenset(), known_at_micros=None)
CORRECTED = EventCut(correction_sequence=7, corrected_types=frozenset({"call"}), known_at_micros=3)
ONE_EACH = CalendarFacts(rows=20_000, subjects=20_000, start_micros=1, end_micros=2, in_turn=False)
ONE_ROW = CalendarFacts(rows=1, subjects=1, start_micros=1, end_micros=2, in_turn=False, only=(7, "it's"))
IN_TURN = CalendarFacts(rows=24, subjects=2, start_micros=1, end_micros=2, in_turn=True)

FILTERED = meter(
    "m",
    "call",
    "sum",
    filters=[
        {"property": "plan", "values": ["gold", "it's"]},
        {"property": "test", "values": ["yes"], "negate": True},
        {"property": "region", "present": True},
    ],
    group_by=["region", "plan"],
)
FACTORS = meter("m", "flight", "sum", factors=["value", "properties.seats"])
SEATS = meter("m", "seats", "time_weighted", reading="average", group_by=["edition"])
UNIQUE = meter("m", "login", "unique_count", unique_property="user")
BUSIEST_DAY = meter(
    "m", "call", "highest_sum", group_by=["region"], parts={"by": "day", "time_zone": "Europe/Berlin"}
)


def plain(names: list[str], cut: EventCut = NO_CORRECTIONS) -> Query:
    return plain_usage_query(
        event_types=["call", "text"], aggregates=names, calendar="calendar", facts=ONE_EACH, cut=cut
    )


def behind(one: Meter, dimensions: list[str]) -> Query:
    return source_query(
        meter=one,
        subjects=["a", "b"],
        start_micros=1,
        end_micros=2,
        dimensions=dimensions,
        limit=100,
        after=(1, 7),
        cut=NO_CORRECTIONS,
    )


CASES: dict[str, Callable[[], Query]] = {
    "plain_count": lambda: plain([]),
    "plain_sum": lambda: plain(["sum"]),
    "plain_sum_corrected": lambda: plain(["sum"], CORRECTED),
    "plain_sum_of_one": lambda: plain_usage_query(
        event_types=["call"], aggregates=["sum"], calendar="", facts=ONE_ROW, cut=NO_CORRECTIONS
    ),
    "unique_count_of_one": lambda: meter_usage_query(
        meter=UNIQUE, calendar="", facts=ONE_ROW, cut=NO_CORRECTIONS
    ),
    "plain_all": lambda: plain(["avg", "avg_cut", "latest", "max", "min", "sum"]),
    "filters_and_group_keys": lambda: meter_usage_query(
        meter=FILTERED, calendar="calendar", facts=IN_TURN, cut=NO_CORRECTIONS
    ),
    "filters_and_group_keys_corrected": lambda: meter_usage_query(
        meter=FILTERED, calendar="calendar", facts=IN_TURN, cut=CORRECTED
    ),
    "factors": lambda: meter_usage_query(
        meter=FACTORS, calendar="calendar", facts=ONE_EACH, cut=NO_CORRECTIONS
    ),
    "factors_unusable": lambda: unusable_query(
        meter=FACTORS, calendar="calendar", facts=ONE_EACH, cut=NO_CORRECTIONS
    ),
    "unique_count": lambda: meter_usage_query(
        meter=UNIQUE, calendar="calendar", facts=IN_TURN, cut=NO_CORRECTIONS
    ),
    "busiest_day": lambda: parts_query(
        meter=BUSIEST_DAY, calendar="calendar", facts=IN_TURN, cut=NO_CORRECTIONS
    ),
    "levels": lambda: level_events_query(meter=SEATS, subjects="subjects", end_micros=2, cut=NO_CORRECTIONS),
    "source_page": lambda: behind(FILTERED, ["eu", "gold"]),
    "event_names": lambda: event_names_query(meter=SEATS, sequences="sequences"),
    "subjects": lambda: subjects_query(meter=FILTERED, start_micros=1, end_micros=2, cut=NO_CORRECTIONS),
}


@pytest.mark.parametrize("name", CASES)
def test_sql_is_as_reviewed(name: str) -> None:
    query = CASES[name]()
    values = "".join(f"-- {key} = {json.dumps(value)}\n" for key, value in query.parameters.items())
    text = f"{values}{query.sql}\n"
    path = GOLDEN / f"{name}.sql"
    if os.environ.get("RATEMILL_UPDATE_GOLDEN") == "1":
        GOLDEN.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.sql")} == set(CASES)


@pytest.mark.parametrize("word", ["it's", 'a"b', "back\\slash", "{p0:String}", "%s", "`tick`", "line\nbreak"])
def test_words_of_people_never_become_sql_text(word: str) -> None:
    one = meter(
        "m",
        word,
        "sum",
        factors=["value", f"properties.{word}"],
        filters=[{"property": word, "values": [word]}],
        group_by=[word],
    )
    other = one.model_copy(
        update={"event_type": "x", "group_by": ("x",), "factors": ("value", "properties.x")}
    )
    other = other.model_copy(
        update={
            "filters": tuple(f.model_copy(update={"property": "x", "values": ("x",)}) for f in one.filters)
        }
    )
    made = meter_usage_query(meter=one, calendar="c", facts=IN_TURN, cut=NO_CORRECTIONS)
    assert made.sql == meter_usage_query(meter=other, calendar="c", facts=IN_TURN, cut=NO_CORRECTIONS).sql
    assert word in made.parameters.values()


@pytest.mark.parametrize(
    ("one", "plainly", "aggregate"),
    [
        (meter("m", "t", "count", factors=["properties.x"]), True, None),
        (meter("m", "t", "sum"), True, "sum"),
        (meter("m", "t", "avg"), True, "avg"),
        (meter("m", "t", "avg", fraction_digits=2), True, "avg_cut"),
        (FACTORS, False, "sum"),
        (FILTERED, False, "sum"),
        (UNIQUE, False, "unique_count"),
        (SEATS, False, "time_weighted"),
    ],
)
def test_which_meters_share_a_query(one: Meter, plainly: bool, aggregate: str | None) -> None:
    assert is_plain(one) is plainly
    assert aggregate_of(one) == aggregate
