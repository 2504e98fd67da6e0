"""Compiles every kernel of this room before the first request, by one event that goes nowhere.

From numba's cache on disk this takes tenths of a second; the very first time it takes ten seconds,
and those must not fall into somebody's request.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

import numpy as np

from ingest.gate import IdentityGate
from ingest.identity import hash_events
from ingest.identity_filter import IdentityFilter
from ingest.json_records import decode_json, line_breaks
from ingest.meter_needs import MeterNeeds
from ingest.settings import IngestSettings
from ingest.validate import validate_batch

_EVENT: Final = {
    "source": "warm-up",
    "id": "1",
    "type": "warm-up",
    "subject": "warm-up",
    "time": "2026-01-01T00:00:00Z",
    "value": "1.5",
    "properties": {"operation": "set", "seats": "1"},
}
_NEEDS: Final = MeterNeeds(
    value={"warm-up": "warm-up"}, operation={"warm-up": "warm-up"}, numbers={"warm-up": {"seats": "warm-up"}}
)


def warm_up(key: bytes) -> None:
    """Take one event through all kernels, with a gate of its own; no store is touched."""
    body = json.dumps([_EVENT]).encode()
    raw = decode_json(body, record_bytes_max=IngestSettings().record_bytes_max)
    line_breaks(body)
    valid = validate_batch(raw, received_at=datetime(2026, 1, 1, tzinfo=UTC), needs=_NEEDS)
    identities, body_hashes = hash_events(valid.events, time_given=valid.time_given, key=key)
    gate = IdentityGate()
    gate.classify(identities, body_hashes)
    gate.remember(identities, body_hashes)
    many = np.zeros((1 << 16, 2), np.uint64)
    many[:, 0] = np.arange(1 << 16)
    gate.remember(many[2:], many[2:, 0].copy())  # enough to make the gate grow
    known = IdentityFilter(0)
    known.add(identities)
    known.may_hold(identities)
