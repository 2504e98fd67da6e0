"""What `ratemill customer now` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from api.cli.session import Column, grouped, moment, table

USAGE_COLUMNS: Final[tuple[Column, ...]] = (
    ("meter", "meter_id"),
    ("by", "dimensions"),
    ("used>", grouped("quantity")),
    ("events>", "event_count"),
)
LICENCE_COLUMNS: Final[tuple[Column, ...]] = (
    ("licences", "meter_id"),
    ("now>", grouped("level")),
    ("uncounted>", "unusable_events"),
)
LIMIT_COLUMNS: Final[tuple[Column, ...]] = (
    ("limit on", "meter_id"),
    ("per", lambda item: item["period"]["name"]),
    ("mode", "mode"),
    ("used>", grouped("used")),
    ("limit>", grouped("limit")),
    ("left>", grouped("remaining")),
)
CREDIT_COLUMNS: Final[tuple[Column, ...]] = (
    ("credit", "currency"),
    ("granted, minor units>", "granted_minor"),
    ("drawn>", "drawn_minor"),
    ("left>", "remaining_minor"),
)


def now_shown(answer: Mapping[str, Any]) -> Iterator[Any]:
    """The answer for people: a part a contract, then the credit."""
    number = f"{answer['as_of_sequence']:,}"
    yield f"{answer['name']} ({answer['customer_id']}) as of {moment('as_of')(answer)}, event number {number}"
    if not answer["contracts"]:
        yield "No contract yet. `ratemill contract put FILE` saves one."
    for contract in answer["contracts"]:
        yield from _contract(contract)
    if answer["credit"]:
        yield table(answer["credit"], CREDIT_COLUMNS)


def _contract(contract: Mapping[str, Any]) -> Iterator[Any]:
    head = f"\nContract {contract['contract_id']}, plan {contract['plan_id']}: "
    if not contract["running"]:
        yield head + "does not run now."
    else:
        yield head + f"from {moment('period_start')(contract)} to before {moment('period_end')(contract)}"
        yield table(contract["usage"], USAGE_COLUMNS) if contract["usage"] else "No usage in it yet."
    if contract["unusable"]:
        count = sum(item["event_count"] for item in contract["unusable"])
        yield f"{count:,} events cannot be counted and are in no figure."
    if contract["licences"]:
        yield table(contract["licences"], LICENCE_COLUMNS)
    if contract["entitlements"]:
        yield table(contract["entitlements"], LIMIT_COLUMNS)
    if contract["next_billing_dates"]:
        days = ", ".join(item["invoice_day"] for item in contract["next_billing_dates"])
        yield f"Next invoices: {days}"
