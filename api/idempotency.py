"""Idempotency-Key: a request that is sent again is answered again, word for word, and done once.

An answer is kept in the ledger by (API key, route, Idempotency-Key) until it expires. The header is the
one of the IETF draft (draft-ietf-httpapi-idempotency-key-header). Requests with the same key wait for
each other in this process, so both get the answer of the first.

Only answers are kept that say what was done: a request refused before (400, 413, 415, 429 ...) may come
again with the same key and another body. Should the process die between the work and its answer, or
two processes work on one key at once, the work itself must be safe to do twice: events count once
by their identity, and the second answer calls them duplicates.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import anyio.to_thread
import sqlalchemy as sa
from sqlalchemy import Engine

from api.tables import IDEMPOTENT_ANSWERS
from ingest.clock import Clock
from ingest.errors import Conflict, InvalidInput, Issue
from ingest.ledger import ledger_transaction

HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotent-Replayed"
KEY_CHARACTERS_MAX: Final = 255


class AnswerKey(NamedTuple):
    """Whose key for what: the API key's id, the route's path, and the header's value."""

    key_id: str
    route: str
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it was given. replayed: it is given again."""

    status: int
    media_type: str
    body: bytes
    replayed: bool


def answer_key(key_id: str, route: str, header: str) -> AnswerKey:
    """The key of an answer. Raises InvalidInput (bad_idempotency_key)."""
    if not 0 < len(header) <= KEY_CHARACTERS_MAX or not header.isprintable():
        issue = Issue(
            "bad_idempotency_key",
            HEADER,
            f"The header has {len(header)} characters.",
            f"1 to {KEY_CHARACTERS_MAX} printable characters, such as a UUID.",
        )
        raise InvalidInput(str(issue), reason_code="bad_idempotency_key", issues=[issue])
    return AnswerKey(key_id, route, header)


def request_hash(body: bytes, *facts: str) -> str:
    """SHA-256 of all that the answer depends on, in hex."""
    digest = hashlib.sha256(body)
    for fact in facts:
        text = fact.encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()


class AnswerBook:
    """The answers kept, and the requests of this process that work on one."""

    def __init__(self, ledger: Engine, clock: Clock, hours_kept: int) -> None:
        self._ledger = ledger
        self._clock = clock
        self._kept_for = timedelta(hours=hours_kept)
        self._turns: dict[AnswerKey, tuple[asyncio.Lock, int]] = {}

    async def answer(
        self, key: AnswerKey, digest: str, make: Callable[[], Awaitable[KeptAnswer]]
    ) -> KeptAnswer:
        """The kept answer, or the one ``make`` gives, which is kept before it is returned.

        digest: ``request_hash``. Raises Conflict (idempotency_key_reused) when the key was used for
        another request, and whatever ``make`` raises; nothing is kept then.
        """
        async with self._turn(key):
            known = await anyio.to_thread.run_sync(self._look_up, key, digest)
            if known is not None:
                return known
            made = await make()
            await anyio.to_thread.run_sync(self._keep, key, digest, made)
            return made

    @asynccontextmanager
    async def _turn(self, key: AnswerKey) -> AsyncIterator[None]:
        lock, users = self._turns.get(key, (asyncio.Lock(), 0))
        self._turns[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns.pop(key)
            if users > 1:
                self._turns[key] = lock, users - 1

    def _look_up(self, key: AnswerKey, digest: str) -> KeptAnswer | None:
        with self._ledger.connect() as connection:
            row = connection.execute(
                sa.select(IDEMPOTENT_ANSWERS).where(
                    *_is(key), IDEMPOTENT_ANSWERS.c.expires_at > _text(self._clock.now())
                )
            ).one_or_none()
        if row is None:
            return None
        if row.request_hash != digest:
            raise Conflict(
                f"the {HEADER} {key.idempotency_key!r} was used on {row.created_at} for another request. "
                "Use a new key for a new request; to send the same again, change nothing. Nothing was done.",
                reason_code="idempotency_key_reused",
            )
        return KeptAnswer(row.status, row.media_type, row.body.encode(), replayed=True)

    def _keep(self, key: AnswerKey, digest: str, answer: KeptAnswer) -> None:
        now = self._clock.now()
        with ledger_transaction(self._ledger) as connection:
            connection.execute(
                sa.delete(IDEMPOTENT_ANSWERS).where(IDEMPOTENT_ANSWERS.c.expires_at <= _text(now))
            )
            there = connection.execute(
                sa.select(IDEMPOTENT_ANSWERS.c.request_hash).where(*_is(key))
            ).one_or_none()
            if there is not None:
                return  # another process on the same ledger was first; both did the same work
            connection.execute(
                sa.insert(IDEMPOTENT_ANSWERS).values(
                    **key._asdict(),
                    request_hash=digest,
                    status=answer.status,
                    media_type=answer.media_type,
                    body=answer.body.decode(),
                    created_at=_text(now),
                    expires_at=_text(now + self._kept_for),
                )
            )


def _is(key: AnswerKey) -> list[sa.ColumnElement[bool]]:
    return [IDEMPOTENT_ANSWERS.c[name] == part for name, part in key._asdict().items()]


def _text(instant: datetime) -> str:
    # Compared as text, so every instant must have the same number of digits.
    return instant.isoformat(timespec="microseconds")
