"""The service periods as numpy columns, each with its plan row in the price book."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.arrow_buffers import one_array
from ingest.errors import BrokenState, InvalidInput
from rating.compile import PriceBook
from rating.proration import WHOLE_MAX
from rating.service_period import SERVICE_PERIOD_SCHEMA

_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class PeriodColumns:
    """One entry a period row, in row order; ``table`` is the table itself for the text columns.

    plan_row: its row in the price book. arrears: its timing. first: the contract starts with it.
    period_number, first_days: of the whole billing period, days since 1970. invoice: equal for the rows of
    one contract and billing date.
    """

    table: pa.Table
    period_key: NDArray[np.int64]
    plan_row: NDArray[np.int64]
    arrears: NDArray[np.bool_]
    days: NDArray[np.int64]
    full_days: NDArray[np.int64]
    first: NDArray[np.bool_]
    period_number: NDArray[np.int64]
    first_days: NDArray[np.int64]
    invoice: NDArray[np.int64]

    def first_day(self, row: int) -> date:
        """The first local day of the billing period of a row."""
        return _EPOCH + timedelta(days=int(self.first_days[row]))

    def begins(self) -> NDArray[np.bool_]:
        """Which rows their billing period begins with; the others are parts of a period that is split."""
        start = _integers(one_array(self.table["period_start"]).cast(pa.int64()))
        whose = np.stack([self.invoice, self.arrears.astype(np.int64), self.period_number])
        _, group = np.unique(whose, axis=1, return_inverse=True)
        first = np.full(int(group.max(initial=-1)) + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, group.reshape(-1), start)
        return np.asarray(start == first[group.reshape(-1)], np.bool_)

    def check_keys(self, keys: NDArray[np.int64]) -> None:
        """Keys are rows (``read_periods`` checks it). Raises BrokenState for a key that is no period."""
        count = len(self.period_key)
        if len(keys) and (count == 0 or keys.min() < 0 or keys.max() >= count):
            raise BrokenState(
                f"usage names period keys up to {int(keys.max())}, but there are {count} periods; "
                "roll up again with the calendar of these periods."
            )


def read_periods(periods: pa.Table, price_book: PriceBook) -> PeriodColumns:
    """Columns of SERVICE_PERIOD_SCHEMA. Raises InvalidInput or BrokenState (see ``rate_usage``)."""
    if periods.schema.names != SERVICE_PERIOD_SCHEMA.names:
        raise InvalidInput(
            f"the period table has the columns {periods.schema.names}; "
            f"rating needs {SERVICE_PERIOD_SCHEMA.names}."
        )
    period_key = _integers(periods["period_key"])
    if not np.array_equal(period_key, np.arange(len(period_key))):
        raise InvalidInput("period_key must count 0, 1, 2 ... in row order; number the periods again.")
    days, full_days = _integers(periods["days"]), _integers(periods["full_days"])
    wrong = (days < 0) | (days > full_days) | (full_days < 1) | (full_days > WHOLE_MAX)
    if np.any(wrong):
        row = int(np.flatnonzero(wrong)[0])
        raise InvalidInput(
            f"period {row} covers {days[row]} of {full_days[row]} days; 0 <= days <= full_days <= {WHOLE_MAX}"
            " holds for every period a cadence can make."
        )
    return PeriodColumns(
        table=periods,
        period_key=period_key,
        plan_row=plan_rows_of(periods, price_book),
        arrears=_is_word(periods["timing"], "arrears"),
        days=days,
        full_days=full_days,
        first=np.asarray(one_array(periods["first"]).to_numpy(zero_copy_only=False), np.bool_),
        period_number=_integers(periods["period_number"]),
        first_days=_integers(one_array(periods["period_first_day"]).cast(pa.int32())),
        invoice=_invoices(periods),
    )


def _invoices(periods: pa.Table) -> NDArray[np.int64]:
    contracts, _ = dictionary_codes(periods["contract_id"])
    days = _integers(one_array(periods["billing_date"]).cast(pa.int32()))
    return contracts * (1 << 32) + days


def plan_rows_of(periods: pa.Table, price_book: PriceBook) -> NDArray[np.int64]:
    """The plan row of each SERVICE_PERIOD_SCHEMA row. Raises BrokenState for one the book does not hold."""
    codes, words = dictionary_codes(periods["plan_id"])
    agreement_codes, agreements = dictionary_codes(periods["agreement"])
    versions = _integers(periods["plan_version"])
    pairs = (codes * len(agreements) + agreement_codes) * (1 << 32) + versions
    known, inverse = np.unique(pairs, return_inverse=True)
    rows = np.empty(len(known), np.int64)
    for position, pair in enumerate(known.tolist()):
        plan, agreement = divmod(pair >> 32, len(agreements))
        key = (words[plan], pair & 0xFFFFFFFF, agreements[agreement])
        if key not in price_book.plan_rows:
            agreed = f" under agreement {key[2]}" if key[2] else ""
            raise BrokenState(
                f"a service period is on version {key[1]} of price plan {key[0]!r}{agreed}, which the price "
                "book does not hold; compile the book from the catalogue the periods were made with."
            )
        rows[position] = price_book.plan_rows[key]
    return np.asarray(rows[inverse.reshape(-1)], np.int64)


def dictionary_codes(column: Any) -> tuple[NDArray[np.int64], list[str]]:
    """A text column (dictionary or plain) as codes and the words they stand for."""
    array = one_array(column.unify_dictionaries() if isinstance(column, pa.ChunkedArray) else column)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    return array.indices.to_numpy().astype(np.int64), array.dictionary.to_pylist()


def _is_word(column: Any, word: str) -> NDArray[np.bool_]:
    codes, words = dictionary_codes(column)
    flags = np.array([text == word for text in words], np.bool_)
    return np.asarray(flags[codes], np.bool_)


def _integers(column: Any) -> NDArray[np.int64]:
    return np.asarray(one_array(column).to_numpy(), np.int64)
