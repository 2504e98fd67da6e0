"""NATS JetStream as a source: a durable pull consumer.

Source: https://docs.nats.io/nats-concepts/jetstream/consumers

A message is acknowledged when its records are on disk, and terminated when none of them could be taken
(the server then tells it in an advisory). What is not acknowledged comes again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from ingest.errors import NotFound, StoreUnavailable
from ingest.streams.message import Message

_CONNECT_SECONDS_MAX: Final = 10
_ANSWER_SECONDS_MAX: Final = 30

Result = TypeVar("Result")


class NatsSource:
    """The consumer; its client runs in an event loop in a thread of its own."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, client: Client, subscription: JetStreamContext.PullSubscription
    ) -> None:
        self._loop = loop
        self._client = client
        self._subscription = subscription

    def take(self, *, messages_max: int, wait_seconds: int) -> Sequence[tuple[Message, Msg]]:
        """See ``Source``. Raises StoreUnavailable when the broker is gone for good."""
        try:
            found = _run(self._loop, self._subscription.fetch(messages_max, timeout=wait_seconds))
        except TimeoutError:
            return []
        except NatsError as error:
            raise _unavailable(error) from error
        return [(_message_of(message), message) for message in found]

    def is_empty(self) -> bool:
        """See ``Source``."""
        if not self._client.is_connected:
            raise _unavailable(ConnectionError("not connected"))
        try:
            found = _run(self._loop, self._subscription.consumer_info())
        except (NatsError, TimeoutError) as error:
            raise _unavailable(error) from error
        return not found.num_pending and not found.num_ack_pending

    def settle(self, handles: Sequence[Msg], *, none_taken: set[int]) -> None:
        """See ``Source``."""

        async def answer() -> None:
            for place, message in enumerate(handles):
                await (message.term() if place in none_taken else message.ack())
            await self._client.flush(_ANSWER_SECONDS_MAX)

        # An acknowledgement that is lost costs a second delivery and nothing else.
        self._answer(answer())

    def hold(self, handles: Sequence[Msg]) -> None:
        """See ``Source``."""

        async def answer() -> None:
            for message in handles:
                await message.in_progress()

        self._answer(answer())

    def _answer(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            _run(self._loop, work)
        except (NatsError, TimeoutError) as error:
            raise _unavailable(error) from error


@contextmanager
def nats_source(
    *, url: str, stream: str, subject: str | None, durable: str, messages_max: int, ack_wait_seconds: int
) -> Iterator[NatsSource]:
    """Connect and bind to the durable consumer, making it when it is not there.

    ack_wait_seconds: of a consumer made here, how long the broker waits for an acknowledgement before
    the message comes again: the messages of a consumer that died come to the next one after that time.
    Raises NotFound when there is no such stream, StoreUnavailable when the broker does not answer.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="nats", daemon=True)
    thread.start()
    client: Client | None = None
    try:
        config = ConsumerConfig(
            ack_policy=AckPolicy.EXPLICIT, ack_wait=ack_wait_seconds, max_ack_pending=4 * messages_max
        )
        client = _run(loop, _connect(url))
        subscription = _run(loop, _subscribe(client, stream, subject, durable, config))
        yield NatsSource(loop, client, subscription)
    finally:
        if client is not None:
            _run(loop, client.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _connect(url: str) -> Client:
    # A connection that breaks is mended for ever; the first one must come about in good time.
    first = nats.connect(url, max_reconnect_attempts=-1, error_cb=_ignore)
    try:
        return await asyncio.wait_for(first, _CONNECT_SECONDS_MAX)
    except (NatsError, OSError, TimeoutError) as error:
        raise StoreUnavailable(
            f"no NATS server answers at {url}: {error or type(error).__name__}. Is it running, and is "
            "the address right?",
            reason_code="broker_unavailable",
        ) from error


async def _ignore(_: Exception) -> None:
    """What the client meets in the background it meets again in a call, where it is told."""


async def _subscribe(
    client: Client, stream: str, subject: str | None, durable: str, config: ConsumerConfig
) -> JetStreamContext.PullSubscription:
    try:
        return await client.jetstream().pull_subscribe(
            subject or "", durable=durable, stream=stream, config=config
        )
    except NotFoundError as error:
        raise NotFound(
            f"the NATS server has no stream {stream!r}; make it before its events are taken."
        ) from error
    except (NatsError, TimeoutError) as error:
        raise _unavailable(error) from error


def _message_of(message: Msg) -> Message:
    headers = tuple((name.lower(), text) for name, text in (message.headers or {}).items())
    return Message(message.data, headers)


def _unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"the NATS server does not take part: {error or type(error).__name__}. What was not "
        "acknowledged comes again.",
        reason_code="broker_unavailable",
    )


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
