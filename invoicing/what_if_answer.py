"""The answer of a what-if: who would pay what, as tables, and the sums over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from invoicing.history import BillingDates
from invoicing.hold import Held
from rating.minor_sums import exact_sum

LEFT_OUT: Final = 0
PRICED: Final = 1
HELD: Final = 2
PRICES_NOW: Final = ""
"""The name under which a contract is held that has no amount even as prices are now."""
AMOUNT_MINOR_MAX: Final = (1 << 62) - 1
"""So that the difference of two amounts fits 64 bits."""

_WORD = pa.dictionary(pa.int32(), pa.string())

WHAT_IF_SCHEMA: Final = pa.schema(
    [
        pa.field("variant", _WORD, nullable=False),
        pa.field("contract_id", pa.string(), nullable=False),
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("plan_id", pa.string(), nullable=False),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("now_minor", pa.int64(), nullable=True),
        pa.field("variant_minor", pa.int64(), nullable=True),
        pa.field("difference_minor", pa.int64(), nullable=True),
        pa.field("reason_code", pa.string(), nullable=False),
    ]
)
"""One row a variant and contract on one of its plans. Amounts in minor units of ``currency``, of all dates
together; ``difference_minor`` = ``variant_minor`` - ``now_minor``: above zero the customer pays more.
``reason_code``: why the three are null, empty when they are not."""


@dataclass(frozen=True, slots=True)
class VariantTotal:
    """What a variant comes to in one currency, over the contracts with an amount. winners: contracts that
    pay less; losers: more."""

    currency: str
    contracts: int
    winners: int
    losers: int
    unchanged: int
    now_minor: int
    variant_minor: int
    difference_minor: int


@dataclass(frozen=True, slots=True)
class WhatIf:
    """variants: names. contracts: (contract_id, customer_id, plan_id, currency), every one that is on a plan
    of some variant. now_minor: int64[contracts]; minor, state: int64 and int8[variants, contracts], state
    LEFT_OUT (on another plan, or without a date), PRICED or HELD. held: (variant, entry), variant PRICES_NOW
    for prices as they are."""

    dates: BillingDates
    variants: tuple[str, ...]
    contracts: pa.Table
    now_minor: NDArray[np.int64]
    minor: NDArray[np.int64]
    state: NDArray[np.int8]
    held: tuple[tuple[str, Held], ...]

    def totals(self, variant: int) -> list[VariantTotal]:
        """By currency, of the variant with that number."""
        currency = np.array(self.contracts["currency"].to_pylist(), np.str_)
        found = []
        for code in sorted(set(currency.tolist())):
            chosen = (self.state[variant] == PRICED) & (currency == code)
            now, then = self.now_minor[chosen], self.minor[variant][chosen]
            if not len(now):
                continue
            now_sum, then_sum = exact_sum(now), exact_sum(then)
            found.append(
                VariantTotal(
                    currency=code,
                    contracts=len(now),
                    winners=int((then < now).sum()),
                    losers=int((then > now).sum()),
                    unchanged=int((then == now).sum()),
                    now_minor=now_sum,
                    variant_minor=then_sum,
                    difference_minor=then_sum - now_sum,
                )
            )
        return found

    def tables(self) -> Iterator[pa.Table]:
        """WHAT_IF_SCHEMA, one table a variant, contracts by id."""
        names = pa.array(self.variants, pa.string())
        reasons = self._reasons()
        for number, name in enumerate(self.variants):
            rows = np.flatnonzero(self.state[number] != LEFT_OUT)
            held = self.state[number][rows] == HELD
            now, then = self.now_minor[rows], self.minor[number][rows]
            contracts = self.contracts.take(pa.array(rows)).combine_chunks()
            codes = pa.array(np.full(len(rows), number, np.int32))
            said = self._said(contracts["contract_id"].to_pylist(), held, name, reasons)
            yield pa.Table.from_arrays(
                [
                    pa.DictionaryArray.from_arrays(codes, names),
                    *contracts.columns,
                    *(pa.array(amount, pa.int64(), mask=held) for amount in (now, then, then - now)),
                    said,
                ],
                schema=WHAT_IF_SCHEMA,
            )

    def to_dict(self) -> dict[str, Any]:
        """The sums and who is held, without the rows."""
        return {
            "date_from": self.dates.first.isoformat(),
            "date_to": self.dates.end.isoformat(),
            "variants": [
                {
                    "name": name,
                    "held": int((self.state[number] == HELD).sum()),
                    "totals": [asdict(total) for total in self.totals(number)],
                }
                for number, name in enumerate(self.variants)
            ],
            "held": [{"variant": name or None, **entry.to_dict()} for name, entry in self.held],
        }

    def row_count(self) -> int:
        """Rows of all tables together."""
        return int((self.state != LEFT_OUT).sum())

    def _reasons(self) -> Mapping[tuple[str, str], str]:
        reasons: dict[tuple[str, str], str] = {}
        for variant, entry in self.held:
            reasons.setdefault((variant, entry.contract_id), entry.reason_code)
        return reasons

    def _said(
        self,
        ids: list[str],
        held: NDArray[np.bool_],
        variant: str,
        reasons: Mapping[tuple[str, str], str],
    ) -> Any:
        said = [""] * len(ids)
        for row in np.flatnonzero(held).tolist():
            now = reasons.get((PRICES_NOW, ids[row]))
            said[row] = now if now is not None else reasons[variant, ids[row]]
        return pa.array(said, pa.string())
