"""What a credit note takes back of an invoice: lines, tax and prepaid credit, to the minor unit. Pure.

Of each line never more is taken back than is left of it after earlier credit notes and what later bills gave
back by themselves (``invoicing/given_back.py``), and of the invoice never more than it came to. Tax follows
its group (``invoicing/credit_note_tax.py``).

Amounts of the document are signed as the customer owes them: at or below zero where the invoice's are above.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import orjson
from pydantic import Field

from ingest.document import Document, ExactDecimal, decimal_text
from ingest.errors import InvalidInput, Issue
from invoicing.credit_note_allowance import PutBack, put_back_with
from invoicing.credit_note_tax import credited_tax
from invoicing.invoice_tax import TAX_NOTE
from invoicing.posting import DEDUCTED_DEPOSIT_KIND, DEDUCTED_PROGRESS_KIND
from invoicing.tax_amounts import shares_of
from rating.money import round_to_minor

CREDIT_NOTE_SCHEMA: Final = "ratemill.credit_note/1"
DEDUCTING_KINDS: Final = frozenset({DEDUCTED_DEPOSIT_KIND, DEDUCTED_PROGRESS_KIND})
_COPIED: Final = (
    "contract",
    "currency",
    "customer",
    "customer_version",
    "minor_digits",
    "period_end",
    "period_start",
    "seller",
)
"""What a credit note says as its invoice does."""
_COPIED_OF_LINE: Final = (
    "line_id",
    "charge_id",
    "charge_kind",
    "description",
    "dimensions",
    "period_start",
    "period_end",
    "unit",
)


class CreditedLine(Document):
    """A line of the invoice to be credited: so much of its ``quantity``, or an ``amount`` net of tax in major
    units; neither: all that is left of it."""

    line_id: str
    quantity: ExactDecimal | None = None
    amount: ExactDecimal | None = None


class CreditNoteRequest(Document):
    """What is to be credited, and why. lines: only these. amount: net of tax, in major units, spread over all
    lines by what is left of each. Neither: all that is left, which voids the invoice.

    dated_on: the issue date; left out: today in the contract's time zone.
    """

    reason: str = Field(min_length=1, max_length=1024, pattern=r"\S")
    lines: tuple[CreditedLine, ...] = ()
    amount: ExactDecimal | None = None
    dated_on: date | None = None


@dataclass(frozen=True, slots=True)
class CreditBack:
    """Prepaid credit that goes back to a grant the invoice drew: ``amount_minor`` > 0."""

    grant_id: str
    name: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class CreditNoteDraft:
    """A credit note but for its number and date. ``document``: its canonical content. net_minor, tax_minor,
    credit_minor: as in ``CREDIT_NOTES``. returned: what of credit_minor goes back to which grant. put_back:
    what was taken off lines before tax and goes back to its grants with them."""

    credit_note_id: str
    document: Mapping[str, Any]
    net_minor: int
    tax_minor: int
    returned: tuple[CreditBack, ...]
    voids: bool
    put_back: tuple[PutBack, ...] = ()

    @property
    def credit_minor(self) -> int:
        return -sum(back.amount_minor for back in self.returned)

    def text(self, *, number: str | None, issue_date: date | None) -> str:
        """The canonical JSON text."""
        day = None if issue_date is None else issue_date.isoformat()
        whole = {**self.document, "number": number, "issue_date": day}
        return orjson.dumps(whole, option=orjson.OPT_SORT_KEYS).decode()


def draft_credit_note(
    invoice: Mapping[str, Any],
    *,
    before: Sequence[Mapping[str, Any]],
    given_back: Mapping[str, int],
    credit_given_back: Mapping[str, int],
    put_back_by_bills: Mapping[tuple[str, str], int],
    request: CreditNoteRequest,
) -> CreditNoteDraft:
    """The credit note that takes back of an issued invoice what is asked for.

    invoice, before: canonical documents, of the invoice and of its credit notes so far, oldest first.
    given_back: by line_id, minor units above zero, what later bills gave back of lines; an invoice of which
    there is any is not voided, because it is owed as it was issued less its credit notes. credit_given_back:
    by grant, minor units above zero, what later bills gave back of its credit. put_back_by_bills: by
    (grant_id, line_id), minor units above zero, what they put back of credit taken before tax. Raises
    InvalidInput naming every line that cannot be credited so.
    """
    lines = invoice["lines"]
    uncredited = left_of_lines(invoice, before)
    left = [
        amount - given_back.get(line["line_id"], 0) for line, amount in zip(lines, uncredited, strict=True)
    ]
    taken = _taken(invoice, before, left, request)
    net = sum(taken)
    _check_taken(invoice, taken, left, credited=bool(before), given_back=bool(given_back))
    voids = taken == uncredited
    groups = credited_tax(invoice, before, taken, voids=voids)
    tax = sum(group["tax_minor"] for group in groups)
    returned = _credit_back(invoice, before, credit_given_back, gross_minor=net + tax)
    put_back = put_back_with(invoice, before, taken, left, uncredited, put_back_by_bills)
    identity = f"ratemill credit note\n{invoice['invoice_id']}\n{len(before) + 1}"
    credit_note_id = hashlib.sha256(identity.encode()).hexdigest()[:32]
    grants = [
        {"grant_id": back.grant_id, "name": back.name, "amount_minor": back.amount_minor} for back in returned
    ]
    document = {name: invoice[name] for name in _COPIED} | {
        "schema": CREDIT_NOTE_SCHEMA,
        "credit_note_id": credit_note_id,
        "reason": request.reason.strip(),
        "invoice": {name: invoice[name] for name in ("invoice_id", "number", "issue_date")},
        "purchase_order": invoice["terms"].get("purchase_order", ""),
        "voids": voids,
        "lines": [
            _line_document(line, amount, quantity)
            for line, amount, quantity in zip(lines, taken, _quantities(lines, request), strict=True)
            if amount or (voids and not before)
        ],
        "total_minor": -net,
        "tax": [_negated(group) for group in groups] if groups else TAX_NOTE,
        "returned_credit": {
            "total_minor": sum(back.amount_minor for back in returned),
            "grants": grants,
        },
    }
    if put_back:
        document["put_back_credit"] = [asdict(back) for back in put_back]
    return CreditNoteDraft(credit_note_id, document, -net, -tax, tuple(returned), voids, tuple(put_back))


def _check_taken(
    invoice: Mapping[str, Any], taken: Sequence[int], left: Sequence[int], *, credited: bool, given_back: bool
) -> None:
    """Raises InvalidInput unless something is taken, and no more than is left. taken, left: minor units by
    line. credited, given_back: whether credit notes, and later bills, took of the invoice before."""
    if not any(taken) and any(left):
        raise _refused(Issue("nothing_to_credit", "", "Nothing would be credited.", "an amount above 0."))
    if not any(left) and given_back:
        words = f"Nothing is left of {invoice['number']}: credit notes and later bills gave it back already."
        raise _refused(Issue("nothing_to_credit", "", words, "an invoice of which something is left."))
    if not any(left) and credited:
        words = f"Invoice {invoice['number']} is credited in full already."
        raise _refused(Issue("nothing_to_credit", "", words, "an invoice of which something is left."))
    if (taken != left or given_back) and not 0 < sum(taken) <= sum(left):
        asked, rest = _major(sum(taken), invoice), _major(sum(left), invoice)
        raise _refused(
            Issue(
                "credit_not_within_invoice",
                "lines",
                f"The lines come to {asked}, of the invoice {rest} is left.",
                "lines that come to more than 0 and at most what is left; reductions can be credited too.",
            )
        )


def left_of_lines(invoice: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> list[int]:
    """What earlier credit notes leave of each line, minor units, of the line's sign."""
    credited: dict[str, int] = {}
    for line in (line for note in before for line in note["lines"]):
        credited[line["line_id"]] = credited.get(line["line_id"], 0) + line["amount_minor"]
    return [line["amount_minor"] + credited.get(line["line_id"], 0) for line in invoice["lines"]]


def _taken(
    invoice: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]],
    left: list[int],
    request: CreditNoteRequest,
) -> list[int]:
    """What is to be taken back of each line, of the line's sign."""
    if request.lines and request.amount is not None:
        words = "Both lines and an amount over all lines were sent."
        raise _refused(Issue("credit_ambiguous", "amount", words, "one of the two."))
    if request.amount is not None:
        amount, whole = _minor(request.amount, invoice, "amount"), sum(left)
        if not 0 < amount <= whole:
            raise _refused(
                Issue(
                    "credit_more_than_left",
                    "amount",
                    f"{_major(amount, invoice)} is to be credited, and {_major(whole, invoice)} is left.",
                    "more than 0 and at most what is left of the invoice, net of tax.",
                )
            )
        # Deductions are taken back whole, with the final invoice they stand on.
        weights = [
            0 if line["charge_kind"] in DEDUCTING_KINDS else part
            for line, part in zip(invoice["lines"], left, strict=True)
        ]
        return shares_of(amount, weights)
    if not request.lines:
        return left
    places = {line["line_id"]: place for place, line in enumerate(invoice["lines"])}
    taken = [0] * len(left)
    issues: list[Issue] = []
    for number, wanted in enumerate(request.lines):
        place = places.pop(wanted.line_id, None)
        pointer = f"lines[{number}]"
        if place is None:
            words = f"The invoice has no line {wanted.line_id!r}, or it is named twice."
            issues.append(
                Issue("unknown_line", f"{pointer}.line_id", words, "each line of the invoice once.")
            )
            continue
        try:
            taken[place] = _of_line(invoice, place, left[place], before, wanted, pointer)
        except InvalidInput as error:
            issues += error.issues
    if issues:
        raise InvalidInput(
            "nothing was credited: " + " ".join(str(issue) for issue in issues),
            reason_code=issues[0].reason_code,
            issues=issues,
        )
    return taken


def _of_line(
    invoice: Mapping[str, Any],
    place: int,
    left: int,
    before: Sequence[Mapping[str, Any]],
    wanted: CreditedLine,
    pointer: str,
) -> int:
    """What is to be taken back of one line."""
    if wanted.quantity is not None and wanted.amount is not None:
        raise _refused(
            Issue("credit_ambiguous", pointer, "Both quantity and amount were sent.", "one of the two.")
        )
    line = invoice["lines"][place]
    if line["charge_kind"] in DEDUCTING_KINDS:
        words = f"Line {wanted.line_id} deducts an earlier document, which is deducted whole or not at all."
        raise _refused(
            Issue("deduction_whole", pointer, words, "the whole invoice, without lines or amount.")
        )
    if wanted.quantity is not None:
        amount = _of_quantity(line, before, wanted.quantity, pointer)
    elif wanted.amount is not None:
        amount = _minor(wanted.amount, invoice, f"{pointer}.amount")
    else:
        amount = left
    if not min(0, left) <= amount <= max(0, left) or (amount == 0 and wanted.quantity is None):
        raise _refused(
            Issue(
                "credit_more_than_left",
                pointer,
                f"{_major(amount, invoice)} of line {wanted.line_id} is to be credited, and "
                f"{_major(left, invoice)} of it is left.",
                "an amount of the line's sign and at most what is left of it.",
            )
        )
    return amount


def _of_quantity(
    line: Mapping[str, Any], before: Sequence[Mapping[str, Any]], quantity: Decimal, pointer: str
) -> int:
    """The amount of so much of a line's quantity, rounded from the running total of what was credited by
    quantity, so that parts sum to the whole line."""
    whole = Fraction(line["quantity"])
    earlier = sum(
        Fraction(credited["credited_quantity"])
        for note in before
        for credited in note["lines"]
        if credited["line_id"] == line["line_id"] and credited["credited_quantity"] is not None
    )
    upto = earlier + Fraction(quantity)
    if quantity <= 0 or whole <= 0 or upto > whole:
        raise _refused(
            Issue(
                "credit_more_than_left",
                f"{pointer}.quantity",
                f"{decimal_text(quantity)} is to be credited of {line['quantity']} {line['unit']}, of which "
                f"{decimal_text(Decimal(earlier.numerator) / earlier.denominator)} are credited already.",
                "more than 0 and at most what is left of the quantity; or an amount.",
            )
        )
    reached, before_it = (
        round_to_minor(line["amount_minor"] * part / whole, digits=0, mode="half_up")
        for part in (upto, earlier)
    )
    return reached - before_it


def _quantities(lines: Sequence[Mapping[str, Any]], request: CreditNoteRequest) -> Iterator[str | None]:
    """The credited quantity of each line, None where the amount says all."""
    by_line = {wanted.line_id: wanted.quantity for wanted in request.lines}
    for line in lines:
        quantity = by_line.get(line["line_id"])
        yield None if quantity is None else decimal_text(quantity)


def _line_document(line: Mapping[str, Any], amount: int, quantity: str | None) -> dict[str, Any]:
    taxed = {"tax": line["tax"]} if "tax" in line else {}
    copied = {name: line[name] for name in _COPIED_OF_LINE}
    return {**copied, **taxed, "credited_quantity": quantity, "amount_minor": -amount}


def _negated(group: Mapping[str, Any]) -> dict[str, Any]:
    return {**group, "taxable_minor": -group["taxable_minor"], "tax_minor": -group["tax_minor"]}


def _credit_back(
    invoice: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]],
    by_bills: Mapping[str, int],
    *,
    gross_minor: int,
) -> list[CreditBack]:
    """What goes back to prepaid credit: all that is credited, up to what the invoice drew and did not get
    back yet; the grant drawn last gets its own back first."""
    grants = invoice.get("drawn_credit", {"grants": ()})["grants"]
    earlier = dict(by_bills)
    for back in (back for note in before for back in note["returned_credit"]["grants"]):
        earlier[back["grant_id"]] = earlier.get(back["grant_id"], 0) + back["amount_minor"]
    budget = max(0, gross_minor)
    found = []
    for grant in reversed(grants):
        amount = min(budget, grant["amount_minor"] - earlier.get(grant["grant_id"], 0))
        if amount > 0:
            budget -= amount
            found.append(CreditBack(grant["grant_id"], grant["name"], amount))
    return found


def _minor(amount: Decimal, invoice: Mapping[str, Any], pointer: str) -> int:
    minor = amount.scaleb(invoice["minor_digits"])
    if minor != minor.to_integral_value():
        words = f"{decimal_text(amount)} {invoice['currency']} is not a whole number of minor units."
        raise _refused(
            Issue("credit_amount", pointer, words, f"{invoice['minor_digits']} digits after the point.")
        )
    return int(minor)


def _major(amount_minor: int, invoice: Mapping[str, Any]) -> str:
    return f"{Decimal(amount_minor).scaleb(-invoice['minor_digits'])} {invoice['currency']}"


def _refused(issue: Issue) -> InvalidInput:
    return InvalidInput(f"nothing was credited: {issue}", reason_code=issue.reason_code, issues=[issue])
