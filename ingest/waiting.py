"""Requests that wait: from a body and the answer it waits for to a prepared batch and its answers.

Whatever goes wrong with one body is that request's answer and nobody else's.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import uuid4

from ingest.commit import BatchPart, IngestContext, IngestReport, PreparedBatch
from ingest.decode import decode_body
from ingest.join import SmallBody, decode_joined, may_join, small_body
from ingest.load import prepare_batch
from ingest.media_type import known_media_type


class Answer(Protocol):
    """What a request waits for: a future, or what is told like one, in a committing thread. Neither method
    raises."""

    def set_result(self, report: IngestReport, /) -> None: ...

    def set_exception(self, error: BaseException, /) -> None: ...


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request whose body is not decoded yet."""

    body: bytes
    content_type: str
    content_encoding: str | None
    received_at: datetime
    refusals_max: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class ReadyBatch:
    """A prepared batch and the answers its parts wait for, in their order.

    bytes_held: about what it takes in memory.
    """

    batch: PreparedBatch
    answers: tuple[Answer, ...]
    bytes_held: int


def prepare_alone(request: WaitingRequest, ingest: IngestContext) -> Iterator[ReadyBatch]:
    """Its batch, or nothing when the request was answered with what is wrong with it."""
    try:
        raw = decode_body(
            request.body,
            content_type=request.content_type,
            content_encoding=request.content_encoding,
            settings=ingest.settings,
        )
        part = BatchPart(uuid4().hex, 0, request.refusals_max)
        batch = prepare_batch(raw, (part,), received_at=request.received_at, ingest=ingest)
    except Exception as error:  # noqa: BLE001 - handed to the caller, who waits in another thread
        request.answer.set_exception(error)
        return
    yield _ready(batch, (request.answer,), len(request.body))


def prepare_together(requests: Sequence[WaitingRequest], ingest: IngestContext) -> Iterator[ReadyBatch]:
    """Batches of small requests: one of all plain JSON, one of all CloudEvents, one each of the rest.

    Together they have the instant of receipt of the last of them.
    """
    together: dict[bool, list[tuple[WaitingRequest, SmallBody]]] = {False: [], True: []}
    for request in requests:
        try:
            media_type = known_media_type(request.content_type)
            if may_join(request.body, media_type, request.content_encoding, ingest.settings):
                small = small_body(request.body, media_type)
                together[small.cloud_events].append((request, small))
                continue
        except Exception as error:  # noqa: BLE001 - handed to the caller
            request.answer.set_exception(error)
            continue
        yield from prepare_alone(request, ingest)
    for joined in together.values():
        if joined:
            yield from _prepare_joined(joined, ingest)


def _prepare_joined(
    joined: Sequence[tuple[WaitingRequest, SmallBody]], ingest: IngestContext
) -> Iterator[ReadyBatch]:
    requests = [request for request, _ in joined]
    try:
        raw, raised = decode_joined(
            [small for _, small in joined], record_bytes_max=ingest.settings.record_bytes_max
        )
        parts = tuple(
            BatchPart(batch_id, offset, request.refusals_max)
            for request, offset, batch_id in zip(requests, raised, _batch_ids(len(requests)), strict=True)
        )
        batch = prepare_batch(raw, parts, received_at=requests[-1].received_at, ingest=ingest)
    except Exception:  # noqa: BLE001 - one of them is at fault; each alone shows which
        for request in requests:
            yield from prepare_alone(request, ingest)
        return
    yield _ready(
        batch, tuple(request.answer for request in requests), sum(len(request.body) for request in requests)
    )


def _batch_ids(count: int) -> list[str]:
    """As many random ids, for one call of the operating system: each lets go of the interpreter."""
    drawn = secrets.token_bytes(16 * count).hex()
    return [drawn[start : start + 32] for start in range(0, len(drawn), 32)]


def _ready(batch: PreparedBatch, answers: tuple[Answer, ...], body_bytes: int) -> ReadyBatch:
    held = max(body_bytes, batch.raw.records.nbytes) + batch.valid.events.nbytes
    return ReadyBatch(batch, answers, held)
