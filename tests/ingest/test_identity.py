"""Goal: the identity hash is SipHash as published, the kernel equals the plain Python, and the key
belongs to the store."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.arrow_buffers import PROPERTIES_TYPE
from ingest.clickhouse import EventStore
from ingest.errors import BrokenState
from ingest.event import EVENT_SCHEMA, QUANTITY_TYPE, TIMESTAMP
from ingest.identity import hash_events, identity_key, siphash
from ingest.identity_reference import body_hash_reference, identity_reference, siphash_reference

KEY = bytes(range(16))

# vectors_sip64 and vectors_sip128 of the reference implementation; the message of n is 00 01 02 ...
PUBLISHED = [
    (0, False, "310e0edd47db6f72"),
    (1, False, "fd67dc93c539f874"),
    (8, False, "6224939a79f5f593"),
    (63, False, "724506eb4c328a95"),
    (0, True, "a3817f04ba25a8e66df67214c7550293"),
    (1, True, "da87c1d86b99af44347659119b22fc45"),
    (63, True, "5150d1772f50834a503e069a973fbd7c"),
]


@pytest.mark.parametrize(("length", "wide", "digest"), PUBLISHED)
def test_published_vectors(length: int, wide: bool, digest: str) -> None:
    assert siphash(bytes(range(length)), key=KEY, wide=wide).hex() == digest
    assert siphash_reference(bytes(range(length)), key=KEY, wide=wide).hex() == digest


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.binary(min_size=16, max_size=16), st.booleans())
def test_kernel_equals_reference(message: bytes, key: bytes, wide: bool) -> None:
    assert siphash(message, key=key, wide=wide) == siphash_reference(message, key=key, wide=wide)


TEXT = st.text(min_size=1, max_size=12)
EVENT = st.tuples(
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    st.integers(0, 7 * 10**15),
    st.none() | st.decimals(-(10**15) + 1, 10**15 - 1, places=12),
    st.dictionaries(TEXT, st.text(max_size=12), max_size=4).map(lambda found: sorted(found.items())),
    st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=6), st.integers(0, 2))
def test_events_are_hashed_as_the_reference_says(rows: list[tuple], skipped: int) -> None:  # type: ignore[type-arg]
    columns = list(zip(*rows, strict=True))
    types = [pa.string()] * 4 + [pa.int64(), QUANTITY_TYPE, PROPERTIES_TYPE]
    arrays = [pa.array(column, kind) for column, kind in zip(columns[:7], types, strict=True)]
    arrays[4] = arrays[4].cast(TIMESTAMP)
    events = pa.table(arrays, schema=EVENT_SCHEMA).slice(skipped)
    given_flags = np.array(columns[7], np.bool_)[skipped:]
    identities, bodies = hash_events(events, time_given=given_flags, key=KEY)
    for place, row in enumerate(rows[skipped:]):
        source, event_id, kind, subject, micros, value, properties, time_given = row
        assert identities[place].tobytes() == identity_reference(source, event_id, key=KEY)
        assert int(bodies[place]) == body_hash_reference(
            type=kind,
            subject=subject,
            micros=micros if time_given else None,
            scaled_value=None if value is None else int(value.scaleb(12)),
            properties=properties,
            key=KEY,
        )


def test_where_a_text_ends_matters() -> None:
    assert identity_reference("ab", "c", key=KEY) != identity_reference("a", "bc", key=KEY)


def test_the_key_is_made_once(event_store: EventStore) -> None:
    assert identity_key(event_store) == identity_key(event_store)
    assert len(identity_key(event_store)) == 16


def test_two_keys_stop_everything(event_store: EventStore) -> None:
    identity_key(event_store)
    event_store.command("INSERT INTO store_facts VALUES ('identity_key', '00')")
    try:
        with pytest.raises(BrokenState, match="identity keys"):
            identity_key(event_store)
    finally:
        event_store.command("ALTER TABLE store_facts DELETE WHERE value = '00' SETTINGS mutations_sync = 1")
