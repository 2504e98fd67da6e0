"""Goal: every event is in one outcome, the right one, and the parts sum to the whole to the last unit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal
from itertools import count
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.errors import BrokenState
from ingest.event import STORED_EVENT_SCHEMA
from ingest.meter import Meter
from rollup.completeness import account_for_events
from rollup.coverage import CLASSED_PERIODS_SCHEMA, PeriodClass, lay_pieces

from .support import INGESTED_AT, Event, add_events, at, event, meter, stored_events

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
START = at("2025-01-01")
BILLED_AT = [at("2025-02-01"), at("2025-02-02")]
WIDE = Context(prec=60)
Period = tuple[str, datetime, datetime, int]
sequences = count(1_000)
example_numbers = count()


@dataclass(frozen=True, slots=True)
class Sent:
    """An event as it arrived, and what was done to it. amended: the new version and when it came."""

    event: Event
    came_in: datetime
    amended: tuple[Event, datetime] | None
    cancelled: bool


def classed(*periods: Period) -> pa.Table:
    return pa.Table.from_pylist(
        [dict(zip(CLASSED_PERIODS_SCHEMA.names, one, strict=True)) for one in periods],
        schema=CLASSED_PERIODS_SCHEMA,
    )


def classes(meter_ids: Sequence[str]) -> list[PeriodClass]:
    every, first = frozenset(meter_ids), frozenset(meter_ids[:1])
    return [
        PeriodClass("not_billable", "no_charge", frozenset(), None),
        PeriodClass("billed", "", every, to_micros(BILLED_AT[0])),
        PeriodClass("billed", "", first, to_micros(BILLED_AT[1])),
        PeriodClass("unbilled", "due", first, None),
        PeriodClass("unbilled", "open_period", every, None),
    ]


def reference_outcome(
    sent: Sent, periods: Sequence[Period], kinds: Sequence[PeriodClass], meters: Sequence[Meter]
) -> tuple[Event, str, str]:
    """One event at a time, straight from the definition."""
    version, came_in = sent.amended or (sent.event, sent.came_in)
    of_type = [one for one in meters if one.event_type == version.type]
    if sent.cancelled:
        return version, "not_billable", "cancelled"
    if not of_type:
        return version, "not_billable", "type_unmatched"
    if version.subject not in {subject for subject, *_ in periods}:
        return version, "not_billable", "subject_unmatched"
    over = [
        kinds[n]
        for s, start, end, n in sorted(periods, key=lambda one: one[3])
        if s == version.subject and start <= version.time < end
    ]
    counting = {
        one.meter_id
        for one in of_type
        if all(version.properties.get(f.property, "") in f.values for f in one.filters)
    }
    hits = [kind for kind in over if kind.meter_ids & counting]
    billed = [kind for kind in hits if kind.outcome == "billed"]
    if any(to_micros(came_in) <= (kind.billed_at_micros or 0) for kind in billed):
        return version, "billed", ""
    if billed:
        return version, "unbilled", "late" if version is sent.event else "amended_later"
    if hits:
        return version, "unbilled", hits[0].reason_code
    if not over:
        return version, "not_billable", "outside_contract"
    charged = any(one.meter_id in kind.meter_ids for one in of_type for kind in over)
    return version, "not_billable", "filtered_out" if charged else "no_charge"


def store_all(store: EventStore, all_sent: Sequence[Sent]) -> None:
    """As the loader and the corrector leave them."""
    rows: list[dict[str, Any]] = []
    superseded: list[dict[str, Any]] = []
    for sent in all_sent:
        (row,) = stored_events([sent.event], first_sequence=next(sequences)).to_pylist()
        rows.append({**row, "ingested_at": sent.came_in, "replaces": 0})
        if sent.amended is None and not sent.cancelled:
            continue
        number = next(sequences)
        superseded.append(
            {
                "type": sent.event.type,
                "subject": sent.event.subject,
                "time": sent.event.time,
                "sequence": row["sequence"],
                "kind": "cancel",
                "correction_sequence": number,
            }
        )
        if sent.amended is not None:
            superseded[-1]["kind"] = "amend"
            (new,) = stored_events([sent.amended[0]], first_sequence=number).to_pylist()
            rows.append({**new, "ingested_at": sent.amended[1], "replaces": row["sequence"]})
    schema = pa.schema([*STORED_EVENT_SCHEMA, pa.field("replaces", pa.uint64())])
    store.insert("events", pa.Table.from_pylist(rows, schema=schema))
    if superseded:
        whole = {"sequence": pa.uint64(), "correction_sequence": pa.uint64()}
        names = list(superseded[0])
        store.insert(
            "superseded_events",
            pa.table({name: pa.array([one[name] for one in superseded], whole.get(name)) for name in names}),
        )


values = st.one_of(st.none(), st.decimals("-999999999999999", "999999999999999", places=12))
days = st.integers(0, 8)
instants = st.sampled_from(
    [BILLED_AT[0], BILLED_AT[0] + timedelta(microseconds=1), BILLED_AT[1], at("2025-03-01")]
)
colours = st.sampled_from([{}, {"colour": "red"}, {"colour": "blue"}])
changes = st.sampled_from(["none", "amend", "cancel"])
drawn_events = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from("abcd"),
        days,
        values,
        colours,
        instants,
        changes,
        st.tuples(days, values, colours, instants),
    ),
    min_size=10,
    max_size=30,
)
drawn_periods = st.lists(
    st.tuples(st.sampled_from("abc"), days, st.integers(1, 5), st.integers(0, 4)), min_size=5, max_size=12
)


@pytest.mark.requirement("MET-08")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn_events, drawn_periods)
def test_every_event_has_the_outcome_the_definition_gives_it(
    event_store: EventStore,
    drawn: list[Any],
    spans: list[Any],
) -> None:
    example = next(example_numbers)
    prefix = f"x{example}-"
    meters = [
        meter(f"{prefix}all", f"{prefix}0", "sum"),
        meter(f"{prefix}red", f"{prefix}0", "count", filters=[{"property": "colour", "values": ["red"]}]),
        meter(f"{prefix}blue", f"{prefix}1", "count", filters=[{"property": "colour", "values": ["blue"]}]),
    ]
    kinds = classes([one.meter_id for one in reversed(meters)])
    periods = [
        (subject, START + first * DAY, START + (first + days) * DAY, number)
        for subject, first, days, number in spans
    ]
    all_sent: list[Sent] = []
    for kind, subject, day, value, colour, came_in, change, (moved, new_value, new_colour, later) in drawn:
        first = Event(f"{prefix}{kind}", subject, START + day * DAY, value, colour)
        new = Event(first.type, subject, START + moved * DAY, new_value, new_colour)
        amended = (new, max(came_in, later)) if change == "amend" else None
        all_sent.append(Sent(first, came_in, amended, change == "cancel"))
    store_all(event_store, all_sent)
    wanted: defaultdict[tuple[str, str, str], list[Decimal]] = defaultdict(list)
    for sent in all_sent:
        version, outcome, reason = reference_outcome(sent, periods, kinds, meters)
        wanted[version.type, outcome, reason].append(version.value or Decimal(0))
    report = account_for_events(
        event_store, periods=classed(*periods), classes=kinds, meters=meters, time_from=None, time_to=None
    )
    found = {
        (part.type, part.outcome, part.reason_code): (part.event_count, part.value_total)
        for part in report.parts
        if part.type.startswith(prefix)
    }
    assert found == {key: (len(all_), exact_sum(all_)) for key, all_ in wanted.items()}


def exact_sum(amounts: Sequence[Decimal]) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = WIDE.add(total, amount)
    return total


MARCH = [("acme", at("2025-03-01"), at("2025-04-01"), 1), ("acme", at("2025-04-01"), at("2025-05-01"), 4)]


@pytest.mark.requirement("MET-08")
def test_a_month_of_calls_reads_like_a_bank_statement(event_store: EventStore) -> None:
    calls = meter("calls", "call", "sum")
    add_events(
        event_store,
        [
            event("call", "acme", "2025-02-28 23:59:59.999999", "1"),
            event("call", "acme", "2025-03-01", "2.5"),
            event("call", "acme", "2025-03-31 23:59:59.999999", "0.000000000001"),
            event("call", "acme", "2025-04-01", "10"),
            event("call", "nobody", "2025-03-05", "100"),
            event("cal", "acme", "2025-03-05", None),
        ],
    )
    kinds = [
        PeriodClass("not_billable", "no_charge", frozenset(), None),
        PeriodClass("billed", "", frozenset({"calls"}), to_micros(at("2030-01-02"))),
        *classes(["calls"])[2:],
    ]
    report = account_for_events(
        event_store, periods=classed(*MARCH), classes=kinds, meters=[calls], time_from=None, time_to=None
    )
    shown = [
        f"{part.type} {part.outcome} {part.reason_code} {part.event_count} {part.value_total.normalize():f}"
        for part in report.parts
    ]
    assert shown == [
        "cal not_billable type_unmatched 1 0",
        "call billed  2 2.500000000001",
        "call not_billable outside_contract 1 1",
        "call not_billable subject_unmatched 1 100",
        "call unbilled open_period 1 10",
    ]
    (typo, all_calls) = report.types
    assert (typo.event_count, all_calls.event_count) == (1, 5)
    assert all_calls.value_total == Decimal("113.500000000001")
    assert report.as_of_sequence == 6
    only = account_for_events(
        event_store,
        periods=classed(*MARCH),
        classes=kinds,
        meters=[calls],
        time_from=at("2025-03-01"),
        time_to=at("2025-03-05"),
    )
    assert [(part.outcome, part.event_count) for part in only.parts] == [("billed", 1)]


@pytest.mark.parametrize(
    ("billed_at", "outcome"), [(INGESTED_AT, "billed"), (INGESTED_AT - TICK, "unbilled")]
)
def test_an_event_is_billed_when_it_was_there_at_the_instant(
    event_store: EventStore, billed_at: datetime, outcome: str
) -> None:
    add_events(event_store, [event("call", "acme", "2025-03-05", "1")])
    kinds = [PeriodClass("billed", "", frozenset({"calls"}), to_micros(billed_at))]
    report = account_for_events(
        event_store,
        periods=classed(("acme", at("2025-03-01"), at("2025-04-01"), 0)),
        classes=kinds,
        meters=[meter("calls", "call", "sum")],
        time_from=None,
        time_to=None,
    )
    assert [part.outcome for part in report.parts] == [outcome]


def test_an_event_that_was_lost_is_noticed(event_store: EventStore) -> None:
    """A replacement whose original is gone: what is in force is more than what was accepted."""
    change = (event("call", "acme", "2025-03-02", "2"), at("2025-03-03"))
    store_all(event_store, [Sent(event("call", "acme", "2025-03-01", "1"), at("2025-03-01"), change, False)])
    event_store.command("DELETE FROM events WHERE replaces = 0")
    with pytest.raises(BrokenState, match="another number was accepted"):
        account_for_events(
            event_store, periods=classed(), classes=[], meters=[], time_from=None, time_to=None
        )


def test_a_period_that_runs_backwards_is_broken(event_store: EventStore) -> None:
    with pytest.raises(BrokenState, match="must end after it starts"):
        lay_pieces(classed(("acme", at("2025-03-02"), at("2025-03-01"), 0)), classes(["m"]))
