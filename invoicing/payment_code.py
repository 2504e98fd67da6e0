"""The QR code that banking apps read to fill in a SEPA credit transfer (EPC069-12, version 002)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import numpy as np
import zxingcpp
from numpy.typing import NDArray

from invoicing.payee import Payee

_AMOUNT_MAX: Final = 99_999_999_999
"""In cents: 999,999,999.99, the most that the guideline allows."""
_HOLDER_MAX: Final = 70
_UTF8: Final = "1"
_QUIET_MODULES: Final = 4


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
    modules = _dark_modules(text)
    size = len(modules) + 2 * _QUIET_MODULES
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" shape-rendering="crispEdges">'
        f'<path stroke="#000" d="{"".join(_runs(modules))}"/></svg>'
    )


def _dark_modules(text: str) -> NDArray[np.bool_]:
    """Shape (side, side), without a quiet zone."""
    # Of text the library would make ISO 8859-1 where it can; the code says that it is UTF-8.
    code = zxingcpp.create_barcode(text.encode(), zxingcpp.BarcodeFormat.QRCode, ec_level="M")
    dark: NDArray[np.bool_] = np.asarray(code.to_image(scale=1, add_quiet_zones=False)) == 0
    return dark


def _runs(modules: NDArray[np.bool_]) -> list[str]:
    """The dark modules, a stroke one module wide for each run of a row."""
    edges = np.diff(modules.astype(np.int8), axis=1, prepend=0, append=0)
    rows, starts = np.nonzero(edges > 0)
    lengths = np.nonzero(edges < 0)[1] - starts
    spots = zip(rows.tolist(), starts.tolist(), lengths.tolist(), strict=True)
    quiet = _QUIET_MODULES
    return [f"M{left + quiet} {row + quiet}.5h{length}" for row, left, length in spots]
