"""What some charges count beyond their own period and contract, as ``rate_usage`` takes it.

Charges with ``tiers_count: whole_period``, ``year`` or ``contract`` begin at the quantity reached before the
period; charges with ``pooled_over: customer`` are priced by the total of several contracts. Whoever knows
contracts gathers it (``invoicing/wider_periods.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rating.service_period import SERVICE_PERIOD_SCHEMA
from rollup.schema import USAGE_SCHEMA


@dataclass(frozen=True, slots=True)
class EarlierUsage:
    """usage: USAGE_SCHEMA, keyed by the period it comes before. begun: one entry a period, whether any
    time that counts lies before it."""

    usage: pa.Table
    begun: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WiderUsage:
    """earlier: by ``tiers_count``. companions: SERVICE_PERIOD_SCHEMA, periods of other contracts that are
    only there to be counted, with period keys that go on from those of the periods; companion_usage:
    USAGE_SCHEMA of them. pool: one entry a period, companions last: equal for those that are counted
    together, -1 for none.
    """

    earlier: Mapping[str, EarlierUsage]
    companions: pa.Table
    companion_usage: pa.Table
    pool: NDArray[np.int64]

    def with_companions(self, periods: pa.Table, usage: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Periods and usage with those of the companions behind them."""
        if not self.companions.num_rows:
            return periods, usage
        tables = [
            (periods, self.companions, SERVICE_PERIOD_SCHEMA),
            (usage, self.companion_usage, USAGE_SCHEMA),
        ]
        first, second = (
            pa.concat_tables([one.cast(schema), other.cast(schema)]).unify_dictionaries().combine_chunks()
            for one, other, schema in tables
        )
        return first, second
