"""Kafka as a source: a consumer group whose offsets are committed when the records are on disk.

A message that is not committed comes again. A poison message is refused, kept, and passed by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from ingest.errors import InvalidInput, NotFound, StoreUnavailable
from ingest.streams.message import Message

_FIXED: Final[dict[str, str | bool]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
}
"""What the promise rests on; a caller cannot change it."""
_ANSWER_SECONDS_MAX: Final = 10
_LOST_ASSIGNMENT: Final = frozenset(
    {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS}
)


class KafkaSource:
    """The consumer of one topic."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._early: list[KafkaMessage] = []

    def take(self, *, messages_max: int, wait_seconds: int) -> Sequence[tuple[Message, KafkaMessage]]:
        """See ``Source``. Raises StoreUnavailable when the broker refuses the topic or is gone for good."""
        try:
            found = self._early or self._consumer.consume(messages_max, wait_seconds)
        except KafkaException as error:
            raise _unavailable(error.args[0]) from error
        self._early = []
        taken = []
        for message in found:
            failed = message.error()
            if failed is None:
                taken.append((_message_of(message), message))
            elif not failed.retriable() and failed.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                raise _unavailable(failed)
        return taken

    def is_empty(self) -> bool:
        """See ``Source``."""
        try:
            assigned = self._consumer.position(self._consumer.assignment())
            return bool(assigned) and all(self._is_read(partition) for partition in assigned)
        except KafkaException as error:
            raise _unavailable(error.args[0]) from error

    def _is_read(self, partition: TopicPartition) -> bool:
        low, high = self._consumer.get_watermark_offsets(partition, timeout=_ANSWER_SECONDS_MAX)
        position = partition.offset
        if position < 0:  # nothing was read yet
            position = self._consumer.committed([partition], timeout=_ANSWER_SECONDS_MAX)[0].offset
        return max(position, low) >= high

    def settle(self, handles: Sequence[KafkaMessage], *, none_taken: set[int]) -> None:  # noqa: ARG002
        """See ``Source``. A message of which nothing was taken is passed by: it is kept as refused."""
        next_offsets: dict[tuple[str, int], int] = {}
        for message in handles:
            place = (str(message.topic()), int(message.partition() or 0))
            next_offsets[place] = max(next_offsets.get(place, 0), int(message.offset() or 0) + 1)
        offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in next_offsets.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # The partition went to another member, which reads them again: they count as duplicates.
            if error.args[0].code() not in _LOST_ASSIGNMENT:
                raise _unavailable(error.args[0]) from error

    def hold(self, handles: Sequence[KafkaMessage]) -> None:  # noqa: ARG002
        """See ``Source``: a poll that takes nothing, so that the group does not think this member dead."""
        assigned = self._consumer.assignment()
        self._consumer.pause(assigned)
        early = self._consumer.poll(0)
        if early is not None:  # of a partition that was assigned just now
            self._early.append(early)
        self._consumer.resume(assigned)


@contextmanager
def kafka_source(
    *, brokers: str, topic: str, group: str, options: Mapping[str, str]
) -> Iterator[KafkaSource]:
    """A consumer in that group. options: more settings of librdkafka, such as those of TLS and SASL.

    Raises InvalidInput for an option that is unknown or would break the promise, NotFound when there is
    no such topic, StoreUnavailable when no broker answers.
    """
    for name in options:
        if name in _FIXED:
            raise InvalidInput(
                f"the Kafka option {name} cannot be changed: offsets are committed when events are on disk.",
                reason_code="option_fixed",
            )
    try:
        consumer = Consumer({**options, **_FIXED, "bootstrap.servers": brokers, "group.id": group})
    except (KafkaException, ValueError) as error:
        raise InvalidInput(f"Kafka options cannot be used: {error}.", reason_code="option_unknown") from error
    try:
        _check_topic(consumer, brokers, topic)
        consumer.subscribe([topic])
        yield KafkaSource(consumer)
    finally:
        consumer.close()


def _check_topic(consumer: Consumer, brokers: str, topic: str) -> None:
    try:
        found = consumer.list_topics(topic, timeout=_ANSWER_SECONDS_MAX).topics.get(topic)
    except KafkaException as error:
        raise StoreUnavailable(
            f"no Kafka broker answers at {brokers}: {error.args[0]}.", reason_code="broker_unavailable"
        ) from error
    if found is None or found.error is not None:
        raise NotFound(f"the Kafka broker has no topic {topic!r}; make it before its events are taken.")


def _message_of(message: KafkaMessage) -> Message:
    headers = []
    given: Any = message.headers() or ()
    for name, value in given:
        text = (
            value.decode("utf-8", errors="surrogateescape") if isinstance(value, bytes) else str(value or "")
        )
        headers.append((name.lower(), text))
    return Message(message.value() or b"", tuple(headers))


def _unavailable(error: object) -> StoreUnavailable:
    return StoreUnavailable(
        f"the Kafka broker does not take part: {error}. What was not committed comes again.",
        reason_code="broker_unavailable",
    )
