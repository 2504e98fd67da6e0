"""How many contracts a run bills at once: as many as may share a pass over the events, and fewer where
nothing but usage that was added up before is read, because memory is then nearly all that a block costs."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from invoicing.due import calendar_of
from invoicing.run_blocks import blocks_of_contracts, subjects_of
from invoicing.run_context import BillingRun
from invoicing.wider_periods import wider_in_force
from rating.needed_meters import needed_meters
from rollup.roll_up import is_stored_whole


def blocks_to_bill(run: BillingRun, periods: pa.Table) -> Iterator[pa.Table]:
    """Slices of whole contracts, their ``period_key`` counted from 0. What is billed is the same."""
    for block in blocks_of_contracts(periods, run.settings.pricing_contracts):
        if _reads_no_events(run, block):
            yield from blocks_of_contracts(block, run.settings.stored_contracts)
        else:
            yield block


def _reads_no_events(run: BillingRun, block: pa.Table) -> bool:
    catalogue = run.catalogue
    if run.work.stored_usage is None or block.num_rows == 0:
        return False
    if wider_in_force(run.ledger, catalogue, block) is not None:
        return False
    calendar = calendar_of(periods=block, contract_subjects=subjects_of(block, catalogue.subjects))
    meters = needed_meters(catalogue.price_book, block, catalogue.meters)
    return is_stored_whole(run.work.stored_usage, calendar=calendar, meters=meters)
