"""Which billing dates are invoiced by now, for contracts that are invoiced on business days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from invoicing.contract_dates import ContractDates, Days
from rating.invoice_day import InvoiceDayRule

_EARLIER_MAX: Final = 62
"""Days that a billing date may lie behind its invoice; no calendar has so many free days on end."""


def rules_of(
    contract_ids: Sequence[str], invoice_days: Mapping[str, InvoiceDayRule]
) -> dict[int, InvoiceDayRule]:
    """The rule of each contract that has one, by its place."""
    return {
        place: invoice_days[contract_id]
        for place, contract_id in enumerate(contract_ids)
        if contract_id in invoice_days
    }


def with_later_days(terms: ContractDates, rules: Mapping[int, InvoiceDayRule]) -> ContractDates:
    """The same with the last day moved on where an invoice may come before its date."""
    last_day = terms.last_day.copy()
    last_day[list(rules)] += _EARLIER_MAX
    return replace(terms, last_day=last_day)


def is_invoiced(
    contract: NDArray[np.int64],
    billing_date: Days,
    arrears: NDArray[np.bool_],
    terms: ContractDates,
    rules: Mapping[int, InvoiceDayRule],
) -> NDArray[np.bool_]:
    """Whether the day on which each row is invoiced has come; rows by contract and billing date. Dates of a
    contract keep their order: none is invoiced before an earlier one."""
    invoiced = np.ones(contract.size, np.bool_)
    ruled = np.flatnonzero(np.isin(contract, list(rules)))
    if not ruled.size:
        return invoiced
    keys = np.stack([contract[ruled], billing_date[ruled]])
    pairs, group = np.unique(keys, axis=1, return_inverse=True)
    past = np.bincount(group.reshape(-1), weights=arrears[ruled]) > 0
    due = np.zeros(past.size, np.bool_)
    known: dict[tuple[InvoiceDayRule, int, bool], date] = {}
    owner, latest = -1, date.min
    for place, (who, day, bills_past) in enumerate(zip(*pairs.tolist(), past.tolist(), strict=True)):
        key = (rules[who], day, bills_past)
        if key not in known:
            billing_day = np.datetime64(day, "D").astype(object)
            known[key] = rules[who].invoice_day(billing_day, bills_past=bills_past)
        latest = known[key] if who != owner else max(latest, known[key])
        owner = who
        due[place] = latest <= np.datetime64(int(terms.last_day[who]), "D").astype(object)
    invoiced[ruled] = due[group.reshape(-1)]
    return invoiced
