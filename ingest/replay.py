"""Refused records sent again, mended or as they were, and refused records dismissed.

``{"refusal_id", "record"}``: the record is an event, a CloudEvent or a correction; left out, the one that
was refused is sent once more (its meter, or the event it corrects, may be there by now). What is taken
settles the refusal. What is refused again leaves it open, and its new refusal points back to it, so the
list of open refusals stays the list of what is still to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from ingest.correct import correct_events
from ingest.errors import Conflict, InvalidInput, NotFound
from ingest.json_slow import read_object, write_object, wrong_type
from ingest.judge import text_problem
from ingest.load import IngestContext, IngestReport, ingest_batch
from ingest.media_type import CLOUDEVENTS_BATCH, JSON
from ingest.record_batch import SentRecord, read_records
from ingest.refusal import RECORD_KEPT_CHARACTERS, Problem, shown
from ingest.refused import DISMISSED, REPAIRED, SETTLED_SCHEMA, RefusedEvent, find_refused, settlement

ALREADY_REPAIRED: Final = "already_repaired"
REFUSED: Final = "refused"

_FIELDS: Final = ("refusal_id", "record", "reason_code", "message", "expected")
"""The last three are why it was refused, as a list shows it; they are not read."""
_EXPECTED: Final = "an object with refusal_id and, if it is mended, record."
_RECORD_EXPECTED: Final = "record: an event, a CloudEvent or a correction as a JSON object."

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one item. outcome: repaired, already_repaired, or refused, which leaves the refusal
    as it was; the last four are empty unless it is refused."""

    line: int
    refusal_id: str
    outcome: str
    reason_code: str = ""
    field: str = ""
    message: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True)
class _Replay:
    refusal_id: str
    record: Record | None


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A record to send, and the item it is from."""

    line: int
    refusal_id: str
    record: Record


def replay_refused(
    body: bytes,
    *,
    content_type: str,
    content_encoding: str | None,
    received_at: datetime,
    ingest: IngestContext,
) -> list[Replayed]:
    """Send refused records again; one outcome an item, in the order sent.

    Events go before corrections, so that a correction may be of an event repaired beside it. Sending the
    request again is safe: what is repaired stays so. Raises UnreadableBody when the body as a whole
    cannot be read.
    """
    items = read_records(
        body,
        content_type=content_type,
        content_encoding=content_encoding,
        settings=ingest.settings,
        records_max=ingest.settings.replays_max,
        read=_read_item,
    )
    with ingest.refusal_lock:
        done, chosen = _choose(items, ingest)
        settled: list[dict[str, Any]] = []
        for batch in _batches(chosen):
            report = _send(batch, received_at=received_at, ingest=ingest)
            _take_outcomes(batch, report, done, settled, received_at)
        _settle(settled, ingest)
    return [done[item.line] for item in items]


def dismiss_refused(
    refusal_ids: Sequence[str], *, reason: str, dismissed_at: datetime, ingest: IngestContext
) -> list[str]:
    """Say that nothing will come of these records, and why; all of them or none. They stay readable, and
    may still be repaired. Returns the ids of those that were open.

    Raises InvalidInput for a reason that says nothing, NotFound, Conflict when one is repaired.
    """
    problem = text_problem("reason", reason)
    if problem:
        raise InvalidInput(f"{problem.message} Expected: {problem.expected}", reason_code=problem.reason_code)
    with ingest.refusal_lock:
        known = find_refused(ingest.store, refusal_ids)
        for refusal_id in refusal_ids:
            if refusal_id not in known:
                raise NotFound(f"there is no refused record {shown(refusal_id)}; nothing was dismissed.")
            if known[refusal_id].state == REPAIRED:
                repaired_id = shown(known[refusal_id].repaired_id)
                raise Conflict(
                    f"refused record {shown(refusal_id)} is repaired by {repaired_id}; none was dismissed. "
                    "Cancel that event if it should not count.",
                    reason_code="refusal_repaired",
                )
        wanted = [one.refusal_id for one in known.values() if one.state != DISMISSED]
        _settle([_dismissal(one, reason, dismissed_at) for one in wanted], ingest)
    return wanted


def _read_item(text: bytes) -> _Replay | Problem:
    item = read_object(text, expected=_EXPECTED)
    if isinstance(item, Problem):
        return item
    for name in item:
        if name not in _FIELDS:
            return Problem("unknown_field", name, f"{shown(name)} is not a field of a replay.", _EXPECTED)
    problem = wrong_type(item, texts=("refusal_id",), value=None) or text_problem(
        "refusal_id", item.get("refusal_id")
    )
    if problem:
        return problem
    record = item.get("record")
    if record is not None and not isinstance(record, dict):
        return Problem("wrong_type", "record", "record is no object.", _RECORD_EXPECTED)
    return _Replay(item["refusal_id"], record)


def _choose(
    items: Sequence[SentRecord[_Replay]], ingest: IngestContext
) -> tuple[dict[int, Replayed], list[_Chosen]]:
    """The outcomes known already, by line, and the records to send."""
    asked = [item.read.refusal_id for item in items if isinstance(item.read, _Replay)]
    known = find_refused(ingest.store, asked)
    done: dict[int, Replayed] = {}
    chosen: list[_Chosen] = []
    seen: set[str] = set()
    for item in items:
        if isinstance(item.read, Problem):
            done[item.line] = _refused(item.line, "", item.read)
            continue
        refusal_id = item.read.refusal_id
        record = _record(item.read, known.get(refusal_id), seen)
        if isinstance(record, Problem):
            done[item.line] = _refused(item.line, refusal_id, record)
        elif record is None:
            done[item.line] = Replayed(item.line, refusal_id, ALREADY_REPAIRED)
        else:
            chosen.append(_Chosen(item.line, refusal_id, record))
        seen.add(refusal_id)
    return done, chosen


def _record(replay: _Replay, refusal: RefusedEvent | None, seen: set[str]) -> Record | Problem | None:
    """The record to send; None when the refusal is repaired already."""
    if refusal is None:
        message = f"there is no refused record {shown(replay.refusal_id)}."
        return Problem("no_such_refusal", "refusal_id", message, "a refusal_id of GET /v1/events/refused.")
    if replay.refusal_id in seen:
        message = f"{shown(replay.refusal_id)} is named twice."
        return Problem("refusal_twice", "refusal_id", message, "each refused record once in a request.")
    if refusal.state == REPAIRED:
        return None
    if replay.record is not None:
        return replay.record
    kept = read_object(refusal.record.encode("utf-8", errors="replace"), expected=_RECORD_EXPECTED)
    if isinstance(kept, Problem) or len(refusal.record) >= RECORD_KEPT_CHARACTERS:
        message = "what was refused is no JSON object, or too long to have been kept whole."
        return Problem("record_not_kept", "record", message, _RECORD_EXPECTED)
    return kept


def _batches(chosen: Sequence[_Chosen]) -> list[list[_Chosen]]:
    """Events, CloudEvents and corrections apart; none is empty."""
    kinds: tuple[Callable[[Record], bool], ...] = (
        lambda record: "corrects" not in record and "specversion" not in record,
        lambda record: "specversion" in record,
        lambda record: "corrects" in record and "specversion" not in record,
    )
    batches = [[one for one in chosen if kind(one.record)] for kind in kinds]
    return [batch for batch in batches if batch]


def _send(batch: Sequence[_Chosen], *, received_at: datetime, ingest: IngestContext) -> IngestReport:
    body = ("[" + ",".join(write_object(one.record) for one in batch) + "]").encode()
    record = batch[0].record
    content_type = CLOUDEVENTS_BATCH if "specversion" in record else JSON
    take = correct_events if "corrects" in record and content_type == JSON else ingest_batch
    return take(
        body, content_type=content_type, content_encoding=None, received_at=received_at, ingest=ingest
    )


def _take_outcomes(
    batch: Sequence[_Chosen],
    report: IngestReport,
    done: dict[int, Replayed],
    settled: list[dict[str, Any]],
    settled_at: datetime,
) -> None:
    refusals = {refusal.line: refusal for refusal in report.refusals}
    for number, one in enumerate(batch, 1):
        refusal = refusals.get(number)
        if refusal is None:
            done[one.line] = Replayed(one.line, one.refusal_id, REPAIRED)
            source, event_id = str(one.record["source"]), str(one.record["id"])
            settled.append(
                settlement(
                    one.refusal_id, REPAIRED, reason="", source=source, id=event_id, settled_at=settled_at
                )
            )
            continue
        problem = Problem(refusal.reason_code, refusal.field, refusal.message, refusal.expected)
        done[one.line] = _refused(one.line, one.refusal_id, problem)
        reason = f"a replay of {one.refusal_id}, which says what became of it"
        settled.append(_dismissal(f"{report.batch_id}-{number}", reason, settled_at))


def _refused(line: int, refusal_id: str, problem: Problem) -> Replayed:
    return Replayed(
        line, refusal_id, REFUSED, problem.reason_code, problem.field, problem.message, problem.expected
    )


def _dismissal(refusal_id: str, reason: str, settled_at: datetime) -> dict[str, Any]:
    return settlement(refusal_id, DISMISSED, reason=reason, source="", id="", settled_at=settled_at)


def _settle(settled: list[dict[str, Any]], ingest: IngestContext) -> None:
    if settled:
        ingest.store.insert("settled_refusals", pa.Table.from_pylist(settled, schema=SETTLED_SCHEMA))
