"""What an adjustment adjusts: what its invoice says of it, and the row the ledger keeps."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from invoicing.adjustment_shares import AdjustedMonths
from invoicing.invoice import InvoiceAdjusts, adjusts_document


@dataclass(frozen=True, slots=True)
class AdjustedLine:
    """charge_kind: what the adjusted line is. shown: what the invoice says. months: what the adjustment is
    shared out by, where that follows usage over several months."""

    contract_id: str
    charge_kind: str
    shown: InvoiceAdjusts
    months: AdjustedMonths | None = None

    def text(self) -> str:
        """The member ``adjusts`` of the invoice line, as the canonical text has it."""
        return orjson.dumps(adjusts_document(self.shown), option=orjson.OPT_SORT_KEYS).decode()

    def row(self, line_id: str) -> tuple[str, str, str, str, str]:
        """The row of LINE_ADJUSTMENTS. line_id: of the adjustment."""
        shown = self.shown
        return line_id, shown.line_id, self.contract_id, shown.billing_date.isoformat(), self.charge_kind
