"""A payment, what it is applied to, and which documents its text names for certain. Pure.

Applied + unapplied = amount, always. A payment is applied by itself only where its reference or text names
what it pays: printed invoice numbers as whole words, or an RF creditor reference (ISO 11649) made of one.
What is not certain stays unapplied, which is the customer's credit, and is listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from pydantic import Field
from stdnum import iso11649
from stdnum.iso7064 import mod_97_10

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.errors import Issue
from ingest.meter import Key
from invoicing.number import number_text, split_number
from rating.money import MINOR_DIGITS

RULES: Final[Mapping[str, str]] = {
    "number": "an invoice number in the text",
    "reference": "an RF reference",
    "manual": "applied by a person",
    "customer_credit": "money on account, as the next invoice was issued",
    "set_off": "set off: what a bill below zero left owed",
    "unapplied": "taken back",
    "credit_note": "freed by a credit note",
    "returned": "the payment was returned",
}
_AMOUNT_MINOR_MAX: Final = 10**15
_AHEAD_MAX: Final = timedelta(days=31)
_WORD: Final = re.compile(r"[^\s,;:()\[\]\"'<>|/#]+")
_RF: Final = re.compile(r"\bRF[0-9]{2}(?:\s?[A-Z0-9]{1,4}){1,6}", re.IGNORECASE)


class PaymentDocument(Document):
    """Money that came in. payment_id: yours, so that it is recorded once; left out, it gets one. customer_id:
    the payer, left out when unknown. amount: in major units of the currency."""

    payment_id: Key | None = None
    customer_id: Key | None = None
    currency: str = Field(min_length=3, max_length=3)
    amount: ExactDecimal
    value_date: date
    reference: str = Field(default="", max_length=1024)
    text: str = Field(default="", max_length=4096)
    bank_reference: str = Field(default="", max_length=1024)


@dataclass(frozen=True, slots=True)
class OpenDocument:
    """An issued document as payments see it, minor units, credit notes that refer to it taken off.

    due_minor: net and tax less prepaid credit; due_net_minor: of it, the lines. paid_minor, paid_net_minor:
    what payments pay of it now; below zero, what of a bill below zero was paid out. written_off_minor,
    written_off_net_minor: what is given up of it now.
    """

    document_id: str
    number: str
    kind: str
    customer_id: str
    contract_id: str
    currency: str
    issue_date: date
    due_date: date | None
    due_minor: int
    due_net_minor: int
    paid_minor: int
    paid_net_minor: int
    written_off_minor: int
    written_off_net_minor: int

    @property
    def open_minor(self) -> int:
        """What is left to pay and not given up."""
        return self.payable_minor - self.written_off_minor

    @property
    def payable_minor(self) -> int:
        """What a payment can pay of it: what is written off too, which is then owed again."""
        return self.due_minor - self.paid_minor

    @property
    def settled_minor(self) -> int:
        """Paid or written off."""
        return self.paid_minor + self.written_off_minor

    @property
    def settled_net_minor(self) -> int:
        """Of ``settled_minor``, the lines."""
        return self.paid_net_minor + self.written_off_net_minor


@dataclass(frozen=True, slots=True)
class Applied:
    """So much of a payment pays a document. rule: why, a word of ``RULES``."""

    document: OpenDocument
    amount_minor: int
    rule: str


def payment_rules(payment: PaymentDocument) -> Iterator[Issue]:
    """What a payment must keep beyond its field types."""
    digits = MINOR_DIGITS.get(payment.currency)
    if digits is None:
        yield Issue(
            "unknown_currency",
            "currency",
            f"{payment.currency!r} is not a current ISO 4217 currency code.",
            "a code like EUR or USD.",
        )
        return
    minor = payment.amount.scaleb(digits)
    if minor != minor.to_integral_value() or not 0 < minor <= _AMOUNT_MINOR_MAX:
        yield Issue(
            "payment_amount",
            "amount",
            f"{decimal_text(payment.amount)} {payment.currency} cannot be a payment.",
            f"an amount above 0 in whole minor units ({digits} digits).",
        )


def value_date_issues(value_date: date, *, now: datetime) -> list[Issue]:
    """A bank's value date is a few days ahead at most; a year mistyped would be in no report for years."""
    if value_date <= (now + _AHEAD_MAX).date():
        return []
    return [
        Issue(
            "payment_date",
            "value_date",
            f"{value_date} is more than {_AHEAD_MAX.days} days to come.",
            "the day the bank states.",
        )
    ]


def rf_reference(printed: str) -> str:
    """The RF creditor reference of a printed number: ``INV-2026-000001`` is ``RF94INV2026000001``."""
    body = _letters(printed)
    return f"RF{mod_97_10.calc_check_digits(f'{body}RF')}{body}"


def named_numbers(words: str, series: Sequence[str]) -> dict[tuple[str, int], str]:
    """(series, number) of every document a text names -> the rule, ``number`` or ``reference``.

    series: those in use. Whole words only: ``INV-2026-000010`` does not name ``INV-2026-000001``.

    >>> named_numbers("for INV-2026-000010, thank you", ["INV-2026"])
    {('INV-2026', 10): 'number'}
    >>> named_numbers("rf94 inv2 0260 0000 1", ["INV-2026"])
    {('INV-2026', 1): 'reference'}
    """
    known = {name.upper(): name for name in series}
    found: dict[tuple[str, int], str] = {}
    for word in _WORD.findall(words):
        split = split_number(word.rstrip(".!?").upper())
        if split is not None and split[0] in known:
            found[known[split[0]], split[1]] = "number"
    bodies = {_letters(name): name for name in series}
    for body in _rf_bodies(words):
        for start, name in bodies.items():
            digits = body.removeprefix(start)
            if digits != body and digits.isdigit() and len(digits) >= 6:
                key = (name, int(digits))
                if _letters(number_text(series=name, number=key[1])) == body:
                    found.setdefault(key, "reference")
    return found


def _rf_bodies(words: str) -> set[str]:
    """What stands behind the check digits of each valid RF reference; it may be printed in groups of four,
    so a word after it may be taken for a part of it."""
    bodies = set()
    for match in _RF.finditer(words):
        parts = match.group().upper().split()
        for count in range(len(parts), 0, -1):
            reference = "".join(parts[:count])
            if iso11649.is_valid(reference):
                bodies.add(reference[4:])
                break
    return bodies


def _letters(printed: str) -> str:
    return "".join(letter for letter in printed.upper() if letter.isalnum())


def certain_allocations(
    *, amount_minor: int, customer_id: str | None, named: Iterable[tuple[OpenDocument, str]]
) -> list[Applied]:
    """What a payment pays for certain: one document it names, up to what is open of it, or several whose open
    amounts sum to it exactly. Nothing when a named document is another customer's (of a known payer), is no
    longer open, or when the sum differs. What was written off can be paid.

    named: each document with the rule that found it, all in the payment's currency.
    """
    found = list(named)
    strange = any(
        each.payable_minor <= 0 or (customer_id is not None and each.customer_id != customer_id)
        for each, _ in found
    )
    if not found or strange:
        return []
    if len(found) == 1:
        document, rule = found[0]
        return [Applied(document, min(amount_minor, document.payable_minor), rule)]
    if amount_minor == sum(document.open_minor for document, _ in found):
        return [
            Applied(document, document.open_minor, rule) for document, rule in found if document.open_minor
        ]
    if amount_minor == sum(document.payable_minor for document, _ in found):
        return [Applied(document, document.payable_minor, rule) for document, rule in found]
    return []


def net_paid(document: OpenDocument, paid_minor: int) -> int:
    """Of ``paid_minor`` of a document, what pays its lines: pro rata, rounded half up from the running
    total, so that the document paid in full is its lines and its tax paid in full."""
    if not document.due_minor:
        return 0
    doubled = 2 * document.due_minor
    return (2 * paid_minor * document.due_net_minor + document.due_minor) // doubled
