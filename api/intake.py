"""How every route takes events in: a place in the queue, the body into it, the report when on disk.

with place(state) as held:
    body = await receive(request, state, held)
    report = await take_events(state, body, content_type=..., content_encoding=...)
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Receive

from api.routing import read_all
from api.state import Ratemill
from ingest.load import IngestReport
from ingest.queue_room import Held


def place(state: Ratemill) -> Held:
    """A place for one request; leave it when the answer is known. Raises Busy when there is none."""
    return state.group_commit.room.enter()


async def receive(request: Request, state: Ratemill, held: Held) -> bytes:
    """The body, held as it grows: who announces much and sends little takes no room from others.

    A body whose declared length finds no room now is refused before it is read. Raises UnreadableBody
    (body_too_large), Busy (queue_full).
    """
    return await receive_held(request.receive, request.headers.get("content-length", ""), state, held)


async def receive_held(messages: Receive, declared: str, state: Ratemill, held: Held) -> bytes:
    """As ``receive``, from bare ASGI messages. declared: the Content-Length header."""
    bytes_max = state.ingest.settings.body_bytes_max
    if declared.isdecimal():
        held.refuse_unless(min(int(declared), bytes_max))
    return await read_all(messages, bytes_max=bytes_max, more=held.more)


async def take_events(
    state: Ratemill,
    body: bytes,
    *,
    content_type: str,
    content_encoding: str | None,
    refusals_max: int,
) -> IngestReport:
    """Take in one batch as ``ingest_batch`` does, in one insert with all that comes at the same time.

    refusals_max: refusals listed in the report. Raises what ``ingest_batch`` raises, and Busy when
    the server is being stopped.
    """
    waiting = state.group_commit.submit(
        body,
        content_type=content_type,
        content_encoding=content_encoding,
        received_at=state.clock.now(),
        refusals_max=refusals_max,
    )
    report = await state.bridge.wait(waiting)
    state.metrics.events.add(report)
    return report
