"""What a payer writes beside the money so that it finds its invoice: an RF creditor reference (ISO 11649).

Banks and accounting programs check its two check digits, so a mistyped one is refused where it is typed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from stdnum import iban
from stdnum.iso7064 import mod_97_10

_REFERENCE_MAX: Final = 21
_NOT_IN_REFERENCE: Final = re.compile("[^A-Z0-9]")


def creditor_reference(number: str) -> str:
    """The reference of a document number: ``INV-2026-000001`` is ``RF94INV2026000001``. Empty for a number
    with more than 21 letters and digits, which ISO 11649 cannot hold."""
    core = _NOT_IN_REFERENCE.sub("", number.upper())
    if not 1 <= len(core) <= _REFERENCE_MAX:
        return ""
    return f"RF{mod_97_10.calc_check_digits(f'{core}RF')}{core}"


@lru_cache(maxsize=1024)
def compact_iban(account: str) -> str:
    """The account without spaces if it is a valid IBAN (length and check digits), else empty."""
    compact: str = iban.compact(account)
    return compact if iban.is_valid(compact) else ""
