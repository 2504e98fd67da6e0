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
from rollup.level_part import LevelPart


def needed_meters(price_book: PriceBook, periods: pa.Table, meters: Sequence[Meter]) -> list[Meter]:
    """Those of ``meters`` that may price a period: all on record, and the banded ones of its plan versions.

    periods: SERVICE_PERIOD_SCHEMA. Raises BrokenState for a plan version the book does not hold.
    """
    if not price_book.event_meters and not price_book.level_meters:
        return list(meters)
    used = set(np.unique(plan_rows_of(periods, price_book)).tolist())
    ends = [*(row.price_row for row in price_book.charges[1:]), len(price_book.terms)]
    rows = {
        price_row
        for row, end in zip(price_book.charges, ends, strict=True)
        if row.plan_row in used
        for price_row in range(row.price_row, end)
    }
    wanted = {meter_id for row, meter_id in price_book.event_meters.items() if row in rows}
    wanted |= {meter_id for row, own in price_book.level_meters.items() if row in rows for meter_id in own}
    derived = (BandedMeter, LevelPart)
    return [meter for meter in meters if not isinstance(meter, derived) or meter.meter_id in wanted]
