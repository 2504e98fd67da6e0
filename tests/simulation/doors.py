"""Three senders at once, through three doors (HTTP, a stream, files), while somebody corrects, somebody adds
up usage, and the process dies between any two writes to the store.

Death is a write that raises, before or after its rows are on disk, and every write after it; then everything
in memory is thrown away and opened again, and senders send again what was not answered. Everything random
comes from the seed; which thread is first does not, so the auditor is told who won: of the bodies sent under
one identity the store must keep exactly one, and everything else follows from that.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from ingest.clickhouse import EventStore
from ingest.clock import to_micros
from ingest.correct import correct_events
from ingest.group_commit import GroupCommit
from ingest.in_force import SENT_SQL
from ingest.load import IngestContext, IngestReport, open_ingest
from ingest.load_file import ingest_file
from ingest.settings import IngestSettings
from ingest.streams.batch import COUNTS, take_messages
from ingest.streams.message import Message
from rollup.live_usage import LiveKey, LiveUsage
from rollup.roll_up import roll_up_usage
from rollup.schema import CALENDAR_SCHEMA
from rollup.stored_usage import StoredUsage
from rollup.verify import verify_stored_usage
from tests.rollup.support import meter
from tests.simulation.auditor import BAD_VALUE, Auditor, Fix, Sent
from tests.simulation.deaths import Deaths, is_death
from tests.simulation.wire import encode, encode_fixes

START, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)
NOW = datetime(2025, 3, 1, tzinfo=UTC)
SUBJECTS = ("s0", "s1", "s2")
METERS = (
    meter("eu_calls", "call", "sum", filters=[{"property": "region", "values": ["eu"]}]),
    meter("events", "call", "count"),
)
SUFFIXES = {
    "application/x-ndjson": ".ndjson",
    "application/json": ".json",
    "text/csv": ".csv",
    "application/vnd.apache.parquet": ".parquet",
    "application/vnd.apache.arrow.stream": ".arrows",
}
ENCODINGS = {None: "", "gzip": ".gz", "zstd": ".zst"}
RESTARTS_MAX = 200


@dataclass(slots=True)
class Process:
    """What lives in memory: gone and opened again after a death."""

    ingest: IngestContext
    group: GroupCommit
    stored: StoredUsage
    live: LiveUsage
    over: threading.Event


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A batch that was answered, and the counts of its answer."""

    records: tuple[Sent, ...]
    counts: dict[str, int]


@dataclass(slots=True)
class Door:
    """One sender: batches to send, in order, and how. ``answered`` grows; a batch that died is sent again."""

    batches: list[list[Sent]]
    send: Callable[[Process, list[Sent]], dict[str, int]]
    answered: list[Acknowledged] = field(default_factory=list)

    def work(self, process: Process) -> None:
        while len(self.answered) < len(self.batches):
            batch = self.batches[len(self.answered)]
            self.answered.append(Acknowledged(tuple(batch), self.send(process, batch)))


@dataclass(slots=True)
class Corrector:
    """Corrects events that were acknowledged; a correction without an answer is sent again."""

    random: Random
    wanted: int
    doors: Sequence[Door]
    made: list[Fix] = field(default_factory=list)
    pending: Fix | None = None

    def work(self, process: Process) -> None:
        while len(self.made) < self.wanted and not process.over.is_set() and not process_idle(self.doors):
            if self.pending is None:
                self.pending = self._next()
            if self.pending is None:
                process.over.wait(0.001)
                continue
            body, content_type, encoding = encode_fixes([self.pending], self.random)
            report = correct_events(
                body,
                content_type=content_type,
                content_encoding=encoding,
                received_at=NOW,
                ingest=process.ingest,
            )
            if report.accepted or report.duplicates:
                self.made.append(self.pending)
            self.pending = None

    def _next(self) -> Fix | None:
        known = [one for door in self.doors for answer in list(door.answered) for one in answer.records]
        known = [one for one in known if one.value != BAD_VALUE]
        if not known:
            return None
        chosen = self.random.choice(known)
        name = f"fix-{len(self.made)}-{self.random.randrange(10**6)}"
        if self.random.random() < 0.3:
            return Fix(chosen.source, name, chosen.id, "typo")
        moved = START + timedelta(hours=self.random.randrange(-24, 32 * 24))
        changes: dict[str, Any] = {"value": str(self.random.randrange(100)), "time": moved}
        named = self.random.sample(sorted(changes), self.random.randint(1, 2))
        return Fix(chosen.source, name, chosen.id, "typo", **{key: changes[key] for key in named})


def process_idle(doors: Sequence[Door]) -> bool:
    return all(len(door.answered) == len(door.batches) for door in doors)


def simulate(seed: int, store: EventStore, folder: Path) -> int:
    """Run one seed on an empty store; returns how often the process died. Raises AssertionError."""
    random = Random(seed)
    deaths = Deaths(Random(seed + 1), random.choice([0.0, 0.02, 0.06]))
    doors = _doors(random, folder)
    corrector = Corrector(Random(seed + 2), random.randrange(12), doors)
    with deaths.upon(store):
        for _ in range(RESTARTS_MAX):
            deaths.dead = False
            if _one_life(store, doors, corrector):
                break
        else:
            raise AssertionError(f"seed {seed}: not done after {RESTARTS_MAX} restarts")
    _check(seed, store, doors, corrector, died=deaths.count > 0)
    return deaths.count


def _one_life(store: EventStore, doors: Sequence[Door], corrector: Corrector) -> bool:
    """Whether everything was answered before the process died."""
    try:
        process = _open(store)
        process.stored.refresh(calendar=_calendar(), meters=METERS)
    except Exception as error:
        if is_death(error):
            return False
        raise
    died: list[BaseException] = []
    errors: list[BaseException] = []

    def guarded(work: Callable[[Process], None]) -> None:
        try:
            work(process)
        except BaseException as error:  # noqa: BLE001 - told to the one who waits
            (died if is_death(error) else errors).append(error)
            process.over.set()

    def add_up(life: Process) -> None:
        while not process_idle(doors) and not life.over.is_set():
            life.stored.catch_up()

    works = [*(door.work for door in doors), corrector.work, add_up]
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    process.group.close()
    if errors:
        raise errors[0]
    return not died


def _open(store: EventStore) -> Process:
    ingest = open_ingest(store, meters=lambda: METERS, settings=IngestSettings())
    return Process(
        ingest,
        GroupCommit(ingest, lambda _facts: None),
        StoredUsage(store),
        LiveUsage(ingest),
        threading.Event(),
    )


def _doors(random: Random, folder: Path) -> list[Door]:
    """The records, out of order, some again, some changed, some bad, dealt out to the doors; some go through
    several doors."""
    records = [_record(random, number) for number in range(random.randint(20, 90))]
    extra = random.choices(records, k=random.randint(0, 40))
    extra += [replace(one, value="777.5") for one in random.choices(records, k=random.randint(0, 8))]
    extra += [replace(one, id=f"{one.id}-bad", value=BAD_VALUE) for one in random.choices(records, k=3)]
    records += extra
    random.shuffle(records)
    dealt: list[list[Sent]] = [[], [], []]
    for record in records:
        for door in random.sample(dealt, random.choice([1, 1, 1, 2])):
            door.append(record)
    encoding = Random(random.randrange(10**9))
    sends = (
        _send_http(Random(encoding.random())),
        _send_stream(),
        _send_file(Random(encoding.random()), folder),
    )
    return [Door(list(_batches(random, mine)), send) for mine, send in zip(dealt, sends, strict=True)]


def _record(random: Random, number: int) -> Sent:
    offset = random.choice([0, (END - START) // timedelta(microseconds=1) - 1, random.randrange(10**12)])
    return Sent(
        source=random.choice("ab"),
        id=f"e{number}",
        type=random.choice(["call", "call", "other"]),
        subject=random.choice([*SUBJECTS, "nobody"]),
        time=START + timedelta(microseconds=offset),
        value=f"{random.randrange(1000)}.{random.randrange(1000):03d}",
        properties=random.choice([(), (("region", "eu"),), (("region", "us"),)]),
    )


def _batches(random: Random, records: list[Sent]) -> Iterator[list[Sent]]:
    start = 0
    while start < len(records):
        size = random.choice([1, 3, 17])
        yield records[start : start + size]
        start += size


def _counts(report: IngestReport) -> dict[str, int]:
    return {name: getattr(report, name) for name in ("accepted", "duplicates", "conflicts", "rejected")}


def _submit(process: Process, body: bytes, content_type: str, encoding: str | None) -> IngestReport:
    answer = process.group.submit(
        body, content_type=content_type, content_encoding=encoding, received_at=NOW, refusals_max=1000
    )
    return answer.result()


def _send_http(random: Random) -> Callable[[Process, list[Sent]], dict[str, int]]:
    def send(process: Process, batch: list[Sent]) -> dict[str, int]:
        return _counts(_submit(process, *encode(batch, random)))

    return send


def _send_stream() -> Callable[[Process, list[Sent]], dict[str, int]]:
    """Each record is a message; they travel together, as those of a broker do."""

    def send(process: Process, batch: list[Sent]) -> dict[str, int]:
        def through_http(body: bytes, content_type: str) -> dict[str, Any]:
            report = _submit(process, body, content_type, None)
            refusals = [
                {"line": one.line, "outcome": one.outcome, "reason_code": one.reason_code}
                for one in report.refusals
            ]
            return {
                **_counts(report),
                "records": report.records,
                "refusals": refusals,
                "refusals_truncated": False,
            }

        messages = [
            Message(encode([one], _Plain())[0], (("content-type", "application/x-ndjson"),)) for one in batch
        ]
        taken = take_messages(messages, send=through_http, settings=process.ingest.settings)
        return {name: taken.counts[name] for name in COUNTS if name != "records"}

    return send


class _Plain(Random):
    """Always the first choice: NDJSON, not compressed."""

    def choice(self, seq: Any) -> Any:
        return seq[0]


def _send_file(random: Random, folder: Path) -> Callable[[Process, list[Sent]], dict[str, int]]:
    def send(process: Process, batch: list[Sent]) -> dict[str, int]:
        while True:
            body, content_type, encoding = encode(batch, random)
            suffix = SUFFIXES.get(content_type.split(";")[0])
            if suffix is not None and not (suffix in (".parquet", ".arrows") and encoding):
                break
        path = folder / f"batch{suffix}{ENCODINGS[encoding]}"
        path.write_bytes(body)
        report = ingest_file(path, received_at=NOW, ingest=process.ingest, progress=lambda *_step: None)
        return _counts(report)

    return send


def _calendar() -> pa.Table:
    rows = [
        {"period_key": place, "subject": subject, "period_start": START, "period_end": END}
        for place, subject in enumerate(SUBJECTS)
    ]
    return pa.Table.from_pylist(rows, schema=CALENDAR_SCHEMA)


def _check(seed: int, store: EventStore, doors: Sequence[Door], corrector: Corrector, *, died: bool) -> None:
    auditor = _audited(seed, store, doors, corrector, died=died)
    process = _open(store)
    calendar = _calendar()
    counted = roll_up_usage(store, calendar=calendar, meters=METERS)
    stored = roll_up_usage(store, calendar=calendar, meters=METERS, stored=process.stored)
    assert counted == stored, f"seed {seed}: stored usage"
    found = {
        (SUBJECTS[row["period_key"]], row["meter_id"]): (Fraction(row["quantity"]), row["event_count"])
        for row in counted.usage.to_pylist()
    }
    expected = {key[:2]: value for key, value in auditor.usage().items() if key[2] == "2025-01"}
    assert found == expected, f"seed {seed}: usage"
    keys = [
        LiveKey(one, (subject,), to_micros(START), to_micros(END)) for subject in SUBJECTS for one in METERS
    ]
    readings, _ = process.live.read(keys, at_micros=0)
    live = {
        (key.subjects[0], key.meter.meter_id): Fraction(reading.quantity)
        for key, reading in zip(keys, readings, strict=True)
        if reading.event_count
    }
    assert live == {key: quantity for key, (quantity, _) in expected.items()}, f"seed {seed}: live usage"
    assert verify_stored_usage(process.stored).differences == 0, f"seed {seed}"
    process.group.close()


def _audited(
    seed: int, store: EventStore, doors: Sequence[Door], corrector: Corrector, *, died: bool
) -> Auditor:
    """The auditor, told first who won each identity, then the corrections in the order they were answered;
    the answers of all doors are held to it."""
    rows = store.query(
        "SELECT toString(source) AS source, id, toUnixTimestamp64Micro(time) AS micros, toString(value) AS "
        "value "
        f"FROM events WHERE {SENT_SQL}"
    ).to_pylist()
    kept = {(row["source"], row["id"]): (row["micros"], Fraction(row["value"])) for row in rows}
    assert len(kept) == len(rows), f"seed {seed}: an identity twice"
    auditor = Auditor({subject: ZoneInfo("UTC") for subject in SUBJECTS})
    sent = [one for door in doors for answer in door.answered for one in answer.records]
    valid = [one for one in sent if one.value != BAD_VALUE]
    for one in valid:
        if kept.get((one.source, one.id)) == (to_micros(one.time), Fraction(one.value)):
            auditor.outcome(one)
    assert auditor.first.keys() == kept.keys() == {(one.source, one.id) for one in valid}, (
        f"seed {seed}: who won"
    )
    totals: Counter[str] = Counter()
    for door in doors:
        for answer in door.answered:
            totals.update(answer.counts)
            outcomes = Counter(auditor.outcome(one) for one in answer.records)
            told = {name: answer.counts[name] for name in ("conflicts", "rejected")}
            assert told == {name: outcomes[name] for name in told}, f"seed {seed}: {answer.counts}"
            taken = answer.counts["accepted"] + answer.counts["duplicates"]
            assert taken == outcomes["duplicates"], f"seed {seed}: {answer.counts}"
    assert totals["accepted"] == len(kept) or (died and totals["accepted"] < len(kept)), (
        f"seed {seed}: {totals}"
    )
    for fix in corrector.made:
        assert auditor.correct(fix) == "accepted", f"seed {seed}: {fix}"
    if corrector.pending is not None:  # it died in flight and nobody asked again: did it land?
        landed = store.query(
            "SELECT count() AS rows FROM superseded_events WHERE correction_id = {id:String}",
            {"id": corrector.pending.id},
        )["rows"][0].as_py()
        assert not landed or auditor.correct(corrector.pending) == "accepted", f"seed {seed}"
    return auditor
