"""What a usage event is: the fields, their limits, and the table that holds accepted ones.

An event says that ``subject`` used something of ``type`` at ``time``. Licence changes are events
too: ``value`` is a number of seats and the property ``operation`` is ``set``, ``add`` or
``remove``. CloudEvents 1.0 maps onto these fields one to one (``data`` carries ``value`` and the
properties).

Identity is the pair (source, id), for ever. ``identity`` is its keyed 128-bit hash and ``body_hash``
a 64-bit hash of everything else, so that a resend with another body is seen as a conflict.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pyarrow as pa

QUANTITY_DIGITS: Final = 38
"""Decimal digits a quantity can hold in all: what a 128-bit integer and Decimal(38, 12) hold."""
QUANTITY_SCALE: Final = 12
"""Fraction digits of every quantity, price and exact amount."""
QUANTITY_TYPE: Final = pa.decimal128(QUANTITY_DIGITS, QUANTITY_SCALE)

VALUE_INTEGER_DIGITS_MAX: Final = 15
"""|value| < 10**15, so that 10**11 events of the largest value still sum within Decimal(38, 12):
ClickHouse adds decimals modulo 2**128 without a word, so the bound is kept at the door."""

TEXT_BYTES_MAX: Final = 512
"""Longest source, id, type, subject, property name (UTF-8 bytes)."""
PROPERTY_VALUE_BYTES_MAX: Final = 4096
PROPERTIES_MAX: Final = 64

TIME_MIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIME_MAX: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""Events outside [TIME_MIN, TIME_MAX) are rejected: year 0 and year 9999 are sender defects, and
DateTime64(6) ends in 2299."""

TIMESTAMP: Final = pa.timestamp("us", "UTC")
OPERATION_PROPERTY: Final = "operation"
OPERATIONS: Final = ("set", "add", "remove")

EVENT_SCHEMA: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("time", TIMESTAMP, nullable=False),
        pa.field("value", QUANTITY_TYPE, nullable=True),
        pa.field("properties", pa.map_(pa.string(), pa.string()), nullable=False),
    ]
)
"""Accepted events as validation leaves them, in the order they were sent."""

STORED_EVENT_SCHEMA: Final = pa.schema(
    [
        *EVENT_SCHEMA,
        pa.field("identity", pa.binary(16), nullable=False),
        pa.field("body_hash", pa.uint64(), nullable=False),
        pa.field("sequence", pa.uint64(), nullable=False),
        pa.field("ingested_at", TIMESTAMP, nullable=False),
        pa.field("batch_id", pa.string(), nullable=False),
    ]
)
"""Events as the store keeps them. ``sequence`` counts arrivals over the whole store, from 1: it
breaks ties of equal ``time``. ``properties`` are sorted by name."""
