"""The table of rated lines, as the store keeps it and invoices read it."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from ingest.event import QUANTITY_TYPE, TIMESTAMP

_WORD = pa.dictionary(pa.int32(), pa.string())

RATED_LINE_SCHEMA: Final = pa.schema(
    [
        pa.field("line_id", pa.binary(16), nullable=False),
        pa.field("run_id", _WORD, nullable=False),
        pa.field("contract_id", pa.string(), nullable=False),
        pa.field("plan_id", _WORD, nullable=False),
        pa.field("plan_version", pa.uint32(), nullable=False),
        pa.field("charge_id", _WORD, nullable=False),
        pa.field("charge_kind", _WORD, nullable=False),
        pa.field("price_model", _WORD, nullable=False),
        pa.field("meter_id", _WORD, nullable=False),
        pa.field("unit", _WORD, nullable=False),
        pa.field("billing_date", pa.date32(), nullable=False),
        pa.field("period_start", TIMESTAMP, nullable=False),
        pa.field("period_end", TIMESTAMP, nullable=False),
        pa.field("days", pa.int32(), nullable=False),
        pa.field("full_days", pa.int32(), nullable=False),
        pa.field("dimensions", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("quantity", QUANTITY_TYPE, nullable=False),
        pa.field("rated_quantity", QUANTITY_TYPE, nullable=False),
        pa.field("event_count", pa.uint64(), nullable=False),
        pa.field("tier_number", pa.list_(pa.uint16()), nullable=False),
        pa.field("tier_units", pa.list_(QUANTITY_TYPE), nullable=False),
        pa.field("tier_amount", pa.list_(QUANTITY_TYPE), nullable=False),
        pa.field("amount", QUANTITY_TYPE, nullable=False),
        pa.field("amount_minor", pa.int64(), nullable=False),
        pa.field("currency", _WORD, nullable=False),
        pa.field("input_hash", pa.binary(16), nullable=False),
        pa.field("agreement", _WORD, nullable=False),
        pa.field("discount_number", pa.list_(pa.uint16()), nullable=False),
        pa.field("discount_amount", pa.list_(QUANTITY_TYPE), nullable=False),
        pa.field("inputs", pa.map_(pa.string(), QUANTITY_TYPE), nullable=False),
    ]
)
"""One row a rated line; the columns of the ``rated_lines`` table, in its order.

line_id: hash of what the line is for: contract, billing date, timing, charge, plan version, period,
    dimensions. The same question always has the same id, whoever computes it.
charge_kind: usage, licence, recurring, one_time, minimum_spend (``charge_id`` then is ``minimum-spend``),
    fee_credit (``rating/credit_line.py``; quantity is what was billed of its charge), commitment_true_up
    (``commitment-true-up``; its period and days are those of the term), adjustment
    (``rating/adjustment_line.py``; all of it as rated again, but the amounts, which are the difference) or
    item (``rating/item_line.py``; quantity is what its items come to, ``event_count`` how many they are).
days, full_days: how much of the billing period the service period is, counted as the plan prorates
    (calendar days unless it says otherwise): the share by which fees and minimums are prorated. Of a credit
    line: how much of the billed line is given back.
quantity: as metered; rated_quantity: after unit conversion and free units, what the model priced.
amount: exact, kept to 12 fraction digits: digits past the twelfth are cut, not rounded, so that
    half-up rounding of the kept amount and of the exact one always agree.
amount_minor: the one rounding, from the full-precision amount (of a line with discounts: from
    ``amount``), in minor units of ``currency``; where the plan rounds bills as a whole, what the line got
    (``rating/bill_rounding.py``).
tier_*: tier rows, numbered from 1; their amounts sum to the list amount (``amount`` and all of
    ``discount_amount``) unless a charge minimum or maximum changed it, and then the difference is that step.
discount_*: what each discount took off, in the order applied; numbered from 1 among the discounts of
    the plan version under the line's agreement.
agreement: the key of what the contract agreed beyond the plan when the line was priced
    (``rating/agreement.py``), empty for nothing.
inputs: what else the amount was computed from, by name (``rating/special_price.py``): the meters of a
    formula, what came before in the year, the total of a pool, events by the bounds of their amount; of an
    adjustment also what was billed before; what was rounded together with the line.
input_hash: hash of everything the amount was computed from: two lines with equal hashes have equal
    amounts.
"""
