"""The QR code that banking apps read to fill in a SEPA credit transfer (EPC069-12, version 002)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

import segno

from invoicing.payee import Payee

_AMOUNT_MAX: Final = 99_999_999_999
"""In cents: 999,999,999.99, the most that the guideline allows."""
_HOLDER_MAX: Final = 70
_UTF8: Final = "1"
_MASK: Final = 3
"""Any mask is readable; trying all eight for the fairest costs four times as long."""
_QUIET_MODULES: Final = 4
_DARK: Final = re.compile(b"\x01+")


def payment_code_text(payee: Payee, *, amount_minor: int, currency: str, reference: str) -> str:
    """What the code says. Empty where there can be none: another currency than EUR, no IBAN, nothing to
    pay, or more than a transfer can be."""
    if currency != "EUR" or not payee.iban or not 0 < amount_minor <= _AMOUNT_MAX:
        return ""
    holder = " ".join(payee.holder.split())[:_HOLDER_MAX]
    amount = f"EUR{Decimal(amount_minor).scaleb(-2)}"
    head = ("BCD", "002", _UTF8, "SCT", payee.bic, holder, payee.iban, amount)
    return "\n".join((*head, "", reference)).rstrip("\n") if holder else ""


def payment_code_svg(text: str) -> str:
    """The code as SVG, with the quiet zone that readers need, error correction M as the guideline wants."""
    code = segno.make_qr(text, error="m", boost_error=False, encoding="utf-8", mask=_MASK)
    size = len(code.matrix) + 2 * _QUIET_MODULES
    path = "".join(_runs(code.matrix))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" shape-rendering="crispEdges">'
        f'<path fill="#000" d="{path}"/></svg>'
    )


def _runs(matrix: Sequence[bytearray]) -> Iterator[str]:
    """The dark modules, a rectangle for each run of a row."""
    for row, modules in enumerate(matrix):
        for run in _DARK.finditer(bytes(modules)):
            length = run.end() - run.start()
            left, top = run.start() + _QUIET_MODULES, row + _QUIET_MODULES
            yield f"M{left} {top}h{length}v1h-{length}z"
