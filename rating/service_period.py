"""What a run has to price: one row a contract, plan version, agreement and service period."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from ingest.event import TIMESTAMP

_WORD = pa.dictionary(pa.int32(), pa.string())

SERVICE_PERIOD_SCHEMA: Final = pa.schema(
    [
        pa.field("period_key", pa.uint32(), nullable=False),
        pa.field("contract_id", pa.string(), nullable=False),
        pa.field("plan_id", _WORD, nullable=False),
        pa.field("plan_version", pa.uint32(), nullable=False),
        pa.field("agreement", _WORD, nullable=False),
        pa.field("timing", _WORD, nullable=False),
        pa.field("billing_date", pa.date32(), nullable=False),
        pa.field("period_start", TIMESTAMP, nullable=False),
        pa.field("period_end", TIMESTAMP, nullable=False),
        pa.field("days", pa.int32(), nullable=False),
        pa.field("full_days", pa.int32(), nullable=False),
        pa.field("first", pa.bool_(), nullable=False),
        pa.field("period_number", pa.int32(), nullable=False),
        pa.field("period_first_day", pa.date32(), nullable=False),
    ]
)
"""``period_key`` is 0, 1, 2 ... in row order. ``timing`` is ``advance`` or ``arrears``: which charges
of the plan this row is for; a billing date usually has one row of each. ``agreement`` is the key of
what the contract agreed beyond the plan, empty for nothing. A billing period during which the plan's
version or the agreement changes has one row for each, split at local midnight.
``billing_date`` is the contract's local date of the invoice.

``days``/``full_days``: how much of its whole billing period the row is, counted as the plan prorates
(``rating/proration.py``; calendar days unless it says otherwise): the share of a recurring fee or a minimum.
``first``: the row starts with the contract, or with the phase that brings its plan; a one-time charge is due
on the first row of its own timing. ``period_number``: of the billing period in the contract, from 0;
``period_first_day``: its first local day. Both are the same for all rows of a period that is split."""
