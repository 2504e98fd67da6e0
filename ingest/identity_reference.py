"""``ingest/identity.py`` in plain Python integers: slow, short, and what the kernel answers to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ingest.identity import TAG_BODY, TAG_IDENTITY, TIME_NOT_GIVEN

_MASK: Final = (1 << 64) - 1


def siphash_reference(message: bytes, *, key: bytes, wide: bool) -> bytes:
    """SipHash-2-4 with 8 bytes of output, or 16 when ``wide``."""
    key_low, key_high = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8))
    state = [
        key_low ^ 0x736F6D6570736575,
        key_high ^ 0x646F72616E646F6D ^ (0xEE if wide else 0),
        key_low ^ 0x6C7967656E657261,
        key_high ^ 0x7465646279746573,
    ]
    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) & 255])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        state[3] ^= word
        _rounds(state, 2)
        state[0] ^= word
    state[2] ^= 0xEE if wide else 0xFF
    _rounds(state, 4)
    digest = _fold(state)
    if wide:
        state[1] ^= 0xDD
        _rounds(state, 4)
        digest += _fold(state)
    return digest


def identity_reference(source: str, event_id: str, *, key: bytes) -> bytes:
    """The 16 bytes of ``identity``."""
    message = bytes([TAG_IDENTITY]) + _text(source) + _text(event_id)
    return siphash_reference(message, key=key, wide=True)


def body_hash_reference(
    *,
    type: str,  # noqa: A002 - the event's own field name
    subject: str,
    micros: int | None,
    scaled_value: int | None,
    properties: Sequence[tuple[str, str]],
    key: bytes,
) -> int:
    """The 64-bit ``body_hash``; ``scaled_value`` is the value times 10**12, ``micros`` None: not given."""
    message = bytes([TAG_BODY]) + _text(type) + _text(subject)
    message += (TIME_NOT_GIVEN if micros is None else micros).to_bytes(8, "little", signed=True)
    message += b"\0" if scaled_value is None else b"\1" + scaled_value.to_bytes(16, "little", signed=True)
    message += len(properties).to_bytes(4, "little")
    for name, value in sorted(properties):
        message += _text(name) + _text(value)
    return int.from_bytes(siphash_reference(message, key=key, wide=False), "little")


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "little") + encoded


def _fold(state: list[int]) -> bytes:
    return (state[0] ^ state[1] ^ state[2] ^ state[3]).to_bytes(8, "little")


def _rounds(state: list[int], count: int) -> None:
    for _ in range(count):
        _half_round(state, 0, 1, 13, turn=True)
        _half_round(state, 2, 3, 16, turn=False)
        _half_round(state, 0, 3, 21, turn=False)
        _half_round(state, 2, 1, 17, turn=True)


def _half_round(state: list[int], into: int, other: int, left: int, *, turn: bool) -> None:
    state[into] = (state[into] + state[other]) & _MASK
    state[other] = _rotate(state[other], left) ^ state[into]
    if turn:
        state[into] = _rotate(state[into], 32)


def _rotate(word: int, left: int) -> int:
    return ((word << left) | (word >> (64 - left))) & _MASK
