"""Goal: from every usage row back to exactly the events it was counted from (groundwork of AUD-02)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pyarrow as pa
import pytest

from ingest.clickhouse import EventStore
from ingest.errors import InvalidInput
from ingest.meter import Meter
from rollup.roll_up import roll_up_usage
from rollup.source import SOURCE_SCHEMA, SourceCursor, events_behind, next_cursor

from .support import add_events, at, calendar, event, meter

JANUARY = ("2025-01-01", "2025-02-01")
SUBJECTS = ["acme", "acme-lab"]


def pages(store: EventStore, one: Meter, dimensions: Mapping[str, str], *, limit: int) -> list[pa.Table]:
    found: list[pa.Table] = []
    after: SourceCursor | None = None
    while not found or found[-1].num_rows == limit:
        page = events_behind(
            store,
            meter=one,
            subjects=SUBJECTS,
            period_start=at(JANUARY[0]),
            period_end=at(JANUARY[1]),
            dimensions=dimensions,
            limit=limit,
            after=after,
        )
        after = next_cursor(page) or after
        found.append(page)
    return found


def send(store: EventStore) -> None:
    """Every third event at the same instant, some without a value, some of others, some outside."""
    add_events(
        store,
        [
            event(
                "call",
                ("acme", "acme-lab", "other")[number % 3],
                f"2025-01-{1 + number // 3:02}",
                None if number == 7 else f"{number}.5",
                region="eu's\\" if number % 2 else "us",
                seats=str(number % 4),
            )
            for number in range(40)
        ]
        + [event("call", "acme", "2025-02-01", "1"), event("call", "acme", "2024-12-31 23:59", "1")],
    )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"group_by": ["region"]},
        {"group_by": ["region", "absent"], "filters": [{"property": "seats", "values": ["1", "2"]}]},
        {"factors": ["value", "properties.seats"]},
    ],
)
@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_counts_and_sums_of_all_pages_equal_the_usage_row(
    event_store: EventStore, more: dict[str, object], limit: int
) -> None:
    send(event_store)
    one = meter("m", "call", "sum", **more)
    periods = calendar(*[(1, subject, *JANUARY) for subject in SUBJECTS])
    usage = roll_up_usage(event_store, calendar=periods, meters=[one]).usage.to_pylist()
    assert usage
    for row in usage:
        events = pa.concat_tables(pages(event_store, one, dict(row["dimensions"]), limit=limit))
        assert events.schema.equals(SOURCE_SCHEMA)
        assert events.num_rows == row["event_count"]
        assert sum(events["number"].to_pylist(), Decimal(0)) == row["quantity"]
        assert len(set(events["sequence"].to_pylist())) == events.num_rows


@pytest.mark.parametrize(
    ("aggregation", "more"),
    [
        ("count", {}),
        ("max", {}),
        ("latest", {}),
        ("avg", {}),
        ("unique_count", {"unique_property": "seats"}),
        ("time_weighted", {"reading": "peak"}),
    ],
)
def test_other_aggregations_list_as_many_events_as_they_counted(
    event_store: EventStore, aggregation: str, more: dict[str, object]
) -> None:
    send(event_store)
    one = meter("m", "call", aggregation, **more)
    periods = calendar(*[(1, subject, *JANUARY) for subject in SUBJECTS])
    row = roll_up_usage(event_store, calendar=periods, meters=[one]).usage.to_pylist()[0]
    assert sum(page.num_rows for page in pages(event_store, one, {}, limit=5)) == row["event_count"]


@pytest.mark.parametrize(
    ("wrong", "reason_code"),
    [
        ({"dimensions": {"region": "eu"}}, "wrong_dimensions"),
        ({"limit": 0}, "limit_out_of_range"),
        ({"limit": 100_001}, "limit_out_of_range"),
        ({"period_end": at("2025-01-01")}, "empty_period"),
    ],
)
def test_a_wrong_question_is_refused(
    event_store: EventStore, wrong: dict[str, object], reason_code: str
) -> None:
    question: dict[str, object] = {
        "meter": meter("m", "call", "sum"),
        "subjects": SUBJECTS,
        "period_start": at(JANUARY[0]),
        "period_end": at(JANUARY[1]),
        "dimensions": {},
        "limit": 10,
        "after": None,
    }
    with pytest.raises(InvalidInput) as caught:
        events_behind(event_store, **(question | wrong))  # type: ignore[arg-type]
    assert caught.value.reason_code == reason_code


def test_an_empty_page_has_no_next() -> None:
    assert next_cursor(SOURCE_SCHEMA.empty_table()) is None
