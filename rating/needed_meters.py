"""Leaves out derived meters that no period of a run is priced by.

A plan whose event bounds changed twenty times has twenty derived meters; a month needs one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ingest.meter import Meter
from rating.compile import PriceBook
from rating.period_columns import plan_rows_of
from rollup.banded_meter import BandedMeter


def needed_meters(price_book: PriceBook, periods: pa.Table, meters: Sequence[Meter]) -> list[Meter]:
    """Those of ``meters`` that may price a period: all on record, and the banded ones of its plan versions.

    periods: SERVICE_PERIOD_SCHEMA. Raises BrokenState for a plan version the book does not hold.
    """
    if not price_book.event_meters:
        return list(meters)
    used = set(np.unique(plan_rows_of(periods, price_book)).tolist())
    ends = [*(row.price_row for row in price_book.charges[1:]), len(price_book.terms)]
    wanted = {
        price_book.event_meters[price_row]
        for row, end in zip(price_book.charges, ends, strict=True)
        if row.plan_row in used
        for price_row in range(row.price_row, end)
        if price_row in price_book.event_meters
    }
    return [meter for meter in meters if not isinstance(meter, BandedMeter) or meter.meter_id in wanted]
