"""The one workload every benchmark and the proof at scale use: a seed and a size give the same bytes.

Event number ``n`` is a pure function of (seed, n): each field is a 64-bit mixing hash of the seed,
the field and n. So any slice can be made alone, a resent event is simply the same n sent again, and
the proof can recompute everything from the numbers without reading what we stored.

Events are numbered in order of arrival. 1 % are late: their ``time`` lies up to 30 days before
their arrival. 3 % of what is sent is a resend with the same body, a little or much later. Contracts
are zipf-distributed: the largest has several percent of all events, most have a few dozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.clock import to_micros
from ingest.event import EVENT_SCHEMA, QUANTITY_TYPE, TIMESTAMP

UInt64s = np.ndarray[Any, np.dtype[np.uint64]]
Int64s = np.ndarray[Any, np.dtype[np.int64]]

EVENT_TYPES: Final = (
    "api_calls",
    "bandwidth_gb",
    "build_minutes",
    "compute_hours",
    "emails_sent",
    "gpu_seconds",
    "log_lines",
    "messages",
    "requests",
    "rows_scanned",
    "storage_gb_hours",
    "tokens",
)
CLASSES: Final = ("bulk", "gold", "standard", "trial")
REGIONS: Final = ("af-1", "ap-1", "ap-2", "eu-1", "eu-2", "me-1", "us-1", "us-2")
SOURCES: Final = ("edge", "gateway", "importer")

FIRST_INSTANT: Final = datetime(2025, 1, 1, tzinfo=UTC)
MONTH_STARTS: Final = tuple(datetime(2025, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4))
"""90 days: January, February and March 2025; the fourth is the end of the third month."""
DAY_MICROS: Final = 86_400_000_000
SPAN_MICROS: Final = 90 * DAY_MICROS
LATE_MICROS_MAX: Final = 30 * DAY_MICROS
JITTER_MICROS_MAX: Final = 3_600_000_000

VALUE_FRACTION_DIGITS: Final = 9
NANOS: Final = 10**VALUE_FRACTION_DIGITS
SLICE_ROWS: Final = 250_000

# One number a field, so that the fields of one event are independent draws.
_CONTRACT, _TYPE, _LATE, _LATE_BY, _JITTER, _VALUE, _DIGITS, _PROPERTIES, _SOURCE, _ID_A, _ID_B = range(1, 12)
_RESENT, _RESENT_AFTER = 20, 21


@dataclass(frozen=True, slots=True)
class Workload:
    """size: its name. events_sent counts resends too. mixed_models: plans use every price model
    (the proof); otherwise every charge is graduated with four tiers (the races)."""

    size: str
    events_sent: int
    contracts: int
    plans: int = 200
    seed: int = 7283
    mixed_models: bool = False

    @property
    def resends(self) -> int:
        return self.events_sent * 3 // 100

    @property
    def events(self) -> int:
        """Distinct events."""
        return self.events_sent - self.resends


SIZES: Final = {
    "tiny": Workload("tiny", 10_000, 200, plans=20),
    "small": Workload("small", 1_000_000, 20_000),
    "full": Workload("full", 10_000_000, 100_000),
}


@dataclass(frozen=True, slots=True)
class EventNumbers:
    """Events as plain numbers: int64 arrays of one length. ``value_nanos`` is the value x 10**9."""

    contract: Int64s
    type: Int64s
    time_micros: Int64s
    value_nanos: Int64s


def sent_order(workload: Workload) -> Int64s:
    """The event numbers in the order they are sent, resends included: int64[events_sent]."""
    resend = np.arange(workload.resends, dtype=np.uint64)
    resent = (draw(workload.seed, _RESENT, resend) % np.uint64(workload.events)).astype(np.int64)
    delay_max = np.uint64(max(workload.events // 20, 1))
    delay = (draw(workload.seed, _RESENT_AFTER, resend) % delay_max).astype(np.int64)
    first = np.arange(workload.events, dtype=np.int64)
    position = np.concatenate([first, resent + delay])
    order = np.argsort(position, kind="stable")  # stable: the first sending stays ahead of its resend
    sent: Int64s = np.concatenate([first, resent])[order]
    return sent


def event_numbers(workload: Workload, numbers: Int64s) -> EventNumbers:
    """The fields of the events with these numbers, as plain numbers."""
    index = numbers.astype(np.uint64)
    seed = workload.seed
    rank = np.searchsorted(
        _zipf_thresholds(workload.contracts, 1.0), draw(seed, _CONTRACT, index) >> 1, "right"
    )
    # Spread the large contracts over the keys; 7919 is prime, so for any count not a multiple of it
    # this is a permutation.
    contract = (rank.astype(np.int64) * 7919 + 13) % workload.contracts
    kind = np.searchsorted(_zipf_thresholds(len(EVENT_TYPES), 0.5), draw(seed, _TYPE, index) >> 1, "right")
    return EventNumbers(contract, kind.astype(np.int64), _times(workload, index), _values(seed, index))


def event_table(workload: Workload, numbers: Int64s) -> pa.Table:
    """The events with these numbers as a table of EVENT_SCHEMA, in the order given."""
    plain = event_numbers(workload, numbers)
    index = numbers.astype(np.uint64)
    properties = draw(workload.seed, _PROPERTIES, index)
    source = (draw(workload.seed, _SOURCE, index) % np.uint64(len(SOURCES))).astype(np.int64)
    columns = [
        _words(SOURCES, source),
        _hex_ids(workload.seed, index),
        _words(EVENT_TYPES, plain.type),
        subject_names(plain.contract),
        pa.array(plain.time_micros, pa.int64()).cast(TIMESTAMP),
        nanos_to_decimal(plain.value_nanos),
        _property_maps(properties),
    ]
    return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def event_slices(workload: Workload, *, slice_rows: int = SLICE_ROWS) -> Iterator[pa.Table]:
    """Everything that is sent, in order, in tables of ``slice_rows``."""
    sent = sent_order(workload)
    for start in range(0, len(sent), slice_rows):
        yield event_table(workload, sent[start : start + slice_rows])


def subject_names(contract: Int64s) -> pa.Array:
    """``customer-0000012`` for contract number 12."""
    return _numbered("customer-", contract)


def contract_names(contract: Int64s) -> pa.Array:
    """``contract-0000012`` for contract number 12."""
    return _numbered("contract-", contract)


def nanos_to_decimal(nanos: Int64s) -> pa.Array:
    """Non-negative numbers at scale 9 (below 9.2 * 10**15) as decimal128(38, 12)."""
    limbs = np.zeros((len(nanos), 2), dtype=np.int64)
    limbs[:, 0] = nanos * 1000
    return pa.Array.from_buffers(QUANTITY_TYPE, len(nanos), [None, pa.py_buffer(limbs)])


def draw(seed: int, field: int, index: UInt64s) -> UInt64s:
    """Independent uniform 64-bit numbers, one for each index (splitmix64, public domain design)."""
    salt = np.uint64((seed * 0x9E3779B97F4A7C15 + field * 0xD1B54A32D192ED03) & 0xFFFF_FFFF_FFFF_FFFF)
    return _mix(_mix(index + salt) + salt)


def _mix(value: UInt64s) -> UInt64s:
    mixed = value + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _zipf_thresholds(count: int, exponent: float) -> UInt64s:
    """Upper ends of ``count`` ranges of [0, 2**63), as wide as their zipf shares."""
    weight = 1.0 / np.arange(1, count + 1, dtype=np.float64) ** exponent
    share = np.cumsum(weight) / weight.sum()
    share[-1] = 1.0
    thresholds: UInt64s = (share[:-1] * float(2**63)).astype(np.uint64)
    return thresholds


def _times(workload: Workload, index: UInt64s) -> Int64s:
    seed = workload.seed
    step = SPAN_MICROS // workload.events
    arrival = index.astype(np.int64) * step
    earlier = (draw(seed, _JITTER, index) % np.uint64(JITTER_MICROS_MAX)).astype(np.int64)
    late = draw(seed, _LATE, index) % np.uint64(100) == 0
    late_by = (draw(seed, _LATE_BY, index) % np.uint64(LATE_MICROS_MAX)).astype(np.int64)
    offset = np.maximum(arrival - earlier - np.where(late, late_by, 0), 0)
    times: Int64s = to_micros(FIRST_INSTANT) + offset
    return times


def _values(seed: int, index: UInt64s) -> Int64s:
    """Between 10**-9 and 1,000, with 0 to 9 fraction digits; never 0."""
    raw = (draw(seed, _VALUE, index) % np.uint64(1000 * NANOS)).astype(np.int64)
    digits = (draw(seed, _DIGITS, index) % np.uint64(VALUE_FRACTION_DIGITS + 1)).astype(np.int64)
    step = np.array([10 ** (VALUE_FRACTION_DIGITS - d) for d in range(VALUE_FRACTION_DIGITS + 1)])[digits]
    values: Int64s = raw // step * step + step
    return values


def _words(words: tuple[str, ...], index: Int64s) -> pa.Array:
    return pa.array(words, pa.string()).take(pa.array(index))


def _numbered(prefix: str, number: Int64s) -> pa.Array:
    """Prefix and seven digits, built as bytes: ten million Python strings would take minutes."""
    head = np.frombuffer(prefix.encode(), dtype=np.uint8)
    text = np.empty((len(number), len(head) + 7), dtype=np.uint8)
    text[:, : len(head)] = head
    for place in range(7):
        text[:, len(head) + place] = number // 10 ** (6 - place) % 10 + ord("0")
    return _fixed_width_strings(text)


def _hex_ids(seed: int, index: UInt64s) -> pa.Array:
    pair = np.stack([draw(seed, _ID_A, index), draw(seed, _ID_B, index)], axis=1)
    nibbles = pair.view(np.uint8)
    letters = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    text = np.empty((len(index), 32), dtype=np.uint8)
    text[:, 0::2] = letters[nibbles >> 4]
    text[:, 1::2] = letters[nibbles & 15]
    return _fixed_width_strings(text)


def _fixed_width_strings(text: np.ndarray[Any, np.dtype[np.uint8]]) -> pa.Array:
    rows, width = text.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text))]
    return pa.Array.from_buffers(pa.string(), rows, buffers)


def _property_maps(drawn: UInt64s) -> pa.Array:
    rows = len(drawn)
    pick = np.empty(rows * 2, dtype=np.int64)
    pick[0::2] = drawn % np.uint64(len(CLASSES))
    pick[1::2] = len(CLASSES) + (drawn >> np.uint64(32)) % np.uint64(len(REGIONS))
    names = pa.array(("class", "region"), pa.string()).take(pa.array(np.tile([0, 1], rows)))
    offsets = pa.array(np.arange(0, 2 * rows + 1, 2, dtype=np.int32))
    return pa.MapArray.from_arrays(offsets, names, _words(CLASSES + REGIONS, pick))
