"""Goal: the contract year of a period is that of its first day, counted from the contract's start."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from invoicing.earlier_periods import with_contract_year
from tests.invoicing.support import contract_row, contracts_table


@pytest.mark.parametrize(
    ("start", "days"),
    [
        ("2025-01-15", {"2025-01-15": 0, "2026-01-14": 0, "2026-01-15": 1, "2027-01-15": 2}),
        ("2025-01-20", {"2026-01-01": 0, "2026-02-01": 1}),
        # Of 29 February the anniversary is the 28th, and in a leap year the 29th again.
        ("2024-02-29", {"2025-02-27": 0, "2025-02-28": 1, "2028-02-28": 3, "2028-02-29": 4}),
        ("2025-12-31", {"2025-12-31": 0, "2026-12-30": 0, "2026-12-31": 1}),
    ],
)
def test_years_begin_on_the_anniversary(start: str, days: dict[str, int]) -> None:
    contracts = contracts_table(contract_row(start_date=date.fromisoformat(start)))
    rows = pl.DataFrame(
        {"contract_id": ["c1"] * len(days), "period_first_day": [date.fromisoformat(day) for day in days]}
    )
    assert with_contract_year(rows, contracts)["year"].to_list() == list(days.values())
