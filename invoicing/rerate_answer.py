"""The answer of a re-rating: lines that would be billed otherwise now, and what that comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa

from ingest.event import QUANTITY_TYPE, TIMESTAMP
from invoicing.history import BillingDates
from invoicing.hold import Held

CREDIT: Final = "credit"
DEBIT: Final = "debit"

RERATED_SCHEMA: Final = pa.schema(
    [
        pa.field("contract_id", pa.string(), nullable=False),
        pa.field("billing_date", pa.date32(), nullable=False),
        pa.field("line_id", pa.binary(16), nullable=False),
        pa.field("charge_id", pa.string(), nullable=False),
        pa.field("period_start", TIMESTAMP, nullable=False),
        pa.field("period_end", TIMESTAMP, nullable=False),
        pa.field("dimensions", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("change", pa.string(), nullable=False),
        pa.field("billed_quantity", QUANTITY_TYPE, nullable=True),
        pa.field("quantity", QUANTITY_TYPE, nullable=True),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("billed_minor", pa.int64(), nullable=False),
        pa.field("now_minor", pa.int64(), nullable=False),
        pa.field("difference_minor", pa.int64(), nullable=False),
        pa.field("implies", pa.string(), nullable=False),
    ]
)
"""One row a line that differs. ``change``: changed, new (not billed then) or vanished (billed, and not due
now). ``line_id``: of the billed line, or of the new one. ``difference_minor`` = now - billed, and ``implies``
the line that settles it: a debit of it when above zero, a credit when below, empty for a new or vanished
line of nothing. Quantities are null on the side that has no line."""


@dataclass(frozen=True, slots=True)
class RerateTotal:
    """One currency. lines: compared; unchanged: those of them without a difference. credit_minor (not
    above zero) and debit_minor add up to difference_minor."""

    currency: str
    lines: int
    unchanged: int
    billed_minor: int
    now_minor: int
    difference_minor: int
    credit_minor: int
    debit_minor: int


@dataclass(frozen=True, slots=True)
class Rerated:
    """compared: billing dates. not_billed: dates that have come and are not settled, and so not compared.
    changes: RERATED_SCHEMA. held: dates that cannot be priced now; not compared."""

    dates: BillingDates
    compared: int
    not_billed: int
    totals: tuple[RerateTotal, ...]
    changes: tuple[pa.Table, ...]
    held: tuple[Held, ...]

    def tables(self) -> Iterator[pa.Table]:
        """RERATED_SCHEMA, by contract and billing date."""
        yield from self.changes

    def row_count(self) -> int:
        """Rows of all tables together."""
        return sum(table.num_rows for table in self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows."""
        return {
            "date_from": self.dates.first.isoformat(),
            "date_to": self.dates.end.isoformat(),
            "compared": self.compared,
            "not_billed": self.not_billed,
            "totals": [asdict(total) for total in self.totals],
            "contracts": self._contracts(),
            "held": [entry.to_dict() for entry in self.held],
        }

    def _contracts(self) -> list[dict[str, Any]]:
        sums: Counter[tuple[str, str]] = Counter()
        for table in self.changes:
            for row in table.select(["contract_id", "currency", "difference_minor"]).to_pylist():
                sums[row["contract_id"], row["currency"]] += row["difference_minor"]
        return [
            {"contract_id": contract_id, "currency": currency, "difference_minor": difference}
            for (contract_id, currency), difference in sorted(sums.items())
        ]
