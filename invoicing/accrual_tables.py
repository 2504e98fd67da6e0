"""The ledger tables of accruals. Made by migrations 0261 and 0264."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ingest.ledger import LEDGER

OPEN_ACCRUALS: Final = sa.Table(
    "open_accruals",
    LEDGER,
    sa.Column("document_id", sa.String(64), primary_key=True),
)
"""Documents to come of which something is accrued; issuing one takes its accruals back and its row away. So
issuing asks a table that is empty where nobody accrues, and never searches the journal."""

ACCRUAL_RUNS: Final = sa.Table(
    "accrual_runs",
    LEDGER,
    sa.Column("through", sa.String(10), primary_key=True),
    sa.Column("finished_at", sa.String(32), nullable=False),
    sa.Column("actor", sa.String(256), nullable=False),
)
"""The last run through the end of each month, so that a scheduler does it once."""

ACCRUED_FROM: Final = sa.Table(
    "accrued_from",
    LEDGER,
    sa.Column("document_id", sa.String(64), primary_key=True),
    sa.Column("charge_id", sa.String(128), primary_key=True),
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("first_day", sa.String(10), nullable=False),
)
"""From which day on what was accrued of a charge for ``day`` was had, where that is not the first of its
month; written with the accrual and kept, so that what is taken back is taken back of the same days."""
