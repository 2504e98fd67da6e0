"""The short way of a request with events: from the bytes of a connection to the group commit and back.

uvicorn makes a scope, a task and a dozen messages of every request, and copies its body again and again.
An ordinary POST /v1/events needs none of that: its head says all there is to know, its body is put together
once, and its answer is one write. Everything else, and every answer but the plain 200, goes uvicorn's way,
and both ways call the same functions; so nobody can tell which one was taken but by the clock. Measured:
ARCHITECTURE.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.errors import answer_failure
from api.event_head import Head, read_head
from api.intake import place
from api.routes.events import INGEST_PATH, report_response
from api.state import Ratemill
from ingest.commit import IngestReport
from ingest.errors import Busy
from ingest.queue_room import Held
from ingest.waiting import WaitingRequest

_START: Final = f"POST {INGEST_PATH} HTTP/1.1\r\n".encode()
_HEAD_END: Final = b"\r\n\r\n"
_HEAD_BYTES_MAX: Final = 2048
_HEADS_MAX: Final = 1024


def event_protocol(state: Ratemill) -> Any:
    """The ``http`` of a ``uvicorn.Config``: what makes the protocol of each connection of one server."""
    return partial(EventProtocol, door=EventDoor(state))


class EventDoor:
    """What the connections of one server share. Every method is called on its event loop.

    Requests that are read in one turn of the loop are handed to the group commit together, and a commit wakes
    the loop once for all that it answers.
    """

    def __init__(self, state: Ratemill) -> None:
        self.state: Final = state
        self.count: Final = state.metrics.counting("POST", INGEST_PATH)
        self._heads: dict[bytes, Head | None] = {}
        self._coming: list[Taking] = []

    def head(self, head: bytes) -> Head | None:
        """As ``read_head``: a sender's heads differ in the length alone, and are read once each."""
        try:
            return self._heads[head]
        except KeyError:
            read = read_head(head)
        if len(self._heads) >= _HEADS_MAX:
            self._heads.clear()
        self._heads[head] = read
        return read

    def admit(self, head: Head) -> Held | None:
        """A place for a request with this head; None when another way has to look closer."""
        state = self.state
        if head.length > state.ingest.settings.body_bytes_max:
            return None
        key = state.keys.remembered(head.authorization)
        if key is None or not key.allows("ingest"):
            return None
        try:
            held = place(state)
        except Busy:
            return None
        try:
            held.refuse_unless(head.length)
        except Busy:
            held.release()
            return None
        return held

    def take(self, taking: Taking) -> None:
        """Hand a request to the group commit before the loop waits again."""
        if not self._coming:
            taking.protocol.loop.call_soon(self._submit)
        self._coming.append(taking)

    def _submit(self) -> None:
        coming, self._coming = self._coming, []
        now, refusals_max = self.state.clock.now(), self.state.ingest.settings.refusals_reported_max
        requests = []
        for one in coming:
            body, head = one.take_body(), one.head
            requests.append(
                WaitingRequest(body, head.content_type, head.content_encoding, now, refusals_max, one)
            )
        try:
            self.state.group_commit.submit_all(requests)
        except Busy as error:  # the server stops
            for one in coming:
                one.protocol.answer(one, error)


@dataclass(slots=True, eq=False)
class Taking:
    """A request under way. To the group commit it is the future that it answers; to uvicorn's protocol it is
    what its connection is busy with, as a ``RequestResponseCycle`` is.

    head_bytes: as they came, for uvicorn if it has to take over. pieces: what came of the body so far.
    """

    protocol: EventProtocol
    head: Head
    head_bytes: bytes
    held: Held
    started: float
    pieces: list[bytes] = field(default_factory=list)
    missing: int = field(init=False)
    keep_alive: bool = True
    disconnected: bool = False
    response_complete: bool = False
    message_event: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.missing = self.head.length

    def take_body(self) -> bytes:
        """The body, which is then held by whoever asked."""
        body, self.pieces = b"".join(self.pieces), []
        return body

    def set_result(self, report: IngestReport) -> None:
        self._finish(report)

    def set_exception(self, error: BaseException) -> None:
        self._finish(error)

    def _finish(self, outcome: IngestReport | BaseException) -> None:
        protocol = self.protocol
        protocol.door.state.bridge.call(protocol.loop, partial(protocol.answer, self, outcome))


class EventProtocol(HttpToolsProtocol):
    """uvicorn's protocol, and the short way beside it.

    A connection takes it when nothing is under way on it and the next bytes are an ordinary head. What
    comes behind that request waits in uvicorn's own queue. uvicorn's parser sees nothing of it.
    """

    def __init__(self, *, door: EventDoor, **settings: Any) -> None:
        super().__init__(**settings)
        self.door: Final = door
        self.cycle: RequestResponseCycle | Taking | None  # type: ignore[assignment]
        self._begun: Taking | None = None
        self._in_message = False
        logged = self.access_log and self.access_logger.isEnabledFor(logging.INFO)
        self._usual = not (logged or self.root_path or self.limit_concurrency is not None)

    def data_received(self, data: bytes) -> None:
        if self._begun is not None:
            self._go_on(self._begun, data)
        elif self._in_message or not data.startswith(_START) or not self._begin(data):
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._begun is not None:
            self._begun.held.release()  # in the middle of the body: nothing was taken
            self._begun = None
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._in_message = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        # After an upgrade the parser takes no next message: such a connection stays with uvicorn.
        self._in_message = self.parser.should_upgrade()
        super().on_message_complete()

    def _begin(self, data: bytes) -> bool:
        """Begin the request that ``data`` begins with; nothing is done when it has to go uvicorn's way."""
        idle = self.cycle is None or self.cycle.response_complete
        end = data.find(_HEAD_END, 0, _HEAD_BYTES_MAX) + len(_HEAD_END)
        if not idle or end < len(_START) or not self._usual or self.flow.write_paused:
            return False
        started = time.perf_counter()
        head_bytes = data[:end]
        head = self.door.head(head_bytes)
        held = None if head is None else self.door.admit(head)
        if head is None or held is None:
            return False
        self._unset_keepalive_if_required()
        self._begun = Taking(self, head, head_bytes, held, started)
        self.cycle = self._begun
        self._go_on(self._begun, data[end:])
        return True

    def _go_on(self, taking: Taking, data: bytes) -> None:
        """More of the body, and of what comes behind it."""
        missing = taking.missing
        own = data[:missing]
        try:
            taking.held.more(len(own))
        except Busy:
            self._hand_over(taking, data)
            return
        taking.pieces.append(own)
        taking.missing -= len(own)
        if taking.missing:
            return
        self._begun = None
        self.door.take(taking)
        if len(data) > missing:
            super().data_received(data[missing:])

    def _hand_over(self, taking: Taking, data: bytes) -> None:
        """Let uvicorn have what came so far: the way through ``DirectIngest`` says what is wrong."""
        taking.held.release()
        self._begun = self.cycle = None
        super().data_received(taking.head_bytes + taking.take_body() + data)
        if not taking.keep_alive:
            self.shutdown()

    def answer(self, taking: Taking, outcome: IngestReport | BaseException) -> None:
        """Answer with the report, or with what went wrong."""
        taking.held.release()
        if isinstance(outcome, BaseException):
            self._answer_at_length(taking, partial(_failed, outcome))
            return
        state = self.door.state
        state.metrics.events.add(outcome)
        response = report_response(outcome, refusals_max=state.ingest.settings.refusals_reported_max)
        if response.status_code == 200:
            self._write(taking, response)
        else:
            self._answer_at_length(taking, lambda _: response)

    def _write(self, taking: Taking, response: Response) -> None:
        """Write an answer of status 200 as uvicorn does."""
        if not self.transport.is_closing():
            lines = [STATUS_LINE[200]]
            for name, value in (*self.server_state.default_headers, *response.raw_headers):
                lines += (name, b": ", value, b"\r\n")
            if not taking.keep_alive:
                lines.append(b"connection: close\r\n")
            lines += (b"\r\n", bytes(response.body))
            self.transport.write(b"".join(lines))
            taking.response_complete = True
            if not taking.keep_alive:
                self.transport.close()
            self.on_response_complete()
        self.door.count(200, time.perf_counter() - taking.started)

    def _answer_at_length(self, taking: Taking, respond: Callable[[Request], Response]) -> None:
        """Let uvicorn write the answer."""
        count = self.door.count

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            status = 500
            try:
                response = respond(Request(scope))
                status = response.status_code
                await response(scope, receive, send)
            finally:
                count(status, time.perf_counter() - taking.started)

        cycle = RequestResponseCycle(
            scope=self._scope(),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=taking.message_event,
            expect_100_continue=False,
            keep_alive=taking.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.more_body, cycle.disconnected = False, taking.disconnected
        if isinstance(self.cycle, Taking):  # else another request waits behind it
            self.cycle = cycle
        self._start_asgi_task(cycle, answer)  # type: ignore[arg-type]

    def _scope(self) -> Any:
        """What an answer asks of its request."""
        return {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": self.scheme,
            "path": INGEST_PATH,
            "query_string": b"",
            "headers": [],
            "client": self.client,
            "server": self.server,
        }


def _failed(error: BaseException, request: Request) -> Response:
    if not isinstance(error, Exception):
        raise error
    return answer_failure(request, error)
