"""Who an event is and what it says, as hashes: keyed SipHash-2-4 over Arrow string buffers.

``identity`` (128 bits) is the hash of (source, id), ``body_hash`` (64 bits) of everything else.
Every text is preceded by its length, so ("ab", "c") and ("a", "bc") differ. The key is random and
belongs to the store: without it nobody can construct two ids that collide (SipHash: Aumasson and
Bernstein 2012, https://www.aumasson.jp/siphash/siphash.pdf; 128-bit output as in the reference
code). ``ingest/identity_reference.py`` says the same in plain Python.
"""

from __future__ import annotations

import secrets
from typing import Final

import numpy as np
import pyarrow as pa

from ingest.arrow_buffers import (
    Bytes,
    Flags,
    Integers,
    Words,
    decimal_words,
    one_array,
    text_buffers,
    valid_flags,
)
from ingest.byte_words import copy_bytes
from ingest.clickhouse import EventStore
from ingest.compiled import compiled
from ingest.errors import BrokenState
from ingest.event import PROPERTIES_MAX, PROPERTY_VALUE_BYTES_MAX, TEXT_BYTES_MAX
from ingest.store_url import shown_url

IDENTITY_KEY_FACT: Final = "identity_key"
KEY_BYTES: Final = 16
TAG_IDENTITY: Final = 1
TAG_BODY: Final = 2
TIME_NOT_GIVEN: Final = -1
"""Hashed in place of the time of a record that gave none, so that its resend is a duplicate."""

_MESSAGE_BYTES_MAX: Final = (
    64 + 2 * TEXT_BYTES_MAX + PROPERTIES_MAX * (8 + TEXT_BYTES_MAX + PROPERTY_VALUE_BYTES_MAX)
)
_C0: Final = np.uint64(0x736F6D6570736575)
_C1: Final = np.uint64(0x646F72616E646F6D)
_C2: Final = np.uint64(0x6C7967656E657261)
_C3: Final = np.uint64(0x7465646279746573)
_EE: Final = np.uint64(0xEE)
_DD: Final = np.uint64(0xDD)
_FF: Final = np.uint64(0xFF)
_BITS: Final = tuple(np.uint64(bits) for bits in range(65))


def identity_key(store: EventStore) -> bytes:
    """The store's own 16 random bytes, made on first use. Raises BrokenState when there are two."""
    found = store.query(
        "SELECT value FROM store_facts WHERE name = {name:String}", {"name": IDENTITY_KEY_FACT}
    )["value"].to_pylist()
    if not found:
        key = secrets.token_bytes(KEY_BYTES)
        store.insert("store_facts", pa.table({"name": [IDENTITY_KEY_FACT], "value": [key.hex()]}))
        return key
    if len(set(found)) != 1:
        raise BrokenState(
            f"the event store at {shown_url(store.url)} has {len(found)} identity keys in "
            "store_facts; exactly one is right. Restore store_facts from a backup: with another "
            "key every resend counts."
        )
    return bytes.fromhex(str(found[0]))


def hash_events(events: pa.Table, *, time_given: Flags, key: bytes) -> tuple[Words, Words]:
    """Hashes of accepted events (EVENT_SCHEMA, properties sorted by name).

    time_given: false where the record had no time of its own.
    Returns (identities, uint64 of shape (rows, 2): low and high half; body_hashes, uint64).
    """
    key_low, key_high = (np.uint64(int.from_bytes(key[i : i + 8], "little")) for i in (0, 8))
    texts = [text_buffers(one_array(events[name])) for name in ("source", "id", "type", "subject")]
    micros = one_array(events["time"]).cast(pa.int64()).to_numpy().copy()
    micros[~time_given] = TIME_NOT_GIVEN
    values = one_array(events["value"])
    low, high = decimal_words(values)
    properties = one_array(events["properties"])
    list_offsets = properties.offsets.to_numpy().astype(np.int64)
    keys = text_buffers(properties.keys)
    items = text_buffers(properties.items)
    identities = np.empty((events.num_rows, 2), np.uint64)
    body_hashes = np.empty(events.num_rows, np.uint64)
    scratch = np.zeros((_MESSAGE_BYTES_MAX + 16) // 8, np.uint64)
    _hash_identities(*texts[0], *texts[1], key_low, key_high, scratch.view(np.uint8), scratch, identities)
    _hash_bodies(
        *texts[2], *texts[3], micros, valid_flags(values), low, high,
        list_offsets, *keys, *items,
        key_low, key_high, scratch.view(np.uint8), scratch, body_hashes,
    )  # fmt: skip
    return identities, body_hashes


def siphash(message: bytes, *, key: bytes, wide: bool) -> bytes:
    """SipHash-2-4 of one message by the compiled kernel: 8 bytes, or 16 when ``wide``."""
    scratch = np.zeros(len(message) // 8 + 2, np.uint64)
    scratch.view(np.uint8)[: len(message)] = np.frombuffer(message, np.uint8)
    key_low, key_high = (np.uint64(int.from_bytes(key[i : i + 8], "little")) for i in (0, 8))
    low, high = _siphash(scratch, len(message), key_low, key_high, wide)
    digest = int(low).to_bytes(8, "little")
    return digest + int(high).to_bytes(8, "little") if wide else digest


@compiled
def _rotate(word: np.uint64, left: int) -> np.uint64:
    return np.uint64((word << _BITS[left]) | (word >> _BITS[64 - left]))


@compiled
def _round(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    v0 += v1
    v1 = _rotate(v1, 13) ^ v0
    v0 = _rotate(v0, 32)
    v2 += v3
    v3 = _rotate(v3, 16) ^ v2
    v0 += v3
    v3 = _rotate(v3, 21) ^ v0
    v2 += v1
    v1 = _rotate(v1, 17) ^ v2
    v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


@compiled
def _siphash(
    words: Words, length: int, key_low: np.uint64, key_high: np.uint64, wide: bool
) -> tuple[np.uint64, np.uint64]:
    # The bytes of ``words`` after ``length`` must be zero up to the end of that word.
    v0, v1, v2, v3 = key_low ^ _C0, key_high ^ _C1, key_low ^ _C2, key_high ^ _C3
    if wide:
        v1 ^= _EE
    for position in range(length // 8):
        word = words[position]
        v3 ^= word
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= word
    word = words[length // 8] | (np.uint64(length & 255) << _BITS[56])
    v3 ^= word
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= _EE if wide else _FF
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    low = v0 ^ v1 ^ v2 ^ v3
    if not wide:
        return low, low
    v1 ^= _DD
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return low, v0 ^ v1 ^ v2 ^ v3


@compiled
def _put_number(scratch: Bytes, at: int, number: int | np.int64, size: int) -> int:
    for byte in range(size):
        scratch[at + byte] = (np.int64(number) >> (8 * byte)) & 255
    return at + size


@compiled
def _put_text(scratch: Bytes, at: int, data: Bytes, start: int, end: int) -> int:
    at = _put_number(scratch, at, end - start, 4)
    copy_bytes(scratch, at, data, start, end - start)
    return at + end - start


@compiled
def _put_end(scratch: Bytes, at: int) -> int:
    # The scratch is used again for every row, so the last word's tail must be cleared.
    for position in range(at, (at // 8 + 1) * 8):
        scratch[position] = 0
    return at


@compiled
def _hash_identities(
    source_offsets: Integers,
    source_data: Bytes,
    id_offsets: Integers,
    id_data: Bytes,
    key_low: np.uint64,
    key_high: np.uint64,
    scratch: Bytes,
    scratch_words: Words,
    identities: Words,
) -> None:
    for row in range(len(identities)):
        at = _put_number(scratch, 0, TAG_IDENTITY, 1)
        at = _put_text(scratch, at, source_data, source_offsets[row], source_offsets[row + 1])
        at = _put_text(scratch, at, id_data, id_offsets[row], id_offsets[row + 1])
        length = _put_end(scratch, at)
        low, high = _siphash(scratch_words, length, key_low, key_high, True)
        identities[row, 0] = low
        identities[row, 1] = high


@compiled
def _hash_bodies(
    type_offsets: Integers,
    type_data: Bytes,
    subject_offsets: Integers,
    subject_data: Bytes,
    micros: Integers,
    value_present: Flags,
    value_low: Words,
    value_high: Words,
    list_offsets: Integers,
    name_offsets: Integers,
    name_data: Bytes,
    item_offsets: Integers,
    item_data: Bytes,
    key_low: np.uint64,
    key_high: np.uint64,
    scratch: Bytes,
    scratch_words: Words,
    body_hashes: Words,
) -> None:
    for row in range(len(body_hashes)):
        at = _put_number(scratch, 0, TAG_BODY, 1)
        at = _put_text(scratch, at, type_data, type_offsets[row], type_offsets[row + 1])
        at = _put_text(scratch, at, subject_data, subject_offsets[row], subject_offsets[row + 1])
        at = _put_number(scratch, at, micros[row], 8)
        at = _put_number(scratch, at, 1 if value_present[row] else 0, 1)
        if value_present[row]:
            at = _put_number(scratch, at, np.int64(value_low[row]), 8)
            at = _put_number(scratch, at, np.int64(value_high[row]), 8)
        first, last = list_offsets[row], list_offsets[row + 1]
        at = _put_number(scratch, at, last - first, 4)
        for entry in range(first, last):
            at = _put_text(scratch, at, name_data, name_offsets[entry], name_offsets[entry + 1])
            at = _put_text(scratch, at, item_data, item_offsets[entry], item_offsets[entry + 1])
        length = _put_end(scratch, at)
        low, _ = _siphash(scratch_words, length, key_low, key_high, False)
        body_hashes[row] = low
