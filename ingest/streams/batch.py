"""Many messages as few request bodies, and what became of each message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ingest.errors import InvalidInput
from ingest.media_type import CLOUDEVENTS_BATCH, NDJSON
from ingest.refusal import RECORD_KEPT_CHARACTERS
from ingest.settings import IngestSettings
from ingest.streams.message import Message, records_of, unreadable

BODY_RECORDS_MAX: Final = 50_000
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
COUNTS: Final = ("records", "accepted", "duplicates", "conflicts", "rejected")

Send = Callable[[bytes, str], Mapping[str, Any]]
"""Takes in a body of a media type and returns its report, as POST /v1/events answers it, when its events are
on disk. Raises InvalidInput when the body as a whole is refused, StoreUnavailable to send it again."""


@dataclass(frozen=True, slots=True)
class Part:
    """A request body: records with the place of the message each came from."""

    media_type: str
    records: tuple[bytes, ...]
    messages: tuple[int, ...]

    @property
    def body(self) -> bytes:
        if self.media_type == NDJSON:
            return b"\n".join(self.records)
        return (
            b"[" + b",".join(self.records) + b"]" if self.media_type == CLOUDEVENTS_BATCH else self.records[0]
        )


@dataclass(slots=True)
class Taken:
    """What became of a batch of messages.

    refusals: as the reports list them, which is not all of very many; ``message_number`` is the place of
    the message. none_taken: places of the messages of which not one record counts, as far as listed.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    refusals: list[dict[str, Any]] = field(default_factory=list)
    _records: dict[int, int] = field(default_factory=dict)
    _refused: dict[int, int] = field(default_factory=dict)

    @property
    def none_taken(self) -> set[int]:
        return {place for place, refused in self._refused.items() if refused >= self._records[place]}

    def add(self, part: Part, report: Mapping[str, Any]) -> None:
        for name in COUNTS:
            self.counts[name] += report[name]
        several = report["records"] if len(part.messages) == 1 else 1  # a body may hold many records
        for place in part.messages:
            self._records[place] = self._records.get(place, 0) + several
        for refusal in report["refusals"]:
            place = part.messages[min(refusal["line"], len(part.messages)) - 1]
            self._refused[place] = self._refused.get(place, 0) + 1
            self.refusals.append({**refusal, "message_number": place})


def take_messages(messages: Sequence[Message], *, send: Send, settings: IngestSettings) -> Taken:
    """Take in all records of ``messages``; when it returns they are on disk, or refused and kept.

    Raises StoreUnavailable from ``send``: then some may be on disk, and all may be taken again.
    """
    taken = Taken()
    for part in parts_of(messages, settings):
        _take_part(part, send, taken)
    return taken


def parts_of(messages: Sequence[Message], settings: IngestSettings) -> Iterator[Part]:
    """The request bodies for those messages. Records of one kind travel together."""
    together: dict[str, list[tuple[int, bytes]]] = {NDJSON: [], CLOUDEVENTS_BATCH: []}
    for place, message in enumerate(messages):
        records = records_of(message, settings)
        together[NDJSON] += [(place, line) for line in records.lines]
        together[CLOUDEVENTS_BATCH] += [(place, event) for event in records.cloudevents]
        if records.body is not None:
            yield Part(records.body[0], (records.body[1],), (place,))
    for media_type, records_there in together.items():
        for piece in _pieces(records_there):
            yield Part(media_type, tuple(record for _, record in piece), tuple(place for place, _ in piece))


def _pieces(records: list[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    start, size = 0, 0
    for position, (_, record) in enumerate(records):
        if position > start and (size + len(record) > BODY_BYTES_MAX or position - start == BODY_RECORDS_MAX):
            yield records[start:position]
            start, size = position, 0
        size += len(record) + 1
    if start < len(records):
        yield records[start:]


def _take_part(part: Part, send: Send, taken: Taken) -> None:
    try:
        report = send(part.body, part.media_type)
    except InvalidInput:
        if len(part.records) > 1:  # one of them is to blame: the halves will tell
            half = len(part.records) // 2
            for piece in (slice(None, half), slice(half, None)):
                _take_part(Part(part.media_type, part.records[piece], part.messages[piece]), send, taken)
            return
        kept = unreadable(part.records[0].lstrip()[:RECORD_KEPT_CHARACTERS]).lines
        if not kept:
            return
        part = Part(NDJSON, kept, part.messages)
        report = send(part.body, part.media_type)
    taken.add(part, report)
